"""Netlink: the codec of messages and attributes, and a socket. In: requests as values. Out: messages, or KernelError.

The first half is pure (bytes in, values out; RFC 3549 and the kernel's ``linux/netlink.h``), the second half is
:class:`NetlinkSocket`. Not here: what the messages mean, see ``rtnl`` (links, addresses, routes), ``nft``, ``conntrack``.

The kernel handles a request inside ``sendmsg``, so by the time that returns the answer lies in our receive buffer.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import msgspec

from netloom.errors import KernelError, Unavailable
from netloom.linux import netns
from netloom.linux.libc import kernel_error

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3

NLM_F_REQUEST = 0x001
NLM_F_MULTI = 0x002
NLM_F_ACK = 0x004
NLM_F_ECHO = 0x008
NLM_F_DUMP_INTR = 0x010
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
_NLM_F_CAPPED = 0x100  # on NLMSG_ERROR: our own request is not repeated in the answer
_NLM_F_ACK_TLVS = 0x200  # on NLMSG_ERROR: attributes with the kernel's own words follow

NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF

_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_I32 = struct.Struct("=i")
_TIMEVAL = struct.Struct("@ll")

_RECEIVE_BYTES = 64 * 1024
"""Dumps come in pieces of at most 32 KiB (netlink_recvmsg)."""
_DUMP_TRIES = 16
_BATCH_MESSAGES = 128
"""Requests in one send: each is answered by an ack, and the acks must fit into the receive buffer."""


class Request(msgspec.Struct, frozen=True):
    """One message to send: its type, flags (NLM_F_REQUEST is added), everything after the header, and words for errors."""

    type: int
    flags: int
    body: bytes
    operation: str


class Message(msgspec.Struct, frozen=True):
    """One message that came: its header and everything after it."""

    type: int
    flags: int
    seq: int
    body: bytes


class Refusal(msgspec.Struct, frozen=True):
    """The kernel's answer to a request that it refused: a positive errno and its own words, if it had any."""

    errno: int
    text: str

    def error(self, operation: str) -> KernelError:
        """The exception for it."""
        return KernelError(operation, self.errno, self.text or os.strerror(self.errno))


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes (``struct nlattr``)."""
    length = 4 + len(payload)
    return _ATTR.pack(length, kind) + payload + bytes(-length & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attr(kind | NLA_F_NESTED, b"".join(attributes))


def u8(value: int) -> bytes:
    """One byte."""
    return struct.pack("=B", value)


def u32(value: int) -> bytes:
    """Four bytes, host order."""
    return struct.pack("=I", value)


def be16(value: int) -> bytes:
    """Two bytes, network order."""
    return struct.pack(">H", value)


def be32(value: int) -> bytes:
    """Four bytes, network order."""
    return struct.pack(">I", value)


def string(value: str) -> bytes:
    """Text with the ending zero byte (NLA_NUL_STRING)."""
    return value.encode() + b"\0"


def text(payload: bytes) -> str:
    """The text of a string attribute."""
    return payload.split(b"\0", 1)[0].decode(errors="replace")


def iter_attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each attribute, flags of the type taken off; stops at the first one that is cut short."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTR.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & _NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by type; of a repeated one, the last."""
    return dict(iter_attributes(data, offset))


def encode(request: Request, seq: int) -> bytes:
    """A request as the kernel reads it, padded to four bytes (``struct nlmsghdr``)."""
    length = 16 + len(request.body)
    header = _HEADER.pack(length, request.type, request.flags | NLM_F_REQUEST, seq, 0)
    return header + request.body + bytes(-length & 3)


