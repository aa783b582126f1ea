"""``netloom dns``: ask the DNS server of a pod's node what it would tell the pod, show what it has counted, or be one."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import msgspec

from netloom.cli.nodes import local_sockets, sockets_of
from netloom.cli.output import add_output, emit, table
from netloom.cli.session import add_target, client_of
from netloom.dns.counts import DnsCounts
from netloom.dns.explanation import Expansion, Explanation, Question
from netloom.errors import NotFound, Unavailable, Untrue, UsageError
from netloom.kube import resources
from netloom.linux.questions import ask
from netloom.units import ObjectKey

_EPILOG = """for example:
  netloom dns query shop/web-0 cart                  each name that the pod's resolver asks for, and where its answer comes from
  netloom dns query -n shop web-0 www.example.org -t AAAA
  netloom dns query shop/web-0 cart --socket /run/netloom/agent.sock --kubeconfig FILE      on a node of a real cluster
  netloom dns stats                                  what the DNS servers of the nodes have counted
  netloom dns serve --config dns.json                be a node's DNS server, in the foreground

exit codes: 0 found, 4 no such pod, 6 an agent does not answer, 8 the name has no such records
"""


class NodeCounts(msgspec.Struct, frozen=True):
    """What one node's DNS server has counted, or why nobody knows."""

    node: str
    counts: DnsCounts | None = None
    problem: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="query|stats|serve", required=True)
    query = actions.add_parser("query", help="what a pod is told of a name")
    query.add_argument("pod", metavar="POD", help="name or namespace/name")
    query.add_argument("host", metavar="NAME", help="as a program in the pod would give it to its resolver")
    query.add_argument("-t", "--type", default="A", help="type of the records (default: %(default)s)")
    query.add_argument("-n", "--namespace", default="default", help="of the pod (default: %(default)s)")
    query.add_argument(
        "--socket", metavar="PATH", help="ask the agent behind this socket, the one of the pod's node"
    )
    add_target(query)
    add_output(query)
    stats = actions.add_parser("stats", help="what DNS servers have counted")
    stats.add_argument("--node", action="append", default=[], help="only this node; may be repeated")
    stats.add_argument("--name", default="default", help="which cluster (default: %(default)s)")
    stats.add_argument("--socket", metavar="PATH", help="ask the agent behind this socket")
    add_output(stats)
    serve = actions.add_parser("serve", help="be a node's DNS server")
    serve.add_argument("--config", required=True, metavar="FILE", help="JSON, see netloom.dns.main.DnsConfig")


def run(options: argparse.Namespace) -> int:
    """Do one of the three."""
    if options.action == "serve":
        from netloom.dns.main import main  # noqa: PLC0415 - heavy, and the others need nothing of it

        return main([options.config])
    if options.action == "stats":
        found = asyncio.run(_count_all(sockets_of(options)))
        emit(found, options.output, "\n\n".join(map(counts_text, found)))
        return Unavailable.exit_code if any(one.problem for one in found) else 0
    told = asyncio.run(_explain(options))
    emit(told, options.output, explanation_text(told))
    is_found = bool(told.expansions) and bool(told.expansions[-1].records)
    return 0 if is_found else Untrue.exit_code


async def _explain(options: argparse.Namespace) -> Explanation:
    namespace, slash, name = options.pod.partition("/")
    key = ObjectKey(namespace, name) if slash else ObjectKey(options.namespace, options.pod)
    async with client_of(options) as client:
        pod = await client.get(resources.PODS, key)
    address = pod.get("status", {}).get("podIP", "")
    node = pod.get("spec", {}).get("nodeName", "")
    if not address or not node:
        raise Unavailable(f"Pod {key}: has no address yet", "wait until it runs")
    if options.kubeconfig and not options.socket:
        raise UsageError(
            "--kubeconfig without --socket", f"give the socket of the agent of {node}, on that node"
        )
    path = Path(options.socket) if options.socket else local_sockets(options.name, [node])[node]
    question = msgspec.json.encode(Question(address, options.host, options.type)).decode()
    return msgspec.json.decode(await ask(path, f"dns explain {question}"), type=Explanation)


async def _count_all(sockets: dict[str, Path]) -> tuple[NodeCounts, ...]:
    return tuple(await asyncio.gather(*(_count(node, path) for node, path in sockets.items())))


async def _count(node: str, path: Path) -> NodeCounts:
    try:
        return NodeCounts(node, msgspec.json.decode(await ask(path, "dns counts"), type=DnsCounts))
    except (Unavailable, NotFound) as error:
        return NodeCounts(node, problem=str(error))


def explanation_text(told: Explanation) -> str:
    """For people."""
    who = f"pod {told.pod} ({told.client})" if told.pod else told.client
    if told.problem:
        return f"{who}: {told.problem}"
    search = f"search {' '.join(told.search)}, ndots {told.ndots}" if told.search else "no search path"
    lines = [f"{who}: {search}", ""]
    for number, one in enumerate(told.expansions, 1):
        lines.append(f"{number}. {one.name} {one.type}")
        lines.append(f"   {one.rcode}{'' if one.records else ', no records'}; {_origin(one)}")
        lines += [f"   {record}" for record in one.records]
    return "\n".join(lines)


def _origin(one: Expansion) -> str:
    words = [one.origin]
    if one.server:
        words.append(f"said by {one.server}")
    if one.age_s is not None:
        words.append(f"kept for {one.age_s} s")
    if one.is_stale:
        words.append("its time is over, and nobody says it anew")
    words.append(f"in {one.took_ms:.1f} ms")
    return ", ".join(filter(None, words))


def counts_text(one: NodeCounts) -> str:
    """One node for people."""
    counts = one.counts
    if counts is None:
        return f"{one.node}: {one.problem}"
    numbers = counts.counts
    queries = numbers.get("udp_queries", 0) + numbers.get("tcp_queries", 0)
    head = (
        f"{one.node}: {queries} queries, {numbers.get('forwarded', 0)} sent upstream, "
        f"{counts.zone_names} names of the cluster, {counts.cache_entries} upstream answers kept"
    )
    if counts.down:
        head += f"; upstream servers that do not answer: {', '.join(counts.down)}"
    if not counts.names:
        return head
    rows = [(name.name, str(name.queries), str(name.failures)) for name in counts.names[:20]]
    return f"{head}\n{table(('NAME', 'QUERIES', 'ERRORS'), rows)}"
