"""Fabrics on the nodes of a segment, and somebody who reads along in the middle of it. For tests of tunnels.

In: how many nodes, how to make a node's fabric. Out: peers and facts as the model would give them, and what was seen on the wire.
Not here: what must be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ipaddress
import os
import select
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Self

import msgspec

from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import FabricKind, Underlay, Way, outer_family, overhead
from netloom.model.routes.ways import Segment as Network
from netloom.model.state import PeerRoute
from netloom.testing.hosts import Host
from netloom.testing.topologies import CLUSTER_CIDRS, Segment, pod_cidrs
from netloom.units import Addr, Cidr, Family, Protocol, family_of

_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_PACKET_STATISTICS = 6
_SOL_PACKET = 263
_BUFFER_BYTES = 32 << 20
_FRAME_BYTES = 256
"""Of each frame: its headers are enough."""


class Seen(msgspec.Struct, frozen=True):
    """An IP packet on the wire."""

    source: Addr
    target: Addr
    protocol: int
    frame: bytes

    @property
    def is_of_pods(self) -> bool:
        """Whether a pod sent it or is meant, for all to see."""
        return any(end in cidr for end in (self.source, self.target) for cidr in CLUSTER_CIDRS)


class Tap:
    """Reads along on all interfaces of a host from its beginning, and keeps what shows pods' addresses. A context manager.

    The kernel leaves out all else, and a thread of its own takes the frames: an ordinary user may not have a buffer for many.
    """

    def __init__(self, host: Host) -> None:
        self._sock = netns.open_socket(
            host.netns_fd, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
        )
        self._sock.setblocking(False)
        with contextlib.suppress(PermissionError):
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        _only_pods(self._sock)
        self._frames: list[bytes] = []
        self._lock = threading.Lock()
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._take, name="tap", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._ended)
        self._sock.close()

    def plain(self) -> list[Seen]:
        """All packets since the last call that show pods' addresses.

        Raises:
            OverflowError: there were more than could be kept.
        """
        with self._lock:
            self._drain()
            frames, self._frames = self._frames, []
        _, lost = struct.unpack("=II", self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if lost:
            raise OverflowError(f"{lost} packets were not seen")
        packets = [packet for frame in frames if (packet := _read(frame)) is not None]
        return [packet for packet in packets if packet.is_of_pods]

    def _take(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        while all(fd != self._ended for fd, _ in poll.poll()):
            with self._lock:
                self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._frames.append(self._sock.recv(_FRAME_BYTES))


def _only_pods(sock: socket.socket) -> None:
    """Have the kernel drop what has no address of ``CLUSTER_CIDRS``, a /16 and a /48 (classic BPF, linux/filter.h)."""
    word, half, mask, equal, give = 0x20, 0x28, 0x54, 0x15, 0x06
    four, six = (int(cidr.network_address) for cidr in CLUSTER_CIDRS)
    first, second = six >> 96, six >> 80 & 0xFFFF
    # operation, instructions to skip where equal, and where not, value
    code = (
        (half, 0, 0, 12),
        (equal, 0, 6, 0x0800),  # otherwise to IPv6
        *((word, 0, 0, 26), (mask, 0, 0, 0xFFFF0000), (equal, 13, 0, four)),
        *((word, 0, 0, 30), (mask, 0, 0, 0xFFFF0000), (equal, 10, 9, four)),
        (equal, 0, 8, 0x86DD),
        *((word, 0, 0, 22), (equal, 0, 2, first), (half, 0, 0, 26), (equal, 5, 0, second)),
        *((word, 0, 0, 38), (equal, 0, 2, first), (half, 0, 0, 42), (equal, 1, 0, second)),
        (give, 0, 0, 0),
        (give, 0, 0, 1 << 16),
    )
    program = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("@HxxxxxxQ", len(code), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def _read(frame: bytes) -> Seen | None:
    kind = int.from_bytes(frame[12:14], "big")
    if kind == 0x0800 and len(frame) >= 34:
        return Seen(ipaddress.ip_address(frame[26:30]), ipaddress.ip_address(frame[30:34]), frame[23], frame)
    if kind == 0x86DD and len(frame) >= 54:
        return Seen(ipaddress.ip_address(frame[22:38]), ipaddress.ip_address(frame[38:54]), frame[20], frame)
    return None


def facts_of(
    node: Host, number: int, kind: FabricKind, *, outer: Family = Family.V4, port: int = 0
) -> NodeFacts:
    """What the agent would find: the node with its networks; addresses of ``outer`` come first."""
    with Rtnl(node.netns_fd) as rtnl:
        at = [a for a in rtnl.addresses() if a.device == "eth0" and not a.interface.is_link_local]
        mtu = next(link.mtu for link in rtnl.links() if link.name == "eth0")
    addresses = sorted(node.addresses, key=lambda a: family_of(a) is not outer)
    return NodeFacts(
        name=node.name,
        addresses=tuple(addresses),
        pod_cidrs=pod_cidrs(number),
        cluster_cidrs=CLUSTER_CIDRS,
        fabric=kind,
        direct=False,
        tunnel_port=port,
        underlay=Underlay(tuple(Network(a.device, a.interface) for a in at), mtu),
    )


def routes_to(
    segment: Segment, numbers: Iterable[int], facts: NodeFacts, way: Way, keys: dict[int, str] | None = None
) -> dict[Cidr, PeerRoute]:
    """Those nodes as peers of the node with these facts; with ``keys``, blocked without one."""
    found: dict[Cidr, PeerRoute] = {}
    outer = outer_family(facts.addresses)
    for number in numbers:
        node = segment.nodes[number - 1]
        via = node.address_of(outer)
        key = "" if keys is None else keys.get(number, "")
        taken = Way.BLOCKED if keys is not None and not key else way
        mtu = facts.underlay.mtu - overhead(taken, outer)
        for index, cidr in enumerate(pod_cidrs(number)):
            source = Source("Node", "", node.name, field=f"spec.podCIDRs[{index}]")
            found[cidr] = PeerRoute(cidr, via, node.name, source, taken, key, mtu)
    return found


@contextlib.asynccontextmanager
async def chatter(*pairs: tuple[Host, Addr]) -> AsyncIterator[None]:
    """Datagrams from each host to each address, all the time and whether they arrive or not."""
    socks = [(host.open_socket(family_of(to), Protocol.UDP), to) for host, to in pairs]

    async def talk() -> None:
        while True:
            for sock, to in socks:
                with contextlib.suppress(OSError):
                    sock.sendto(b"for one pod only", (str(to), 9))
            await asyncio.sleep(0.002)

    try:
        async with asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(talk(), name="chatter")
            try:
                yield
            finally:
                talking.cancel()
    finally:
        for sock, _ in socks:
            sock.close()


async def until_reached(host: Host, target: Addr, port: int, *, tries: int = 40) -> bool:
    """Whether an answer comes within some tries: for what others put right by themselves."""
    for _ in range(tries):
        if await host.ask(target, port, timeout_s=0.5) is not None:
            return True
    return False


def others(count: int, number: int) -> Iterator[int]:
    """The numbers of all nodes but one."""
    return (other for other in range(1, count + 1) if other != number)
