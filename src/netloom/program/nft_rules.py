"""Rules as statements, for chains that change with the cluster: they go to the kernel without the ``nft`` program. Pure.

In: what a rule looks at and does. Out: the same in nft's words. Not here: the kernel's encoding (``linux/nft_rule_codec``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from netloom.program.nft import AddRule, Verdict
from netloom.units import Family, Protocol


class Side(enum.Enum):
    """Which end of a packet."""

    SOURCE = "saddr"
    DESTINATION = "daddr"


class AddressIn(msgspec.Struct, frozen=True):
    """One address of the packet is in a set of addresses (or ranges of them)."""

    side: Side
    set: str


class TupleIn(msgspec.Struct, frozen=True):
    """Destination address, protocol and destination port are in a set of such."""

    set: str


class PairIn(msgspec.Struct, frozen=True):
    """Source and destination address are in a set of such pairs."""

    set: str


class ProtocolIs(msgspec.Struct, frozen=True):
    """The transport protocol."""

    protocol: Protocol


class PortIn(msgspec.Struct, frozen=True):
    """The destination port, first to last, both included; only after :class:`ProtocolIs`."""

    first: int
    last: int


class Count(msgspec.Struct, frozen=True):
    """Count packets and bytes from here on."""


class Log(msgspec.Struct, frozen=True):
    """Hand the packet's first bytes to who listens at a group of NFLOG, with a text of at most 63 bytes."""

    group: int
    prefix: str


class Limit(msgspec.Struct, frozen=True):
    """Go on with so many packets a second, and as many at once; with the others the rule does not match."""

    a_second: int


class Look(msgspec.Struct, frozen=True):
    """Look an address up in a verdict map, and do what it says; go on where it has none."""

    side: Side
    map: str


class Do(msgspec.Struct, frozen=True):
    """``return``, ``drop``, ``accept``, ``jump`` or ``goto``."""

    verdict: Verdict


Statement = AddressIn | TupleIn | PairIn | ProtocolIs | PortIn | Count | Log | Limit | Look | Do


def rule(family: Family, chain: str, statements: Iterable[Statement], comment: str = "") -> AddRule:
    """Append a rule made of these statements."""
    made = tuple(statements)
    return AddRule(chain, " ".join(text(family, one) for one in made), comment, made)


def text(family: Family, statement: Statement) -> str:
    """A statement in nft's words."""
    match statement:
        case AddressIn(side, name):
            words = f"{family.value} {side.value} @{name}"
        case TupleIn(name):
            words = f"{family.value} daddr . meta l4proto . th dport @{name}"
        case PairIn(name):
            words = f"{family.value} saddr . {family.value} daddr @{name}"
        case ProtocolIs(protocol):
            words = f"meta l4proto {protocol.word}"
        case PortIn(first, last):
            words = f"th dport {first}" if first == last else f"th dport {first}-{last}"
        case Count():
            words = "counter"
        case Log(group, prefix):
            words = f'log prefix "{prefix}" group {group}'
        case Limit(number):
            words = f"limit rate {number}/second burst {number} packets"
        case Look(side, name):
            words = f"{family.value} {side.value} vmap @{name}"
        case Do(verdict):
            words = str(verdict)
    return words
