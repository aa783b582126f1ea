"""The DNS process: wiring, start, end.

Comes in: a DnsConfig. Goes out: answers, until SIGTERM. What is wired here is used nowhere else.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from netloom.clock import SystemClock
from netloom.dns.cache import AnswerCache
from netloom.dns.clients import Clients
from netloom.dns.config import Checked, OutsideSettings
from netloom.dns.cookies import Cookies
from netloom.dns.counters import Counters
from netloom.dns.counts import NameCounts
from netloom.dns.explain import Explainer
from netloom.dns.feed import feed_path
from netloom.dns.feed_server import FeedServer
from netloom.dns.fixed import FixedNames, RewrittenNames
from netloom.dns.floods import FloodGuard
from netloom.dns.forward import Forwarder
from netloom.dns.frames import questions_beside, told_beside
from netloom.dns.handlers import ClusterNames, Handler, OtherNames, ReverseNames, UnservedQueries
from netloom.dns.outside import settings_for_outside
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.report import CountsReport
from netloom.dns.search import SearchedNames
from netloom.dns.server import PATIENCE_S, QueryServer
from netloom.dns.sockets import Sockets, open_sockets, passed_sockets
from netloom.dns.tcp import TcpListener
from netloom.dns.tls import TlsPool
from netloom.dns.told import ToldNames
from netloom.dns.turns import QueryTurns
from netloom.dns.udp import UdpListener
from netloom.dns.upstream import Resolvers
from netloom.dns.workers import Workers
from netloom.dns.zone import Zone
from netloom.errors import NetloomError, UsageError
from netloom.linux.questions import QuestionServer

log = logging.getLogger(__name__)

WORKERS_LIMIT = 64


class DnsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a DNS process is told at its start; all else comes over the feed."""

    listen: tuple[str, ...]
    """Addresses to answer at, in the network namespace of the process; they need not be there yet."""
    port: int = 53
    feed_socket: str
    """Path of the unix socket that the agent connects to."""
    workers: int = 0
    """Processes that answer, under one that keeps their sockets over the end of each; 0: this process answers itself.

    The agent feeds each: the first at ``feed_socket``, the next at ``feed_socket`` with ``.1`` at its end, and so on.
    """
    cluster_domain: str = "cluster.local"
    outside: OutsideSettings = OutsideSettings()
    """How all other names are answered; without upstreams in it, by the node's own resolvers."""
    corefile: str = ""
    """Path of a CoreDNS configuration that is read in the place of ``outside``."""
    node_resolvers: tuple[str, ...] = ()
    """The node's own resolvers, where they are others than those of its resolv.conf."""
    patience_s: float = PATIENCE_S
    """So long a query for a name of the cluster waits for an agent that has not said yet which there are; then it is SERVFAIL."""


