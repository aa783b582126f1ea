"""Neighbour entries (ARP and NDP) as values. In: nothing. Out: types. Not here: netlink."""

from __future__ import annotations

import msgspec

from netloom.units import Addr


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """The MAC of an address on a link. ``permanent`` ones are never asked for and never age (NUD_PERMANENT)."""

    device: str
    address: Addr
    mac: str
    permanent: bool = True
