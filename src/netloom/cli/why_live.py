"""``netloom why --live --probe``: the walk held against the kernels of the nodes, and against a real connection."""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from netloom.cli.nodes import local_sockets
from netloom.errors import UsageError
from netloom.kube.client import KubeClient
from netloom.linux.questions import ask, follow
from netloom.model.walk.targets import read_destination, read_origin
from netloom.observe.check.dropfeed import DropFeed
from netloom.observe.check.ends import Case
from netloom.observe.check.predict import Predictor
from netloom.observe.check.prober import End, Prober, Seen
from netloom.observe.check.verdicts import Result, judge
from netloom.observe.live.kernel import NodeKernel
from netloom.observe.live.run import LiveReport, compare
from netloom.observe.live.stations import TracedCluster

_PYTHON = os.path.realpath(sys.executable)
"""The interpreter behind any virtual environment: that may lie where pods have a directory of their own."""
_LOOKS = 4
_AGAIN_S = 0.25
"""A change that the API server has is not in force at once: a difference is looked at again before it is told."""


def add_live(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    parser.add_argument(
        "--live", action="store_true", help="compare each step with what the kernels of the nodes have"
    )
    parser.add_argument(
        "--probe", action="store_true", help="make a real connection from inside the pod, too"
    )
    parser.add_argument(
        "--agent-socket",
        action="append",
        default=[],
        metavar="NODE=PATH",
        help="with --live and --kubeconfig: where the agent of a node answers; may be repeated",
    )


def sockets(options: argparse.Namespace) -> Mapping[str, Path]:
    """The agents' sockets, by node.

    Raises:
        UsageError: for another cluster than a local one none is named.
    """
    named: dict[str, Path] = {}
    for text in options.agent_socket:
        node, equals, path = text.partition("=")
        if not (node and equals and path):
            raise UsageError(
                f"--agent-socket {text}: no node and path", "write node-1=/run/netloom/agent.sock"
            )
        named[node] = Path(path)
    if not options.kubeconfig:
        return named or local_sockets(options.name, [])
    if options.probe:
        raise UsageError("--probe: connections are made inside pods of local clusters only", "use --name")
    if not named:
        raise UsageError(
            "--live: a kernel is read by the agent of its node, whose socket is on that node",
            "run it there with --agent-socket NODE=/run/netloom/agent.sock",
        )
    return named


async def look(
    cluster: TracedCluster, options: argparse.Namespace, client: KubeClient, agents: Mapping[str, Path]
) -> LiveReport:
    """What the kernels have where the cluster's walk has passed.

    Raises:
        Unavailable: the API server does not answer.
    """
    kernels = {node: NodeKernel(functools.partial(ask, path)) for node, path in agents.items()}
    report = await compare(cluster, kernels)
    for _ in range(_LOOKS):
        if report.is_good:
            break
        await asyncio.sleep(_AGAIN_S)
        report = await compare(cluster, kernels)
    if not options.probe:
        return report
    probe = await _probed(cluster, options, client, agents)
    return LiveReport(report.comparisons, report.unread, probe)


async def _probed(
    cluster: TracedCluster, options: argparse.Namespace, client: KubeClient, agents: Mapping[str, Path]
) -> Result:
    """One connection, as ``netloom check`` makes them."""
    origin = read_origin(options.source, cluster, options.namespace)
    here = origin.pod.namespace if origin.pod is not None else options.namespace
    destination = read_destination(options.destination, cluster, here)
    case = Case(options.source, options.destination, origin, destination)
    prediction = Predictor(cluster).predict(case)
    if prediction.probe is None:
        return judge(case, prediction, Seen(End.UNASKED), None)
    feed = DropFeed({node: functools.partial(follow, path, "drops-follow") for node, path in agents.items()})
    async with asyncio.TaskGroup() as tasks:
        hearing = tasks.create_task(feed.run(), name="drops")
        await feed.ready()
        prober = Prober(client=client, interpreter=_PYTHON, feed=feed)
        (seen,) = await prober.ask([prediction.probe])
        hearing.cancel()
    return judge(case, prediction, seen, None)
