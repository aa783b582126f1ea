"""Routes to the kernel. In: peers of the model. Out: routes of our protocol number in the main table, or KernelError.

Implements ``fabric/face.py``. Not here: which routes there should be (``compile``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from netloom.fabric.hostgw.compile import compile_peers
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.routes.ways import DEFAULT_MTU, Segment
from netloom.model.state import PeerRoute
from netloom.program.names import FABRIC_ROUTE_PROTOCOL
from netloom.program.routes import Route
from netloom.units import Cidr

log = logging.getLogger(__name__)


class HostGateway:
    """The fabric of one node. One owner: its methods must not run at the same time.

    Args:
        netns_fd: the node's network namespace; None for the caller's own.
    """

    def __init__(self, *, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        self._segments: tuple[Segment, ...] = ()
        self._mtu = DEFAULT_MTU
        self._in_force: dict[Cidr, Route] = {}

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring the kernel to these peers from whatever a former run left; what is right already is not touched."""
        self._segments, self._mtu = facts.underlay.segments, facts.underlay.mtu
        await netns.run_in_async(None, lambda: self._reconcile(routes.values()))

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Add, change or (None) take away peers, touching no others."""
        await netns.run_in_async(None, lambda: self._change(changes))

    async def remove(self) -> None:
        """Take all routes of this fabric out of the kernel."""
        await netns.run_in_async(None, lambda: self._reconcile(()))

    def _reconcile(self, peers: Iterable[PeerRoute]) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            wanted = self._compiled(peers)
            live = rtnl.routes(FABRIC_ROUTE_PROTOCOL)
            missing = [r for r in wanted if r not in live]
            # Added before the stale ones go: a route whose next hop changed is replaced in place, without a gap.
            rtnl.change_routes(replace=missing, delete=[r for r in live if r not in wanted])
        self._in_force = {r.destination: r for r in wanted}

    def _change(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            wanted = self._compiled([peer for peer in changes.values() if peer is not None])
            kept = {r.destination for r in wanted}
            stale = [r for d, r in self._in_force.items() if d in changes and d not in kept]
            rtnl.change_routes(
                replace=[r for r in wanted if r != self._in_force.get(r.destination)], delete=stale
            )
        for route in stale:
            del self._in_force[route.destination]
        self._in_force.update({r.destination: r for r in wanted})

    def _compiled(self, peers: Iterable[PeerRoute]) -> tuple[Route, ...]:
        compiled = compile_peers(peers, self._segments, self._mtu)
        for finding in compiled.findings:
            log.warning("%s", finding)
        return compiled.routes
