"""``netloom drift``: what others changed in the nodes' kernel rules, and what became of it."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import msgspec

from netloom.cli.nodes import add_nodes, sockets_of
from netloom.cli.output import add_output, emit
from netloom.errors import NotFound, Unavailable, Untrue
from netloom.linux.questions import ask
from netloom.observe.drift import DriftReport

_EPILOG = """Asks the agent of each node what it has found since it started. An agent hears of each change that others make to its
nftables table, compares everything now and then, and puts right what differs.

for example:
  netloom drift
  netloom drift --node node-2 -o json
  netloom drift --socket /run/netloom/agent.sock        on a node of a real cluster

exit codes: 0 nothing is wrong now, 6 an agent does not answer, 8 something could not be put right
"""


class NodeDrift(msgspec.Struct, frozen=True):
    """One node's answer."""

    node: str
    report: DriftReport | None = None
    problem: str = ""
    """Why there is no report."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_nodes(parser)
    add_output(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Ask, and show."""
    found = asyncio.run(_ask_all(sockets_of(options)))
    emit(found, options.output, "\n\n".join(map(text_of, found)))
    if any(one.report is not None and one.report.unrepaired for one in found):
        return Untrue.exit_code
    return Unavailable.exit_code if any(one.problem for one in found) else 0


async def _ask_all(sockets: dict[str, Path]) -> tuple[NodeDrift, ...]:
    return tuple(await asyncio.gather(*(_ask(node, path) for node, path in sockets.items())))


async def _ask(node: str, path: Path) -> NodeDrift:
    try:
        report = msgspec.json.decode(await ask(path, "drift"), type=DriftReport)
    except (Unavailable, NotFound) as error:
        return NodeDrift(node, problem=str(error))
    return NodeDrift(report.node, report)


def text_of(one: NodeDrift) -> str:
    """One node for people."""
    report = one.report
    if report is None:
        return f"{one.node}: {one.problem}"
    whole = f"everything compared last {report.last_whole_audit}" if report.last_whole_audit else ""
    state = "in order" if not report.unrepaired else f"{report.unrepaired} could NOT be put right"
    head = ", ".join(filter(None, (f"{one.node}: {state}", f"{report.found} found so far", whole)))
    lines = [head]
    for line in report.lines:
        times = f" ({line.count} times, first {line.first})" if line.count > 1 else ""
        done = "put right" if line.repaired else "NOT put right"
        lines.append(f"  {line.last}  {line.text}; {done}{times}")
        if line.cause:
            lines.append(f"      seen by: {'a comparison' if line.cause == 'timer' else line.cause}")
        lines += [f"      from: {source}" for source in line.sources]
    return "\n".join(lines)
