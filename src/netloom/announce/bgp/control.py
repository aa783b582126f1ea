"""The control socket of BIRD: questions and orders. In: a command, one line. Out: the lines of its answer, or why there is none.

An answer is lines with a number of four digits before them (a space stands for the number of the line before); the last one has a space
behind its number. Numbers from 8000 on say that it was refused (BIRD 2.0 user's guide, 4 Remote control). Not here: what is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from netloom.errors import NetloomError, Unavailable

_ANSWER_S = 5.0
_LINE = re.compile(r"(\d{4})([ -])(.*)")
_REFUSED = 8000
_MOST_BYTES = 4 << 20


class Refused(NetloomError):
    """BIRD does not do what it was told: a configuration with a fault, a command that it does not know."""


class Line(msgspec.Struct, frozen=True):
    """One line of an answer."""

    code: int
    text: str


class Control(asyncio.Protocol):
    """A connection. One owner: one command at a time. ``connect`` makes it.

    Args:
        on_end: called when it ends, which is when BIRD does.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._text = b""
        self._lines: list[Line] = []
        self._answer: asyncio.Future[tuple[Line, ...]] | None = None
        self._hello: asyncio.Future[tuple[Line, ...]] = asyncio.get_running_loop().create_future()
        self._answer = self._hello

    @staticmethod
    async def connect(path: Path, on_end: Callable[[], None]) -> Control:
        """A connection to the BIRD that listens there.

        Raises:
            Unavailable: there is none, or it does not answer.
        """
        loop = asyncio.get_running_loop()
        control: Control | None = None
        try:
            async with asyncio.timeout(_ANSWER_S):
                _, control = await loop.create_unix_connection(lambda: Control(on_end), str(path))
                await control._hello  # noqa: SLF001 - this class's own
        except (OSError, TimeoutError) as error:
            if control is not None:
                control.close()
            raise Unavailable(f"{path}: no BIRD answers") from error
        return control

    async def ask(self, command: str) -> tuple[Line, ...]:
        """The answer to a command.

        Raises:
            Unavailable: the connection has ended, or there is no answer in time.
            Refused: BIRD says no.
        """
        if self._transport is None or self._transport.is_closing():
            raise Unavailable("BIRD has ended")
        self._lines, self._answer = [], asyncio.get_running_loop().create_future()
        self._transport.write(command.encode() + b"\n")
        try:
            async with asyncio.timeout(_ANSWER_S):
                lines = await self._answer
        except TimeoutError as error:
            self.close()  # what still comes would be taken for the next answer
            raise Unavailable(f"BIRD did not answer to {command!r} within {_ANSWER_S:g} s") from error
        if refusals := [line.text for line in lines if line.code >= _REFUSED]:
            raise Refused(f"BIRD refused {command!r}: {'; '.join(refusals)}")
        return lines

    def close(self) -> None:
        """End the connection; BIRD goes on."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._text += data
        if len(self._text) > _MOST_BYTES:
            self.close()
            return
        *whole, self._text = self._text.split(b"\n")
        for raw in whole:
            self._take(raw.decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unavailable("BIRD has ended"))
        self._on_end()

    def _take(self, text: str) -> None:
        found = _LINE.match(text)
        if found is None:
            if text.startswith(" ") and self._lines:
                self._lines.append(Line(self._lines[-1].code, text[1:]))
            return
        self._lines.append(Line(int(found[1]), found[3]))
        if found[2] == " " and self._answer is not None and not self._answer.done():
            self._answer.set_result(tuple(self._lines))
