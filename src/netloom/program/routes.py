"""Routes as values, equal when the kernel would hold the same route. In: nothing. Out: types. Not here: netlink."""

from __future__ import annotations

import enum

import msgspec

from netloom.units import Addr, Cidr, Family, family_of

MAIN_TABLE = 254
"""RT_TABLE_MAIN (linux/rtnetlink.h)."""

BOOT_PROTOCOL = 3
"""RTPROT_BOOT: what ``ip route add`` writes where nobody says otherwise."""


class Scope(enum.IntEnum):
    """How far away the destination is (RT_SCOPE_*, linux/rtnetlink.h). IPv6 knows only UNIVERSE."""

    UNIVERSE = 0
    LINK = 253
    HOST = 254


class RouteKind(enum.IntEnum):
    """What becomes of a packet (RTN_*, linux/rtnetlink.h)."""

    UNICAST = 1
    BLACKHOLE = 6
    """Dropped without a word."""
    UNREACHABLE = 7
    """Dropped, and the sender is told (ICMP host unreachable)."""


class MarkRule(msgspec.Struct, frozen=True, order=True):
    """A rule of routing policy: packets with this very mark are routed by a table; as ``ip rule add fwmark`` makes them."""

    mark: int
    table: int
    priority: int
    protocol: int

    def __str__(self) -> str:
        return f"{self.priority}: fwmark {self.mark:#x} lookup {self.table}"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route of one table: a unicast route, or one that says that nobody is to be reached.

    ``device`` is empty where the kind is not UNICAST. ``via`` is None where the destination is on the link itself; it may be of
    the other family (RFC 5549; the kernel knows it for IPv4 routes only). ``source`` is the address that the node's own packets
    take (RTA_PREFSRC). ``onlink`` says that ``via`` is on the link although no address of ours says so (RTNH_F_ONLINK).
    ``metric`` 0 leaves it to the kernel, which takes 1024 for IPv6. ``mtu`` in bytes; 0: the device's.
    """

    destination: Cidr
    device: str = ""
    via: Addr | None = None
    scope: Scope = Scope.UNIVERSE
    source: Addr | None = None
    protocol: int = BOOT_PROTOCOL
    onlink: bool = False
    metric: int = 0
    table: int = MAIN_TABLE
    kind: RouteKind = RouteKind.UNICAST
    mtu: int = 0

    @property
    def family(self) -> Family:
        """The IP family."""
        return family_of(self.destination)

    def __str__(self) -> str:
        if self.kind is not RouteKind.UNICAST:
            return f"{self.kind.name.lower()} {self.destination}"
        via = f" via {self.via}" if self.via else ""
        return f"{self.destination}{via} dev {self.device}"
