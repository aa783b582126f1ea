"""``netloom node``: switch nodes of a local cluster off, in order or at once, and on again."""

from __future__ import annotations

import argparse
import asyncio

from netloom.cli.output import Progress, add_cluster, add_output
from netloom.errors import UsageError

_TO = {"stop": "off", "kill": "kill", "start": "on"}
_READY_S = 60.0
_EPILOG = """stop: the node is shut down: its programs and pods are told to end and have 5 seconds, then its power goes.
kill: its power goes at once. It says nothing more to anybody, and nothing of it is left but its disk.
start: it boots, with what is on its disk, and pods that are still bound to it start again. Returns when the node is Ready.
ls: which nodes are on, and how their links are.

A node that is away is NotReady after the grace period (netloom up --node-grace), and its pods leave the endpoints of Services. They are
evicted when what they tolerate is over (--eviction-after): docs/failures.md.

for example:
  netloom node kill node-2
  netloom node start node-2
  netloom node ls -o json

exit codes: 0 done, 3 it is so already, 4 no such node, 6 not Ready in time
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("action", choices=(*_TO, "ls"), help="what to do")
    parser.add_argument("node", metavar="NODE", nargs="?", default="", help="which node")
    parser.add_argument(
        "--timeout",
        type=float,
        default=_READY_S,
        metavar="SECONDS",
        help="start: how long to wait until the node is Ready; 0: do not wait (default: %(default)s)",
    )
    add_cluster(parser)
    add_output(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from netloom.cli import failures  # noqa: PLC0415 - heavy, and --help must answer at once
    from netloom.local.failures.words import Look, Switch  # noqa: PLC0415 - as above

    if options.action == "ls":
        if options.node:
            raise UsageError(f"node ls {options.node}: all nodes are shown", "leave the node away")
        return failures.report(options, Look())
    if not options.node:
        raise UsageError(f"node {options.action}: which node?", "see: netloom node ls")
    code = failures.report(options, Switch(options.node, _TO[options.action]))
    if options.action == "start" and options.timeout > 0:
        asyncio.run(_until_ready(options))
    return code


async def _until_ready(options: argparse.Namespace) -> None:
    from netloom.kube.client import KubeClient  # noqa: PLC0415 - as above
    from netloom.kube.kubeconfig import load  # noqa: PLC0415 - as above
    from netloom.local import cluster, ready  # noqa: PLC0415 - as above

    progress = Progress(quiet=options.output != "text")
    async with KubeClient(load(str(cluster.running(options.name).kubeconfig))) as client:
        await ready.nodes(client, (options.node,), step=progress.step, timeout_s=options.timeout)
    progress.done()
