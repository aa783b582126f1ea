"""TCP connections, each between a client and a target: what one says the other hears.

Comes in: a listening socket, and whom to connect to. Goes out: bytes both ways, ends and resets as they come: a half that is closed is
closed on the other side, and a connection that is reset is reset there, so that a transfer that was cut never looks complete.

Sockets are read and written directly and not through streams: one buffer serves all connections, and nothing is copied but by the
kernel, except what the other side could not take at once. Not here: which ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable

from netloom.agent.servers.sockets import OUT_OF_DESCRIPTORS, NodeSockets
from netloom.clock import Clock
from netloom.units import Addr

CHUNK = 256 << 10
"""Bytes read at once."""
CONNECT_S = 15.0
"""How long a target may take to accept. The client is connected to us by then; it is reset."""
HALF_CLOSED_S = 120.0
"""How long a connection may be silent of which one half is closed (nf_conntrack_tcp_timeout_fin_wait)."""
CONNECTIONS_LIMIT = 1024
"""Of all listeners together. More wait in the kernel's queues."""
CONNECTIONS_PER_PORT = 256
_ACCEPT_AT_ONCE = 16
_ACCEPT_AGAIN_S = 1.0
"""After the process ran out of descriptors."""
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
_RESET = struct.pack("ii", 1, 0)

Target = Callable[[], tuple[Addr, int] | None]
"""Where a new connection goes; None: nowhere at present."""


class TcpRelay:
    """All connections of a node that go through here.

    Args:
        sockets: of the node.
        clock: for idle times.
        limit: how many connections at the same time.
    """

    def __init__(self, *, sockets: NodeSockets, clock: Clock, limit: int = CONNECTIONS_LIMIT) -> None:
        self.sockets = sockets
        self.clock = clock
        self.buffer = memoryview(bytearray(CHUNK))
        self.connections = 0
        """Accepted since the start."""
        self.refused = 0
        """Of them, those whose target did not accept."""
        self.bytes = 0
        """Relayed, both ways together."""
        self._limit = limit
        self._open: dict[Connection, None] = {}
        self._ports: set[RelayPort] = set()
        self._waiting: set[RelayPort] = set()
        """Ports that do not accept until there is room."""

    @property
    def open_count(self) -> int:
        """Connections at this moment."""
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """No more may be accepted."""
        return len(self._open) >= self._limit

    def listen(self, sock: socket.socket, target: Target) -> RelayPort:
        """Accept at this socket, which is owned from now on, until the port is closed. Connections outlive it."""
        port = RelayPort(relay=self, sock=sock, target=target)
        self._ports.add(port)
        port.resume()
        return port

    def expire(self) -> None:
        """End connections that are half closed and silent for too long."""
        before = self.clock.monotonic() - HALF_CLOSED_S
        for connection in [c for c in self._open if c.is_half_closed and c.last_active < before]:
            connection.end(reset=True)

    def close(self) -> None:
        """End all connections."""
        for port in list(self._ports):
            port.close()
        for connection in list(self._open):
            connection.end(reset=True)

    def opened(self, connection: Connection) -> None:
        """One more."""
        self.connections += 1
        self._open[connection] = None

    def ended(self, connection: Connection) -> None:
        """One less; whoever waited for room accepts again."""
        self._open.pop(connection, None)
        waiting, self._waiting = self._waiting, set()
        for port in waiting:
            port.resume()

    def waits(self, port: RelayPort) -> None:
        """A port has no room for one more; it is resumed when a connection ends."""
        self._waiting.add(port)

    def forget(self, port: RelayPort) -> None:
        """A port accepts no more."""
        self._ports.discard(port)
        self._waiting.discard(port)


