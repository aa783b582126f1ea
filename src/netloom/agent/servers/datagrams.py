"""UDP through the node: each client of a port has a socket of its own towards the target, so that answers find back.

Comes in: a bound socket, and where its datagrams go. Goes out: datagrams both ways. An association ends when nothing goes either way for
some time, or when there are too many: then the one that rested longest makes room. A refusal (ICMP) cannot be handed on to
a client from here: it hears nothing, and its next datagram is tried anew. Not here: which ports.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from netloom.agent.servers.relay import Target
from netloom.agent.servers.sockets import NodeSockets
from netloom.clock import Clock

IDLE_S = 120.0
"""How long an association may rest; as long as the kernel keeps a UDP flow that has been answered (nf_conntrack_udp_timeout_stream)."""
ASSOCIATIONS_LIMIT = 1024
"""Of all ports together."""
_DATAGRAM = 65535
_AT_ONCE = 64
"""Datagrams of one socket before the loop may turn to others."""

Peer = tuple[Any, ...]
"""A client's address as the socket module has it."""


class UdpRelay:
    """All UDP associations of a node that go through here.

    Args:
        sockets: of the node.
        clock: for idle times.
        limit: how many associations at the same time.
    """

    def __init__(self, *, sockets: NodeSockets, clock: Clock, limit: int = ASSOCIATIONS_LIMIT) -> None:
        self.sockets = sockets
        self.clock = clock
        self.buffer = memoryview(bytearray(_DATAGRAM))
        self.associations = 0
        """Made since the start."""
        self.datagrams = 0
        """Handed on, both ways together."""
        self.dropped = 0
        """Datagrams that could not be handed on."""
        self._limit = limit
        self._resting: dict[Association, None] = {}
        """All of them; who was used last stands last."""

    @property
    def open_count(self) -> int:
        """Associations at this moment."""
        return len(self._resting)

    def listen(self, sock: socket.socket, target: Target) -> UdpPort:
        """Hand on what comes to this socket, which is owned from now on, until the port is closed."""
        return UdpPort(relay=self, sock=sock, target=target)

    def expire(self) -> None:
        """End what has rested for too long."""
        before = self.clock.monotonic() - IDLE_S
        while self._resting:
            oldest = next(iter(self._resting))
            if oldest.last_used > before:
                return
            oldest.close()

    def close(self) -> None:
        """End all associations."""
        for association in list(self._resting):
            association.close()

    def opened(self, association: Association) -> None:
        """One more; another goes if there is no room."""
        self.associations += 1
        if len(self._resting) >= self._limit:
            next(iter(self._resting)).close()
        self.used(association)

    def used(self, association: Association) -> None:
        """Something went through it."""
        association.last_used = self.clock.monotonic()
        self._resting.pop(association, None)
        self._resting[association] = None

    def ended(self, association: Association) -> None:
        """One less."""
        self._resting.pop(association, None)


class UdpPort:
    """One bound socket and its clients."""

    def __init__(self, *, relay: UdpRelay, sock: socket.socket, target: Target) -> None:
        self._relay = relay
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._clients: dict[Peer, Association] = {}
        self.sock = sock
        self._loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Hand on no more: the associations end, too, as a UDP flow ends whose Service is gone."""
        self._loop.remove_reader(self.sock.fileno())
        for association in list(self._clients.values()):
            association.close()
        self.sock.close()

    def forget(self, peer: Peer) -> None:
        """A client's association has ended."""
        self._clients.pop(peer, None)

    def _readable(self) -> None:
        relay = self._relay
        for _ in range(_AT_ONCE):
            try:
                size, peer = self.sock.recvfrom_into(relay.buffer)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier answer, told at this read
            if not self._hand_on(peer, relay.buffer[:size]):
                relay.dropped += 1

    def _hand_on(self, peer: Peer, data: memoryview) -> bool:
        # twice: a send also fails for what an earlier datagram met, and a new association meets what is in force now
        for _ in range(2):
            association = self._clients.get(peer) or self._associate(peer)
            if association is None:
                return False
            if association.send(data):
                return True
        return False

    def _associate(self, peer: Peer) -> Association | None:
        target = self._target()
        if target is None:
            return None
        address, port = target
        try:
            sock = self._relay.sockets.open(
                socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM
            )
        except OSError:
            return None
        try:
            sock.connect((str(address), port))
        except OSError:
            sock.close()
            return None
        association = Association(relay=self._relay, port=self, peer=peer, sock=sock, loop=self._loop)
        self._clients[peer] = association
        return association


class Association:
    """One client of one port, and its socket towards the target."""

    def __init__(
        self,
        *,
        relay: UdpRelay,
        port: UdpPort,
        peer: Peer,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.last_used = 0.0
        self._relay = relay
        self._port = port
        self._peer = peer
        self._sock = sock
        self._loop = loop
        loop.add_reader(sock.fileno(), self._readable)
        relay.opened(self)

    def send(self, data: memoryview) -> bool:
        """To the target; False where the association has come to nothing and is closed."""
        try:
            self._sock.send(data)
        except BlockingIOError:
            self._relay.dropped += 1  # the kernel's queue is full: UDP may lose
            return True
        except OSError:
            self.close()
            return False
        self._relay.datagrams += 1
        self._relay.used(self)
        return True

    def close(self) -> None:
        """End."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
        self._port.forget(self._peer)
        self._relay.ended(self)

    def _readable(self) -> None:
        relay = self._relay
        for _ in range(_AT_ONCE):
            try:
                size = self._sock.recv_into(relay.buffer)
            except BlockingIOError:
                break
            except OSError:
                self.close()  # refused
                return
            try:
                self._port.sock.sendto(relay.buffer[:size], self._peer)
            except OSError:
                relay.dropped += 1
                continue
            relay.datagrams += 1
        relay.used(self)
