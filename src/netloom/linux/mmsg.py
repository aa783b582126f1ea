"""Many datagrams in one system call (recvmmsg(2), sendmmsg(2)), in memory that is laid out once.

Comes in: a bound UDP socket. Goes out: a batch whose slots the caller reads and writes in place; a reply that begins in the slot of its
question needs no copy, and its peer's address stays the bytes that the kernel gave. Not here: what is in a datagram.
The layout is that of 64-bit Linux (``struct mmsghdr`` of 64 bytes, ``struct iovec`` of 16).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import socket
import struct

SLOT = 2048
"""Bytes of one datagram, in and out; what is longer comes cut short."""
PEER = 32
"""Bytes from one peer's address to the next."""
LENGTH_STEP = 16
LENGTH_AT = 14
"""``lengths[i * LENGTH_STEP + LENGTH_AT]`` is the length of datagram ``i``."""
_MSG_DONTWAIT = 0x40
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_HEADER = 64
_VECTOR = 16

# The calls never wait, so the interpreter lock is kept; use_errno: see libc.py.
_libc = ctypes.PyDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_sendto = _libc.sendto
_sendto.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
)
_sendto.restype = ctypes.c_ssize_t


class DatagramBatch:
    """Slots of one socket. What ``receive`` gave is there until the next ``receive``.

    Args:
        sock: bound, not connected; the caller closes it after the last call.
        size: datagrams at most in one call.
    """

    def __init__(self, sock: socket.socket, *, size: int = 128) -> None:
        self._fd = sock.fileno()
        self._size = size
        v6 = sock.family == socket.AF_INET6
        self.peer_size = 28 if v6 else 16
        """Bytes of a peer's ``struct sockaddr``."""
        self.address_at, self.address_end = (8, 24) if v6 else (4, 8)
        """Where the address lies in it."""
        self.arena = mmap.mmap(-1, size * SLOT)
        """Slot ``i`` begins at ``i * SLOT``. A slice of it is bytes."""
        self.peers = mmap.mmap(-1, max(mmap.PAGESIZE, size * PEER))
        self._received = bytearray(size * _HEADER)
        self._replies = bytearray(size * _HEADER)
        self._vectors_in = bytearray(size * _VECTOR)
        self._vectors_out = bytearray(size * _VECTOR)
        self.arena_address = _address(self.arena)
        self.peers_address = _address(self.peers)
        self._received_address = _address(self._received)
        self._replies_address = _address(self._replies)
        self.lengths = memoryview(self._received).cast("I")
        self.reply_peers = memoryview(self._replies).cast("Q")
        """``reply_peers[j * 8]``: address of the peer of reply ``j``, in ``peers``."""
        self.reply_vectors = memoryview(self._vectors_out).cast("Q")
        """``reply_vectors[j * 2]`` and the number after it: address, in ``arena``, and length of reply ``j``."""
        self._lay_out()

    def _lay_out(self) -> None:
        received, replies = memoryview(self._received).cast("Q"), self.reply_peers
        received_sizes, reply_sizes = self.lengths, memoryview(self._replies).cast("I")
        vectors = memoryview(self._vectors_in).cast("Q")
        vectors_in, vectors_out = _address(self._vectors_in), _address(self._vectors_out)
        for i in range(self._size):
            received[i * 8] = replies[i * 8] = self.peers_address + i * PEER
            received_sizes[i * 16 + 2] = reply_sizes[i * 16 + 2] = self.peer_size
            received[i * 8 + 2] = vectors_in + i * _VECTOR
            replies[i * 8 + 2] = vectors_out + i * _VECTOR
            received[i * 8 + 3] = replies[i * 8 + 3] = 1
            vectors[i * 2] = self.arena_address + i * SLOT
            vectors[i * 2 + 1] = SLOT

    def receive(self) -> int:
        """How many datagrams there are now, at most ``size``; 0 where there is none, or only an error of an earlier reply."""
        return max(0, int(_recvmmsg(self._fd, self._received_address, self._size, _MSG_DONTWAIT, None)))

    def send(self, count: int) -> int:
        """Send the first ``count`` replies; how many the kernel did not take. Those are lost, as datagrams may be."""
        at = lost = 0
        while at < count:
            sent = int(_sendmmsg(self._fd, self._replies_address + at * _HEADER, count - at, _MSG_DONTWAIT))
            if sent > 0:
                at += sent
                continue
            if ctypes.get_errno() in (errno.EAGAIN, errno.ENOBUFS):
                return lost + count - at
            at += 1  # this one cannot be sent; those after it may
            lost += 1
        return lost

    def send_one(self, peer: bytes, reply: bytes) -> bool:
        """Send one datagram to a peer that ``peers`` named; False where the kernel did not take it."""
        return bool(_sendto(self._fd, reply, len(reply), _MSG_DONTWAIT, peer, len(peer)) >= 0)


def _address(buffer: mmap.mmap | bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def enlarge_receive_buffer(sock: socket.socket, size: int) -> None:
    """Let so many bytes wait at a socket; as many as the kernel allows where more is not permitted."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    with contextlib.suppress(
        OSError
    ):  # needs CAP_NET_ADMIN; without it the sysctl net.core.rmem_max is the limit
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)


def backlog(sock: socket.socket) -> float:
    """How full a socket's receive buffer is, from 0 to 1 (SO_MEMINFO, Linux 4.12)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 8)
    used, room = struct.unpack("=II", raw)  # SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_RCVBUF
    return min(1.0, used / room) if room else 0.0
