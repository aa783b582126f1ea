"""TCP that notices within seconds that nothing comes through any more. In: a socket; out: the same, with options set (tcp(7)).

By itself the kernel goes on for a quarter of an hour, and asks for the other end of an idle connection after two hours.
"""

from __future__ import annotations

import socket
from typing import Any

UNHEARD_S = 10
"""What has been sent and is not acknowledged for so long ends the connection."""
_IDLE_S, _AGAIN_S, _TIMES = 5, 2, 3


def make_impatient(one: socket.socket) -> None:
    """Let a TCP connection end by itself when the other end is silent; of a socket that listens, those that it accepts."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_S)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _AGAIN_S)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _TIMES)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_S * 1000)


def impatient_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket for a connection to an address, as ``getaddrinfo`` tells of it."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    make_impatient(made)
    return made
