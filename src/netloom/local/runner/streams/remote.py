"""A client of exec or attach, whatever protocol it speaks: its input, its terminal size, its outputs, its status.

In: nothing. Out: the seam between the protocols (``channels``, ``spdy_remote``) and what runs (``exec``, ``attach``), and
the v1 Status that ends a command (apimachinery meta/v1; causes as kubectl reads them).
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

QUEUE = 16
"""Pieces of input that wait for a process; beyond that the client waits."""


class Wish(msgspec.Struct, frozen=True):
    """What a client asks for (core/v1 PodExecOptions, PodAttachOptions)."""

    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


class Size(msgspec.Struct, frozen=True, rename="pascal"):
    """Size of a terminal, in characters, as clients send it."""

    width: int = 0
    height: int = 0


class Inbox:
    """What has come from a client and waits to be used."""

    def __init__(self) -> None:
        self.stdin: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        """Pieces of input; an empty one is the end."""
        self.sizes: asyncio.Queue[Size] = asyncio.Queue(QUEUE)
        self.gone = asyncio.Event()
        """The client has left."""

    def resize(self, payload: bytes) -> None:
        """Take a new size; what cannot be read, and what nobody takes in time, is left out."""
        try:
            size = msgspec.json.decode(payload, type=Size)
        except msgspec.DecodeError:
            return
        if 0 < size.width < 1 << 16 and 0 < size.height < 1 << 16 and not self.sizes.full():
            self.sizes.put_nowait(size)


class Remote(Protocol):
    """One client."""

    inbox: Inbox

    async def ready(self) -> None:
        """Wait until the client's streams are there; fails with Unavailable where they do not come."""

    async def run(self) -> None:
        """Fill the inbox until the client has left; then ``inbox.gone`` is set."""

    async def write(self, data: bytes, *, error: bool = False) -> None:
        """Send output; where the client has left, it is dropped."""

    async def finish(self, status: bytes) -> None:
        """Send the Status and end."""


def exited(code: int) -> bytes:
    """The Status of a command that ended; codes of signals are 128 and the signal's number, as shells say."""
    if code == 0:
        return _encode({"metadata": {}, "status": "Success"})
    code = 128 - code if code < 0 else code
    return _encode(
        {
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": f"command terminated with non-zero exit code: {code}",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    )


def failed(problem: str) -> bytes:
    """The Status of what could not be done at all."""
    return _encode(
        {"metadata": {}, "status": "Failure", "reason": "InternalError", "message": problem, "code": 500}
    )


def _encode(status: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"kind": "Status", "apiVersion": "v1"} | status)
