"""Where wishes reach process 1, which has no event loop: the kernel sends it SIGIO when somebody comes, and nobody is waited for.

In: a unix socket of packets; out: wishes with whom to answer. Not here: what is done about them (``power.py``, ``cables.py``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from netloom.errors import NetloomError
from netloom.local.failures.words import MOST_BYTES, Answer, Wish, decode_wish, encode
from netloom.local.refusal import Failed

_MOST_CALLERS = 16
"""Who comes when so many have not said anything yet is sent away."""


class Desk:
    """The socket, and those who have connected and not spoken yet."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)  # of a run that was killed
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(_MOST_CALLERS)
        _tell_by_signal(self._listener)
        self._callers: list[socket.socket] = []

    def serve(self, do: Callable[[Wish], Answer]) -> None:
        """Hear everybody who has something to say, one after the other; returns at once where nobody has."""
        self._accept()
        for caller in self._callers[:]:
            try:
                data = caller.recv(MOST_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            self._callers.remove(caller)
            with caller:
                if data:
                    _answer(caller, _do(do, data))

    def close(self) -> None:
        """Let go of the sockets, as a child of process 1 does."""
        for one in (self._listener, *self._callers):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # nobody more, or one who has left
                return
            if len(self._callers) >= _MOST_CALLERS:
                caller.close()
                continue
            caller.setblocking(False)
            _tell_by_signal(caller)
            self._callers.append(caller)


def _do(do: Callable[[Wish], Answer], data: bytes) -> Answer:
    try:
        return do(decode_wish(data))
    except msgspec.MsgspecError as error:
        return Failed(f"no such wish: {error}", exit_code=2)
    except NetloomError as error:
        return Failed(error.problem, error.hint, error.exit_code)


def _answer(caller: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError):
        caller.send(encode(answer))


def _tell_by_signal(one: socket.socket) -> None:
    fcntl.fcntl(one, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(one, fcntl.F_SETFL, fcntl.fcntl(one, fcntl.F_GETFL) | fcntl.FASYNC)
