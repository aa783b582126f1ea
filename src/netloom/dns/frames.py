"""Frames between a node's agent and its DNS process: a length of four bytes, then a message; and their sockets. Pure."""

from __future__ import annotations

from pathlib import Path

import msgspec

FRAME_LIMIT = 8 << 20
"""Bytes of one frame at most."""
LENGTH = 4
"""Bytes before each frame."""

_encoder = msgspec.msgpack.Encoder()


def frame(message: msgspec.Struct) -> bytes:
    """A message with its length before it."""
    payload = _encoder.encode(message)
    return len(payload).to_bytes(LENGTH, "big") + payload


def length_of(head: bytes) -> int:
    """How long the frame is that begins so.

    Raises:
        ValueError: longer than any may be.
    """
    length = int.from_bytes(head[:LENGTH], "big")
    if length > FRAME_LIMIT:
        raise ValueError(f"frame of {length} bytes is over the limit of {FRAME_LIMIT}")
    return length


def told_beside(feed_socket: str) -> Path:
    """Where the agent is told what pods are told (``told``), given the socket by which it tells."""
    return Path(f"{feed_socket}.told")


def questions_beside(feed_socket: str) -> Path:
    """Where a DNS process answers questions about itself, given the socket by which it is told."""
    return Path(f"{feed_socket}.ask")
