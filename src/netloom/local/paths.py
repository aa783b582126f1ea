"""Where a local cluster keeps its files. One directory a cluster, readable by its owner only.

``$NETLOOM_HOME`` or ``$XDG_STATE_HOME/netloom`` or ``~/.local/state/netloom``, then ``clusters/<name>``.
"""

from __future__ import annotations

import os
from pathlib import Path

from netloom.errors import UsageError

_SOCKET_PATH_LIMIT = 107
"""sun_path holds 108 bytes with the closing NUL (unix(7))."""


class NodePaths:
    """Files of one node of a cluster."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.agent_config = root / "agent.json"
        self.runner_config = root / "runner.json"
        self.dns_config = root / "dns.json"
        self.kubeconfig = root / "kubeconfig"
        """The runner's: that of the node itself."""
        self.cni_socket = root / "cni.sock"
        self.dns_socket = root / "dns.sock"
        self.udp_config = root / "udp.json"
        self.udp_socket = root / "udp.sock"
        self.speaker_config = root / "speaker.json"
        self.speaker_socket = root / "speaker.sock"
        self.bgp = root / "bgp"
        self.gateway_config = root / "gateway.json"
        self.gateway_socket = root / "gateway.sock"
        self.gateway_directory = root / "gateway"
        self.runner_socket = root / "runner.sock"
        self.standin_socket = root / "standin.sock"
        self.ipam = root / "ipam.db"

    def credentials(self, part: str) -> Path:
        """The kubeconfig of another process of the node: ``agent``, ``speaker`` or ``gateway``."""
        return self.root / f"{part}.kubeconfig"


class ClusterPaths:
    """Files of one cluster."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = root / "cluster.json"
        self.lock = root / "lock"
        self.pid = root / "supervisor.pid"
        self.log = root / "log"
        self.store = root / "store.db"
        self.api_socket = root / "api.sock"
        """The administrator's."""
        self.part_sockets = {
            part: root / f"api-{part}.sock" for part in ("controllers", "scheduler", "client")
        }
        """Of parts of the control plane: whoever opens one is that part, and may what it needs."""
        self.outside_config = root / "client.json"
        self.outside_socket = root / "client.sock"
        self.failures_socket = root / "failures.sock"
        self.pki = root / "pki"
        self.accounts_key = self.pki / "sa.key"
        """Signs the tokens of service accounts; kept from start to start, as tokens in Secrets are."""
        self.kubeconfig = root / "kubeconfig"
        self.switch = root / "switch"

    def node(self, name: str) -> NodePaths:
        """Files of one node."""
        return NodePaths(self.root / "nodes" / name)


def clusters_home() -> Path:
    """The directory that holds one directory for each cluster of this user."""
    if home := os.environ.get("NETLOOM_HOME"):
        return Path(home).absolute() / "clusters"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state).absolute() / "netloom" / "clusters"


def images_home() -> Path:
    """The directory of this user's images, which all clusters share."""
    return clusters_home().parent / "images"


def cluster_paths(name: str) -> ClusterPaths:
    """Files of the cluster with this name, whether it exists or not.

    Raises:
        UsageError: the path is too long for the unix sockets in it.
    """
    paths = ClusterPaths(clusters_home() / name)
    longest = paths.node("node-99").standin_socket
    if len(os.fsencode(longest)) > _SOCKET_PATH_LIMIT:
        raise UsageError(
            f"{paths.root}: too long a path for unix sockets", "set NETLOOM_HOME to a shorter directory"
        )
    return paths
