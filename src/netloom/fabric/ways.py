"""All ways of a node as one fabric: each peer's route goes to the room of its way.

Comes in: peers of the model. Goes out: calls of the rooms' fabrics. Not here: which way a peer has (the model says).

A peer that changes its way is in the new one before it leaves the old: the routes of both have one destination, so the kernel
replaces one by the other, and what the old one takes away afterwards is only what is still its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netloom.fabric.face import Fabric
from netloom.model.inputs import NodeFacts
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute
from netloom.units import Cidr

Peers = dict[Cidr, PeerRoute]


class FabricOfWays:
    """The fabric of one node. One owner: its methods must not run at the same time.

    Args:
        fabrics: who builds each way; every way that the model may choose here must have one.
        retired: of other fabrics that this node may have had before: what they left is taken away once the present ones are in force.
    """

    def __init__(self, fabrics: Mapping[Way, Fabric], *, retired: tuple[Fabric, ...] = ()) -> None:
        self._fabrics = fabrics
        self._retired = retired
        self._ways: dict[Cidr, Way] = {}

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring the kernel to these peers from whatever a former run left; what is right already is not touched."""
        of_way: dict[Way, Peers] = {way: {} for way in self._fabrics}
        for cidr, route in routes.items():
            of_way[route.way][cidr] = route
        self._ways = {cidr: route.way for cidr, route in routes.items()}
        for way, fabric in self._fabrics.items():
            await fabric.start(of_way[way], facts)
        for fabric in self._retired:
            await fabric.remove()

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Add, change or (None) take away peers, touching no others."""
        coming: dict[Way, dict[Cidr, PeerRoute | None]] = {}
        going: dict[Way, dict[Cidr, PeerRoute | None]] = {}
        for cidr, route in changes.items():
            before = self._ways.get(cidr)
            if route is not None:
                coming.setdefault(route.way, {})[cidr] = route
            if before is not None and (route is None or route.way is not before):
                going.setdefault(before, {})[cidr] = None
        for way, of_way in _in_order(self._fabrics, coming):
            await self._fabrics[way].apply(of_way)
        self._ways.update({cidr: route.way for cidr, route in changes.items() if route is not None})
        for way, of_way in _in_order(self._fabrics, going):
            await self._fabrics[way].apply(of_way)
        for cidr in [cidr for cidr, route in changes.items() if route is None]:
            self._ways.pop(cidr, None)

    async def remove(self) -> None:
        """Take everything of all ways out of the kernel."""
        for fabric in (*self._fabrics.values(), *self._retired):
            await fabric.remove()
        self._ways.clear()


def _in_order(
    fabrics: Mapping[Way, Fabric], changes: Mapping[Way, dict[Cidr, PeerRoute | None]]
) -> Iterator[tuple[Way, dict[Cidr, PeerRoute | None]]]:
    return ((way, changes[way]) for way in fabrics if way in changes)
