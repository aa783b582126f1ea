"""A fabric whose routes are narrowed to what the paths were measured to carry. In: measurements. Out: routes with a smaller MTU.

A node that forwards a pod's packet into a route which is too narrow for it tells the pod so (RFC 1191, RFC 8201), and cuts what may be
cut: what would have been lost on the way without a word arrives. Not here: measuring (``agent/path_mtu``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from netloom.fabric.face import Fabric
from netloom.model.inputs import NodeFacts
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute
from netloom.program.names import vtep_link_local
from netloom.units import Addr, Cidr


class MeasuredFabric:
    """The fabric of one node. One owner: its methods must not run at the same time.

    Args:
        joined: what leads to the other nodes.
    """

    def __init__(self, joined: Fabric) -> None:
        self._joined = joined
        self._routes: dict[Cidr, PeerRoute] = {}
        self._measured: dict[str, int] = {}
        self._facts: NodeFacts | None = None

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring the kernel to these peers, with the MTUs that are known of them."""
        self._routes, self._facts = dict(routes), facts
        await self._joined.start({c: self._narrowed(r) for c, r in routes.items()}, facts)

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Add, change or (None) take away peers, touching no others."""
        for cidr, route in changes.items():
            if route is None:
                self._routes.pop(cidr, None)
            else:
                self._routes[cidr] = route
        await self._joined.apply(
            {c: None if route is None else self._narrowed(route) for c, route in changes.items()}
        )

    async def remove(self) -> None:
        """Take everything of this fabric out of the kernel."""
        self._routes, self._facts = {}, None
        await self._joined.remove()

    @property
    def destinations(self) -> Collection[Cidr]:
        """The ranges of peers that are in force."""
        return self._routes.keys()

    def is_next_hop(self, address: Addr) -> bool:
        """Whether a neighbour of this address, or a forwarding entry to it, leads to a peer in a tunnel of static entries."""
        vias = {route.via for route in self._routes.values() if route.way is Way.VXLAN}
        return address in vias or any(address == vtep_link_local(via) for via in vias)

    async def again(self) -> None:
        """Compare the kernel once more with what was put in force, and put right what others changed; nothing before the start.

        Raises:
            KernelError: as ``start``.
        """
        if self._facts is not None:
            await self.start(self._routes, self._facts)

    async def measured(self, mtus: Mapping[str, int]) -> None:
        """What a pod's packet to these nodes' pods may measure, bytes; of all other nodes the interfaces' word counts.

        Raises:
            KernelError: as ``apply``.
        """
        before, self._measured = self._measured, dict(mtus)
        changed = {node for node in before.keys() | mtus.keys() if before.get(node) != mtus.get(node)}
        await self._joined.apply({c: self._narrowed(r) for c, r in self._routes.items() if r.node in changed})

    def _narrowed(self, route: PeerRoute) -> PeerRoute:
        mtu = self._measured.get(route.node, route.mtu)
        return route if mtu >= route.mtu else msgspec.structs.replace(route, mtu=mtu)
