"""What the runner and the stand-in process say to each other over a unix socket: types and framing.

The runner says which pods exist and where their namespaces are; the stand-in process says when they listen. The runner's
process may end and come back: its first word names the pods to keep. Frames are a 4-byte length and msgpack.
"""

from __future__ import annotations

import asyncio
import enum
import struct

import msgspec

from netloom.errors import Unavailable

MAX_FRAME = 4 << 20


class Listen(msgspec.Struct, frozen=True, order=True):
    """One socket. A required one is a declared containerPort: without it the container cannot run."""

    port: int
    protocol: str = "TCP"
    required: bool = False


class Course(enum.Enum):
    """Where a container is in its life, as a server that behaves well goes through it."""

    SERVE = "serve"
    """It serves."""
    WANE = "wane"
    """It is about to be told to end: it serves, and asks clients to come back on other connections."""
    END = "end"
    """It was told to end (SIGTERM): it takes no new connections, and ends with the last of those it has."""


class App(msgspec.Struct, frozen=True):
    """A container that a stand-in plays."""

    name: str
    image: str
    generation: int = 0
    """Grows with each restart: sockets are opened anew, the log begins anew."""
    listens: tuple[Listen, ...] = ()
    notes: tuple[str, ...] = ()
    """First lines of its log."""
    course: Course = Course.SERVE


class StandInPod(msgspec.Struct, frozen=True):
    """A pod whose sandbox stands."""

    uid: str
    namespace: str
    name: str
    node: str
    netns: str
    """Path of the network namespace, ``/proc/PID/ns/net``."""
    apps: tuple[App, ...] = ()


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """First word of a runner: all other pods are gone."""

    uids: tuple[str, ...]


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """Listen for this pod; what was said of it before no longer holds."""

    pod: StandInPod


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """Close everything of this pod."""

    uid: str


class ReadLog(msgspec.Struct, frozen=True, tag="log", kw_only=True):
    """Read a container's log; answered by LogLines until one of them is the last."""

    uid: str
    container: str
    previous: bool = False
    tail: int | None = None
    since: float | None = None
    """Only lines from this wall-clock time on, seconds since the epoch."""
    follow: bool = False


class State(msgspec.Struct, frozen=True, tag="state"):
    """How a container fares: ``problem`` is empty where it listens on all required ports.

    Said after each Serve, and once more, unasked, when the last connection of a container that ends has gone.
    """

    uid: str
    container: str
    generation: int
    problem: str = ""
    ended: bool = False
    """It was told to end, and has."""


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """One line of a log, and when it was written (seconds since the epoch)."""

    wall: float
    text: str


class LogLines(msgspec.Struct, frozen=True, tag="lines"):
    """A piece of a log."""

    lines: tuple[LogLine, ...] = ()
    last: bool = False
    problem: str = ""


ToStandIns = Keep | Serve | Drop | ReadLog
FromStandIns = State | LogLines

_encode = msgspec.msgpack.Encoder().encode
_decode_to = msgspec.msgpack.Decoder(ToStandIns).decode
_decode_from = msgspec.msgpack.Decoder(FromStandIns).decode


def frame(message: ToStandIns | FromStandIns) -> bytes:
    """A message as it goes over the socket."""
    body = _encode(message)
    return struct.pack(">I", len(body)) + body


async def read_to_standins(reader: asyncio.StreamReader) -> ToStandIns | None:
    """The runner's next word; None at the end.

    Raises:
        Unavailable: what came is no message.
    """
    body = await _read(reader)
    try:
        return None if body is None else _decode_to(body)
    except msgspec.DecodeError as error:
        raise Unavailable(
            f"stand-in socket: no message: {error}", "are both processes of one version?"
        ) from error


async def read_from_standins(reader: asyncio.StreamReader) -> FromStandIns | None:
    """The stand-in process's next word; None at the end.

    Raises:
        Unavailable: what came is no message.
    """
    body = await _read(reader)
    try:
        return None if body is None else _decode_from(body)
    except msgspec.DecodeError as error:
        raise Unavailable(
            f"stand-in socket: no message: {error}", "are both processes of one version?"
        ) from error


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    try:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        if length > MAX_FRAME:
            raise Unavailable(
                f"stand-in socket: a message of {length} bytes", "are both processes of one version?"
            )
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
