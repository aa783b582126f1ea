"""Traffic control as values: a token bucket, a bad line. In: nothing. Out: types. Not here: netlink (``linux/tc``), whose limit it is."""

from __future__ import annotations

import msgspec


class TokenBucket(msgspec.Struct, frozen=True):
    """A queue that lets so much pass (qdisc ``tbf``): in any time t at most ``burst + rate * t`` bytes.

    Bytes are those of whole Ethernet frames. A frame larger than ``burst`` never passes.
    """

    rate: int
    """Bytes a second."""
    burst: int
    """Bytes that may pass at once."""
    queue: int
    """Bytes that may wait; what comes beyond is dropped."""


class Impairment(msgspec.Struct, frozen=True):
    """A line that is slow and loses packets (qdisc ``netem``)."""

    delay_ns: int = 0
    jitter_ns: int = 0
    """By how much the delay varies at most, up and down."""
    loss: float = 0
    """Share of the packets that are lost, 0 to 1."""
    queue: int = 1000
    """Packets that may be under way; what comes beyond is dropped."""
