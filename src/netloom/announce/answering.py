"""Answers for addresses on the node's segments: ARP and neighbour discovery, in user space.

Comes in: the addresses that this node has. Goes out: answers to whoever asks, announcements when an address is taken over, and the word that somebody else
answers for it. Nothing is put into the kernel, so the answers end with this process. Not here: which addresses (``layer2``), and how frames look (``arp``, ``ndp``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

import msgspec

from netloom.announce import arp, ndp
from netloom.announce.nics import Nic, nics, nics_for
from netloom.clock import Clock
from netloom.errors import KernelError
from netloom.linux.neighbour_filter import let_in
from netloom.metrics import Sample, counter
from netloom.units import Addr, Family

log = logging.getLogger(__name__)

ANNOUNCED_S = (0.0, 0.1, 0.5, 1.5, 4.0)
"""When an address is announced, in seconds after it was taken: the first may be lost, or come before a switch has learnt the new way."""
_SETTLED_S = 1.5
"""So long after an address was taken another's frames for it may still be of before."""
_DEFENDED_S = 10.0
_HEAP = 128
_ETHERTYPES = {Family.V4: arp.ETHERTYPE, Family.V6: ndp.ETHERTYPE}
_FRAME = 512
_LOOK_S = 2.0


class Conflict(msgspec.Struct, frozen=True):
    """Somebody else answers for an address of ours."""

    address: Addr
    mac: str
    interface: str
    own_mac: str = ""
    """Ours, at that interface."""


