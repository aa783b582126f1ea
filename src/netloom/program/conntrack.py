"""Conntrack entries as values. Pure: reading and deleting them is ``linux/conntrack``; which may live, the planes say."""

from __future__ import annotations

import msgspec

from netloom.units import Addr, Family


class Tuple(msgspec.Struct, frozen=True):
    """One direction of a flow, as its packets look. Ports are 0 for protocols without ports.

    Of ICMP it is the identifier in place of the first port, and type and code, a byte each, in place of the second.
    """

    source: Addr
    destination: Addr
    source_port: int = 0
    destination_port: int = 0


class Flow(msgspec.Struct, frozen=True):
    """One entry of the table, of zone 0."""

    family: Family
    protocol: int
    """IANA number."""
    original: Tuple
    reply: Tuple
    """What the answer is expected to look like before it is translated back: its source is where the flow really goes."""
    id: int
    """The kernel's number of the entry: a later flow of the same addresses has another, unless its entry took the same place."""

    @property
    def is_translated(self) -> bool:
        """True where the destination was changed (DNAT)."""
        return (self.reply.source, self.reply.source_port) != (
            self.original.destination,
            self.original.destination_port,
        )


class FlowFilter(msgspec.Struct, frozen=True):
    """Which flows to read; the kernel leaves out the others. None means any."""

    family: Family
    protocol: int | None
    """IANA number."""
    destination: Addr | None = None
    """Original destination."""
    destination_port: int | None = None
    """Original destination port."""
