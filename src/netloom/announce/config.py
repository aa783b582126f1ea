"""What a node's speaker is told at its start. In: a JSON or YAML file; out: SpeakerConfig. Not here: what the cluster says (watches)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from netloom.errors import UsageError
from netloom.model.routes.ways import FabricKind


class SpeakerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's speaker."""

    node: str
    """Name of the Node object that this speaker is for."""
    kubeconfig: str = ""
    """Credentials; empty: the pod's own service account."""
    socket: str = "/run/netloom/speaker.sock"
    """Where the node's agent hears of dead nodes, and where the speaker answers questions."""
    cluster_cidrs: tuple[str, ...] = ()
    """All pods of the cluster."""
    service_cidrs: tuple[str, ...] = ()
    """All ClusterIPs."""
    interfaces: tuple[str, ...] = ()
    """Where addresses are answered for at layer 2; empty: wherever one of the interface's own networks holds the address."""
    members_port: int = 7947
    """UDP port at which speakers hear each other, the same on all nodes."""
    members_key: str = "kube-system/netloom-members"
    """Namespace and name of the Secret by whose key they know each other; the first speaker makes it."""
    waits_for_agent: bool = True
    """Whether the node takes no duty before its agent has once had everything in force."""
    metrics_address: str = "127.0.0.1:10263"
    """Where ``/metrics`` is answered. Empty: nowhere."""
    directory: str = "/run/netloom/speaker"
    """For files and sockets of programs that the speaker runs; what is there should be gone after the node has started anew."""
    fabric: FabricKind = FabricKind.HOSTGW
    """What joins the nodes; where it is ``bgp``, the ways to other nodes' pods are learned here."""


def load(path: str) -> SpeakerConfig:
    """Read a configuration file.

    Raises:
        UsageError: it cannot be read, or has a field that is wrong or unknown.
    """
    try:
        return msgspec.yaml.decode(Path(path).read_bytes(), type=SpeakerConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: {error}", "see: netloom speaker serve --help") from error
