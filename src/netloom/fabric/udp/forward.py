"""Packets from the TUN device to peers, and back. In: descriptors and a table. Out: packets. One thread; nothing is queued here.

One system call moves up to 64 KiB: the kernel hands TCP over in trains and takes them back as trains, and cuts and joins the
datagrams itself (UDP_SEGMENT, UDP_GRO; udp(7)). What the kernel's own bounded queues do not take is dropped and counted.

Accepted is only what comes from a peer's address and port, with a source among this peer's pods and a target among ours.
Not here: who the peers are (``table``), the process around it (``main``).
"""

from __future__ import annotations

import errno
import io
import os
import socket
import struct
from collections import Counter
from collections.abc import Sequence

from netloom.errors import KernelError
from netloom.fabric.udp import packets
from netloom.fabric.udp.packets import PIECE, PIECE_BYTES, VIRTIO, VIRTIO_BYTES, WHOLE
from netloom.fabric.udp.table import Lookup, Peer, PeerTable
from netloom.linux.libc import kernel_error

_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DO = 10, 23, 2
_IP_MTU, _IPV6_MTU = 14, 24
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_QUEUE_BYTES = 4 << 20
"""Of a socket, each way."""
_BUFFER = (1 << 16) + 256
_TURN = 64
"""Packets that are handled before anybody else gets a turn."""
_SEGMENTS = 64
"""Datagrams that one call sends at most (UDP_MAX_SEGMENTS)."""
_MOST_BYTES = 65_000
_NO_ROOM = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM}
_TOO_LONG = {errno.EMSGSIZE, errno.EINVAL}
_HEADERS = {4: 28, 6: 48}
"""Bytes of the outer IP and UDP headers."""


