"""What speakers say to each other, as bytes. In: a heartbeat and the key that all share, or a datagram. Out: a datagram, or a heartbeat.

A datagram is 16 bytes of HMAC-SHA256 (RFC 2104, cut as RFC 4868 does) and a msgpack array. Whoever has not the key cannot make one; one that was
recorded is refused by its numbers (``state``). Not here: sockets, and what follows.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
from collections.abc import Iterable

import msgspec

from netloom.units import Addr

_MAC = 16
_VERSION = 1
LONGEST = 1400
"""Bytes; no datagram of ours needs fragments on any link."""
CLAIMS_LIMIT = 40
"""Addresses in one heartbeat; whoever holds more says them page by page."""
_AGE_UNIT_S = 0.01
_OLDEST = 254
_ENTRY = 5
_FORMAT = "4sB"
_ENTRIES_LIMIT = 64
"""The freshest; more are not sent to all the time in a cluster of 1,000."""


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """One node says that it is alive, whom it hears, and for which addresses it answers."""

    version: int = _VERSION
    sender: str
    incarnation: int
    """When its process began, in microseconds; a later process has a higher one."""
    sequence: int
    """Each heartbeat of a process has a higher one than those before."""
    is_ready: bool = False
    """Whether the sender may be given duties."""
    is_leaving: bool = False
    """It stops now, and answers for nothing any more."""
    asks: bool = False
    """It wants a heartbeat back at once."""
    heard: bytes = b""
    """Whom the sender hears itself, and how long ago (``write_heard``)."""
    claims_version: int = 0
    """Changes with the set of addresses that the sender answers for."""
    page: int = 0
    pages: int = 1
    claims: tuple[bytes, ...] = ()
    """Addresses of this page, packed."""

    @property
    def rank(self) -> tuple[int, int]:
        """Later ones have higher ones."""
        return self.incarnation, self.sequence


_decoder = msgspec.msgpack.Decoder(Heartbeat)


def seal(beat: Heartbeat, key: bytes) -> bytes:
    """The datagram."""
    body = msgspec.msgpack.encode(beat)
    return _mac(body, key) + body


def unseal(datagram: bytes, key: bytes) -> Heartbeat | None:
    """The heartbeat; None where it is not from somebody with the key, or not of our form."""
    if not _MAC < len(datagram) <= LONGEST:
        return None
    body = datagram[_MAC:]
    if not hmac.compare_digest(_mac(body, key), datagram[:_MAC]):
        return None
    try:
        beat = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    is_whole = beat.version == _VERSION and 0 <= beat.page < beat.pages and len(beat.heard) % _ENTRY == 0
    return beat if is_whole and all(len(claim) in (4, 16) for claim in beat.claims) else None


def _mac(body: bytes, key: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:_MAC]


def short_id(name: str) -> bytes:
    """A node's name in four bytes."""
    return hashlib.blake2b(name.encode(), digest_size=_ENTRY - 1).digest()


def write_heard(ages: Iterable[tuple[bytes, float]]) -> bytes:
    """Ids with the seconds since they were heard, rounded up; the freshest first, as many as have room."""
    fresh = sorted((age, id_) for id_, age in ages if age <= _OLDEST * _AGE_UNIT_S)
    return b"".join(
        id_ + bytes((min(_OLDEST, int(max(age, 0.0) / _AGE_UNIT_S) + 1),))
        for age, id_ in fresh[:_ENTRIES_LIMIT]
    )


def read_heard(text: bytes) -> list[tuple[bytes, float]]:
    """What ``write_heard`` wrote."""
    whole = len(text) - len(text) % _ENTRY
    return [(id_, age * _AGE_UNIT_S) for id_, age in struct.iter_unpack(_FORMAT, text[:whole])]


def pages_of(addresses: Iterable[Addr]) -> list[tuple[bytes, ...]]:
    """A set of addresses in as many pages as it needs; at least one."""
    packed = sorted((address.packed for address in addresses), key=lambda one: (len(one), one))
    return [tuple(packed[at : at + CLAIMS_LIMIT]) for at in range(0, len(packed), CLAIMS_LIMIT)] or [()]


def read_claims(packed: Iterable[bytes]) -> frozenset[Addr]:
    """The addresses of a page."""
    return frozenset(ipaddress.ip_address(one) for one in packed)
