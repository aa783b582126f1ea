"""Runs inside a pod: makes connections on demand, many at once, with the pod's own resolver, routes and addresses.

Sent as program text to a bare interpreter (``prober`` does that), so: the standard library only, and no netloom. In, a line of JSON
each on standard input: ``{"id": 1, "host": "cart", "port": 80, "protocol": "TCP", "timeout": 3.0}`` begins an attempt, ``{"stop": 1}``
gives it up; the end of input lets it end when all attempts have. Out, likewise: ``{"id": 1, "local": ["10.1.2.3", 40000]}`` once the
first packet has been sent, and then how it ended: ``{"id": 1, "end": "answered", ...}``, ``refused``, ``unreachable``, ``silent``,
``unresolved``, ``unsupported`` or ``stopped``.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import json
import os
import selectors
import socket
import sys
import time
from typing import Any

IDENTITY_S = 0.3
"""How long a connection that stands waits for a word of who answered."""
_RESOLVERS = 8
_REQUEST = b"GET / HTTP/1.1\r\nHost: check\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
_DNS_QUERY = b"\x4e\x4c\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"
"""The root's name servers: a DNS server answers nothing but questions (RFC 1035)."""
_DNS_PORT = 53
_KINDS = {
    "TCP": (socket.SOCK_STREAM, 0),
    "UDP": (socket.SOCK_DGRAM, 0),
    "SCTP": (socket.SOCK_STREAM, 132),
}
_REFUSED = {errno.ECONNREFUSED, errno.ECONNRESET}
_UNSUPPORTED = {errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT}
_MOST_ANSWER = 65536


class Attempt:
    """One connection on its way."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.id: int = asked["id"]
        self.asked = asked
        self.began = time.monotonic()
        self.deadline = self.began + asked["timeout"]
        self.socket: socket.socket | None = None
        self.is_up = False
        self.answer = b""
        self.addresses: list[str] = []


class Probing:
    """All attempts of this pod, and one selector."""

    def __init__(self, inlet: int, outlet: int) -> None:
        self._inlet = inlet
        self._outlet = outlet
        self._selector = selectors.PollSelector()  # takes regular files as input, too
        self._attempts: dict[int, Attempt] = {}
        self._resolved: list[tuple[Attempt, Any]] = []
        self._pool = concurrent.futures.ThreadPoolExecutor(_RESOLVERS)
        self._wake_read, self._wake_write = os.pipe()
        self._rest = b""
        self._is_open = True

    def run(self) -> None:
        """Until the input has ended and every attempt has."""
        os.set_blocking(self._inlet, False)
        os.set_blocking(self._wake_read, False)
        self._selector.register(self._inlet, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        while self._is_open or self._attempts:
            for key, _ in self._selector.select(self._patience()):
                if key.fd == self._inlet:
                    self._read_input()
                elif key.fd == self._wake_read:
                    self._connect_resolved()
                else:
                    self._go_on(key.data)
            self._give_up()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _patience(self) -> float | None:
        deadlines = [attempt.deadline for attempt in self._attempts.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _read_input(self) -> None:
        data = os.read(self._inlet, 65536)
        if not data:
            self._is_open = False
            self._selector.unregister(self._inlet)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            if "stop" in asked:
                if (attempt := self._attempts.get(asked["stop"])) is not None:
                    self._end(attempt, "stopped")
                continue
            attempt = self._attempts[asked["id"]] = Attempt(asked)
            self._pool.submit(self._resolve, attempt)

    def _resolve(self, attempt: Attempt) -> None:
        """On a thread: names take their time."""
        asked = attempt.asked
        found: Any
        try:
            found = socket.getaddrinfo(asked["host"], asked["port"], type=_KINDS[asked["protocol"]][0])
        except (OSError, UnicodeError) as error:
            found = error
        self._resolved.append((attempt, found))
        os.write(self._wake_write, b".")

    def _connect_resolved(self) -> None:
        os.read(self._wake_read, 4096)
        while self._resolved:
            attempt, found = self._resolved.pop()
            if attempt.id not in self._attempts:
                continue  # stopped meanwhile
            if isinstance(found, Exception):
                self._end(attempt, "unresolved", str(found))
            else:
                attempt.addresses = sorted({str(one[4][0]) for one in found})
                self._connect(attempt, found[0])

    def _connect(self, attempt: Attempt, found: Any) -> None:  # noqa: ANN401 - what getaddrinfo gives
        kind, protocol = _KINDS[attempt.asked["protocol"]]
        try:
            made = attempt.socket = socket.socket(found[0], kind, protocol)
            made.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                made.connect(found[4])
            local = made.getsockname()
            self._tell({"id": attempt.id, "local": [local[0], local[1]], "addresses": attempt.addresses})
            if kind == socket.SOCK_DGRAM:
                attempt.is_up = True
                made.send(_DNS_QUERY if attempt.asked["port"] == _DNS_PORT else b"check\n")
                self._selector.register(made, selectors.EVENT_READ, attempt)
            else:
                self._selector.register(made, selectors.EVENT_WRITE, attempt)
        except OSError as error:
            self._fail(attempt, error)

    def _go_on(self, attempt: Attempt) -> None:
        made = attempt.socket
        if attempt.id not in self._attempts or made is None:
            return
        try:
            if not attempt.is_up:
                failed = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if failed:
                    raise OSError(failed, os.strerror(failed))  # noqa: TRY301 - as if connect() had waited
                attempt.is_up = True
                attempt.deadline = time.monotonic() + IDENTITY_S
                self._selector.modify(made, selectors.EVENT_READ, attempt)
                made.send(_REQUEST)
                return
            data = made.recv(_MOST_ANSWER)
            attempt.answer += data
            if not data or made.type == socket.SOCK_DGRAM or len(attempt.answer) > _MOST_ANSWER:
                self._end(attempt, "answered")
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(attempt, error)

    def _fail(self, attempt: Attempt, error: OSError) -> None:
        if attempt.is_up and attempt.asked["protocol"] != "UDP":
            self._end(attempt, "answered", str(error))  # the connection stood
        elif error.errno in _UNSUPPORTED:
            self._end(attempt, "unsupported", str(error))
        else:
            self._end(attempt, "refused" if error.errno in _REFUSED else "unreachable", str(error))

    def _give_up(self) -> None:
        now = time.monotonic()
        for attempt in [one for one in self._attempts.values() if one.deadline <= now]:
            stands = attempt.is_up and attempt.asked["protocol"] != "UDP"
            self._end(attempt, "answered" if stands else "silent")

    def _end(self, attempt: Attempt, how: str, error: str = "") -> None:
        del self._attempts[attempt.id]
        ms = round((time.monotonic() - attempt.began) * 1000, 2)
        if attempt.socket is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(attempt.socket)
            attempt.socket.close()
        self._tell({"id": attempt.id, "end": how, "ms": ms, "error": error, **identity(attempt.answer)})

    def _tell(self, fact: dict[str, Any]) -> None:
        data = json.dumps(fact).encode() + b"\n"
        while data:
            data = data[os.write(self._outlet, data) :]


def identity(answer: bytes) -> dict[str, str]:
    """Who answered and whom it saw, where a stand-in did."""
    try:
        said = json.loads(answer.partition(b"\r\n\r\n")[2] or answer)
        return {"pod": f"{said['namespace']}/{said['pod']}", "peer": str(said["peer"])}
    except (ValueError, TypeError, KeyError):
        return {}


if __name__ == "__main__":
    Probing(sys.stdin.fileno(), sys.stdout.fileno()).run()
