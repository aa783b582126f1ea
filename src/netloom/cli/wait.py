"""``netloom wait KIND/NAME``: returns when the nodes have it in force, and says which have not where the time is over."""

from __future__ import annotations

import argparse
import asyncio
import re

from netloom.agent.acks_wait import Report, Waiter
from netloom.cli.output import add_output, emit
from netloom.cli.session import add_target, client_of
from netloom.clock import SystemClock
from netloom.errors import Untrue, UsageError
from netloom.kube.client import KubeClient
from netloom.units import ObjectKey

_EPILOG = """What is waited for is taken at the start: the Service and each of its EndpointSlices as they are then, or the Pod as
it is as soon as it has an address; a Gateway, a route or an Ingress as it is then, in the nodes' gateways. Every Ready node must have that in force. A node that is not Ready is named and not waited
for, unless --node names it.

for example:
  netloom wait service/cart -n shop
  netloom wait httproute/shop -n shop
  netloom wait pod/web-x7k2p --node node-1 --timeout 5s

exit codes: 0 in force, 4 no such object, 8 the time is over (it says which node lacks what)
"""
_KINDS = dict.fromkeys(("service", "services", "svc"), "service") | dict.fromkeys(
    ("pod", "pods", "po"), "pod"
)
_SERVED = {
    word: kind
    for kind in (
        "Gateway",
        "ListenerSet",
        "HTTPRoute",
        "GRPCRoute",
        "TLSRoute",
        "TCPRoute",
        "UDPRoute",
        "Ingress",
    )
    for word in (kind.lower(), f"{kind.lower()}{'e' if kind == 'Ingress' else ''}s")
}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("object", metavar="KIND/NAME", help="such as service/NAME, pod/NAME, httproute/NAME")
    parser.add_argument("-n", "--namespace", default="default", help="its namespace (default: %(default)s)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--everywhere", action="store_true", help="on all Ready nodes (the default)")
    where.add_argument("--node", action="append", default=[], help="on this node only; may be repeated")
    parser.add_argument(
        "--for",
        dest="state",
        choices=("in-force",),
        default="in-force",
        help="for what (default: %(default)s)",
    )
    parser.add_argument("--timeout", default="30s", help="such as 30s, 2m, 500ms (default: %(default)s)")
    add_target(parser)
    add_output(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Wait."""
    word, _, name = options.object.partition("/")
    kind = _KINDS.get(word) or _SERVED.get(word)
    if kind is None or not name or "/" in name:
        raise UsageError(
            f"{options.object!r}: names no Service, no Pod, and nothing that gateways serve",
            f"write service/NAME or pod/NAME, or one of {', '.join(sorted({kind.lower() for kind in _SERVED.values()}))}",
        )
    timeout_s = duration_s(options.timeout)
    key = ObjectKey(options.namespace, name)
    report = asyncio.run(_wait(client_of(options), kind, key, tuple(options.node), timeout_s))
    emit(report, options.output, text_of(report))
    return 0 if report.in_force else Untrue.exit_code


async def _wait(
    client: KubeClient, kind: str, key: ObjectKey, only: tuple[str, ...], timeout_s: float
) -> Report:
    async with client:
        waiter = Waiter(client, clock=SystemClock(), timeout_s=timeout_s, only=only)
        if kind in _SERVED.values():
            return await waiter.gateway(kind, key)
        return await (waiter.service(key) if kind == "service" else waiter.pod(key))


def duration_s(text: str) -> float:
    """Seconds of a duration of one unit, as kubectl takes them.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if match is None:
        raise UsageError(f"--timeout {text!r}: is no duration", "write 30s, 2m or 500ms")
    return float(match[1]) * _UNITS[match[2]]


def text_of(report: Report) -> str:
    """The report for people."""
    lines = [f"{name} is not Ready and was not waited for" for name in report.not_ready]
    if report.in_force:
        return "\n".join(
            [f"{report.subject} is in force on {', '.join(report.nodes)} ({report.waited_s:.3f} s)", *lines]
        )
    if not report.wanted:
        return "\n".join([f"{report.subject} has no address yet ({report.waited_s:.3f} s)", *lines])
    if not report.is_comparable:
        lines.append(
            "the API server's resourceVersions are no numbers: a node that is further on cannot be told"
        )
    head = f"{report.subject} is not in force everywhere ({report.waited_s:.3f} s)"
    return "\n".join([head, *map(str, report.lacking), *lines])
