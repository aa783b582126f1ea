"""``netloom speaker``: who answers for which address outside, or be a node's speaker, in the foreground."""

from __future__ import annotations

import argparse
import logging

_EPILOG = """A speaker on each node answers for addresses of load balancers: by ARP and neighbour discovery, and over BGP. Speakers hear each other
at UDP port 7947. One needs get, list and watch of Nodes, Services and EndpointSlices and of the kinds of netloom.io, create and patch of Events,
and get and create of the Secret kube-system/netloom-members; CAP_NET_RAW, and CAP_NET_BIND_SERVICE for BGP.

for example:
  netloom speaker serve --config FILE        be a node's speaker, in the foreground
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="serve", required=True)
    serve = actions.add_parser("serve", help="be a node's speaker")
    serve.add_argument(
        "--config", required=True, metavar="FILE", help="JSON or YAML, see netloom.announce.config"
    )


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    from netloom.announce.config import load  # noqa: PLC0415 - heavy, and --help must answer at once
    from netloom.announce.main import run as serve  # noqa: PLC0415 - as above

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    return serve(load(options.config))
