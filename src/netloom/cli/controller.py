"""``netloom controller``: what a cluster needs once, in the foreground."""

from __future__ import annotations

import argparse
import logging

_EPILOG = """A real cluster runs it once or several times: one leads (Lease kube-system/netloom-controller), the others take over when it is gone.
`netloom up` runs it by itself. It gives addresses to Services of type LoadBalancer (docs/load-balancers.md), makes the Services of gateways and
writes the statuses of Gateway API and Ingresses (docs/gateways.md), and gives addresses of NetworkPools
back whose pods are gone with their node (docs/networks.md), which all of them do: whatever is deleted is named by its uid.

It needs get, list and watch of Pods, Nodes, Namespaces, NetworkPools, LoadBalancerPools and EgressGateways; get, list, watch of Services, and patch of
services/status and loadbalancerpools/status; get, list, watch, update and delete of NetworkLeases; get, create and patch of Leases in
kube-system; create, get and patch of Events. For gateways: what `netloom gateway` reads, patch of the status of these kinds, create of Namespaces, and
create, patch and delete of Services and EndpointSlices.

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
