"""Routes that are learned, seen from the agent. In: peers of the model. Out: a log of those without a route; a clean kernel at the end.

Implements ``fabric/face.py``. The routes themselves come and go without the agent: BIRD, a child of the node's speaker, puts them into
the kernel and puts back what others take. Not here: sessions, and what is announced (``announce/bgp``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from netloom.fabric.bgp.compile import is_learned, unlearned
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.state import PeerRoute
from netloom.program.names import BGP_ROUTE_PROTOCOL
from netloom.program.routes import Route
from netloom.units import Cidr

log = logging.getLogger(__name__)


class LearnedRoutes:
    """The fabric of one node. One owner: its methods must not run at the same time.

    Args:
        netns_fd: the node's network namespace; None for the caller's own.
    """

    def __init__(self, *, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """See which of these peers routers have told of; nothing is written."""
        del facts
        live = await netns.run_in_async(None, self._live)
        for finding in unlearned(routes.values(), live):
            log.info("%s", finding)

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Nothing: routers tell of them a moment later, or have told already."""

    async def remove(self) -> None:
        """Take what was learned out of the kernel: another fabric has the node now."""
        await netns.run_in_async(None, self._remove)

    def _live(self) -> list[Route]:
        with Rtnl(self._netns_fd) as rtnl:
            return [route for route in rtnl.routes(BGP_ROUTE_PROTOCOL) if is_learned(route)]

    def _remove(self) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            learned = [route for route in rtnl.routes(BGP_ROUTE_PROTOCOL) if is_learned(route)]
            rtnl.change_routes(delete=learned)
