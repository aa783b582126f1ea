"""The agent's socket for questions about this node. In: one line, the name of a question. Out: one JSON document, or why not.

One connection is one question; nothing can be changed here. Only root and our own user get an answer (the socket has mode 0600); size,
time and number of connections are bounded. Not here: the answers, which whoever makes the server hands to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from netloom.errors import NotFound, StorageError, Unavailable

log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 16
_MOST_QUESTION = 256
_MOST_ANSWER = 16 << 20
_TIMEOUT_S = 5.0
_PEER = struct.Struct("=iII")


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What comes back: one of the two."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""


def socket_beside(cni_socket: str | Path) -> Path:
    """Where a node's agent answers questions: beside its CNI socket."""
    return Path(cni_socket).with_name("agent.sock")


class QuestionServer:
    """The socket. ``open()``, then ``run()`` until cancelled.

    Args:
        path: where to listen; a socket that a former run left there is replaced.
        answers: by question, what gives its answer: anything that msgspec can write. Must not block.
    """

    def __init__(self, path: Path | str, answers: Mapping[str, Callable[[], Any]]) -> None:
        self._path = Path(path)
        self._answers = dict(answers)
        self._listener: socket.socket | None = None
        self._connections = asyncio.Semaphore(_MOST_CONNECTIONS)

    def open(self) -> None:
        """Listen; from now on questions wait for :meth:`run`.

        Raises:
            StorageError: the socket cannot be made there.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            self._path.unlink(missing_ok=True)
            listener.bind(str(self._path))
            self._path.chmod(0o600)  # before listen(): nobody can connect until then
            listener.listen(_MOST_CONNECTIONS)
        except OSError as error:
            listener.close()
            raise StorageError(
                f"agent socket {self._path}: {error.strerror or error}",
                "see that its directory exists and is writable, and that the path has at most 107 bytes",
            ) from error
        self._listener = listener

    async def run(self) -> None:
        """Answer until cancelled.

        Raises:
            StorageError: the socket cannot be made.
        """
        if self._listener is None:
            self.open()
        server = await asyncio.start_unix_server(self._serve, sock=self._listener, limit=_MOST_QUESTION)
        try:
            await server.serve_forever()
        finally:
            server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._connections, asyncio.timeout(_TIMEOUT_S):
                if _may_ask(writer):
                    question = (await reader.readuntil(b"\n")).decode(errors="replace").strip()
                    writer.write(msgspec.json.encode(self._answer(question)))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.info("agent socket: %s", str(error) or "no question came")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, question: str) -> _Answer:
        give = self._answers.get(question)
        if give is None:
            known = ", ".join(sorted(self._answers))
            return _Answer(error=f"no such question: {question[:40]!r}; ask one of: {known}")
        return _Answer(answer=msgspec.Raw(msgspec.json.encode(give())))


async def ask(path: Path | str, question: str) -> bytes:
    """The answer of the agent behind a socket, as JSON.

    Raises:
        NotFound: the agent knows no such question.
        Unavailable: nobody answers there.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(question.encode() + b"\n")
                received = await reader.read(_MOST_ANSWER)
                while piece := await reader.read(_MOST_ANSWER - len(received)):
                    received += piece
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        answer = msgspec.json.decode(received, type=_Answer)
    except (OSError, TimeoutError, msgspec.MsgspecError) as error:
        raise Unavailable(
            f"agent socket {path}: {str(error) or 'no answer'}", "see that the agent runs, and ask as its user"
        ) from error
    if answer.error:
        raise NotFound(f"agent socket {path}: {answer.error}")
    return bytes(answer.answer)


def _may_ask(writer: asyncio.StreamWriter) -> bool:
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(peer)
    return uid in {0, os.getuid()}
