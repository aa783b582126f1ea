"""The tunnels' process: wiring, start, end. In: a UdpConfig. Out: packets, until it is killed; nothing has to be put away.

It lives without the agent; whoever restarts it, its interface and all routes are still there. One thread and no event loop of
the library's: a packet should not wait for callbacks.
"""

from __future__ import annotations

import gc
import logging
import select
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from netloom.errors import KernelError, NetloomError, UsageError
from netloom.fabric.udp.feed import FRAME_LIMIT, Told, frame, table_decoder
from netloom.fabric.udp.forward import Forwarder
from netloom.linux import unix_sockets
from netloom.linux.tun import open_tun
from netloom.program.names import UDP_LINK

log = logging.getLogger(__name__)

_CONNECTIONS = 8
"""At a time; an agent has two."""
_FORGET_PATHS_S = 600.0
_ANSWER_S = 5.0


class UdpConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the process is told at its start; all else comes over the feed."""

    feed_socket: str
    """Path of the unix socket that the agent connects to."""


class _Connection:
    """An agent's: tables come, their names go."""

    def __init__(self, sock: socket.socket, forwarder: Forwarder) -> None:
        self.sock = sock
        self._forwarder = forwarder
        self._buffer = bytearray()
        self._answer("")

    def read(self) -> bool:
        """Take what has come; False where the connection has ended or is of no use."""
        try:
            chunk = self.sock.recv(1 << 20)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._buffer += chunk
        while chunk and len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > FRAME_LIMIT:
                return False
            if len(self._buffer) < 4 + size:
                break
            payload = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            if not self._take(payload):
                return False
        return bool(chunk)

    def _take(self, payload: bytes) -> bool:
        try:
            self._forwarder.take(table_decoder.decode(payload))
        except (msgspec.DecodeError, ValueError, KernelError) as error:
            log.error("a table of peers was not taken: %s", error)  # noqa: TRY400 - says all in one line
            return self._answer(str(error))
        log.info("%d peers", len(self._forwarder.table.peers))
        return self._answer("")

    def _answer(self, problem: str) -> bool:
        told = Told(self._forwarder.table.generation, problem, dict(self._forwarder.dropped))
        try:
            self.sock.sendall(frame(told))  # some bytes, into an empty buffer
        except OSError:
            return False
        return True


class TunnelProcess:
    """The descriptors of the process and who is called when one of them has something.

    Raises:
        KernelError: no TUN device to be had.
        StorageError: the socket cannot be made.
    """

    def __init__(self, config: UdpConfig) -> None:
        self._tun = open_tun(UDP_LINK, persistent=True, whole_trains=True)
        self._forwarder = Forwarder(self._tun)
        self._listener = unix_sockets.listen(Path(config.feed_socket), what="tunnel feed", backlog=4)
        self._poll = select.epoll()
        self._calls: dict[int, Callable[[], None]] = {}
        self._connections: dict[int, _Connection] = {}
        self._peers_fd = -1
        self._watch(self._tun.fileno(), self._forwarder.from_tun)
        self._watch(self._listener.fileno(), self._accept)

    def run(self) -> None:
        """Until the device is gone.

        Raises:
            KernelError: it is.
        """
        calls, poll = self._calls, self._poll.poll
        while True:
            ready = poll(_FORGET_PATHS_S)
            if not ready:
                self._forwarder.forget_paths()
            for fd, _ in ready:
                call = calls.get(fd)
                if call is not None:
                    call()

    def _watch(self, fd: int, call: Callable[[], None]) -> None:
        self._calls[fd] = call
        self._poll.register(fd, select.EPOLLIN)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._connections) >= _CONNECTIONS:
            sock.close()
            return
        sock.settimeout(_ANSWER_S)
        fd = sock.fileno()
        self._connections[fd] = _Connection(sock, self._forwarder)
        self._watch(fd, lambda: self._read(fd))

    def _read(self, fd: int) -> None:
        connection = self._connections[fd]
        if not connection.read():
            self._poll.unregister(fd)
            del self._calls[fd], self._connections[fd]
            connection.sock.close()
        sock = self._forwarder.sock
        now = -1 if sock is None else sock.fileno()
        if sock is not None and now not in self._calls:
            self._calls.pop(self._peers_fd, None)  # closed by now, and so not polled any more
            self._peers_fd = now
            self._watch(now, self._forwarder.from_peers)


def run(config: UdpConfig) -> int:
    """Serve in this process; its exit code."""
    gc.freeze()
    gc.disable()  # nothing here is cyclic
    log.warning(
        "tunnels by a process of ours: a fallback for networks that drop all else; each packet costs far more than with vxlan"
    )
    try:
        TunnelProcess(config).run()
    except NetloomError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says what to do; a trace would hide it
        return error.exit_code
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m netloom.fabric.udp.main CONFIG.json``: read a UdpConfig and serve it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    args = sys.argv[1:] if argv is None else list(argv)
    if len(args) != 1:
        log.error("udp: one argument is needed, the path of the configuration, a JSON file")
        return UsageError.exit_code
    try:
        config = msgspec.json.decode(Path(args[0]).read_bytes(), type=UdpConfig)
    except (OSError, msgspec.DecodeError) as error:
        log.error("%s: %s", args[0], error)  # noqa: TRY400 - whoever mistyped needs no trace
        return UsageError.exit_code
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
