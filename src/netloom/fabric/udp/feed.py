"""How the peers' table comes from the agent: over a unix socket, whole, with a name of its own. In: a table. Out: its name, when in force.

The process says at the beginning of each connection which table it has, and after each table which it has now. An agent that goes
takes nothing away. Not here: what the table is for (``table``).
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import msgspec

from netloom.errors import Unavailable
from netloom.fabric.udp.table import PeerTable

FRAME_LIMIT = 64 << 20
"""Bytes of one frame at most: 100 for a peer."""
_TIMEOUT_S = 5.0


class Told(msgspec.Struct, frozen=True):
    """What the process has: the table's name (empty: none yet), or why it did not take one; and what it dropped, by reason."""

    generation: str = ""
    problem: str = ""
    dropped: dict[str, int] = {}


table_decoder = msgspec.msgpack.Decoder(PeerTable)
_told_decoder = msgspec.msgpack.Decoder(Told)


def frame(message: msgspec.Struct) -> bytes:
    """A message as it travels: its length in four bytes, and MessagePack."""
    payload = msgspec.msgpack.encode(message)
    return len(payload).to_bytes(4, "big") + payload


def connect(path: Path) -> tuple[socket.socket, Told]:
    """A connection, and what the process has; the connection ends when the process does.

    Raises:
        Unavailable: nobody listens, or nobody answers.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        try:
            sock.settimeout(_TIMEOUT_S)
            sock.connect(str(path))
            told = _receive(sock)
        except (OSError, msgspec.DecodeError) as error:
            raise Unavailable(
                f"the tunnels' process at {path}: {error}", "is `netloom.fabric.udp.main` running?"
            ) from error
        undo.pop_all()
    return sock, told


def push(path: Path, table: PeerTable) -> Told:
    """Give the process a table and wait until it is in force.

    Raises:
        Unavailable: nobody listens, nobody answers, or the process cannot take it.
    """
    sock, _ = connect(path)
    with sock:
        try:
            sock.sendall(frame(table))
            told = _receive(sock)
        except (OSError, msgspec.DecodeError) as error:
            raise Unavailable(f"the tunnels' process at {path}: {error}", "it is asked again") from error
    if told.problem:
        raise Unavailable(f"the tunnels' process: {told.problem}", "it is asked again")
    return told


def _receive(sock: socket.socket) -> Told:
    size = int.from_bytes(_exactly(sock, 4), "big")
    return _told_decoder.decode(_exactly(sock, min(size, FRAME_LIMIT)))


def _exactly(sock: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        chunk = sock.recv(size - len(found))
        if not chunk:
            raise ConnectionResetError("it ended")
        found += chunk
    return bytes(found)
