"""Neighbour entries (ARP and NDP) and forwarding entries (bridge, VXLAN) as values. In: nothing. Out: types. Not here: netlink."""

from __future__ import annotations

import msgspec

from netloom.units import Addr


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """The MAC of an address on a link. ``permanent`` ones are never asked for and never age (NUD_PERMANENT)."""

    device: str
    address: Addr
    mac: str
    permanent: bool = True


class ForwardingEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Where frames for a MAC go: to a far end of a VXLAN interface, or out of a port of a bridge. Static, never ages.

    ``remote`` is the far end's underlay address, and ``device`` the VXLAN interface; without it ``device`` is the port.
    """

    device: str
    mac: str
    remote: Addr | None = None
