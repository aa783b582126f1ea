"""Heartbeats over UDP. In: the key, the nodes' addresses, what this node says of itself. Out: ``Members`` that are up to date, and a call for each turn.

Two sockets, one for each family; datagrams that come are read in heaps, so that a burst costs one turn. Not here: what a heartbeat means (``state``), and which
addresses this node claims (``layer2``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

import msgspec

from netloom.announce.members.beats import Heartbeat, pages_of, seal, unseal
from netloom.announce.members.state import Members
from netloom.clock import Clock
from netloom.errors import Unavailable
from netloom.metrics import Sample, counter, gauge
from netloom.units import Addr, Family, family_of

log = logging.getLogger(__name__)

_TICK_S = 0.05
_HEAP = 128
"""Datagrams read before others have their turn."""
_FAREWELLS = 3
_BUFFER = 1 << 20
_DATAGRAM = 2048
_KEY_S = 1.0
"""The key is asked for at most so often, whoever sends what."""
_ANYWHERE = {Family.V4: "0.0.0.0", Family.V6: "::"}  # noqa: S104 - the nodes' own addresses may change
_KINDS = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}


class Claims(msgspec.Struct, frozen=True):
    """What this node answers for; ``version`` changes with the addresses."""

    version: int = 0
    addresses: tuple[Addr, ...] = ()


class Exchange:
    """This node's end.

    Args:
        members: kept up to date.
        port: UDP, the same on all nodes.
        clock: the time.
        claims: what this node answers for.
        is_ready: whether it may be given duties.
        on_turn: called some times a heartbeat, and as soon as anything was heard that may change who does what; with True then.
    """

    def __init__(
        self,
        *,
        members: Members,
        port: int,
        clock: Clock,
        claims: Callable[[], Claims],
        is_ready: Callable[[], bool],
        on_turn: Callable[[bool], None],
    ) -> None:
        self._members = members
        self._port = port
        self._clock = clock
        self._claims = claims
        self._is_ready = is_ready
        self._on_turn = on_turn
        self._key = self._former_key = b""
        self._is_foreign = asyncio.Event()
        self._incarnation = int(clock.wall() * 1e6)
        self._sequence = 0
        self._addresses: dict[str, Addr] = {}
        self._sockets: dict[Family, socket.socket] = {}
        self._is_followed = False
        self._turned = self._looked = clock.monotonic()
        self.sent = self.received = self.refused = 0

    def know(self, nodes: Mapping[str, Addr]) -> None:
        """These are all nodes of the cluster, and where their speakers are."""
        self._addresses = dict(nodes)
        self._members.know(nodes, self._clock.monotonic())

    @property
    def slept_s(self) -> float:
        """Seconds since the last turn: whoever sleeps does not know what the others did meanwhile."""
        return self._clock.monotonic() - self._turned

    async def run(
        self, key: bytes, read_key: Callable[[], Awaitable[bytes]], *, before_leaving: Callable[[], None]
    ) -> None:
        """Speak and listen until cancelled; then say good-bye.

        Args:
            key: what all share.
            read_key: gives it anew, for it may have been replaced: asked when others seem to have another.
            before_leaving: what must end before the others hear that this node is gone.

        Raises:
            Unavailable: the port is taken.
        """
        self._key = key
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as undo:
            self._open(undo)
            undo.callback(self._follow, loop, wanted=False)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._renew(read_key), name="members-key")
                    await self._beat_on(loop)
            finally:
                before_leaving()
                self._leave()

    async def _renew(self, read_key: Callable[[], Awaitable[bytes]]) -> None:
        """Follow the key; what was sealed with the one before is still taken."""
        while True:
            await self._is_foreign.wait()
            self._is_foreign.clear()
            key = await read_key()
            if key != self._key:
                log.info("the members' key is another now")
                self._former_key, self._key = self._key, key
            await asyncio.sleep(_KEY_S)

    async def _beat_on(self, loop: asyncio.AbstractEventLoop) -> None:
        beat_due = loop.time()
        self._say(self._addresses, asks=True)
        while True:
            now = self._pass_time()
            # In a crowd a datagram comes every few milliseconds: to be woken by each costs more than to read it.
            self._follow(loop, wanted=not self._members.is_crowd)
            if not self._is_followed:
                for sock in self._sockets.values():
                    self._read(sock)
            if loop.time() >= beat_due:
                # who is not ready takes no duties, like who is silent: many that begin at once have better things to do
                if self._is_ready() or not self._members.is_crowd:
                    self._say(self._members.to_beat(now))
                beat_due = max(beat_due + self._members.rhythm.beat_s, loop.time())
            if asked := self._members.to_ask(now):
                self._say(asked, asks=True)
            await asyncio.sleep(_TICK_S)

    def _follow(self, loop: asyncio.AbstractEventLoop, *, wanted: bool) -> None:
        """Whether the loop tells of each datagram."""
        if wanted == self._is_followed:
            return
        self._is_followed = wanted
        for sock in self._sockets.values():
            if wanted:
                loop.add_reader(sock, self._read, sock)
            else:
                loop.remove_reader(sock)

    def _pass_time(self) -> float:
        """Notice how long this node has slept, before anything that came meanwhile is heeded."""
        now = self._clock.monotonic()
        slept = now - self._turned
        self._turned = now
        self._members.turn(now)
        # with many nodes a datagram comes every few milliseconds: who does what is looked at by the ticks
        if slept >= _TICK_S or now - self._looked >= _TICK_S:
            self._looked = now
            self._on_turn(False)
        return now

    def tell_all(self) -> None:
        """Say now what is new; not only at the next beat, and to everybody."""
        if self._key:
            self._say(self._addresses)

    def _leave(self) -> None:
        for _ in range(_FAREWELLS):
            self._say(self._addresses, is_leaving=True)
        self._key = b""

    # --- datagrams

    def _say(self, names: Iterable[str], *, asks: bool = False, is_leaving: bool = False) -> None:
        now = self._clock.monotonic()
        claims = Claims() if is_leaving else self._claims()
        pages = pages_of(claims.addresses)
        heard = self._members.hears(now)
        datagrams = []
        for number, page in enumerate(pages):
            self._sequence += 1
            beat = Heartbeat(
                sender=self._members.own,
                incarnation=self._incarnation,
                sequence=self._sequence,
                is_ready=self._is_ready() and not is_leaving,
                is_leaving=is_leaving,
                asks=asks,
                heard=heard,
                claims_version=claims.version,
                page=number,
                pages=len(pages),
                claims=page,
            )
            datagrams.append(seal(beat, self._key))
        for name in names:
            address = self._addresses.get(name)
            if address is not None and name != self._members.own:
                for datagram in datagrams:
                    self._send(datagram, address)

    def _send(self, datagram: bytes, address: Addr) -> None:
        sock = self._sockets.get(family_of(address))
        if sock is None:
            return
        try:
            sock.sendto(datagram, (str(address), self._port))
            self.sent += 1
        except OSError as error:  # no way there now: silence says the same
            log.debug("heartbeat for %s: %s", address, error)

    def _read(self, sock: socket.socket) -> None:
        is_news = False
        self._pass_time()
        for _ in range(_HEAP):
            try:
                datagram, _ = sock.recvfrom(_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:  # what an earlier heartbeat met on its way
                log.debug("heartbeats: %s", error)
                continue
            is_news |= self._take(datagram)
        if is_news:
            self._on_turn(True)

    def _take(self, datagram: bytes) -> bool:
        """Whether it says anything that may change who does what."""
        self.received += 1
        now = self._clock.monotonic()
        beat = unseal(datagram, self._key)
        if beat is None and self._former_key:
            beat = unseal(datagram, self._former_key)
        if beat is None:
            self._is_foreign.set()
        peer = None if beat is None else self._members.peers.get(beat.sender)
        if beat is None or peer is None:
            self.refused += 1
            return False
        before = (peer.is_ready, peer.claims, self._members.is_alive(peer, now))
        if not self._members.heard(beat, now):
            self.refused += 1
            return False
        if beat.asks:
            self._say((beat.sender,))
        return before != (peer.is_ready, peer.claims, self._members.is_alive(peer, now))

    def _open(self, undo: contextlib.ExitStack) -> None:
        for family, kind in _KINDS.items():
            try:
                sock = socket.socket(kind, socket.SOCK_DGRAM)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:
                    continue
                raise
            undo.callback(sock.close)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            if family is Family.V6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((_ANYWHERE[family], self._port))
            except OSError as error:
                problem = f"UDP port {self._port} ({_ANYWHERE[family]}): {error.strerror}"
                raise Unavailable(problem, "speakers need it; choose another by members_port") from error
            self._sockets[family] = sock
        undo.callback(self._sockets.clear)

    def samples(self) -> Iterator[Sample]:
        """What there is to count."""
        now = self._clock.monotonic()
        text = "Other nodes of the cluster, by what this node holds of them."
        silent, unready = len(self._members.silent(now)), len(self._members.unready(now))
        total = len(self._members.peers)
        for state, count in (("live", total - silent - unready), ("unready", unready), ("silent", silent)):
            yield gauge("netloom_speaker_members", text, count, state=state)
        text = "Heartbeats."
        for state, count in (("sent", self.sent), ("received", self.received), ("refused", self.refused)):
            yield counter("netloom_speaker_heartbeats_total", text, count, what=state)
