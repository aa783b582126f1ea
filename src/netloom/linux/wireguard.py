"""WireGuard in the kernel: its generic netlink. In: changes of ``program.wireguard``. Out: what the driver has, or KernelError.

The first half is pure (linux/wireguard.h). Not here: the interface itself (``rtnl``), who the peers are, the same for a driver
outside of the kernel (``wireguard_uapi``).
"""

from __future__ import annotations

import base64
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from netloom.linux.genetlink import GenericNetlink
from netloom.linux.netlink import attr, attributes, iter_attributes, nested, string, u8, u32
from netloom.program.wireguard import (
    Endpoint,
    WireguardChange,
    WireguardPeer,
    WireguardPeerState,
    WireguardState,
)
from netloom.units import Cidr

FAMILY = "wireguard"

_GET_DEVICE, _SET_DEVICE = 0, 1
_DEVICE_NAME, _DEVICE_PRIVATE_KEY, _DEVICE_PUBLIC_KEY = 2, 3, 4
_DEVICE_PORT, _DEVICE_PEERS = 6, 8
_PEER_KEY, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_KEEPALIVE = 1, 3, 4, 5
_PEER_HANDSHAKE, _PEER_RECEIVED, _PEER_SENT, _PEER_ALLOWED = 6, 7, 8, 9
_PEER_REMOVE, _PEER_REPLACE_ALLOWED, _PEER_UPDATE_ONLY = 1, 2, 4
_ALLOWED_FAMILY, _ALLOWED_ADDRESS, _ALLOWED_PREFIX = 1, 2, 3
_LIST = 0
"""Type of the members of a list: the kernel does not look at it."""

_PIECE_BYTES = 48 << 10
"""A list of peers is one attribute, whose length has 16 bits: longer ones go in several commands."""
_PEER_RANGES = 1000
"""Ranges of one peer in one message, for the same reason."""


def encode_change(name: str, change: WireguardChange) -> Iterator[bytes]:
    """The bodies of the commands for a change; as many as its peers need."""
    head = attr(_DEVICE_NAME, string(name))
    settings = b""
    if change.private_key is not None:
        settings += attr(_DEVICE_PRIVATE_KEY, change.private_key)
    if change.port is not None:
        settings += attr(_DEVICE_PORT, struct.pack("=H", change.port))
    if settings:
        yield head + settings
    piece: list[bytes] = []
    size = 0
    for peer in _peers(change):
        if piece and size + len(peer) > _PIECE_BYTES:
            yield head + nested(_DEVICE_PEERS, *piece)
            piece, size = [], 0
        piece.append(peer)
        size += len(peer)
    if piece:
        yield head + nested(_DEVICE_PEERS, *piece)


def decode_state(pieces: Iterable[bytes]) -> WireguardState:
    """The interface that a dump shows; a peer with many ranges comes in several pieces, one after the other."""
    public_key, port = "", 0
    peers: dict[str, WireguardPeerState] = {}
    for piece in pieces:
        found = attributes(piece)
        if (key := found.get(_DEVICE_PUBLIC_KEY)) is not None and any(key):
            public_key = base64.b64encode(key).decode()
        if (packed := found.get(_DEVICE_PORT)) is not None:
            (port,) = struct.unpack("=H", packed)
        for _, one in iter_attributes(found.get(_DEVICE_PEERS, b"")):
            state = _decode_peer(attributes(one))
            before = peers.get(state.peer.key)
            if before is not None:
                allowed = before.peer.allowed | state.peer.allowed
                state = msgspec.structs.replace(
                    before, peer=msgspec.structs.replace(before.peer, allowed=allowed)
                )
            peers[state.peer.key] = state
    return WireguardState(public_key, port, peers)


def _peers(change: WireguardChange) -> Iterator[bytes]:
    for peer in change.put:
        ranges = sorted(peer.allowed, key=lambda c: (c.version, c))
        first = True
        for start in range(0, max(len(ranges), 1), _PEER_RANGES):
            yield _encode_peer(peer, ranges[start : start + _PEER_RANGES], replace=first)
            first = False
    for key in change.remove:
        yield nested(_LIST, attr(_PEER_KEY, base64.b64decode(key)), attr(_PEER_FLAGS, u32(_PEER_REMOVE)))
    for key in change.greet:
        # whoever begins to keep a session alive speaks at once; that is all we want of it
        for seconds in (1, 0):
            yield nested(
                _LIST,
                attr(_PEER_KEY, base64.b64decode(key)),
                attr(_PEER_FLAGS, u32(_PEER_UPDATE_ONLY)),
                attr(_PEER_KEEPALIVE, struct.pack("=H", seconds)),
            )


