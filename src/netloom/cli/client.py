"""``netloom client -- CMD``: a program outside of a local cluster, on its underlay, with its exit code."""

from __future__ import annotations

import argparse
import os

from netloom.cli.output import add_cluster

_EPILOG = """The program is the host's own, with the host's files (read-only), in the network of a client that is no node and no pod: on the nodes'
segment, or behind the router with --underlay routed. Ports of Services are reached by their LoadBalancer addresses.

for example:
  netloom client -- curl -s http://172.30.0.224
  netloom client -- ip address
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("command", metavar="CMD", nargs="+", help="the program and its arguments, after --")
    add_cluster(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from netloom.local.cluster import running  # noqa: PLC0415 - heavy, and --help must answer at once
    from netloom.local.outside.call import ask  # noqa: PLC0415 - as above
    from netloom.local.outside.words import Run  # noqa: PLC0415 - as above

    # proxies are for the host's own ways out, and the client is elsewhere
    env = {name: text for name, text in os.environ.items() if not name.lower().endswith("_proxy")}
    wish = Run(tuple(options.command), env, os.getcwd())
    code = ask(running(options.name), wish, (0, 1, 2)).code
    return code if code >= 0 else 128 - code
