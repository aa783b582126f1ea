"""Real packets from inside pods. In: who is to connect to what. Out: what became of each connection, in milliseconds where it can be.

One program runs in each sending pod for all of its connections (``probe``). A connection that a policy drops is given up as soon as an
agent tells of the drop (``dropfeed``). Not here: what should have become of it.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from netloom.errors import NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.remote import Streams, run_in_pod
from netloom.observe.check import probe
from netloom.observe.check.dropfeed import DropFeed, Flow
from netloom.observe.drops import Drop
from netloom.units import ObjectKey, Protocol, parse_addr

TIMEOUT_S = 3.0
"""How long a connection may take about which nobody tells anything: longer than the second SYN, which comes after a second."""
_PODS_AT_ONCE = 8
_IN_FLIGHT = 48
"""Connections of one pod at the same time: a rule tells of 50 drops at once."""
_DNS_PORT = 53
_PROGRAM = inspect.getsource(probe).encode()
_LOADER = """import os
def take(n):
    data = b""
    while len(data) < n:
        data += os.read(0, n - len(data)) or os._exit(3)
    return data
exec(compile(take(int(take(8))), "probe", "exec"), {"__name__": "__main__"})
"""
"""Reads the program from standard input: as a word of the command it would be longer than a URL may be."""


class End(enum.Enum):
    """What became of a connection; the first ones are words of the program in the pod."""

    ANSWERED = "answered"
    """It stood (TCP, SCTP), or a datagram came back."""
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    SILENT = "silent"
    """No answer in time."""
    UNRESOLVED = "unresolved"
    """The name has no address."""
    UNSUPPORTED = "unsupported"
    """The pod's kernel does not speak the protocol."""
    STOPPED = "stopped"
    DROPPED = "dropped"
    """A policy dropped it; an agent told so."""
    UNASKED = "unasked"
    """It could not be tried."""


class Probe(msgspec.Struct, frozen=True):
    """One connection to try."""

    source: ObjectKey
    host: str
    """Name or address."""
    port: int
    protocol: Protocol


class Seen(msgspec.Struct, frozen=True):
    """What became of it."""

    end: End
    ms: float = 0.0
    error: str = ""
    pod: str = ""
    """Which pod answered, where it says so."""
    peer: str = ""
    """Address and port that it saw."""
    drop: Drop | None = None


class _Line(msgspec.Struct, frozen=True):
    """What the program in the pod says."""

    id: int
    end: End | None = None
    local: tuple[str, int] | None = None
    addresses: tuple[str, ...] = ()
    ms: float = 0.0
    error: str = ""
    pod: str = ""
    peer: str = ""


