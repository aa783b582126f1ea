"""``netloom why SRC DST``: what happens to a packet, and which object and field is responsible for each step."""

from __future__ import annotations

import argparse
import asyncio
import functools
import time
from typing import Any

import msgspec

from netloom.cli.errors import only_error
from netloom.cli.facts import facts_for
from netloom.cli.output import add_output, emit
from netloom.cli.session import add_target, client_of
from netloom.cli.why_live import add_live, look, sockets
from netloom.clock import SystemClock
from netloom.errors import NotFound, Untrue, UsageError
from netloom.kube.client import KubeClient
from netloom.model.inputs import ClusterView
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.urls import is_url, read_asked
from netloom.observe.edge import Edge, load_edge
from netloom.observe.follow import FollowedCluster
from netloom.observe.live.run import LiveReport, render
from netloom.observe.live.stations import TracedCluster
from netloom.observe.why import WhyReport, explain_in, load_view, render_text

_EPILOG = """SRC and DST are any of:
  web, shop/web, deploy/web, pod/web-x7k2p, svc/cart, shop/cart:80, cart.shop:http, 10.96.0.20:443/tcp,
  node/node-1, 192.0.2.9, [2001:db8::9]:53/udp, internet
DST also: https://shop.example/cart?item=1, a request that a gateway may answer (reads Secrets, for the certificates)

for example:
  netloom why shop/web shop/cart:80
  netloom why internet node/node-1:30080
  netloom why internet https://shop.example/cart --header 'x-canary: always'
  netloom why --live --probe shop/web shop/cart:80      held against the kernels and a real connection
  netloom why --watch shop/web shop/cart:80             asked again with each change

exit codes: 0 every connection arrives, 8 some do not (with --live: also where a kernel or a packet differs)
"""


class LiveWhy(msgspec.Struct, frozen=True):
    """What ``--live --output json`` prints."""

    why: WhyReport
    live: LiveReport


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "source", metavar="SRC", help="who sends: a pod, a workload, a node, an address, internet"
    )
    parser.add_argument(
        "destination", metavar="DST[:PORT][/PROTOCOL]", help="where to: a pod, a Service, a name, an address"
    )
    parser.add_argument(
        "-n", "--namespace", default="default", help="namespace of names without one (default: %(default)s)"
    )
    parser.add_argument(
        "-w", "--watch", action="store_true", help="ask again with each change, until interrupted"
    )
    parser.add_argument("-X", "--method", default="GET", help="of a URL: the request's method (default: GET)")
    parser.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="of a URL: a header; may be repeated",
    )
    add_live(parser)
    add_target(parser)
    add_output(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Ask the model, and the kernels where that is wanted."""
    if options.probe:
        options.live = True
    if options.agent_socket and not options.live:
        raise UsageError("--agent-socket: only with --live", "add --live")
    if is_url(options.destination) and options.probe:
        raise UsageError("--probe: makes connections, not requests", "ask for an address and a port")
    asker = _Asker(options)
    try:
        return asyncio.run(asker.watch() if options.watch else asker.once())
    except BaseExceptionGroup as group:
        raise only_error(group) from None


class _Asker:
    """Asks one question, once or again and again."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._facts = facts_for(options)
        self._agents = sockets(options) if options.live else {}
        self._is_url = is_url(options.destination)
        self._asked = read_asked(options.method, options.header)

    async def once(self) -> int:
        """The exit code."""
        async with client_of(self._options) as client:
            edge = await load_edge(client) if self._is_url else None
            value, text, code = await self._answer(await load_view(client), edge, client)
        emit(value, self._options.output, text)
        return code

    async def watch(self) -> int:
        """Until interrupted; an answer that is the same as before is not shown again."""
        last: object = None
        async with client_of(self._options) as client, asyncio.TaskGroup() as tasks:
            cluster = FollowedCluster(client, with_edge=self._is_url)
            tasks.create_task(cluster.run(), name="follow")
            while True:
                await cluster.changed()
                try:
                    value, text, _ = await self._answer(cluster.view, cluster.edge, client)
                except NotFound as error:  # gone, and it may come again
                    if last is None:
                        raise
                    value, text = {"error": str(error)}, f"{error}\n"
                if _lasting(value) != last:
                    last = _lasting(value)
                    self._show(value, text)

    async def _answer(self, view: ClusterView, edge: Edge | None, client: KubeClient) -> tuple[Any, str, int]:
        """As a value, as text, and the exit code."""
        options = self._options
        facts = self._facts(view)
        plan = edge.plan(view, SystemClock()) if edge is not None and self._is_url else None
        ask = functools.partial(
            explain_in,
            source=options.source,
            destination=options.destination,
            namespace=options.namespace,
            asked=self._asked,
        )
        if not options.live:
            report = ask(ClusterModel(view, facts, plan))
            return report, render_text(report), report.exit_code
        cluster = TracedCluster(view, facts, plan)
        report = ask(cluster)
        live = await look(cluster, options, client, self._agents)
        code = report.exit_code if live.is_good else Untrue.exit_code
        return LiveWhy(report, live), f"{render_text(report)}\n{render(live)}", code

    def _show(self, value: Any, text: str) -> None:  # noqa: ANN401 - whatever msgspec can encode
        if self._options.output == "json":
            print(msgspec.json.encode(value).decode(), flush=True)
            return
        print(f"--- {time.strftime('%H:%M:%S')}", flush=True)
        emit(value, self._options.output, text)
        print(end="", flush=True)


def _lasting(value: object) -> object:
    """What of an answer does not change by itself: a connection takes another time each time."""
    if not isinstance(value, LiveWhy) or value.live.probe is None:
        return value
    probe = msgspec.structs.replace(value.live.probe, ms=0.0, seen="", why="")
    return LiveWhy(value.why, msgspec.structs.replace(value.live, probe=probe))
