"""A process's socket for questions about itself. In: one line, a question. Out: one JSON document, or why not.

A question is a word, with further words behind it where it asks about something in particular. Some are followed: their answer is a
line for each thing that happens, until the asker leaves. One connection is one question; nothing can be changed here. Only root and
our own user get an answer (the socket has mode 0600); size, time and number of connections are bounded. Not here: the answers, which
whoever makes the server hands to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from netloom.errors import NetloomError, NotFound, Unavailable
from netloom.linux.unix_sockets import listen

log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 16
_MOST_FOLLOWERS = 8
_MOST_QUESTION = 4 << 10
_MOST_ANSWER = 16 << 20
_MOST_LINE = 1 << 20
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
        about: the same for questions with further words, which are given to it; may wait. May raise NetloomError.
        followed: what happens from now on, for questions that are followed; closed when the asker leaves.
    """

    def __init__(
        self,
        path: Path | str,
        answers: Mapping[str, Callable[[], Any]],
        *,
        about: Mapping[str, Callable[[str], Awaitable[Any]]] = {},
        followed: Mapping[str, Callable[[], AsyncGenerator[Any, None]]] = {},
    ) -> None:
        self._path = Path(path)
        self._answers = dict(answers)
        self._about = dict(about)
        self._followed = dict(followed)
        self._listener: socket.socket | None = None
        self._connections = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._followers = 0

    def open(self) -> None:
        """Listen; from now on questions wait for :meth:`run`.

        Raises:
            StorageError: the socket cannot be made there.
        """
        self._listener = listen(self._path, what="agent socket", backlog=_MOST_CONNECTIONS)

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
            question = await self._answered(reader, writer)
            if question in self._followed:
                await self._tell(question, reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.info("agent socket: %s", str(error) or "no question came")
        except asyncio.CancelledError:
            pass  # the process ends; nobody waits for this, and Python 3.11 would log it as a fault
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Read the question, and answer it unless it is one to follow; the question."""
        async with self._connections, asyncio.timeout(_TIMEOUT_S):
            if not _may_ask(writer):
                return ""
            question = (await reader.readuntil(b"\n")).decode(errors="replace").strip()
            if question not in self._followed:
                writer.write(msgspec.json.encode(await self._answer(question)))
                await writer.drain()
            return question

    async def _answer(self, question: str) -> _Answer:
        word, _, words = question.partition(" ")
        try:
            if words and (about := self._about.get(word)) is not None:
                return _Answer(answer=msgspec.Raw(msgspec.json.encode(await about(words))))
            if (give := self._answers.get(question)) is not None:
                return _Answer(answer=msgspec.Raw(msgspec.json.encode(give())))
        except NetloomError as error:
            return _Answer(error=str(error))
        known = ", ".join(sorted({*self._answers, *self._followed, *(f"{one} ..." for one in self._about)}))
        return _Answer(error=f"no such question: {question[:40]!r}; ask one of: {known}")

    async def _tell(self, question: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A line for each thing that happens, until the asker closes its side or reads nothing for too long."""
        if self._followers == _MOST_FOLLOWERS:
            writer.write(_line(_Answer(error=f"{_MOST_FOLLOWERS} follow already; end one of them")))
            return
        self._followers += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(self._tell_all(question, writer), name=f"tell {question}")
                await reader.read()
                telling.cancel()
        except* OSError as errors:
            log.info("agent socket: %s", errors.exceptions[0])
        finally:
            self._followers -= 1

    async def _tell_all(self, question: str, writer: asyncio.StreamWriter) -> None:
        async with contextlib.aclosing(self._followed[question]()) as things:
            async for thing in things:
                writer.write(_line(_Answer(answer=msgspec.Raw(msgspec.json.encode(thing)))))
                async with asyncio.timeout(_TIMEOUT_S):
                    await writer.drain()
        writer.close()


def _line(answer: _Answer) -> bytes:
    return msgspec.json.encode(answer) + b"\n"


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
            f"agent socket {path}: {str(error) or 'no answer'}",
            "see that the agent runs, and ask as its user",
        ) from error
    if answer.error:
        raise NotFound(f"agent socket {path}: {answer.error}")
    return bytes(answer.answer)


async def follow(path: Path | str, question: str) -> AsyncGenerator[bytes, None]:
    """What the agent behind a socket tells from now on, as JSON documents; ends when the agent does.

    Raises:
        NotFound: the agent knows no such question, or tells nobody more.
        Unavailable: nobody answers there.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=_MOST_LINE)
    except OSError as error:
        raise Unavailable(
            f"agent socket {path}: {error.strerror or error}", "see that the agent runs, and ask as its user"
        ) from error
    try:
        writer.write(question.encode() + b"\n")
        while line := await reader.readline():
            told = msgspec.json.decode(line, type=_Answer)
            if told.error:
                raise NotFound(f"agent socket {path}: {told.error}")
            yield bytes(told.answer)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise Unavailable(f"agent socket {path}: {error}", "see that the agent runs") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _may_ask(writer: asyncio.StreamWriter) -> bool:
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(peer)
    return uid in {0, os.getuid()}
