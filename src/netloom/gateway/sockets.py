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

    def adopt(self, sockets: Iterable[socket.socket]) -> None:
        """Take over sockets that listen already; those that are no door's are closed."""
        by_port: dict[int, dict[str, socket.socket]] = {}
        for one in sockets:
            host, port = one.getsockname()[:2]
            by_port.setdefault(port, {}).setdefault(host, one)
            if by_port[port][host] is not one:
                one.close()
        for port, found in by_port.items():
            if port not in self._open and found.keys() == set(map(str, self._addresses)):
                self._open[port] = tuple(found[str(address)] for address in self._addresses)
            else:
                for one in found.values():
                    one.close()

    def descriptors(self, ports: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """Of those of these ports that are open, in the order of the addresses."""
        return {port: tuple(one.fileno() for one in self._open[port]) for port in ports if port in self._open}

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
