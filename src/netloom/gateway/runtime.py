"""The runtime socket of a HAProxy: commands and their answers.

Comes in: a path, commands. Goes out: answers, or an error for the first that was refused. Not here: which commands (``haproxy/difference.py``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from netloom.errors import InvalidObject, Unavailable

_PROMPT = b"\n> "
_SEVERE = re.compile(r"^\[([0-4])\]:\s*+(?!(?:IP|port) changed from |no need to change )(.*)", re.MULTILINE)
"""What a server's address was before is told as a warning, though it is done as it was asked."""
_PATIENCE_S = 10.0
_AT_ONCE = 200
"""Commands that are written before their answers are read."""


class Runtime:
    """One connection to a HAProxy, opened when it is needed and again when it was lost.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, commands: Sequence[str]) -> list[str]:
        """The answers, in order.

        Raises:
            InvalidObject: HAProxy refused a command; those before it are done, and those behind it may be.
            Unavailable: it does not answer.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(_PATIENCE_S + len(commands) / 100):
                    return await self._ask(commands)
            except (OSError, EOFError) as error:  # TimeoutError is an OSError
                self.close()
                raise Unavailable(f"HAProxy does not answer at {self._path}: {error!r}") from error
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, commands: Sequence[str]) -> list[str]:
        reader, writer = await self._connected()
        answers: list[str] = []
        for start in range(0, len(commands), _AT_ONCE):
            some = commands[start : start + _AT_ONCE]
            writer.write("".join(f"{command}\n" for command in some).encode())
            await writer.drain()
            answers += [_checked(command, await self._answer(reader)) for command in some]
        return answers

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(str(self._path), limit=1 << 26)
            reader, writer = self._streams
            writer.write(b"prompt\nset severity-output number\n")
            await self._answer(reader)
            await self._answer(reader)
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader) -> str:
        data = await reader.readuntil(_PROMPT)
        return data[: -len(_PROMPT)].decode(errors="replace").strip("\n")


def _checked(command: str, answer: str) -> str:
    severe = _SEVERE.search(answer)
    if severe is None:
        return answer
    raise InvalidObject("HAProxy", "", f"refused {command.splitlines()[0]!r}: {severe[2]}")
