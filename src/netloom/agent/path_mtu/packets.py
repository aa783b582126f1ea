"""Probes and answers as bytes. Pure. In: numbers. Out: payloads of UDP, or None for bytes that are none of ours.

A probe is mostly filling, an answer is short whatever the probe was: whoever sends probes with a stranger's address as their source
makes less of them, not more. An answer repeats 16 random bytes that only whoever saw the probe can know.
"""

from __future__ import annotations

import struct

import msgspec

_MAGIC = b"nlpath1"
_HEAD = struct.Struct("!7sB16sH")
ASK, ANSWER, ASK_UNCHECKED = 1, 2, 3
"""A probe, an answer, and a probe whose answer is to have no UDP checksum, so that what spoils checksums on the way back does not tell
against the way there."""
LEAST = _HEAD.size
"""Bytes of the smallest probe, and of every answer."""
UDP_HEADER = 8


class Probe(msgspec.Struct, frozen=True):
    """A probe or an answer: its token, and how many bytes of payload the probe had."""

    kind: int
    token: bytes
    size: int


def encode_probe(token: bytes, size: int, kind: int = ASK) -> bytes:
    """A payload of ``size`` bytes, at least :data:`LEAST`."""
    size = max(size, LEAST)
    return _HEAD.pack(_MAGIC, kind, token, size) + bytes(size - LEAST)


def encode_answer(probe: Probe) -> bytes:
    """What is said to a probe."""
    return _HEAD.pack(_MAGIC, ANSWER, probe.token, probe.size)


def decode(payload: bytes) -> Probe | None:
    """A probe that came whole, or an answer; None for anything else."""
    if len(payload) < LEAST:
        return None
    magic, kind, token, size = _HEAD.unpack_from(payload)
    if magic != _MAGIC or kind not in (ASK, ANSWER, ASK_UNCHECKED):
        return None
    if len(payload) != (LEAST if kind == ANSWER else size):
        return None
    return Probe(kind, token, size)


def payload_of(packet: int, is_v6: bool) -> int:
    """Bytes of payload that make an IP packet of this size."""
    return packet - (40 if is_v6 else 20) - UDP_HEADER
