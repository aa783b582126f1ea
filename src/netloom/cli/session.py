"""What verbs share: a client for the wanted cluster, local by name or any by kubeconfig."""

from __future__ import annotations

import argparse

from netloom.cli.output import add_cluster
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import load


def add_target(parser: argparse.ArgumentParser) -> None:
    """Give a verb ``--name`` for a local cluster and ``--kubeconfig``/``--context`` for any other."""
    add_cluster(parser)
    parser.add_argument("--kubeconfig", metavar="FILE", help="ask this cluster instead of a local one")
    parser.add_argument("--context", help="which context of the kubeconfig")


def client_of(options: argparse.Namespace) -> KubeClient:
    """A client, not opened yet.

    Raises:
        NotFound, Unavailable: there is no such local cluster, or it does not run.
        UsageError: the kubeconfig cannot be used.
    """
    if options.kubeconfig:
        return KubeClient(load(options.kubeconfig, options.context))
    from netloom.local.cluster import running  # noqa: PLC0415 - not needed for other clusters

    return KubeClient(load(str(running(options.name).kubeconfig)))
