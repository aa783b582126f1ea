"""The routes of one protocol number, brought from what they are to what they should be. In: routes. Out: the kernel, or KernelError.

Not here: which routes (each fabric's ``compile``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from netloom.linux.rtnl import Rtnl
from netloom.program.routes import Route
from netloom.units import Cidr


class RouteSet:
    """All routes that one protocol number marks. One owner.

    Args:
        protocol: the number, of ``program/names.py``; nobody else uses it.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._in_force: dict[Cidr, Route] = {}

    def reconcile(self, rtnl: Rtnl, wanted: Iterable[Route]) -> None:
        """Have these and no others, from whatever is there; right ones are not touched."""
        routes = {route.destination: route for route in wanted}
        live = rtnl.routes(self._protocol)
        stale = [r for r in live if r not in routes.values() and not self._is_replaced(r, routes)]
        rtnl.change_routes(replace=[r for r in routes.values() if r not in live], delete=stale)
        self._in_force = routes

    def change(self, rtnl: Rtnl, wanted: Iterable[Route], gone: Collection[Cidr]) -> None:
        """Have these too, and for these destinations no other."""
        routes = {route.destination: route for route in wanted}
        stale = [self._in_force[d] for d in gone if d in self._in_force and d not in routes]
        new = [r for r in routes.values() if r != self._in_force.get(r.destination)]
        rtnl.change_routes(replace=new, delete=stale)
        for route in stale:
            del self._in_force[route.destination]
        self._in_force.update(routes)

    def is_in_force(self, rtnl: Rtnl) -> bool:
        """Whether none of what was put in force has gone since."""
        live = rtnl.routes(self._protocol)
        return all(route in live for route in self._in_force.values())

    def _is_replaced(self, live: Route, wanted: dict[Cidr, Route]) -> bool:
        """The new route for the same destination takes its place: to delete it afterwards would be an error, or delete the new one."""
        new = wanted.get(live.destination)
        return new is not None and new.metric == live.metric and new.table == live.table