class Answerer:
    """Answers for what :meth:`hold` was last told.

    Args:
        interfaces: where; none: wherever one of an interface's networks holds the address.
        clock: the time.
        is_awake: whether this node may be trusted to know what it has; asked before each answer.
        on_conflict: hears of others that answer, each time.
    """

    def __init__(
        self,
        *,
        interfaces: Iterable[str] = (),
        clock: Clock,
        is_awake: Callable[[], bool],
        on_conflict: Callable[[Conflict], None],
    ) -> None:
        self._chosen = frozenset(interfaces)
        self._clock = clock
        self._is_awake = is_awake
        self._on_conflict = on_conflict
        self._held: dict[Addr, float] = {}
        self._places: dict[Addr, dict[str, Nic]] = {}
        self._nics: tuple[Nic, ...] = ()
        self._netns_fd: int | None = None
        self._sockets: dict[Family, socket.socket] = {}
        self._groups: socket.socket | None = None
        self._joined: set[tuple[int, IPv6Address]] = set()
        self._due: dict[Addr, asyncio.TimerHandle] = {}
        self._defended: dict[Addr, float] = {}
        self.answered = self.announced = self.conflicts = 0

    async def run(self, netns_fd: int | None = None) -> None:
        """Until cancelled, in a network namespace; None: the caller's own.

        Raises:
            KernelError: no right to packet sockets (CAP_NET_RAW).
        """
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as undo:
            if not self._sockets:
                self.open()
            undo.callback(self._close)
            for family, sock in self._sockets.items():
                loop.add_reader(sock, self._read, family, sock)
                undo.callback(loop.remove_reader, sock)
            while True:
                self.look(netns_fd)
                await asyncio.sleep(_LOOK_S)

    def look(self, netns_fd: int | None = None) -> None:
        """Interfaces may be others now."""
        self._netns_fd = netns_fd
        found = self._read_nics()
        if found != self._nics:
            self._nics = found
            before = {address: set(self._places.get(address, ())) for address in self._held}
            self._place()
            for address in self._held:
                if self._places[address].keys() - before[address]:
                    self._announce(address, 0)

    def _read_nics(self) -> tuple[Nic, ...]:
        try:
            return nics(self._netns_fd)
        except KernelError as error:
            log.warning("interfaces cannot be read: %s", error)
            return self._nics

    def places(self, address: Addr) -> tuple[str, ...]:
        """The interfaces at which an address is answered for."""
        return tuple(sorted(self._places.get(address, ())))

    def hold(self, addresses: Iterable[Addr]) -> None:
        """Answer for these from now on, and for no others; what is new is announced."""
        wanted = set(addresses)
        now = self._clock.monotonic()
        if wanted == self._held.keys():
            return
        for address in self._held.keys() - wanted:
            del self._held[address]
            self._defended.pop(address, None)
            self._places.pop(address, None)
            if (due := self._due.pop(address, None)) is not None:
                due.cancel()
        taken = sorted(wanted - self._held.keys(), key=lambda a: (a.version, int(a)))
        self._held.update(dict.fromkeys(taken, now))
        if taken and self._sockets:
            self._nics = self._read_nics()  # one may have come up with what made us take them
        self._place()
        for address in taken:
            self._announce(address, 0)

    # --- the kernel

    def open(self) -> None:
        """Have sockets in the caller's network namespace.

        Raises:
            KernelError: no right to packet sockets (CAP_NET_RAW).
        """
        for family, ethertype in _ETHERTYPES.items():
            try:
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
                self._sockets[family] = sock
                sock.setblocking(False)
                let_in(sock, family, ())
            except OSError as error:
                text = error.strerror or str(error)
                raise KernelError("open a packet socket", error.errno or 0, text, "CAP_NET_RAW") from error
        with contextlib.suppress(OSError):  # no IPv6 here: then there is nobody to ask
            self._groups = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    def _close(self) -> None:
        for due in self._due.values():
            due.cancel()
        self._due.clear()
        for sock in (*self._sockets.values(), *([] if self._groups is None else [self._groups])):
            sock.close()
        self._sockets.clear()
        self._groups = None

    def _place(self) -> None:
        """Where each address is answered for, and what the kernel has to let in for that."""
        self._places = {
            address: {nic.name: nic for nic in nics_for(address, self._nics, self._chosen)}
            for address in self._held
        }
        for family, sock in self._sockets.items():
            version = 4 if family is Family.V4 else 6
            let_in(sock, family, [a for a, at in self._places.items() if a.version == version and at])
        self._join()

    def _join(self) -> None:
        """Be in the groups that solicitations go to: the kernel tells switches that snoop."""
        if self._groups is None:
            return
        wanted = {
            (nic.index, ndp.solicited_group(address))
            for address, at in self._places.items()
            if isinstance(address, IPv6Address)
            for nic in at.values()
        }
        for option, which in (
            (socket.IPV6_LEAVE_GROUP, self._joined - wanted),
            (socket.IPV6_JOIN_GROUP, wanted - self._joined),
        ):
            for index, group in which:
                request = group.packed + index.to_bytes(4, sys.byteorder)
                try:
                    self._groups.setsockopt(socket.IPPROTO_IPV6, option, request)
                except OSError as error:
                    log.debug("group %s at interface %d: %s", group, index, error)
        self._joined = wanted

    # --- frames

    def _read(self, family: Family, sock: socket.socket) -> None:
        for _ in range(_HEAP):
            try:
                frame, where = sock.recvfrom(_FRAME)
            except BlockingIOError:
                return
            except OSError as error:  # an interface went down
                log.debug("packet socket: %s", error)
                return
            if family is Family.V4:
                self._take_arp(frame, where[0])
            else:
                self._take_ndp(frame, where[0])

    def _take_arp(self, frame: bytes, interface: str) -> None:
        packet = arp.read_arp(frame)
        if packet is None:
            return
        if self._nic(packet.sender, interface) is not None:
            self._claimed(packet.sender, packet.sender_mac, interface)
        nic = self._nic(packet.target, interface)
        if nic is not None and packet.is_request and packet.sender != packet.target and self._is_awake():
            self._send(Family.V4, nic, arp.reply(packet, packet.target, nic.mac))
            self.answered += 1

    def _take_ndp(self, frame: bytes, interface: str) -> None:
        message = ndp.read_ndp(frame)
        nic = None if message is None else self._nic(message.target, interface)
        if message is None or nic is None:
            return
        if not message.is_solicitation:
            self._claimed(message.target, message.mac, interface)
        elif self._is_awake():
            self._send(Family.V6, nic, ndp.answer(message, nic.mac))
            self.answered += 1

    def _nic(self, address: Addr, interface: str) -> Nic | None:
        return self._places.get(address, {}).get(interface)

    def _claimed(self, address: Addr, mac: bytes, interface: str) -> None:
        """Somebody says that an address of ours is theirs."""
        now = self._clock.monotonic()
        if any(nic.mac == mac for nic in self._nics) or now - self._held[address] < _SETTLED_S:
            return
        self.conflicts += 1
        own = self._places[address][interface].mac
        self._on_conflict(Conflict(address, mac.hex(":"), interface, own.hex(":")))
        if address not in self._held:
            return  # it was left to the other
        if now - self._defended.get(address, -_DEFENDED_S) >= _DEFENDED_S:
            self._defended[address] = now
            self._announce(address, len(ANNOUNCED_S) - 1)

    def _announce(self, address: Addr, turn: int) -> None:
        """The first, second ... announcement, and the next ones when they are due."""
        if (due := self._due.pop(address, None)) is not None:
            due.cancel()
        if self._is_awake():
            for nic in self._places.get(address, {}).values():
                for frame in _announcements(address, nic.mac):
                    self._send(Family.V4 if address.version == 4 else Family.V6, nic, frame)
                    self.announced += 1
        if turn + 1 < len(ANNOUNCED_S) and self._sockets:
            wait_s = ANNOUNCED_S[turn + 1] - ANNOUNCED_S[turn]
            again = functools.partial(self._announce, address, turn + 1)
            self._due[address] = asyncio.get_running_loop().call_later(wait_s, again)

    def _send(self, family: Family, nic: Nic, frame: bytes) -> None:
        sock = self._sockets.get(family)
        if sock is None:
            return
        try:
            sock.sendto(frame, (nic.name, _ETHERTYPES[family]))
        except OSError as error:
            log.debug("frame at %s: %s", nic.name, error)

    def samples(self) -> Iterator[Sample]:
        """What there is to count."""
        text = "Frames of ARP and neighbour discovery about addresses outside."
        counts = (
            ("answers", self.answered),
            ("announcements", self.announced),
            ("conflicts", self.conflicts),
        )
        for what, count in counts:
            yield counter("netloom_speaker_frames_total", text, count, what=what)


def _announcements(address: Addr, mac: bytes) -> tuple[bytes, ...]:
    if isinstance(address, IPv4Address):
        return arp.announcements(address, mac)
    return (ndp.announcement(address, mac),)
