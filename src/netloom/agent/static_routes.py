"""The static routes of a node's configuration, kept in the kernel; what cannot be is found.

In: the routes that are wanted. Out: routes in the kernel, marked as ours by a routing protocol number of their own, and Findings. They
are looked at again whenever routes, addresses or interfaces change. A route that somebody else made for the same destination stays,
and ours is not made: two owners of one route would take it from each other for ever. Not here: reading them (``agent/config``).
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable, Sequence

from netloom.errors import KernelError
from netloom.linux import netns, rtmsg
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.model.egress.leaving import CONFIGURATION
from netloom.model.egress.settings import StaticRoute
from netloom.model.provenance import Finding, Source
from netloom.program import names
from netloom.program.links import LinkAddress
from netloom.program.routes import MAIN_TABLE, Route, Scope
from netloom.units import Family, family_of

log = logging.getLogger(__name__)

_GROUPS = (
    rtmsg.RTNLGRP_LINK,
    rtmsg.RTNLGRP_IPV4_IFADDR,
    rtmsg.RTNLGRP_IPV6_IFADDR,
    rtmsg.RTNLGRP_IPV4_ROUTE,
    rtmsg.RTNLGRP_IPV6_ROUTE,
)
_SETTLE_S = 0.1
"""Changes come in heaps: every pod brings a route."""


class StaticRoutes:
    """Keeps the static routes of one node.

    Args:
        node: this node's name, for Findings.
        wanted: the routes, in the order of the configuration.
        report: is told of those that are not in force, each once.
        netns_fd: the node's network namespace; None: this process is in it.
    """

    def __init__(
        self,
        *,
        node: str,
        wanted: Sequence[StaticRoute],
        report: Callable[[Iterable[Finding]], None],
        netns_fd: int | None = None,
    ) -> None:
        self._node = node
        self._wanted = tuple(wanted)
        self._report = report
        self._netns_fd = netns_fd
        self._known: frozenset[Finding] = frozenset()
        self._news = asyncio.Event()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is not in force, as last seen."""
        return tuple(sorted(self._known))

    async def run(self) -> None:
        """Until cancelled. Nothing that happens to a route ends it."""
        await self.settle()  # also where none is wanted: those of a former configuration go
        if not self._wanted:
            await asyncio.Event().wait()
        loop = asyncio.get_running_loop()
        with NetlinkSocket(NETLINK_ROUTE, netns_fd=self._netns_fd, groups=_GROUPS) as announced:
            loop.add_reader(announced.fileno(), self._read, announced)
            try:
                self._news.set()  # what changed before we listened
                while True:
                    await self._news.wait()
                    await asyncio.sleep(_SETTLE_S)
                    self._news.clear()
                    await self.settle()
            finally:
                loop.remove_reader(announced.fileno())

    async def settle(self) -> None:
        """One turn of :meth:`run`: bring the kernel to what is wanted, as far as it can be."""
        try:
            found = await netns.run_in_async(None, self._settle)
        except KernelError as error:
            found = frozenset({self._finding(0, f"routes cannot be read or removed: {error}", "")})
        new = found - self._known
        self._known = found
        if new:
            self._report(sorted(new))

    def _read(self, announced: NetlinkSocket) -> None:
        try:
            announced.receive(wait=False)
        except KernelError as error:
            if error.errno != errno.ENOBUFS:  # announcements were lost: all the more reason to look
                raise
        self._news.set()

    # --- on a thread that dies

    def _settle(self) -> frozenset[Finding]:
        found: list[Finding] = []
        with Rtnl(self._netns_fd) as rtnl:
            addresses = rtnl.addresses()
            devices = {link.name for link in rtnl.links() if link.up}
            live = [route for route in rtnl.routes() if route.table == MAIN_TABLE]
            ours = [route for route in live if route.protocol == names.STATIC_ROUTE_PROTOCOL]
            routes: list[Route] = []
            for index, wanted in enumerate(self._wanted):
                route = _route(wanted, addresses, devices)
                if isinstance(route, str):
                    found.append(self._finding(index, f"{wanted} is not in force: {route}", ""))
                elif (other := _rival(route, live)) is not None:
                    problem = f"{wanted} is not in force: there is a route already: {other} (protocol {other.protocol})"
                    found.append(self._finding(index, problem, "remove one of the two"))
                elif route not in ours:
                    try:
                        rtnl.replace_route(route)
                    except KernelError as error:
                        found.append(self._finding(index, f"{wanted} is not in force: {error}", ""))
                        continue
                    routes.append(route)
                else:
                    routes.append(route)
            there = {_place(route) for route in routes}
            rtnl.change_routes(delete=[r for r in ours if r not in routes and _place(r) not in there])
        return frozenset(found)

    def _finding(self, index: int, problem: str, hint: str) -> Finding:
        return Finding(Source(CONFIGURATION, "", self._node, field=f"static_routes[{index}]"), problem, hint)


def _route(wanted: StaticRoute, addresses: Iterable[LinkAddress], devices: Iterable[str]) -> Route | str:
    """The route, or why there is none now."""
    device = wanted.device
    if not device:
        assert wanted.via is not None  # noqa: S101 - a configuration without both is refused
        carriers = [a for a in addresses if a.device in devices and wanted.via in a.interface.network]
        if not carriers:
            return f"no interface that is up has the network of {wanted.via}"
        device = max(carriers, key=lambda a: a.interface.network.prefixlen).device
    elif device not in devices:
        return f"there is no interface {device} that is up"
    is_link = wanted.via is None and family_of(wanted.destination) is Family.V4
    return Route(
        destination=wanted.destination,
        device=device,
        via=wanted.via,
        scope=Scope.LINK if is_link else Scope.UNIVERSE,
        protocol=names.STATIC_ROUTE_PROTOCOL,
    )


def _place(route: Route) -> tuple[object, int]:
    """What two routes cannot share."""
    return route.destination, route.metric or (1024 if route.family is Family.V6 else 0)


def _rival(route: Route, live: Iterable[Route]) -> Route | None:
    """Somebody else's route that has the same place."""
    return next(
        (r for r in live if _place(r) == _place(route) and r.protocol != names.STATIC_ROUTE_PROTOCOL), None
    )
