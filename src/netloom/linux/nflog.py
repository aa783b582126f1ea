"""Packets that the kernel logs to a group of NFLOG. In: a group. Out: packets as values, in order, and how many were missed.

The kernel keeps no packet for a group that nobody listens to, and forgets the group when its listener's socket closes. What comes
faster than it is read is dropped when the receive buffer is full, and counted by the kernel's sequence numbers: memory is bounded on
both sides. Not here: what is in a packet (``ip_headers``), which rules log (``program.nft_rules.Log``).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import msgspec

from netloom.errors import KernelError, Unsupported
from netloom.linux.netlink import (
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLMSG_ERROR,
    Message,
    NetlinkSocket,
    Request,
    attr,
    attributes,
    be16,
    be32,
    encode,
    refusal,
    text,
    u8,
)
from netloom.units import Family

_SUBSYSTEM = 4  # NFNL_SUBSYS_ULOG
_PACKET = _SUBSYSTEM << 8 | 0  # NFULNL_MSG_PACKET
_CONFIG = _SUBSYSTEM << 8 | 1  # NFULNL_MSG_CONFIG

# enum nfulnl_attr_config
_CFG_CMD, _CFG_MODE, _CFG_QTHRESH, _CFG_FLAGS = 1, 2, 5, 6
_BIND = 1
_COPY_PACKET = 2
_WITH_SEQUENCE = 1

# enum nfulnl_attr_type
_PACKET_HDR, _MARK, _TIMESTAMP, _IN, _OUT, _PAYLOAD, _PREFIX, _SEQ = 1, 2, 3, 4, 5, 9, 10, 12

_MODE = struct.Struct(">IBx")  # struct nfulnl_msg_config_mode, packed
_TIME = struct.Struct(">QQ")
_HEADER = struct.Struct(">HBx")  # struct nfulnl_msg_packet_hdr
_FAMILIES = {0x0800: Family.V4, 0x86DD: Family.V6}  # if_ether.h
_BUFFER_BYTES = 1 << 20
_DATAGRAMS_AT_ONCE = 64


class LoggedPacket(msgspec.Struct, frozen=True, gc=False):
    """A packet as it was when a rule logged it."""

    family: Family
    hook: int
    """Where in the kernel (``enum nf_inet_hooks``): 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting."""
    prefix: str
    """What the rule calls itself."""
    in_interface: int
    """Index of the interface that it came by; 0 where it was made here."""
    out_interface: int
    """Index of the interface that it was about to leave by; 0 where it was for this host."""
    mark: int
    at: float | None
    """When it came, in seconds since the epoch; None where the kernel has not stamped it (packets made here, mostly)."""
    data: bytes
    """The first bytes from the IP header on."""


class Missed(msgspec.Struct, frozen=True, gc=False):
    """So many packets were logged here in between and could not be kept."""

    count: int


Logged = LoggedPacket | Missed


class Nflog:
    """The only listener of a group in one network namespace. A context manager; one task reads.

    Args:
        group: number of the group, as in the rules that log to it.
        netns_fd: the namespace; None for the caller's own.
        copy_bytes: at most so many bytes of each packet.
        buffer_bytes: what the kernel keeps for us until it is read.

    Raises:
        KernelError: no right to listen, or somebody else listens to this group (EBUSY).
        Unsupported: this kernel has no NFLOG.
    """

    def __init__(
        self,
        group: int,
        *,
        netns_fd: int | None = None,
        copy_bytes: int = 128,
        buffer_bytes: int = _BUFFER_BYTES,
    ) -> None:
        try:
            self._socket = NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd, receive_bytes=buffer_bytes)
        except OSError as error:
            raise Unsupported(
                f"NFLOG: {error.strerror}", "this kernel needs CONFIG_NETFILTER_NETLINK"
            ) from error
        self._next_seq: int | None = None
        try:
            self._listen(group, copy_bytes)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; the kernel forgets the group."""
        self._socket.close()

    async def next(self) -> list[Logged]:
        """The next packets, at least one; as many as have come, up to a bound.

        Raises:
            KernelError: the socket failed.
        """
        while True:
            await _readable(self._socket.fileno())
            found = self.pending()
            if found:
                return found

    def pending(self) -> list[Logged]:
        """What has come already, up to a bound, without waiting.

        Raises:
            KernelError: the socket failed.
        """
        found: list[Logged] = []
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                messages = self._socket.receive(wait=False)
            except KernelError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue  # the next packet's number says how many were missed
            if not messages:
                break
            found.extend(self._read(messages))
        return found

    def _listen(self, group: int, copy_bytes: int) -> None:
        steps = (
            (attr(_CFG_CMD, u8(_BIND)), f"listen to NFLOG group {group}"),
            (attr(_CFG_MODE, _MODE.pack(copy_bytes, _COPY_PACKET)), f"NFLOG group {group}: copy packets"),
            # each packet at once: whoever waits for one must not wait for others to fill a datagram
            (attr(_CFG_QTHRESH, be32(1)), f"NFLOG group {group}: queue threshold"),
            (attr(_CFG_FLAGS, be16(_WITH_SEQUENCE)), f"NFLOG group {group}: sequence numbers"),
        )
        for body, operation in steps:
            self._configure(Request(_CONFIG, NLM_F_ACK, _generic(group) + body, operation))

    def _configure(self, request: Request) -> None:
        """One request and its answer. Packets that come before the answer are of a moment when nobody knew of us: not kept."""
        seq = self._socket.next_seq()
        self._socket.send(encode(request, seq))
        while True:
            for message in self._socket.receive():
                if message.type != NLMSG_ERROR or message.seq != seq:
                    continue
                refused = refusal(message)
                if refused is None:
                    return
                if refused.errno == errno.EINVAL:
                    raise Unsupported(
                        "NFLOG: this kernel does not know it", "it needs CONFIG_NETFILTER_NETLINK_LOG"
                    )
                raise refused.error(request.operation)

    def _read(self, messages: Iterable[Message]) -> Iterable[Logged]:
        for message in messages:
            if message.type != _PACKET:
                continue
            found = attributes(message.body, 4)
            if len(number := found.get(_SEQ, b"")) == 4:
                (seq,) = struct.unpack(">I", number)
                missed = 0 if self._next_seq is None else (seq - self._next_seq) & 0xFFFF_FFFF
                self._next_seq = (seq + 1) & 0xFFFF_FFFF
                if missed:
                    yield Missed(missed)
            packet = _packet(found)
            if packet is not None:
                yield packet


def _packet(found: dict[int, bytes]) -> LoggedPacket | None:
    """None for what is neither IPv4 nor IPv6."""
    header = found.get(_PACKET_HDR, b"")
    if len(header) != _HEADER.size:
        return None
    protocol, hook = _HEADER.unpack(header)
    family = _FAMILIES.get(protocol)
    if family is None:
        return None
    at = None
    if len(stamp := found.get(_TIMESTAMP, b"")) == _TIME.size:
        seconds, micros = _TIME.unpack(stamp)
        at = seconds + micros / 1e6
    return LoggedPacket(
        family=family,
        hook=hook,
        prefix=text(found.get(_PREFIX, b"")),
        in_interface=int.from_bytes(found.get(_IN, b""), "big"),
        out_interface=int.from_bytes(found.get(_OUT, b""), "big"),
        mark=int.from_bytes(found.get(_MARK, b""), "big"),
        at=at,
        data=found.get(_PAYLOAD, b""),
    )


def _generic(group: int) -> bytes:
    """``struct nfgenmsg``: of all families, and the group as its resource."""
    return bytes((socket.AF_UNSPEC, 0)) + be16(group)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
