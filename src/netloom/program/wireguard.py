"""WireGuard interfaces as values. In: nothing. Out: types. Not here: keys that are secret, but for the one moment of setting them."""

from __future__ import annotations

import msgspec

from netloom.units import Addr, Cidr


class Endpoint(msgspec.Struct, frozen=True):
    """Where the outer packets for a peer go."""

    address: Addr
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address.version == 4 else f"[{self.address}]:{self.port}"


class WireguardPeer(msgspec.Struct, frozen=True):
    """A peer as it should be. ``key`` is its public key in base64; ``allowed`` the ranges that are its own, both ways."""

    key: str
    endpoint: Endpoint | None = None
    allowed: frozenset[Cidr] = frozenset()


class WireguardPeerState(msgspec.Struct, frozen=True):
    """A peer as the driver has it; ``handshake_s`` is the UNIX time of the last one, 0: never. Counters are in bytes."""

    peer: WireguardPeer
    handshake_s: float = 0
    received: int = 0
    sent: int = 0


class WireguardState(msgspec.Struct, frozen=True):
    """An interface as the driver has it: public key (empty where it has none), UDP port, peers by public key."""

    public_key: str = ""
    port: int = 0
    peers: dict[str, WireguardPeerState] = {}


class WireguardChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; peers that are not named are not touched.

    What is set goes before what is removed: a range that moves from one key to another belongs to one of the two at any moment.
    """

    private_key: bytes | None = None
    """32 bytes; None: as it is. Never logged."""
    port: int | None = None
    put: tuple[WireguardPeer, ...] = ()
    remove: tuple[str, ...] = ()
    """Public keys."""
    greet: tuple[str, ...] = ()
    """Public keys of peers to speak to at once, behind everything else: of two that get to know each other, the later one's
    greeting is understood, and the earlier one need not wait until it tries again (5 s)."""

    def __repr__(self) -> str:
        key = "" if self.private_key is None else "private_key=..., "
        return f"WireguardChange({key}port={self.port}, put={self.put}, remove={self.remove}, greet={self.greet})"

    @property
    def is_empty(self) -> bool:
        """True where nothing has to be done."""
        return self.private_key is None and self.port is None and not (self.put or self.remove or self.greet)
