"""``netloom controller``: what a cluster needs once, in the foreground."""

from __future__ import annotations

import argparse
import logging

_EPILOG = """A real cluster runs it once (two do no harm: whatever is deleted is named by its uid). `netloom up` runs it by itself. It gives addresses
of NetworkPools back whose pods are gone with their node. It needs get, list and watch of Pods, Nodes and NetworkPools, and get, list, watch,
update and delete of NetworkLeases (docs/networks.md).

for example:
  netloom controller                                  in a pod, by its service account
  netloom controller --kubeconfig /etc/netloom/kubeconfig
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--kubeconfig", metavar="FILE", default="", help="credentials (default: the pod's own)"
    )
    parser.add_argument("--context", help="which context of the kubeconfig")
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT."""
    from netloom.controller.main import run as work  # noqa: PLC0415 - heavy, and --help must answer at once

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    return work(options.kubeconfig, options.context)