class RelayPort:
    """One listening socket."""

    def __init__(self, *, relay: TcpRelay, sock: socket.socket, target: Target) -> None:
        self._relay = relay
        self._sock = sock
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._accepting = False
        self._again: asyncio.TimerHandle | None = None
        self.open_count = 0

    def resume(self) -> None:
        """Accept, if there is room and it does not already."""
        if self._accepting or self._again is not None:
            return
        if not self._has_room():
            self._relay.waits(self)
            return
        self._accepting = True
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; what is connected stays."""
        self._pause()
        if self._again is not None:
            self._again.cancel()
        self._sock.close()
        self._relay.forget(self)

    def _has_room(self) -> bool:
        return not self._relay.is_full and self.open_count < CONNECTIONS_PER_PORT

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock.fileno())

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            if not self._has_room():
                self._pause()
                self._relay.waits(self)
                return
            try:
                client, _ = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    # the socket stays readable: without a pause the loop would do nothing else
                    self._pause()
                    self._again = self._loop.call_later(_ACCEPT_AGAIN_S, self._accept_again)
                return
            client.setblocking(False)
            Connection(relay=self._relay, port=self, client=client, loop=self._loop).open(self._target())

    def _accept_again(self) -> None:
        self._again = None
        self.resume()


class Connection:
    """A client, a target, and the two directions between them."""

    def __init__(
        self, *, relay: TcpRelay, port: RelayPort, client: socket.socket, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.relay = relay
        self.loop = loop
        self.last_active = relay.clock.monotonic()
        self._port = port
        self._client = client
        self._target: socket.socket | None = None
        self._halves: tuple[_Half, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    @property
    def is_half_closed(self) -> bool:
        """One side has ended and the other has not."""
        return any(half.is_closed for half in self._halves)

    def open(self, target: tuple[Addr, int] | None) -> None:
        """Connect to the target. Nothing is read from the client before that succeeds."""
        self.relay.opened(self)
        self._port.open_count += 1
        if target is None:
            self._refuse()
            return
        address, port = target
        try:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            self._target = self.relay.sockets.open(family, socket.SOCK_STREAM)
            refused = self._target.connect_ex((str(address), port))
        except OSError:
            self._refuse()
            return
        if refused not in (0, errno.EINPROGRESS):
            self._refuse()
            return
        self._timer = self.loop.call_later(CONNECT_S, self._refuse)
        self.loop.add_writer(self._target.fileno(), self._connected)

    def end(self, *, reset: bool) -> None:
        """End both sides; with ``reset`` so that both see that something went wrong."""
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        for sock in (self._client, self._target):
            if sock is None:
                continue
            self.loop.remove_reader(sock.fileno())
            self.loop.remove_writer(sock.fileno())
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
        self._port.open_count -= 1
        self.relay.ended(self)

    def half_closed(self) -> None:
        """A direction has come to its end."""
        if all(half.is_closed for half in self._halves):
            self.end(reset=False)

    def _connected(self) -> None:
        target = self._target
        assert target is not None  # noqa: S101 - its own callback
        if target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._refuse()
            return
        self.loop.remove_writer(target.fileno())
        if self._timer is not None:
            self._timer.cancel()
        for sock in (self._client, target):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self._halves = (_Half(self, self._client, target), _Half(self, target, self._client))
        for half in self._halves:
            half.start()

    def _refuse(self) -> None:
        self.relay.refused += 1
        self.end(reset=True)


class _Half:
    """One direction. Either it reads, or it waits until the other side takes what is left of the last piece."""

    def __init__(self, connection: Connection, source: socket.socket, sink: socket.socket) -> None:
        self._connection = connection
        self._source = source
        self._sink = sink
        self._left = b""
        self.is_closed = False

    def start(self) -> None:
        self._connection.loop.add_reader(self._source.fileno(), self._readable)

    def _readable(self) -> None:
        connection = self._connection
        relay = connection.relay
        try:
            size = self._source.recv_into(relay.buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            connection.end(reset=True)
            return
        connection.last_active = relay.clock.monotonic()
        if not size:
            self._close()
            return
        relay.bytes += size
        sent = self._send(relay.buffer[:size])
        if sent is not None and sent < size:
            self._left = bytes(relay.buffer[sent:size])
            connection.loop.remove_reader(self._source.fileno())
            connection.loop.add_writer(self._sink.fileno(), self._writable)

    def _writable(self) -> None:
        sent = self._send(memoryview(self._left))
        if sent is None:
            return
        self._connection.last_active = self._connection.relay.clock.monotonic()
        self._left = self._left[sent:]
        if not self._left:
            self._connection.loop.remove_writer(self._sink.fileno())
            self.start()

    def _send(self, data: memoryview) -> int | None:
        """How much the sink took; None: it is gone, and the connection has ended."""
        try:
            return self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._connection.end(reset=True)
            return None

    def _close(self) -> None:
        self.is_closed = True
        self._connection.loop.remove_reader(self._source.fileno())
        with contextlib.suppress(OSError):  # the sink is gone: its own direction hears of it
            self._sink.shutdown(socket.SHUT_WR)
        self._connection.half_closed()