class Forwarder:
    """Both directions of a node's tunnels.

    Args:
        tun: the device, opened with ``whole_trains``.
    """

    def __init__(self, tun: io.FileIO) -> None:
        self._tun = tun
        self._tun_fd = tun.fileno()
        self._out = memoryview(bytearray(_BUFFER))
        self._in = memoryview(bytearray(_BUFFER))
        self._lookup = Lookup(PeerTable())
        self._gap = _HEADERS[4]
        self.sock: socket.socket | None = None
        """What peers send to; another one after :meth:`take` where our end has changed."""
        self.dropped: Counter[str] = Counter()
        """Packets, by the reason why they went no further."""

    @property
    def table(self) -> PeerTable:
        """What is in force."""
        return self._lookup.table

    def take(self, table: PeerTable) -> None:
        """Have this table from the next packet on.

        Raises:
            KernelError: our end's address and port cannot be had; the table before stays.
        """
        before = self.table
        if (table.local, table.port) != (before.local, before.port) or self.sock is None:
            fresh = _bind(table.local, table.port) if table.local else None
            if self.sock is not None:
                self.sock.close()
            self.sock = fresh
        self._lookup = Lookup(table)
        self._gap = _HEADERS[6 if ":" in table.local else 4]

    def forget_paths(self) -> None:
        """Try full-size datagrams again: a way that was narrow may be wide by now (RFC 1191 section 6.3)."""
        for peer in self._lookup.by_address.values():
            peer.payload = peer.told_payload

    # --- from pods

    def from_tun(self) -> None:
        """Send what the device has, up to a bound.

        Raises:
            KernelError: the device is gone.
        """
        for _ in range(_TURN):
            try:
                size = self._tun.readinto(self._out)
            except OSError as error:
                raise kernel_error("read from the TUN device", error.errno or errno.EIO) from error
            if not size:
                return
            self._send(size)

    def _send(self, size: int) -> None:
        packet = self._out[VIRTIO_BYTES:size]
        found = packets.ends(packet)
        peer = self._lookup.peer_of(found[1]) if found is not None else None
        if peer is None:
            self.dropped["no peer"] += 1
            return
        flags, train, _, _, start, offset = VIRTIO.unpack_from(self._out)
        for _ in range(2):
            try:
                if train or (len(packet) > peer.payload and packets.may_be_cut(packet)):
                    self._send_pieces(peer, size)
                elif len(packet) > peer.payload:
                    self._refuse(packet, peer)
                else:
                    if flags & packets.NEEDS_CHECKSUM:
                        packets.fill_checksum(packet, start, offset)
                        flags = 0
                    self._sock().sendto(packet, peer.target)
            except OSError as error:
                if error.errno in _TOO_LONG and self._narrow(peer):
                    continue
                self.dropped["queue full" if error.errno in _NO_ROOM else "not sent"] += 1
            return

    def _send_pieces(self, peer: Peer, size: int) -> None:
        room = peer.payload - PIECE_BYTES
        count = -(-size // room)
        if count > packets.MOST_PIECES:
            self.dropped["too many pieces"] += 1
            return
        number = peer.train = (peer.train + 1) & 0xFF
        at_once = min(_SEGMENTS, _MOST_BYTES // peer.payload)
        segment = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", peer.payload))]
        out, sock = self._out, self._sock()
        for first in range(0, count, at_once):
            parts: list[bytes | memoryview] = []
            for index in range(first, min(first + at_once, count)):
                parts.append(bytes((PIECE, number, index, count)))
                parts.append(out[index * room : min((index + 1) * room, size)])
            sock.sendmsg(parts, segment, 0, peer.target)

    def _refuse(self, packet: memoryview, peer: Peer) -> None:
        self.dropped["too long"] += 1
        message = packets.too_big(packet, peer.payload)
        if message:
            self._write([WHOLE, message])

    def _narrow(self, peer: Peer) -> bool:
        """Ask the kernel what it has heard about the way; whether that is less than we knew."""
        six = ":" in peer.address
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(peer.target)
                level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if six else (socket.IPPROTO_IP, _IP_MTU)
                payload = probe.getsockopt(level, option) - self._gap
            except OSError:
                return False
        if not VIRTIO_BYTES + PIECE_BYTES < payload < peer.payload:
            return False
        peer.payload = payload
        return True

    def _sock(self) -> socket.socket:
        if self.sock is None:
            raise OSError(errno.ENOTCONN, "no table yet")
        return self.sock

    # --- to pods

    def from_peers(self) -> None:
        """Hand what has come to the device, up to a bound.

        Raises:
            KernelError: the device is gone.
        """
        sock = self._sock()
        for _ in range(_TURN):
            try:
                size, told, _, sender = sock.recvmsg_into([self._in], 64)
            except BlockingIOError:
                return
            except OSError:  # what a router said of a datagram that we sent: the kernel has noted it
                continue
            peer = self._lookup.by_address.get(sender[0])
            if peer is None or sender[1] != self.table.port:
                self.dropped["stranger"] += 1
                continue
            step = size
            for level, kind, value in told:
                if level == _SOL_UDP and kind == _UDP_GRO:
                    (step,) = struct.unpack("=i", value)
            self._take_datagrams(peer, size, step or size)

    def _take_datagrams(self, peer: Peer, size: int, step: int) -> None:
        """``size`` bytes, of which each ``step`` are a datagram."""
        at = 0
        while at < size:
            if self._in[at] != PIECE:
                end = min(at + step, size)
                if self._is_from(peer, self._in[at:end]):
                    self._write([WHOLE, self._in[at:end]])
                at = end
                continue
            count, index = (self._in[at + 3], self._in[at + 2]) if size - at > PIECE_BYTES else (0, 0)
            last = at + (count - 1) * step  # where the last piece of the same packet begins, if all are here
            if (
                index == 0
                and count
                and last < size
                and self._in[last] == PIECE
                and self._in[last + 2] == count - 1
            ):
                end = min(last + step, size)
                self._take_train(
                    [self._in[p + PIECE_BYTES : min(p + step, end)] for p in range(at, end, step)], peer
                )
                peer.pieces, peer.piece_of = [], -1
            else:
                end = min(at + step, size)
                self._take_piece(peer, self._in[at:end])
            at = end

    def _take_piece(self, peer: Peer, piece: memoryview) -> None:
        """One piece of a packet whose others came, or will come, by themselves; they come in order or not at all."""
        if len(piece) <= PIECE_BYTES:
            self.dropped["malformed"] += 1
            return
        _, number, index, count = piece[:PIECE_BYTES]
        if index == 0:
            if peer.pieces:
                self.dropped["incomplete"] += 1
            peer.pieces, peer.piece_of = [], number
        if number != peer.piece_of or index != len(peer.pieces) or index >= count:
            self.dropped["incomplete"] += 1
            peer.pieces, peer.piece_of = [], -1
            return
        peer.pieces.append(bytes(piece[PIECE_BYTES:]))
        if index == count - 1:
            parts, peer.pieces, peer.piece_of = peer.pieces, [], -1
            self._take_train([memoryview(part) for part in parts], peer)

    def _take_train(self, parts: list[memoryview], peer: Peer) -> None:
        if self._is_from(peer, parts[0][VIRTIO_BYTES:]):
            self._write(parts)

    def _is_from(self, peer: Peer, packet: memoryview) -> bool:
        found = packets.ends(packet)
        if found is None:
            self.dropped["malformed"] += 1
            return False
        if self._lookup.peer_of(found[0]) is not peer:
            self.dropped["false source"] += 1
            return False
        if not self._lookup.is_own(found[1]):
            self.dropped["false target"] += 1
            return False
        return True

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        try:
            os.writev(self._tun_fd, parts)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise kernel_error("write to the TUN device", errno.EBADFD) from error
            self.dropped["queue full" if error.errno in _NO_ROOM else "not taken"] += 1


def _bind(local: str, port: int) -> socket.socket:
    six = ":" in local
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
    try:
        sock.setsockopt(level, _IPV6_FREEBIND if six else _IP_FREEBIND, 1)
        sock.setsockopt(level, _IPV6_MTU_DISCOVER if six else _IP_MTU_DISCOVER, _PMTUDISC_DO)
        sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        for force, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                sock.setsockopt(socket.SOL_SOCKET, force, _QUEUE_BYTES)
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, plain, _QUEUE_BYTES)
        sock.bind((local, port))
    except OSError as error:
        sock.close()
        hint = "give the tunnels another tunnel_port, on all nodes"
        raise KernelError(
            f"bind {local} port {port}", error.errno or 0, error.strerror or "", hint
        ) from error
    return sock
