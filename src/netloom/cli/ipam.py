"""``netloom ipam``: which addresses there are for pods, who has them, and who had them."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from netloom.cli.nodes import add_nodes, sockets_of
from netloom.cli.output import add_output, emit, table
from netloom.errors import NotFound, Unavailable
from netloom.linux.questions import ask
from netloom.observe.addresses import AddressReport, NodeAddresses, PoolReport, RangeReport
from netloom.units import parse_addr

_EPILOG = """Asks the agent of each node for its record. Without a word: the pools, and what each node has to give. With a pod, or an
address: who has it and since when, or who had it last.

for example:
  netloom ipam
  netloom ipam shop/cart-0
  netloom ipam 10.1.2.3
  netloom ipam --node node-2 -o json
  netloom ipam --socket /run/netloom/agent.sock        on a node of a real cluster

exit codes: 0 found, 4 nobody has or had it, 6 an agent does not answer
"""
_MOST = 10**9
"""More free addresses than that are not counted out."""


class Answer(msgspec.Struct, frozen=True):
    """What one node says, or why it says nothing."""

    node: str
    report: NodeAddresses | None = None
    problem: str = ""


class Found(msgspec.Struct, frozen=True):
    """An address and the node whose record has it."""

    node: str
    address: AddressReport


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "subject", nargs="?", default="", metavar="POD|ADDRESS", help="namespace/name of a pod, or an address"
    )
    add_nodes(parser)
    add_output(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Ask, and show."""
    answers = asyncio.run(_ask_all(sockets_of(options)))
    silent = [answer for answer in answers if answer.report is None]
    if not options.subject:
        emit(answers, options.output, text_of(answers))
        return Unavailable.exit_code if silent else 0
    found = find(options.subject, answers)
    if not found and silent:
        raise Unavailable(f"{options.subject}: {silent[0].problem}", "try again when its agent runs")
    if not found:
        raise NotFound(
            f"{options.subject}: no node gave it an address, or gave it to anybody", "see: netloom ipam"
        )
    emit(found, options.output, "\n".join(map(sentence, found)))
    return 0


async def _ask_all(sockets: dict[str, Path]) -> tuple[Answer, ...]:
    return tuple(await asyncio.gather(*(_ask(node, path) for node, path in sockets.items())))


async def _ask(node: str, path: Path) -> Answer:
    try:
        report = msgspec.json.decode(await ask(path, "ipam"), type=NodeAddresses)
    except (Unavailable, NotFound) as error:
        return Answer(node, problem=str(error))
    return Answer(report.node, report)


def find(subject: str, answers: Iterable[Answer]) -> tuple[Found, ...]:
    """What the nodes know of a pod or an address; what is in use now first."""
    address = parse_addr(subject)
    pod = subject if "/" in subject else f"default/{subject}"
    found = [
        Found(answer.node, one)
        for answer in answers
        if answer.report is not None
        for one in answer.report.addresses
        if (one.address == str(address) if address is not None else one.pod == pod)
    ]
    in_use = [one for one in found if one.address.container]
    return tuple(in_use or sorted(found, key=lambda one: one.address.since, reverse=True))


def sentence(found: Found) -> str:
    """One line for people."""
    one = found.address
    since = f" since {one.since}" if one.since else ""
    where = f"IPPool {one.pool}, block {one.range}" if one.pool else f"range {one.range or 'of before'}"
    if one.container:
        who = f"pod {one.pod}" if one.pod else f"container {one.container}"
        return f"{one.address}  {who} on {found.node} ({one.interface}){since}; {where}"
    if one.block:
        return f"{one.address}  left to another node (IPBlock {one.block}){since}; of {found.node}, {where}"
    who = f"pod {one.pod}" if one.pod else "a container"
    return f"{one.address}  free{since}; {who} on {found.node} had it last; {where}"


def text_of(answers: Sequence[Answer]) -> str:
    """Pools and ranges for people."""
    reports = [answer.report for answer in answers if answer.report is not None]
    parts = []
    pools = reports[0].pools if reports else ()
    if pools:
        parts.append(table(("POOL", "CIDRS", "STATE", "BLOCKS"), map(_pool_row, pools)))
    rows = [_range_row(report.node, one) for report in reports for one in report.ranges]
    header = ("NODE", "RANGE", "POOL", "USED", "FREE", "QUARANTINED", "LENT")
    if rows:
        parts.append(table(header, rows))
    parts += [f"{answer.node}: {answer.problem}" for answer in answers if answer.report is None]
    return "\n\n".join(parts)


def _pool_row(pool: PoolReport) -> tuple[str, ...]:
    blocks = ", ".join(f"{node} {count}" for node, count in pool.blocks.items())
    return (
        pool.name,
        ",".join(pool.cidrs) or "none",
        "disabled" if pool.disabled else "in use",
        blocks or "none",
    )


def _range_row(node: str, one: RangeReport) -> tuple[str, ...]:
    free = "many" if one.free > _MOST else str(one.free)
    pool = f"{one.pool or '-'}{' (leaving)' if one.is_leaving else ''}"
    return node, one.cidr, pool, str(one.used), free, str(one.quarantined), str(one.lent)
