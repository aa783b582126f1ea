"""Traffic control as values: a token bucket. In: nothing. Out: types. Not here: netlink (``linux/tc``), whose limit it is."""

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
