"""What one node's runner and its stand-in process are told. In: a JSON file; out: RunnerConfig.

Both processes read the same file; they live in the node's network namespace. Not here: what the cluster decides (``local/nodes``).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from netloom.errors import UsageError


class RunnerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One node, as its runner sees it. All paths are absolute."""

    node_name: str
    node_addresses: tuple[str, ...]
    """Addresses of the node on the underlay, the family of the first is preferred (Node ``status.addresses``)."""
    node_device: str = ""
    """The interface that has them; what becomes of its addresses is followed. Empty: they stay as they are."""
    kubeconfig: str
    state_dir: str
    """Where records of sandboxes are kept; survives the runner."""
    shared_dir: str = ""
    """Where provisioned volumes lie, the same for all nodes."""
    images_dir: str = ""
    """Where images are (``local/images``); empty: there are none, and stand-ins play everything."""
    stand_ins: bool = True
    """Whether stand-ins play what no image is loaded for."""
    cni_shim: str
    """The CNI plugin's binary."""
    cni_socket: str
    """The agent's socket, told to the plugin as ``NETLOOM_CNI_SOCKET``."""
    runner_socket: str
    """Where exec, port-forward and logs are served, kubelet-like."""
    standin_socket: str
    """Between the runner and the stand-in process of the node."""
    cni_config: str = '{"cniVersion":"1.1.0","name":"netloom","type":"netloom","capabilities":{"portMappings":true,"bandwidth":true}}'
    """Network configuration handed to the plugin, JSON as in the CNI spec, section 1."""
    cluster_domain: str = "cluster.local"
    dns_addresses: tuple[str, ...] = ("10.96.0.10",)
    """Cluster DNS, the ``nameserver`` of dnsPolicy ClusterFirst."""
    upstream_dns_addresses: tuple[str, ...] = ("172.30.0.1",)
    """Resolvers that a node itself asks, the ``nameserver`` of dnsPolicy Default; a node's resolv.conf has only these."""
    hidden_dirs: tuple[str, ...] = ()
    """Directories of the host that pods see empty: the cluster's own state with its keys."""
    labels: dict[str, str] = {}
    """Labels that the Node is made with besides hostname, os and arch; later they are whatever people make of them."""
    node_grace_s: float = 40.0
    """For how long nothing may be heard of the node before others take it for dead, seconds."""
    max_pods: int = 110
    sandbox_starts: int = 4
    """Sandboxes made at the same time at most."""


def load(path: str | Path) -> RunnerConfig:
    """Read the file.

    Raises:
        UsageError: it cannot be read, or a field is missing or of a wrong type.
    """
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=RunnerConfig)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"runner configuration {path}: {error}", "write it anew with `netloom up`"
        ) from error
