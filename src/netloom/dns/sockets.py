"""The sockets of a DNS server: opened once, and then handed on from one process to the next, so that no query is lost between them.

Comes in: addresses, or descriptors that another process opened. Goes out: bound sockets. Each is bound to one address, so a reply leaves
from the address that was asked.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence

import msgspec

from netloom.errors import KernelError, UsageError
from netloom.linux.mmsg import enlarge_receive_buffer

_IP_FREEBIND = 15  # linux/in.h; Python names neither
_IPV6_FREEBIND = 78  # linux/in6.h
_RECEIVE_BUFFER = 4 << 20
"""Some 5,000 queries: half a second in which nobody reads, such as while one process follows another."""
_BACKLOG = 256
_FIRST_PASSED = 3
"""sd_listen_fds(3): descriptors begin here."""


class Sockets(msgspec.Struct, frozen=True):
    """What one process answers at; in the same order."""

    datagrams: tuple[socket.socket, ...]
    streams: tuple[socket.socket, ...]

    def close(self) -> None:
        """Close all."""
        for sock in (*self.datagrams, *self.streams):
            sock.close()


def open_sockets(addresses: Sequence[str], port: int, *, shared: bool = False) -> Sockets:
    """Sockets at addresses that need not be there yet (IP_FREEBIND). Streams listen: who connects now is answered later.

    Args:
        addresses: where to answer, as text.
        port: the same for both protocols.
        shared: other processes open the same ones, and the kernel spreads clients over all (SO_REUSEPORT).

    Raises:
        UsageError: an address is none, or there is none.
        KernelError: an address is taken by another server, or the port is not allowed.
    """
    if not addresses:
        raise UsageError("dns: listen: no address", "give the cluster DNS address, such as 10.96.0.10")
    datagrams: list[socket.socket] = []
    streams: list[socket.socket] = []
    try:
        for address in addresses:
            datagrams.append(_bind(address, port, socket.SOCK_DGRAM, shared=shared))
            streams.append(_bind(address, port, socket.SOCK_STREAM, shared=shared))
    except BaseException:
        Sockets(tuple(datagrams), tuple(streams)).close()
        raise
    return Sockets(tuple(datagrams), tuple(streams))


def passed_sockets(environment: Mapping[str, str]) -> Sockets | None:
    """The sockets that whoever started this process opened for it (sd_listen_fds(3)); None where it opened none.

    Raises:
        UsageError: what was passed are no such sockets.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()) or not environment.get("LISTEN_FDS", "").isdecimal():
        return None
    count = int(environment["LISTEN_FDS"])
    datagrams: list[socket.socket] = []
    streams: list[socket.socket] = []
    for fd in range(_FIRST_PASSED, _FIRST_PASSED + count):
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            raise UsageError(f"dns: descriptor {fd} is no socket: {error}", "see LISTEN_FDS") from error
        sock.setblocking(False)
        os.set_inheritable(fd, False)
        (datagrams if sock.type == socket.SOCK_DGRAM else streams).append(sock)
    return Sockets(tuple(datagrams), tuple(streams))


def _bind(address: str, port: int, kind: socket.SocketKind, *, shared: bool) -> socket.socket:
    try:
        v6 = ipaddress.ip_address(address).version == 6
    except ValueError:
        raise UsageError(
            f"dns: listen: {address!r} is no address", "give an address such as 10.96.0.10"
        ) from None
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            enlarge_receive_buffer(sock, _RECEIVE_BUFFER)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        what = f"bind DNS server to {address} port {port} ({kind.name})"
        hint = "stop what listens there, or take another listen address"
        raise KernelError(what, error.errno or 0, error.strerror or str(error), hint) from error
    return sock
