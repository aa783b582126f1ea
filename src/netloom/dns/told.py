"""What pods are told of names that policies speak of: the agent hears it first, and puts it in force before the pod gets its answer.

Comes in: answers of upstream servers; from the agent, the names that policies mean. Goes out: ``Told`` frames to the agent over a unix socket
of its own; an answer is held back until the agent says that its addresses are in force, for a second at most. What was told is
remembered for a while, so that an agent that starts anew knows at once what pods rely on. Not here: what follows from it (the agent).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from netloom.clock import Clock
from netloom.dns.cache import Reply
from netloom.dns.frames import LENGTH, frame, length_of
from netloom.dns.records import Record
from netloom.dns.wire import TYPE_CNAME, name_text
from netloom.linux.unix_sockets import listen
from netloom.model.names.records import RecordType
from netloom.model.policy.domains import covers
from netloom.units import Addr

log = logging.getLogger(__name__)

PATIENCE_S = 1.0
"""So long an answer waits for the agent; then the pod gets it all the same, and its packets whatever is in force."""
REMEMBERED_S = 3600.0
"""So long what was told is remembered for an agent that starts anew, after the end of its time."""
REMEMBERED_LIMIT = 10_000
"""Names."""
_ADDRESSES_LIMIT = 256
"""Of one answer."""
_ADDRESS_TYPES = (RecordType.A, RecordType.AAAA)


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """From the agent: names that policies mean, as ``DomainPeers.names`` has them."""

    patterns: tuple[str, ...]


class InForce(msgspec.Struct, frozen=True, tag="in-force"):
    """From the agent: what it was told under this number is in force."""

    number: int


class Told(msgspec.Struct, frozen=True, tag="told"):
    """To the agent: a pod is about to be told these addresses of these names, which are aliases of each other."""

    number: int
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    ttl_s: int


class Remembered(msgspec.Struct, frozen=True, tag="remembered"):
    """To the agent: what was told before it came has been said."""


FromAgent = Watch | InForce
ToAgent = Told | Remembered
_from_agent: msgspec.msgpack.Decoder[FromAgent] = msgspec.msgpack.Decoder(FromAgent)


class ToldNames:
    """The DNS process's end. One agent counts: the one that came last.

    Args:
        path: of the socket.
        clock: the time.
        fixed: names whose addresses the configuration itself has.
        answers: those of before that are still good.
    """

    def __init__(
        self,
        *,
        path: Path,
        clock: Clock,
        fixed: Mapping[bytes, tuple[Addr, ...]],
        answers: Callable[[], Iterable[Reply]],
    ) -> None:
        self._answers = answers
        self._path = path
        self._clock = clock
        self._fixed = {name_text(name): addresses for name, addresses in fixed.items()}
        self._patterns: tuple[str, ...] = ()
        self._remembered: dict[str, tuple[float, Told]] = {}
        """By the name that was asked: until when, and what."""
        self._number = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._sock: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._agent: asyncio.StreamWriter | None = None

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names that policies mean, as far as an agent has said."""
        return self._patterns

    def open(self) -> None:
        """Make the socket; only this user may connect.

        Raises:
            StorageError: it cannot be made.
        """
        self._sock = listen(self._path, what="DNS socket", backlog=4)

    async def start(self) -> None:
        """Accept the agent."""
        self._server = await asyncio.start_unix_server(self._serve, sock=self._sock)

    def close(self) -> None:
        """Stop; who waits gets its answer."""
        if self._server is not None:
            self._server.close()
        if self._sock is not None:
            self._sock.close()
            self._path.unlink(missing_ok=True)
        if self._agent is not None:
            self._agent.transport.abort()
        self._release()

    def concerns(self, reply: Reply) -> bool:
        """Whether anybody has to hear of this answer before it is given."""
        if not self._patterns or reply.question.type not in _ADDRESS_TYPES or not reply.counts[0]:
            return False
        return any(covers(self._patterns, name) for name in _names(reply.question.name, reply.records()))

    async def announce(self, reply: Reply) -> None:
        """Return when the addresses of an answer are in force, where policies speak of its name; or after a second."""
        if not self.concerns(reply):
            return
        number = self._tell(reply.question.name, reply.records(), reply.lifetime_s)
        if number is None:
            return
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = arrival
        try:
            async with asyncio.timeout(PATIENCE_S):
                await arrival
        except TimeoutError:
            log.warning("the agent did not put %s in force in time", name_text(reply.question.name))
        finally:
            self._waiting.pop(number, None)

    def _tell(self, name: bytes, records: list[Record], ttl_s: int) -> int | None:
        """Say and remember; gives the number under which the agent answers, None where none is there."""
        addresses = [str(ipaddress.ip_address(r.data)) for r in records if r.type in _ADDRESS_TYPES]
        self._number += 1
        told = Told(self._number, _names(name, records), tuple(addresses[:_ADDRESSES_LIMIT]), ttl_s)
        if not addresses:
            return None
        self._remember(name_text(name), told)
        return self._number if self._send(told) else None

    def _remember(self, name: str, told: Told) -> None:
        key = f"{name} {'6' if ':' in told.addresses[0] else '4'}"
        self._remembered.pop(key, None)
        self._remembered[key] = (self._clock.monotonic() + told.ttl_s + REMEMBERED_S, told)
        if len(self._remembered) > REMEMBERED_LIMIT:
            del self._remembered[next(iter(self._remembered))]

    def _send(self, message: ToAgent) -> bool:
        if self._agent is None or self._agent.is_closing():
            return False
        self._agent.write(frame(message))
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._agent is not None:
            self._agent.transport.abort()
        self._agent = writer
        try:
            self._say_remembered()
            while True:
                size = length_of(await reader.readexactly(LENGTH))
                self._take(_from_agent.decode(await reader.readexactly(size)))
        except (OSError, asyncio.IncompleteReadError, ValueError, msgspec.DecodeError):
            pass  # it ended, or speaks another language: the next one begins anew
        finally:
            writer.transport.abort()
            if self._agent is writer:
                self._agent = None
                self._release()

    def _say_remembered(self) -> None:
        now = self._clock.monotonic()
        self._remembered = {key: kept for key, kept in self._remembered.items() if kept[0] > now}
        for until, told in self._remembered.values():
            left = max(0, int(until - REMEMBERED_S - now))
            self._send(msgspec.structs.replace(told, ttl_s=left))
        self._send(Remembered())

    def _take(self, message: FromAgent) -> None:
        if isinstance(message, InForce):
            arrival = self._waiting.get(message.number)
            if arrival is not None and not arrival.done():
                arrival.set_result(None)
            return
        self._patterns = message.patterns
        for name, addresses in self._fixed.items():
            if covers(self._patterns, name):
                self._number += 1
                self._send(
                    Told(self._number, (name,), tuple(map(str, addresses)), int(REMEMBERED_S) * 24 * 365)
                )
        # Pods may rely on answers that they had before anybody asked what they were.
        for reply in self._answers():
            if self.concerns(reply):
                self._tell(reply.question.name, reply.records(), reply.lifetime_s)

    def _release(self) -> None:
        """Nobody is there to say that anything is in force."""
        for arrival in self._waiting.values():
            if not arrival.done():
                arrival.set_result(None)


def _names(asked: bytes, records: list[Record]) -> tuple[str, ...]:
    """The name that was asked, and those that it is an alias of."""
    found = {name_text(asked): None}
    for record in records:
        if record.type == TYPE_CNAME:
            found[name_text(record.data.lower())] = None
    return tuple(found)