async def serve(
    config: DnsConfig,
    *,
    sockets: Sockets | None = None,
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    counters: Counters | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT (or ``stop``); ``ready`` is called when every socket is open.

    ``sockets`` are those of the configuration, opened before by whoever keeps them over the end of this process; they stay open.

    Raises:
        UsageError: an address or upstream in the configuration is none.
        KernelError: a socket cannot be bound.
    """
    process = _Process(config, counters if counters is not None else Counters())
    with ExitStack() as undo:
        # All that may be refused is asked for before the task group: its errors come out as they are.
        if sockets is None:
            sockets = open_sockets(config.listen, config.port)
            undo.callback(sockets.close)
        for end in (process.told, process.feed):
            undo.callback(end.close)
            end.open()
        async with asyncio.TaskGroup() as tasks:
            with ExitStack() as running:
                await process.start(sockets, tasks, running)
                await _until_ended(stop if stop is not None else asyncio.Event(), config, ready)


class _Process:
    """What a DNS process consists of."""

    def __init__(self, config: DnsConfig, counters: Counters) -> None:
        self._config = config
        self._counters = counters
        self._clock = SystemClock()
        self._prepared = PreparedAnswers(counters=counters)
        self._zone = Zone(prepared=self._prepared)
        self._clients = Clients(prepared=self._prepared)
        self._outside = settings_for_outside(
            config.outside, corefile=config.corefile, node_resolvers=config.node_resolvers, own=config.listen
        )
        if not (self._outside.rewrites or self._outside.hosts):  # these come before the zone (_handlers)
            self._prepared.source = self._zone.plain
        self._tls = TlsPool()
        self._resolvers = Resolvers.of(self._outside, counters=counters, tls=self._tls)
        self._cache = AnswerCache(clock=self._clock, settings=self._outside.settings.cache)
        self._names = NameCounts()
        self.told = ToldNames(
            path=told_beside(config.feed_socket),
            clock=self._clock,
            fixed=self._outside.hosts,
            answers=self._cache.replies,
        )
        self.feed = FeedServer(
            path=config.feed_socket, zone=self._zone, clients=self._clients, counters=counters
        )

    async def start(self, sockets: Sockets, tasks: asyncio.TaskGroup, running: ExitStack) -> None:
        """Answer at these sockets until ``running`` ends."""
        server = self._server(tasks, running)
        guard = FloodGuard(sockets=sockets.datagrams, clients=self._clients, counters=self._counters)
        report = self._report()
        for work in (self._resolvers, guard, report, self._questions(server, report)):
            task = tasks.create_task(work.run())
            running.callback(task.cancel)
        turns = QueryTurns(server=server, counters=self._counters)
        for sock in sockets.datagrams:
            udp = UdpListener(
                sock=sock,
                prepared=self._prepared,
                clients=self._clients,
                turns=turns,
                guard=guard,
                counters=self._counters,
            )
            running.callback(udp.close)
            udp.start()
        for sock in sockets.streams:
            tcp = TcpListener(sock=sock, server=server, clients=self._clients, counters=self._counters)
            running.callback(tcp.close)
            await tcp.start()
        await self.told.start()
        await self.feed.start()

    def _server(self, tasks: asyncio.TaskGroup, running: ExitStack) -> QueryServer:
        forwarder = Forwarder(
            resolvers=self._resolvers,
            cache=self._cache,
            clock=self._clock,
            counters=self._counters,
            tasks=tasks,
            announce=self.told.announce,
        )
        server = QueryServer(
            handlers=_handlers(self._config, self._outside, self._zone),
            forwarder=forwarder,
            zone=self._zone,
            prepared=self._prepared,
            cookies=Cookies(clock=self._clock),
            counters=self._counters,
            names=self._names,
            patience_s=self._config.patience_s,
        )
        for end in (forwarder.close, self._tls.close, server.close):
            running.callback(end)
        return server

    def _report(self) -> CountsReport:
        return CountsReport(
            counters=self._counters,
            names=self._names,
            prepared=self._prepared,
            cache=self._cache,
            zone=self._zone,
            resolvers=self._resolvers,
        )

    def _questions(self, server: QueryServer, report: CountsReport) -> QuestionServer:
        """What this process can be asked about itself."""
        explainer = Explainer(server=server, clients=self._clients, zone=self._zone, clock=self._clock)
        path = questions_beside(self._config.feed_socket)
        return QuestionServer(path, {"counts": report.read}, about={"explain": explainer.answer})


def _handlers(config: DnsConfig, outside: Checked, zone: Zone) -> tuple[Handler, ...]:
    """Who is asked, in order."""
    settings = outside.settings
    configured: tuple[Handler, ...] = (
        RewrittenNames(zone=zone, rewrites=outside.rewrites),
        FixedNames(outside.hosts, ttl_s=settings.hosts_ttl_s, reverse=settings.hosts_reverse),
    )
    return (
        UnservedQueries(),
        *configured,
        SearchedNames(zone=zone, before=configured),
        ClusterNames(zone=zone, cluster_domain=config.cluster_domain),
        ReverseNames(zone=zone),
        OtherNames(),
    )


async def _until_ended(ended: asyncio.Event, config: DnsConfig, ready: Callable[[], None] | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        log.info("answering at %s port %d", ", ".join(config.listen), config.port)
        if ready is not None:
            ready()
        await ended.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def run(config: DnsConfig, sockets: Sockets | None = None) -> int:
    """Serve at these sockets, in this process, or at new ones, in as many as the configuration says; the exit code."""
    if sockets is not None or not config.workers:
        return _run_here(config, sockets)
    try:
        if not 0 <= config.workers <= WORKERS_LIMIT:
            hint = f"give 1 to {WORKERS_LIMIT}, at most one a core, or 0"
            raise UsageError(f"dns: workers: {config.workers} is out of range", hint)
        shared = config.workers > 1
        every = [open_sockets(config.listen, config.port, shared=shared) for _ in range(config.workers)]
    except NetloomError as error:
        log.error("%s", error)  # noqa: TRY400  the message says what to do; a trace would hide it
        return error.exit_code
    runs = [
        functools.partial(
            _run_here, msgspec.structs.replace(config, feed_socket=feed_path(config.feed_socket, n)), own
        )
        for n, own in enumerate(every)
    ]
    try:
        return Workers(runs, clock=SystemClock()).run()
    finally:
        for own in every:
            own.close()


def _run_here(config: DnsConfig, sockets: Sockets | None) -> int:
    # A collection of everything takes tens of milliseconds with 100,000 names, and nothing here is cyclic for long.
    gc.freeze()
    gc.set_threshold(2_000, 20, 1_000)
    try:
        asyncio.run(serve(config, sockets=sockets))
    except NetloomError as error:
        log.error("%s", error)  # noqa: TRY400  the message says what to do; a trace would hide it
        return error.exit_code
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m netloom.dns.main CONFIG.json``: read a DnsConfig and serve it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    args = sys.argv[1:] if argv is None else list(argv)
    if len(args) != 1:
        log.error("dns: one argument is needed, the path of the configuration, a JSON file")
        return UsageError.exit_code
    try:
        config = msgspec.json.decode(Path(args[0]).read_bytes(), type=DnsConfig)
    except (OSError, msgspec.DecodeError) as error:
        log.error("%s: %s", args[0], error)  # noqa: TRY400  whoever mistyped needs no trace
        return UsageError.exit_code
    return run(config, passed_sockets(os.environ))


if __name__ == "__main__":
    sys.exit(main())
