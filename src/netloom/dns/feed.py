"""How record sets come to the DNS process: frames over a unix socket, each with the agent's generation number; and the agent's end.

Comes in: a snapshot of the names and of who asks, and the deltas after it. Goes out: frames. A connection begins with a whole set:
``Begin``, any number of ``Names``, ``Commit``. Then ``Update`` frames follow. Each commit and update is acknowledged when it is
answered. Not here: what the DNS process does with them (``feed_server.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import islice

import msgspec

from netloom.dns.frames import FRAME_LIMIT, frame
from netloom.dns.records import pack
from netloom.dns.wire import Malformed, encode_name
from netloom.errors import Unavailable
from netloom.model.names.askers import Asker, AskersDelta
from netloom.model.names.records import NamesDelta, NamesState, RecordSets
from netloom.units import Addr

_CHUNK = 200
"""Names in one frame of a whole set: between two of them, queries are answered, and the agent does its other work."""
_RETRY_S = 0.02
_RETRY_LIMIT_S = 1.0


def feed_path(path: str, number: int) -> str:
    """Where the DNS process with this number, from 0, listens for its feed."""
    return f"{path}.{number}" if number else path


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """A whole set follows, and this is who asks."""

    zones: tuple[str, ...]
    askers: dict[str, Asker] = {}
    """Pods of this node, by each of their addresses."""
    networks: tuple[str, ...] | None = None
    """Who is answered besides; None: everybody."""


class Names(msgspec.Struct, frozen=True, tag="names"):
    """Some names of the whole set, on the wire, with their packed record sets (``records.pack``)."""

    names: dict[bytes, bytes]


class Commit(msgspec.Struct, frozen=True, tag="commit"):
    """The whole set is complete, and is this generation."""

    generation: int


class Update(msgspec.Struct, frozen=True, tag="update", omit_defaults=True):
    """What changed up to this generation."""

    generation: int
    upserts: dict[bytes, bytes] = {}
    removals: tuple[bytes, ...] = ()
    askers: dict[str, Asker] = {}
    leavers: tuple[str, ...] = ()
    """Addresses at which no pod is any more."""


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """This generation is answered now."""

    generation: int


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """A frame was wrong; the connection ends."""

    problem: str


ToServer = Begin | Names | Commit | Update
_to_client: msgspec.msgpack.Decoder[Ack | Refusal] = msgspec.msgpack.Decoder(Ack | Refusal)


class Audience(msgspec.Struct, frozen=True):
    """Who asks this node's DNS server."""

    askers: Mapping[Addr, Asker] = {}
    """Pods of this node."""
    networks: tuple[str, ...] | None = None
    """Others that are answered, as CIDRs: the node itself. None: everybody."""


