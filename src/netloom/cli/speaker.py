"""``netloom speaker``: who answers for which address outside, or be a node's speaker, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from pathlib import Path

import msgspec

from netloom.cli.nodes import add_nodes, sockets_of
from netloom.cli.output import add_output, emit, table
from netloom.errors import NotFound, Unavailable

_EPILOG = """A speaker on each node answers for addresses of load balancers: by ARP and neighbour discovery, and over BGP. Speakers hear each other
at UDP port 7947. One needs get, list and watch of Nodes, Services and EndpointSlices and of the kinds of netloom.io, create and patch of Events,
get and create of the Secret kube-system/netloom-members, patch of bgppeers/status, and get, list and watch of Secrets that BGPPeers name; CAP_NET_RAW,
and for BGP CAP_NET_BIND_SERVICE, with the fabric bgp CAP_NET_ADMIN.

for example:
  netloom speaker status                     each address: who answers for it at layer 2, since when, who else may, and which object says so
  netloom speaker status --node node-1       as this node sees it
  netloom speaker status --socket /run/netloom/speaker.sock      on a node of a real cluster
  netloom speaker metrics --node node-1      what a speaker has counted, as Prometheus reads it
  netloom speaker serve --config FILE        be a node's speaker, in the foreground

exit codes: 0 all is well, 6 a speaker does not answer, 8 an address has no owner or more than one
"""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One address, as all that were asked see it together."""

    address: str
    owners: tuple[str, ...]
    """Nodes that answer for it."""
    elected: tuple[str, ...]
    """Who should; several where nodes do not see the same."""
    candidates: tuple[str, ...]
    interfaces: tuple[str, ...]
    since: float | None
    users: tuple[str, ...]
    source: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """All addresses, and nodes whose speaker does not answer."""

    addresses: tuple[Status, ...]
    problems: dict[str, str] = {}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="status|metrics|serve", required=True)
    status = actions.add_parser("status", help="who answers for which address")
    add_nodes(status)
    add_output(status)
    metrics = actions.add_parser("metrics", help="what speakers have counted")
    add_nodes(metrics)
    serve = actions.add_parser("serve", help="be a node's speaker")
    serve.add_argument(
        "--config", required=True, metavar="FILE", help="JSON or YAML, see netloom.announce.config"
    )


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    if options.action == "serve":
        from netloom.announce.config import load  # noqa: PLC0415 - heavy, and --help must answer at once
        from netloom.announce.main import run as serve  # noqa: PLC0415 - as above

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
        return serve(load(options.config))
    beside = {node: _speaker_socket(options, path) for node, path in sockets_of(options).items()}
    if options.action == "metrics":
        told, problems = asyncio.run(_ask_all(beside, "metrics"))
        pages = [msgspec.json.decode(text, type=str) for text in told.values()]
        print("\n".join([*pages, *(f"# {node}: {problem}" for node, problem in problems.items())]))
        return Unavailable.exit_code if problems else 0
    told, problems = asyncio.run(_ask_all(beside, "layer2"))
    answer = Answer(addresses=merged(told), problems=problems)
    emit(answer, options.output, status_text(answer, time.time()))
    if problems:
        return Unavailable.exit_code
    return 0 if all(len(one.owners) == 1 or not one.candidates for one in answer.addresses) else 8


def _speaker_socket(options: argparse.Namespace, path: Path) -> Path:
    return path if options.socket else path.with_name("speaker.sock")


async def _ask_all(sockets: dict[str, Path], question: str) -> tuple[dict[str, bytes], dict[str, str]]:
    from netloom.linux.questions import ask  # noqa: PLC0415 - only where somebody is asked

    told: dict[str, bytes] = {}
    problems: dict[str, str] = {}
    for node, path in sockets.items():
        try:
            told[node] = await ask(path, question)
        except (Unavailable, NotFound) as error:
            problems[node] = str(error)
    return told, problems


def merged(told: dict[str, bytes]) -> tuple[Status, ...]:
    """What several nodes say, address by address. Who answers is each node's own word, where it was asked."""
    from netloom.announce.layer2 import AddressStatus  # noqa: PLC0415 - only where somebody is asked

    rows: dict[str, list[tuple[str, AddressStatus]]] = {}
    for node, text in told.items():
        for one in msgspec.json.decode(text, type=list[AddressStatus]):
            rows.setdefault(one.address, []).append((node, one))
    found = []
    for address, seen in rows.items():
        holding = [(node, one) for node, one in seen if one.interfaces or one.since is not None]
        claimed = {name for _, one in seen for name in one.claimed_by} if len(seen) < 2 else set()
        first = seen[0][1]
        found.append(
            Status(
                address=address,
                owners=tuple(sorted({node for node, _ in holding if node} | claimed)),
                elected=tuple(sorted({one.owner for _, one in seen if one.owner})),
                candidates=first.candidates,
                interfaces=tuple(sorted({name for _, one in holding for name in one.interfaces})),
                since=max((one.since for _, one in holding if one.since is not None), default=None),
                users=first.users,
                source=first.source,
            )
        )
    return tuple(found)


def status_text(answer: Answer, now: float) -> str:
    """For people."""
    rows = [
        (
            one.address,
            ",".join(one.owners) or "nobody",
            "" if one.since is None else _ago(now - one.since),
            ",".join(one.interfaces),
            ",".join(one.candidates) or "nobody",
            one.source,
        )
        for one in answer.addresses
    ]
    head = ("ADDRESS", "ANSWERED BY", "SINCE", "AT", "MAY ANSWER", "BECAUSE OF")
    lines = [table(head, rows) if rows else "no addresses are announced"]
    lines += [f"{node}: {problem}" for node, problem in answer.problems.items()]
    return "\n".join(lines)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