def _encode_peer(peer: WireguardPeer, ranges: Sequence[Cidr], *, replace: bool) -> bytes:
    parts = [attr(_PEER_KEY, base64.b64decode(peer.key))]
    if replace:
        parts.append(attr(_PEER_FLAGS, u32(_PEER_REPLACE_ALLOWED)))
    if peer.endpoint is not None:
        parts.append(attr(_PEER_ENDPOINT, _encode_endpoint(peer.endpoint)))
    allowed = [
        nested(
            _LIST,
            attr(_ALLOWED_FAMILY, struct.pack("=H", _AF[cidr.version])),
            attr(_ALLOWED_ADDRESS, cidr.network_address.packed),
            attr(_ALLOWED_PREFIX, u8(cidr.prefixlen)),
        )
        for cidr in ranges
    ]
    parts.append(nested(_PEER_ALLOWED, *allowed))
    return nested(_LIST, *parts)


_AF = {4: socket.AF_INET, 6: socket.AF_INET6}


def _encode_endpoint(endpoint: Endpoint) -> bytes:
    packed, port = endpoint.address.packed, struct.pack(">H", endpoint.port)
    if endpoint.address.version == 4:
        return struct.pack("=H", socket.AF_INET) + port + packed + bytes(8)
    return struct.pack("=H", socket.AF_INET6) + port + bytes(4) + packed + bytes(4)


def _decode_endpoint(packed: bytes) -> Endpoint | None:
    if len(packed) < 16:
        return None
    (family,), (port,) = struct.unpack_from("=H", packed), struct.unpack_from(">H", packed, 2)
    if family == socket.AF_INET:
        return Endpoint(ipaddress.ip_address(packed[4:8]), port)
    if family == socket.AF_INET6 and len(packed) >= 24:
        return Endpoint(ipaddress.ip_address(packed[8:24]), port)
    return None


def _decode_peer(found: dict[int, bytes]) -> WireguardPeerState:
    allowed = set()
    for _, one in iter_attributes(found.get(_PEER_ALLOWED, b"")):
        parts = attributes(one)
        address = ipaddress.ip_address(parts[_ALLOWED_ADDRESS])
        allowed.add(ipaddress.ip_network((address, parts[_ALLOWED_PREFIX][0])))
    peer = WireguardPeer(
        base64.b64encode(found[_PEER_KEY]).decode(),
        _decode_endpoint(found.get(_PEER_ENDPOINT, b"")),
        frozenset(allowed),
    )
    seconds, nanoseconds = struct.unpack("=qq", found.get(_PEER_HANDSHAKE, bytes(16)))
    (received,) = struct.unpack("=Q", found.get(_PEER_RECEIVED, bytes(8)))
    (sent,) = struct.unpack("=Q", found.get(_PEER_SENT, bytes(8)))
    return WireguardPeerState(peer, seconds + nanoseconds / 1e9, received, sent)


class KernelWireguard:
    """One interface of the kernel's driver. Blocks for some microseconds.

    Args:
        name: of the interface.
        netns_fd: its network namespace; None for the caller's own.
    """

    def __init__(self, name: str, *, netns_fd: int | None = None) -> None:
        self._name = name
        self._netns_fd = netns_fd

    def read(self) -> WireguardState:
        """What the driver has.

        Raises:
            KernelError: ENODEV: there is no such interface.
            Unsupported: the kernel has no WireGuard.
        """
        with GenericNetlink(self._netns_fd) as netlink:
            family = netlink.family(FAMILY)
            body = attr(_DEVICE_NAME, string(self._name))
            return decode_state(netlink.dump(family, _GET_DEVICE, body, f"read wireguard {self._name}"))

    def change(self, change: WireguardChange) -> None:
        """Put a change in force.

        Raises:
            KernelError: refused; peers before the refused one may have been changed.
            Unsupported: the kernel has no WireGuard.
        """
        with GenericNetlink(self._netns_fd) as netlink:
            family = netlink.family(FAMILY)
            for body in encode_change(self._name, change):
                netlink.request(family, _SET_DEVICE, body, f"set wireguard {self._name}")
