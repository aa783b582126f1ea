"""``netloom drops``: packets that policies dropped, with the pods that they were from and for, and why."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from netloom.cli.nodes import add_nodes, sockets_of
from netloom.cli.output import emit
from netloom.errors import NotFound, Unavailable
from netloom.linux.questions import ask, follow
from netloom.observe.drops import Drop, DropReport, drops_of

_AGAIN_S = 1.0
_EPILOG = """Each rule that denies tells of at most 50 packets a second, and the agent of each node keeps the last 1000.

for example:
  netloom drops
  netloom drops -f -n shop --pod web-5d9c-x7k2p
  netloom drops -f -o json                               one document a line
  netloom drops --socket /run/netloom/agent.sock         on a node of a real cluster

exit codes: 0 done, 6 an agent does not answer
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what comes, until interrupted"
    )
    parser.add_argument(
        "-n", "--namespace", default="", help="only packets from or for pods of this namespace"
    )
    parser.add_argument("--pod", default="", metavar="POD", help="only of this pod: name or namespace/name")
    add_nodes(parser)
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="how to print (default: text)"
    )
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Ask, and show."""
    sockets = sockets_of(options)
    if options.follow:
        asyncio.run(_follow_all(sockets, options))
        return 0
    reports, problems = asyncio.run(_ask_all(sockets))
    shown = [_fitting(report, options) for report in reports]
    for problem in problems:
        print(f"netloom: {problem}", file=sys.stderr)
    emit(shown, options.output, _text(shown))
    return Unavailable.exit_code if problems else 0


def _fitting(report: DropReport, options: argparse.Namespace) -> DropReport:
    drops = drops_of(report.drops, namespace=options.namespace, pod=options.pod)
    return msgspec.structs.replace(report, drops=tuple(drops))


async def _ask_all(sockets: dict[str, Path]) -> tuple[list[DropReport], list[str]]:
    async def one(node: str, path: Path) -> DropReport | str:
        try:
            return msgspec.json.decode(await ask(path, "drops"), type=DropReport)
        except (Unavailable, NotFound) as error:
            return f"{node}: {error}" if node else str(error)

    found = await asyncio.gather(*(one(node, path) for node, path in sockets.items()))
    reports = [one for one in found if isinstance(one, DropReport)]
    return reports, [one for one in found if isinstance(one, str)]


async def _follow_all(sockets: dict[str, Path], options: argparse.Namespace) -> None:
    async with asyncio.TaskGroup() as tasks:
        for node, path in sockets.items():
            tasks.create_task(_follow(node, path, options), name=f"drops of {node}")


async def _follow(node: str, path: Path, options: argparse.Namespace) -> None:
    """Until cancelled; an agent that ends is waited for. What it tells again after that, from its memory, is not shown twice."""
    last = 0.0
    complained = ""
    while True:
        try:
            async with contextlib.aclosing(follow(path, "drops-follow")) as told:
                async for line in told:
                    report = msgspec.json.decode(line, type=DropReport)
                    complained = _complain(report.problem and f"{report.node}: {report.problem}", complained)
                    fresh = [drop for drop in _fitting(report, options).drops if drop.at > last]
                    last = max((last, *(drop.at for drop in report.drops)))
                    _show(fresh, options.output)
        except (Unavailable, NotFound) as error:
            complained = _complain(f"{node}: {error}" if node else str(error), complained)
        await asyncio.sleep(_AGAIN_S)


def _complain(problem: str, before: str) -> str:
    if problem and problem != before:
        print(f"netloom: {problem}", file=sys.stderr)
    return problem


def _show(drops: Iterable[Drop], output: str) -> None:
    for drop in drops:
        print(msgspec.json.encode(drop).decode() if output == "json" else line_of(drop), flush=True)


def _text(reports: Iterable[DropReport]) -> str:
    found = list(reports)
    drops = sorted((drop for report in found for drop in report.drops), key=lambda drop: drop.at)
    lines = [line_of(drop) for drop in drops] or ["no policy has dropped a packet, as far as is known"]
    lines += [f"{one.node}: {one.problem}" for one in found if one.problem]
    lines += [f"{one.node}: {one.missed} more came too fast to be read" for one in found if one.missed]
    return "\n".join(lines)


def line_of(drop: Drop) -> str:
    """One drop for people: when, where, who to whom, why."""
    at = time.strftime("%H:%M:%S", time.localtime(drop.at)) + f".{int(drop.at % 1 * 1000):03}"
    to = drop.destination
    port = f":{to.port}" if to.port else ""
    target = f"[{to.text}]{port}" if ":" in to.text and port else f"{to.text}{port}"
    why = drop.why or "not named: too many at once"
    direction = f" ({drop.direction})" if drop.direction else ""
    return f"{at}  {drop.node}{direction}  {drop.source.text} -> {target}/{drop.protocol}  {why}"