def decode(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram; stops at the first one that is cut short."""
    offset, end = 0, len(datagram)
    while offset + 16 <= end:
        length, kind, flags, seq, _ = _HEADER.unpack_from(datagram, offset)
        if length < 16 or offset + length > end:
            return
        yield Message(kind, flags, seq, datagram[offset + 16 : offset + length])
        offset += (length + 3) & ~3


def refusal(message: Message) -> Refusal | None:
    """What an NLMSG_ERROR (or an NLMSG_DONE that ends a dump) says: None for success."""
    if len(message.body) < 4:
        return None
    number = -_I32.unpack_from(message.body)[0]
    if number <= 0:
        return None
    words = ""
    if message.flags & _NLM_F_ACK_TLVS:
        offset = 4
        if message.type == NLMSG_ERROR:
            (echoed,) = struct.unpack_from("=I", message.body, 4)
            offset = 20 if message.flags & _NLM_F_CAPPED else 4 + ((echoed + 3) & ~3)
        words = text(attributes(message.body, offset).get(_NLMSGERR_ATTR_MSG, b""))
    return Refusal(number, words)


class NetlinkSocket:
    """A netlink socket in a network namespace. Not for two threads at once. A context manager.

    Args:
        protocol: NETLINK_ROUTE, NETLINK_NETFILTER, ...
        netns_fd: the namespace to open it in; None for the caller's own.
        groups: numbers of multicast groups to listen to.
        send_bytes: wanted size of the send buffer, which bounds one datagram; the kernel gives less to the unprivileged.
        receive_bytes: wanted size of the receive buffer, which bounds the acks of one batch.
        timeout_s: how long :meth:`receive` waits before :class:`Unavailable`; the kernel normally answers at once.
    """

    def __init__(
        self,
        protocol: int,
        *,
        netns_fd: int | None = None,
        groups: Sequence[int] = (),
        send_bytes: int = 1 << 20,
        receive_bytes: int = 1 << 20,
        timeout_s: float = 10.0,
    ) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        if netns_fd is None:
            self._sock = socket.socket(socket.AF_NETLINK, kind, protocol)
        else:
            self._sock = netns.open_socket(netns_fd, socket.AF_NETLINK, kind, protocol)
        self._seq = 0
        try:
            self._default_send_buffer = self.send_buffer
            self.may_force = _resize(self._sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF, send_bytes)
            """Whether this user may have larger buffers than the system's limit."""
            _resize(self._sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_bytes)
            # A receive timeout of the kernel's instead of settimeout(): one system call for each receive, not two.
            timeval = _TIMEVAL.pack(int(timeout_s), int(timeout_s % 1 * 1e6))
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                self._sock.setsockopt(_SOL_NETLINK, option, 1)
            self._sock.bind((0, 0))
            for group in groups:
                self._sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; its multicast memberships end."""
        self._sock.close()

    def fileno(self) -> int:
        """The descriptor, for pollers."""
        return self._sock.fileno()

    @property
    def send_buffer(self) -> int:
        """Size of the send buffer that the kernel granted, in bytes; a datagram must stay well below it."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    @property
    def default_send_buffer(self) -> int:
        """What a socket has that does not ask for more (``net.core.wmem_default``), in bytes."""
        return self._default_send_buffer

    def next_seq(self) -> int:
        """A sequence number that no earlier request of this socket had."""
        self._seq = (self._seq + 1) & 0xFFFF_FFFF
        return self._seq

    def send(self, datagram: bytes) -> None:
        """Send encoded messages as one datagram.

        Raises:
            KernelError: refused as a whole, such as EMSGSIZE where it does not fit the send buffer.
        """
        try:
            self._sock.send(datagram)
        except OSError as error:
            raise _os_error("netlink send", error) from error

    def receive(self, *, wait: bool = True) -> list[Message]:
        """The messages of the next datagram; with ``wait=False`` an empty list where none is there.

        Raises:
            KernelError: ENOBUFS: messages were lost, and the caller must read everything again.
            Unavailable: nothing came within the timeout.
        """
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            return list(decode(self._sock.recv(_RECEIVE_BYTES, flags)))
        except BlockingIOError as error:
            if not wait:
                return []
            raise Unavailable("netlink: the kernel did not answer in time", "try again") from error
        except OSError as error:
            raise _os_error("netlink receive", error) from error

    def request(self, request: Request) -> list[Message]:
        """Send one request with an ack; what came before the ack (the answer to a get, an echo).

        Raises:
            KernelError: the kernel refused it.
        """
        seq = self.next_seq()
        self.send(encode(_acked(request), seq))
        answers: list[Message] = []
        while True:
            for message in self.receive():
                if message.seq != seq:
                    continue
                if message.type == NLMSG_ERROR:
                    refused = refusal(message)
                    if refused is not None:
                        raise refused.error(request.operation)
                    return answers
                answers.append(message)

    def try_batch(self, requests: Sequence[Request]) -> list[Refusal | None]:
        """Send many requests in few datagrams; each one's refusal, or None where it was done.

        The kernel goes on after a refused request, so later ones may have been done.
        """
        results: list[Refusal | None] = []
        for start in range(0, len(requests), _BATCH_MESSAGES):
            results.extend(self._try_chunk(requests[start : start + _BATCH_MESSAGES]))
        return results

    def batch(self, requests: Sequence[Request]) -> None:
        """As :meth:`try_batch`, for requests that must all succeed.

        Raises:
            KernelError: of the first that was refused; others may have been done.
        """
        for request, refused in zip(requests, self.try_batch(requests), strict=True):
            if refused is not None:
                raise refused.error(request.operation)

    def _try_chunk(self, requests: Sequence[Request]) -> list[Refusal | None]:
        first = self._seq + 1
        self.send(b"".join(encode(_acked(r), self.next_seq()) for r in requests))
        answers: dict[int, Refusal | None] = {}
        while len(answers) < len(requests):
            for message in self.receive():
                if message.type == NLMSG_ERROR and first <= message.seq < first + len(requests):
                    answers[message.seq] = refusal(message)
        return [answers[first + i] for i in range(len(requests))]

    def dump(self, request: Request) -> list[Message]:
        """All objects that a dump gives, taken again where they changed meanwhile (NLM_F_DUMP_INTR).

        Raises:
            KernelError: the kernel refused.
            Unavailable: they did not hold still for any of several tries.
        """
        for _ in range(_DUMP_TRIES):
            messages = self._dump_once(request)
            if messages is not None:
                return messages
        raise Unavailable(f"{request.operation}: the list changed during each reading", "try again")

    def _dump_once(self, request: Request) -> list[Message] | None:
        seq = self.next_seq()
        self.send(encode(msgspec.structs.replace(request, flags=request.flags | NLM_F_DUMP), seq))
        found: list[Message] = []
        changed = False
        while True:
            for message in self.receive():
                if message.seq != seq:
                    continue
                changed = changed or bool(message.flags & NLM_F_DUMP_INTR)
                if message.type in {NLMSG_DONE, NLMSG_ERROR}:
                    refused = refusal(message)
                    if refused is None:
                        return None if changed else found
                    if refused.errno in {errno.EINTR, errno.EBUSY}:
                        return None
                    raise refused.error(request.operation)
                found.append(message)


def _acked(request: Request) -> Request:
    return msgspec.structs.replace(request, flags=request.flags | NLM_F_ACK)


def _resize(sock: socket.socket, force: int, plain: int, size: int) -> bool:
    """True where the system's limit does not matter."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:  # a user namespace may not go beyond the system's limit; take what it gives
        sock.setsockopt(socket.SOL_SOCKET, plain, size)
        return False
    return True


def _os_error(operation: str, error: OSError) -> KernelError:
    return kernel_error(operation, error.errno or errno.EIO)