class FeedClient:
    """The agent's end. Deltas that wait are merged, so what is held is never more than one record set for each name.

    Args:
        path: the DNS process's socket.
        snapshot: the names as they are now and their generation; called at each connect, from ``run``. They must be complete:
            start ``run`` only when the agent has seen the whole cluster, for what is missing will be denied.
        audience: who asks, as it is now; called with ``snapshot``. Without it everybody is answered, and nobody's names are completed.
    """

    def __init__(
        self,
        *,
        path: str,
        snapshot: Callable[[], tuple[int, NamesState]],
        audience: Callable[[], Audience] | None = None,
    ) -> None:
        self._path = path
        self._snapshot = snapshot
        self._audience = audience
        self._upserts: dict[str, RecordSets] = {}
        self._removals: set[str] = set()
        self._askers: dict[str, Asker] = {}
        self._leavers: set[str] = set()
        self._latest = 0
        self._anew = False
        self._news = asyncio.Event()
        self._ack_waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.connected = False
        """A whole set has been acknowledged on the connection that is open now."""
        self.acknowledged = 0
        """The generation that the DNS process answers, as far as it said so."""

    def offer(self, generation: int, delta: NamesDelta, askers: AskersDelta | None = None) -> None:
        """Hand over what changed. Generations grow; an empty delta only moves the generation."""
        self._latest = generation
        if askers is not None:
            for gone in map(str, askers.removals):
                self._askers.pop(gone, None)
                self._leavers.add(gone)
            for address, asker in askers.upserts.items():
                self._leavers.discard(str(address))
                self._askers[str(address)] = asker
        for name in delta.removals:
            self._upserts.pop(name, None)
            self._removals.add(name)
        for name, sets in delta.upserts.items():
            self._removals.discard(name)
            self._upserts[name] = sets
        self._news.set()

    async def in_force(self, generation: int) -> None:
        """Return when the DNS process answers this generation or a later one."""
        if self.acknowledged >= generation:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ack_waiters.append((generation, waiter))
        try:
            await waiter
        finally:
            self._ack_waiters = [w for w in self._ack_waiters if w[1] is not waiter]

    async def run(self) -> None:
        """Keep the DNS process fed until cancelled, through its restarts."""
        retry_s = _RETRY_S
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _RETRY_LIMIT_S)
                continue
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._read_acks(reader), name="dns-feed-acks")
                    await self._write(
                        writer
                    )  # not a task: a failure of the other one then ends this wait properly
            except* (OSError, Unavailable, asyncio.IncompleteReadError, msgspec.DecodeError):
                pass  # the connection ended; the next one begins with a whole set
            finally:
                retry_s = _RETRY_S if self.connected else min(retry_s * 2, _RETRY_LIMIT_S)
                self.connected = False
                self.acknowledged = 0  # whoever comes next has heard nothing yet
                writer.transport.abort()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # Python 3.11: a TaskGroup whose child fails while it is cancelled raises the failure alone
                raise asyncio.CancelledError
            await asyncio.sleep(retry_s)

    def refresh(self) -> None:
        """Send a whole set again: who may ask has changed."""
        self._anew = True
        self._news.set()

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._write_all(writer)
            while True:
                await self._news.wait()
                self._news.clear()
                if self._anew:
                    break
                writer.write(frame(self._offered()))
                await writer.drain()

    async def _write_all(self, writer: asyncio.StreamWriter) -> None:
        generation, state, audience = self._take_snapshot()
        askers = {str(address): asker for address, asker in audience.askers.items()}
        writer.write(frame(Begin(state.zones, askers, audience.networks)))
        names = iter(state.names.items())
        while chunk := dict(islice(names, _CHUNK)):
            writer.write(frame(Names(_packed(chunk))))
            await writer.drain()
            await asyncio.sleep(0)  # drain returns at once while there is room: others want to work, too
        writer.write(frame(Commit(generation)))
        await writer.drain()

    def _offered(self) -> Update:
        """What was offered since the last time."""
        removals = tuple(w for name in self._removals if (w := _wire(name)) is not None)
        update = Update(self._latest, _packed(self._upserts), removals, self._askers, tuple(self._leavers))
        self._forget_offered()
        return update

    def _forget_offered(self) -> None:
        self._upserts, self._removals = {}, set()
        self._askers, self._leavers = {}, set()

    def _take_snapshot(self) -> tuple[int, NamesState, Audience]:
        """The whole set; what was offered before is in it."""
        self._forget_offered()
        self._news.clear()
        self._anew = False
        generation, state = self._snapshot()
        self._latest = max(self._latest, generation)
        return generation, state, self._audience() if self._audience is not None else Audience()

    async def _read_acks(self, reader: asyncio.StreamReader) -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            message = _to_client.decode(await reader.readexactly(min(size, FRAME_LIMIT)))
            if isinstance(message, Refusal):
                raise Unavailable(
                    f"DNS process refused the names: {message.problem}", "restart agent and DNS together"
                )
            self.connected = True
            self.acknowledged = max(self.acknowledged, message.generation)
            for generation, waiter in self._ack_waiters:
                if generation <= self.acknowledged and not waiter.done():
                    waiter.set_result(None)


def _packed(names: Mapping[str, RecordSets]) -> dict[bytes, bytes]:
    """Names as they are kept. One that has no form on the wire is left out: nobody could ask for it."""
    packed = {}
    for name, sets in names.items():
        wire = _wire(name)
        if wire is not None:
            packed[wire] = pack(sets)
    return packed


def _wire(name: str) -> bytes | None:
    try:
        return encode_name(name)
    except Malformed:
        return None
