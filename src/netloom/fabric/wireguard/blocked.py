"""Peers that may be reached encrypted only and have no key. In: peers. Out: routes to nobody, or KernelError.

Implements ``fabric/face.py`` for ``Way.BLOCKED``. Not here: which peers these are (the model).
"""

from __future__ import annotations

from collections.abc import Mapping

from netloom.fabric.route_set import RouteSet
from netloom.fabric.wireguard.compile import closed_route
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.state import PeerRoute
from netloom.program.names import BLOCKED_ROUTE_PROTOCOL
from netloom.units import Cidr


class BlockedPeers:
    """Senders are told at once that nobody is there. One owner: its methods must not run at the same time.

    Args:
        netns_fd: the node's network namespace; None for the caller's own.
    """

    def __init__(self, *, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        self._routes = RouteSet(BLOCKED_ROUTE_PROTOCOL)

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring the kernel to these peers from whatever a former run left; what is right already is not touched."""
        await netns.run_in_async(None, lambda: self._reconcile(routes))

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Add, change or (None) take away peers, touching no others."""
        await netns.run_in_async(None, lambda: self._change(changes))

    async def remove(self) -> None:
        """Take all of it out of the kernel."""
        await netns.run_in_async(None, lambda: self._reconcile({}))

    def _reconcile(self, peers: Mapping[Cidr, PeerRoute]) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            self._routes.reconcile(rtnl, map(closed_route, peers))

    def _change(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        coming = [cidr for cidr, peer in changes.items() if peer is not None]
        with Rtnl(self._netns_fd) as rtnl:
            self._routes.change(rtnl, map(closed_route, coming), changes.keys())
