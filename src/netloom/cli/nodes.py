"""What verbs share that ask the agents of nodes: which nodes, and where their sockets are."""

from __future__ import annotations

import argparse
from pathlib import Path

from netloom.cli.output import add_cluster
from netloom.errors import NotFound, UsageError
from netloom.linux.questions import socket_beside


def add_nodes(parser: argparse.ArgumentParser) -> None:
    """Give a verb ``--node``, ``--name`` and ``--socket``."""
    parser.add_argument("--node", action="append", default=[], help="only this node; may be repeated")
    add_cluster(parser)
    parser.add_argument("--socket", metavar="PATH", help="ask the agent behind this socket")


def sockets_of(options: argparse.Namespace) -> dict[str, Path]:
    """The sockets of the wanted nodes by their names; without a name for ``--socket``.

    Raises:
        UsageError: both a socket and nodes are named.
        NotFound, Unavailable: no such cluster or node, or it does not run.
    """
    if options.socket and options.node:
        raise UsageError("--socket and --node: a socket is one node's", "give one of them")
    return {"": Path(options.socket)} if options.socket else local_sockets(options.name, options.node)


def local_sockets(cluster_name: str, wanted: list[str]) -> dict[str, Path]:
    """Of a local cluster; all nodes where none is wanted in particular.

    Raises:
        NotFound, Unavailable: as for ``sockets_of``.
    """
    from netloom.local import cluster  # noqa: PLC0415 - not needed with --socket

    paths = cluster.running(cluster_name)
    nodes = sorted(
        (path.name for path in (paths.root / "nodes").iterdir()), key=lambda name: (len(name), name)
    )
    for name in wanted:
        if name not in nodes:
            raise NotFound(f"node {name} of cluster {cluster_name}", f"its nodes are {', '.join(nodes)}")
    return {name: socket_beside(paths.node(name).cni_socket) for name in wanted or nodes}
