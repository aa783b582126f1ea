"""``netloom why SRC DST``: what happens to a packet, and which object and field is responsible for each step."""

from __future__ import annotations

import argparse
import asyncio

from netloom.cli.output import add_output, emit
from netloom.cli.session import add_target, client_of
from netloom.kube.client import KubeClient
from netloom.model.inputs import ClusterFacts, ClusterView
from netloom.observe.settings import guessed_facts
from netloom.observe.why import explain, load_view, render_text

_EPILOG = """SRC and DST are any of:
  web, shop/web, deploy/web, pod/web-x7k2p, svc/cart, shop/cart:80, cart.shop:http, 10.96.0.20:443/tcp,
  node/node-1, 192.0.2.9, [2001:db8::9]:53/udp, internet

for example:
  netloom why shop/web shop/cart:80
  netloom why internet node/node-1:30080

exit codes: 0 every connection arrives, 8 some do not
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "source", metavar="SRC", help="who sends: a pod, a workload, a node, an address, internet"
    )
    parser.add_argument(
        "destination", metavar="DST[:PORT][/PROTOCOL]", help="where to: a pod, a Service, a name, an address"
    )
    parser.add_argument(
        "-n", "--namespace", default="default", help="namespace of names without one (default: %(default)s)"
    )
    add_target(parser)
    add_output(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Ask the model."""
    view = asyncio.run(_load(client_of(options)))
    facts = guessed_facts(view) if options.kubeconfig else _local_facts(options.name)
    report = explain(view, facts, options.source, options.destination, namespace=options.namespace)
    emit(report, options.output, render_text(report))
    return report.exit_code


async def _load(client: KubeClient) -> ClusterView:
    async with client:
        return await load_view(client)


def _local_facts(name: str) -> ClusterFacts:
    from netloom.local import cluster  # noqa: PLC0415 - not needed for other clusters
    from netloom.local.settings import cluster_facts  # noqa: PLC0415 - as above

    return cluster_facts(cluster.settings_of(cluster.existing(name)))
