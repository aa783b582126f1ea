"""The listening sockets of doors: opened once, kept while HAProxy processes come and go, so that no connection is refused meanwhile.

Comes in: addresses and ports. Goes out: descriptors. Not here: who accepts.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from netloom.errors import KernelError
from netloom.units import Addr

_BACKLOG = 4096


class DoorSockets:
    """Sockets by port, one for each address.

    Args:
        addresses: where; they need not be there yet.
    """

    def __init__(self, addresses: Sequence[Addr]) -> None:
        self._addresses = addresses
        self._open: dict[int, tuple[socket.socket, ...]] = {}

    def open(self, ports: Iterable[int]) -> dict[int, str]:
        """Open those that are missing; what could not be opened, in words.

        A door whose port somebody else has is left out until it is asked for again.
        """
        problems: dict[int, str] = {}
        for port in ports:
            if port not in self._open:
                try:
                    self._open[port] = self._listen(port)
                except KernelError as error:
                    problems[port] = str(error)
        return problems

    def descriptors(self) -> dict[int, tuple[int, ...]]:
        """By port, in the order of the addresses."""
        return {port: tuple(one.fileno() for one in sockets) for port, sockets in self._open.items()}

    def close_others(self, ports: Iterable[int]) -> None:
        """Close those of other ports."""
        for port in self._open.keys() - set(ports):
            for one in self._open.pop(port):
                one.close()

    def _listen(self, port: int) -> tuple[socket.socket, ...]:
        made: list[socket.socket] = []
        for address in self._addresses:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            one = socket.socket(family, socket.SOCK_STREAM)
            made.append(one)
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind((str(address), port))
                one.listen(_BACKLOG)
            except OSError as error:
                for opened in made:
                    opened.close()
                raise KernelError(
                    f"listen at {address} port {port}", error.errno or 0, error.strerror or str(error)
                ) from error
        return tuple(made)


_IP_FREEBIND = 15
"""ip(7): an address that is not there yet; it holds for IPv6 sockets, too."""
