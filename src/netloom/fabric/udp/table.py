"""Who the peers of a tunnel are. Pure. In: a table as the agent tells it. Out: the peer of an address, the owner of a packet.

Not here: packets (``forward``), how the table comes (``feed``).
"""

from __future__ import annotations

import ipaddress
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

_CACHED = 1 << 16
"""Addresses whose peer is remembered; with more the memory begins anew."""


class PeerEntry(msgspec.Struct, frozen=True):
    """A node: its underlay address, its pods' ranges, and the bytes of UDP payload that get there in one piece."""

    address: str
    ranges: tuple[str, ...]
    payload: int


class PeerTable(msgspec.Struct, frozen=True):
    """All that the process knows.

    ``generation`` names it, ``local`` is our end, ``own`` are the ranges that our pods are in, where no peer's are.
    """

    generation: str = ""
    local: str = ""
    port: int = 0
    own: tuple[str, ...] = ()
    peers: tuple[PeerEntry, ...] = ()


class Peer:
    """A node as the process has it.

    Args:
        entry: what the agent said.
        port: of all nodes.
    """

    def __init__(self, entry: PeerEntry, port: int) -> None:
        self.address = entry.address
        self.target = (entry.address, port)
        self.told_payload = entry.payload
        self.payload = entry.payload
        """Less than told where a router on the way said so."""
        self.train = 0
        """Number of the last packet that was sent in pieces, modulo 256."""
        self.pieces: list[bytes] = []
        """What has come of a packet that is sent in pieces."""
        self.piece_of = -1
        """Its number."""


class Lookup:
    """A table, ready for packets. Ranges of the table do not overlap, but for longer ones within shorter ones, which win."""

    def __init__(self, table: PeerTable) -> None:
        self.table = table
        self.by_address: dict[str, Peer] = {}
        self._own = _Prefixes[bool]()
        self._peers = _Prefixes[Peer]()
        for text in table.own:
            self._own.add(text, True)
        for entry in table.peers:
            peer = self.by_address[entry.address] = Peer(entry, table.port)
            for text in entry.ranges:
                self._peers.add(text, peer)

    def peer_of(self, packed: bytes) -> Peer | None:
        """The node whose pods have an address; None where no peer has."""
        return self._peers.find(packed)

    def is_own(self, packed: bytes) -> bool:
        """Whether an address may be of this node's pods: in ``own``, and no peer's."""
        return self._own.find(packed) is True and self._peers.find(packed) is None


class _Prefixes(Generic[T]):
    """The value of the longest prefix that an address has; what was found is remembered, for a time."""

    def __init__(self) -> None:
        self._by_length: dict[tuple[int, int], dict[int, T]] = {}
        self._lengths: dict[int, list[int]] = {4: [], 16: []}
        self._found: dict[bytes, T | None] = {}

    def add(self, text: str, value: T) -> None:
        network = ipaddress.ip_network(text)
        size, length = network.max_prefixlen // 8, network.prefixlen
        of_length = self._by_length.setdefault((size, length), {})
        of_length[int(network.network_address) >> (size * 8 - length)] = value
        if length not in self._lengths[size]:
            self._lengths[size] = sorted((*self._lengths[size], length), reverse=True)

    def find(self, packed: bytes) -> T | None:
        try:
            return self._found[packed]
        except KeyError:
            pass
        if len(self._found) >= _CACHED:
            self._found.clear()
        found = self._found[packed] = self._search(packed)
        return found

    def _search(self, packed: bytes) -> T | None:
        size, number = len(packed), int.from_bytes(packed, "big")
        for length in self._lengths.get(size, ()):
            found = self._by_length[size, length].get(number >> (size * 8 - length))
            if found is not None:
                return found
        return None