class Prober:
    """Asks many things of many pods.

    Args:
        client: of the cluster.
        interpreter: a Python that is there inside every pod.
        feed: the drops, running.
        timeout_s: how long a connection may take at most.
    """

    def __init__(
        self, *, client: KubeClient, interpreter: str, feed: DropFeed, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._client = client
        self._command = (interpreter, "-I", "-S", "-c", _LOADER)
        self._feed = feed
        self._timeout_s = timeout_s

    async def ask(self, probes: Sequence[Probe], *, on_seen: Callable[[], None] = lambda: None) -> list[Seen]:
        """What became of each; a pod in which nothing can be run gives ``UNASKED`` for all of its own.

        Args:
            probes: to be tried.
            on_seen: called after each.
        """
        by_pod: dict[ObjectKey, list[int]] = {}
        for index, one in enumerate(probes):
            by_pod.setdefault(one.source, []).append(index)
        seen: list[Seen] = [Seen(End.UNASKED)] * len(probes)
        room = asyncio.Semaphore(_PODS_AT_ONCE)

        def settle(index: int, found: Seen) -> None:
            seen[index] = found
            on_seen()

        async def from_pod(pod: ObjectKey, indices: list[int]) -> None:
            async with room:
                session = _Session(pod, {i: probes[i] for i in indices}, self._feed, self._timeout_s, settle)
                await session.run(self._client, self._command)

        async with asyncio.TaskGroup() as tasks:
            for pod, indices in by_pod.items():
                tasks.create_task(from_pod(pod, indices), name=f"probes from {pod}")
        return seen


class _Session:
    """All connections from one pod."""

    def __init__(
        self,
        pod: ObjectKey,
        probes: dict[int, Probe],
        feed: DropFeed,
        timeout_s: float,
        settle: Callable[[int, Seen], None],
    ) -> None:
        self._pod = pod
        self._open = dict(probes)
        self._feed = feed
        self._timeout_s = timeout_s
        self._settle = settle
        self._lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._sent: dict[int, Flow] = {}
        self._dropped: dict[int, Drop] = {}
        self._rest = b""
        self._complaint = bytearray()

    async def run(self, client: KubeClient, command: Sequence[str]) -> None:
        """Try them all."""
        streams = Streams(output=self._heard, error=self._complained, input=self._input())
        try:
            with self._feed.watched(self._on_drop):
                async with asyncio.TaskGroup() as tasks:
                    feeding = tasks.create_task(self._begin_all(), name="begin")
                    await run_in_pod(client, self._pod, command, streams)
                    feeding.cancel()
        except* NetloomError as errors:
            self._complaint = bytearray(str(errors.exceptions[0]).encode())
        last = bytes(self._complaint).decode(errors="replace").strip().rpartition("\n")[2]
        for index in list(self._open):
            self._end(index, Seen(End.UNASKED, error=last or "the probe in the pod has ended"))

    async def _begin_all(self) -> None:
        for index, one in list(self._open.items()):
            await self._room.acquire()
            self._lines.put_nowait(
                {
                    "id": index,
                    "host": one.host,
                    "port": one.port,
                    "protocol": one.protocol.value,
                    "timeout": self._timeout_s,
                }
            )
        self._close_if_done()

    async def _input(self) -> AsyncIterator[bytes]:
        yield f"{len(_PROGRAM):08}".encode() + _PROGRAM
        while (line := await self._lines.get()) is not None:
            yield msgspec.json.encode(line) + b"\n"

    def _complained(self, data: bytes) -> None:
        self._complaint = (self._complaint + data)[-4096:]

    def _heard(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = msgspec.json.decode(line, type=_Line)
            if said.id not in self._open:
                continue
            if said.local is not None:
                self._on_sent(said.id, said.local)
            elif said.end is not None:
                self._on_end(said)

    def _on_sent(self, index: int, local: tuple[str, int]) -> None:
        flow = (self._open[index].protocol.word, *local)
        self._sent[index] = flow
        self._feed.expect(flow).add_done_callback(lambda found: self._on_expected(index, found))

    def _on_expected(self, index: int, found: asyncio.Future[Drop]) -> None:
        if not found.cancelled():
            self._stop(index, found.result())

    def _on_drop(self, drop: Drop) -> None:
        """A drop that belongs to no connection of ours: of a question to DNS, perhaps, that a connection is waiting for."""
        if drop.destination.port != _DNS_PORT or drop.source.pod != str(self._pod):
            return
        for index, one in list(self._open.items()):
            if index not in self._sent and parse_addr(one.host) is None:
                self._stop(index, drop)

    def _stop(self, index: int, drop: Drop) -> None:
        if index in self._open and index not in self._dropped:
            self._dropped[index] = drop
            self._lines.put_nowait({"stop": index})

    def _on_end(self, said: _Line) -> None:
        drop = self._dropped.get(said.id)
        if drop is not None and said.end is not End.ANSWERED:
            self._end(said.id, Seen(End.DROPPED, said.ms, drop=drop))
        elif said.end is not None:
            self._end(said.id, Seen(said.end, said.ms, said.error, said.pod, said.peer))

    def _end(self, index: int, seen: Seen) -> None:
        del self._open[index]
        flow = self._sent.pop(index, None)
        if flow is not None:
            self._feed.forget(flow)
        self._room.release()
        self._settle(index, seen)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._open:
            self._lines.put_nowait(None)
