"""The DNS process: wiring, start, end.

Comes in: a DnsConfig. Goes out: answers, until SIGTERM. What is wired here is used nowhere else.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from socket import SOCK_DGRAM, SOCK_STREAM

import msgspec

from netloom.clock import SystemClock
from netloom.dns.cache import AnswerCache
from netloom.dns.counters import Counters
from netloom.dns.feed import FeedServer
from netloom.dns.forward import Forwarder
from netloom.dns.handlers import ClusterNames, OtherNames, ReverseNames, UnservedQueries
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.server import QueryServer
from netloom.dns.transport import TcpListener, UdpListener, bind
from netloom.dns.upstream import Upstreams, parse_server
from netloom.dns.zone import Zone
from netloom.errors import NetloomError, UsageError
from netloom.units import parse_addr

log = logging.getLogger(__name__)


class DnsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a DNS process is told at its start; all else comes over the feed."""

    listen: tuple[str, ...]
    """Addresses to answer at, in the network namespace of the process; they need not be there yet."""
    port: int = 53
    feed_socket: str
    """Path of the unix socket that the agent connects to."""
    cluster_domain: str = "cluster.local"
    upstreams: tuple[str, ...] = ()
    """Servers for all other names, in order: ``192.0.2.1``, ``192.0.2.1:5353``, ``[2001:db8::1]:53``."""
    cache_entries: int = 10_000
    attempt_s: float = 0.3
    """So long an upstream server may be silent before the next one is asked as well."""


async def serve(
    config: DnsConfig,
    *,
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    counters: Counters | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT (or ``stop``); ``ready`` is called when every socket is open.

    Raises:
        UsageError: an address or upstream in the configuration is none.
        KernelError: a socket cannot be bound.
    """
    counters = counters if counters is not None else Counters()
    prepared = PreparedAnswers(counters=counters)
    zone = Zone(prepared=prepared)
    clock = SystemClock()
    servers = [parse_server(text) for text in config.upstreams]
    upstreams = Upstreams(servers=servers, clock=clock, counters=counters, attempt_s=config.attempt_s)
    cache = AnswerCache(clock=clock, entries=config.cache_entries)
    feed = FeedServer(path=config.feed_socket, zone=zone, counters=counters)
    with ExitStack() as undo:
        # All that may be refused is asked for before the task group: its errors come out as they are.
        sockets = [
            (
                undo.enter_context(bind(a, config.port, SOCK_DGRAM)),
                undo.enter_context(bind(a, config.port, SOCK_STREAM)),
            )
            for a in _addresses(config)
        ]
        undo.callback(feed.close)
        feed.open()
        async with asyncio.TaskGroup() as tasks:
            forwarder = Forwarder(upstreams=upstreams, cache=cache, counters=counters, tasks=tasks)
            handlers = (
                UnservedQueries(),
                ClusterNames(zone=zone, cluster_domain=config.cluster_domain),
                ReverseNames(zone=zone),
                OtherNames(),
            )
            server = QueryServer(handlers=handlers, forwarder=forwarder, counters=counters)
            with ExitStack() as running:
                running.callback(forwarder.close)
                for datagrams, stream in sockets:
                    udp = UdpListener(sock=datagrams, prepared=prepared, server=server, counters=counters)
                    running.callback(udp.close)
                    udp.start()
                    tcp = TcpListener(sock=stream, server=server, counters=counters)
                    running.callback(tcp.close)
                    await tcp.start()
                await feed.start()
                log.info("answering at %s port %d", ", ".join(config.listen), config.port)
                await _until_ended(stop if stop is not None else asyncio.Event(), ready)


async def _until_ended(ended: asyncio.Event, ready: Callable[[], None] | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        if ready is not None:
            ready()
        await ended.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _addresses(config: DnsConfig) -> tuple[str, ...]:
    if not config.listen:
        raise UsageError("dns: listen: no address", "give the cluster DNS address, such as 10.96.0.10")
    for text in config.listen:
        if parse_addr(text) is None:
            raise UsageError(f"dns: listen: {text!r} is no address", "give an address such as 10.96.0.10")
    return config.listen


def run(config: DnsConfig) -> int:
    """Serve in this process; its exit code."""
    # A collection of everything takes tens of milliseconds with 100,000 names, and nothing here is cyclic for long.
    gc.freeze()
    gc.set_threshold(2_000, 20, 1_000)
    try:
        asyncio.run(serve(config))
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
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
