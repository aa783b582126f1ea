"""``netloom kubeconfig``: what kubectl needs to talk to a cluster."""

from __future__ import annotations

import argparse

from netloom.cli.output import add_cluster
from netloom.local import cluster


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_cluster(parser)
    parser.add_argument("--path", action="store_true", help="print the path of the file instead of its text")
    parser.epilog = 'use it:  export KUBECONFIG="$(netloom kubeconfig --path)"'


def run(options: argparse.Namespace) -> int:
    """Print the kubeconfig."""
    paths = cluster.running(options.name)
    print(paths.kubeconfig if options.path else paths.kubeconfig.read_text())
    return 0
