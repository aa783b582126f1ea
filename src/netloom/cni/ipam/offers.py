"""What a pod may be given, as whoever knows pools and blocks tells the verbs. Values, and the seam. Not here: who tells (agent)."""

from __future__ import annotations

from typing import Protocol

import msgspec

from netloom.cni.ipam.lease import Exhausted
from netloom.errors import NetloomError
from netloom.units import Addr, Cidr


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of ``AddressStore.reserve`` for one pod: see there."""

    ranges: tuple[Cidr, ...] = ()
    blocks: tuple[Cidr, ...] = ()
    requested: tuple[Addr, ...] = ()
    reserved: tuple[Cidr, ...] = ()
    versions: tuple[int, ...] = ()
    hurry: bool = True


class Offers(Protocol):
    """Who knows which addresses a pod may have. ``pod`` is namespace/name, empty for what is no pod of the cluster."""

    async def offer(self, pod: str, wished: tuple[Addr, ...]) -> Offer:
        """What this pod may have; ``wished`` is what its runtime asks for.

        Raises:
            NetloomError: nothing, or not now.
        """

    async def more(self, pod: str, offer: Offer, error: Exhausted) -> Offer:
        """What it may have where nothing was left of an offer.

        Raises:
            Exhausted: there is no more.
            NetloomError: not now.
        """

    def failed(self, pod: str, error: NetloomError) -> None:
        """This pod has got no address. Must neither block nor fail."""
