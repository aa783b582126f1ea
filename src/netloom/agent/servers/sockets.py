"""Sockets of the node's own servers: where they listen, and how they are opened.

Comes in: a :class:`Place`. Goes out: non-blocking sockets in the node's network namespace, or a KernelError that says what to do.
"""

from __future__ import annotations

import errno
import resource
import socket

import msgspec

from netloom.errors import KernelError
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.units import Addr, parse_addr

_BACKLOG = 128
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - where all addresses are wanted
OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that go away when something else is closed."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """An address and a port to listen on."""

    address: Addr | None
    """None: every address of the node, of both families."""
    port: int
    """0: the kernel chooses."""

    def __str__(self) -> str:
        if self.address is None:
            return f"port {self.port} at all addresses"
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def parse_place(text: str) -> Place | None:
    """``127.0.0.1:10249`` or ``[::1]:10249``; 0.0.0.0 and [::] both mean all addresses. None where the text is no such."""
    host, colon, port = text.rpartition(":")
    address = parse_addr(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    if not colon or address is None or (address.version == 6) is not host.startswith("["):
        return None
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        return None
    return Place(None if address.is_unspecified else address, int(port))


class NodeSockets:
    """Opens sockets on the node.

    Args:
        netns_fd: the node's network namespace; None: this process is in it.
    """

    def __init__(self, *, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd

    def listen(self, place: Place) -> socket.socket:
        """A TCP socket that listens.

        Raises:
            KernelError: the port is taken, the address is not there, or there are no descriptors left.
        """
        return self._bound(place, socket.SOCK_STREAM)

    def bind_datagrams(self, place: Place) -> socket.socket:
        """A UDP socket.

        Raises:
            KernelError: as :meth:`listen`.
        """
        return self._bound(place, socket.SOCK_DGRAM)

    def open(self, family: int, kind: int) -> socket.socket:
        """An unbound socket.

        Raises:
            OSError: socket(2) refused.
        """
        if self._netns_fd is None:
            sock = socket.socket(family, kind)
        else:
            sock = netns.open_socket(self._netns_fd, family, kind)
        sock.setblocking(False)
        return sock

    def addresses(self) -> tuple[Addr, ...]:
        """All addresses of the node, of every interface, in order; without those that are good on one link only."""
        with Rtnl(self._netns_fd) as rtnl:
            found = {a.interface.ip for a in rtnl.addresses()}
        return tuple(sorted((a for a in found if not a.is_link_local), key=lambda a: (a.version, a.packed)))

    def _bound(self, place: Place, kind: socket.SocketKind) -> socket.socket:
        try:
            sock = self._open_for(place, kind)
        except OSError as error:
            raise _refusal(place, kind, error) from error
        try:
            if kind is socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            host = _ANY[sock.family] if place.address is None else str(place.address)
            sock.bind((host, place.port))
            if kind is socket.SOCK_STREAM:
                sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            raise _refusal(place, kind, error) from error
        return sock

    def _open_for(self, place: Place, kind: socket.SocketKind) -> socket.socket:
        if place.address is not None and place.address.version == 4:
            return self.open(socket.AF_INET, kind)
        try:
            sock = self.open(socket.AF_INET6, kind)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT or place.address is not None:
                raise
            return self.open(socket.AF_INET, kind)  # a kernel without IPv6
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(place.address is not None))
        return sock


def raise_open_files() -> None:
    """Let this process open as many files as it may: thousands of NodePorts at localhost are thousands of sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_HINTS = {
    errno.EADDRINUSE: "stop what listens there, or give it another port",
    errno.EADDRNOTAVAIL: "the node lacks this address",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE",
    errno.EMFILE: "raise the limit of open files of the agent",
}


def _refusal(place: Place, kind: socket.SocketKind, error: OSError) -> KernelError:
    word = "TCP" if kind is socket.SOCK_STREAM else "UDP"
    code = error.errno or 0
    text = error.strerror or str(error)
    return KernelError(f"listen at {place} ({word})", code, text, _HINTS.get(code, "it is tried again"))
