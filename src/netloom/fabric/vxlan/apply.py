"""VXLAN to the kernel. In: peers of the model. Out: the interface ``nl-vxlan`` and what leads through it, or KernelError.

Implements ``fabric/face.py``. Not here: what there should be (``compile``).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from netloom.fabric.vxlan.compile import Compiled, PeerProgram, Tunnel, compile_peers, compile_tunnel
from netloom.fabric.vxlan_device import bring_up
from netloom.linux import netns, rtmsg, rtmsg_overlay
from netloom.linux.netlink import Request
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.state import PeerRoute
from netloom.program.names import VXLAN_LINK, VXLAN_ROUTE_PROTOCOL
from netloom.program.neighbours import ForwardingEntry, Neighbour
from netloom.program.routes import Route
from netloom.units import Cidr

log = logging.getLogger(__name__)


class VxlanFabric:
    """The VXLAN of one node. One owner: its methods must not run at the same time.

    Args:
        netns_fd: the node's network namespace; None for the caller's own.
    """

    def __init__(self, *, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        self._tunnel: Tunnel | None = None
        self._in_force: dict[Cidr, PeerProgram] = {}
        self._users: Counter[Neighbour | ForwardingEntry] = Counter()
        """How many ranges need each of them."""

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring the kernel to these peers from whatever a former run left; what is right already is not touched.

        The interface stays where it is as it should be, and so do all packets on their way; one with another VNI, port or
        address is replaced.
        """
        await netns.run_in_async(None, lambda: self._reconcile(routes.values(), facts))

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Add, change or (None) take away peers, touching no others."""
        await netns.run_in_async(None, lambda: self._change(changes))

    async def remove(self) -> None:
        """Take everything of this fabric out of the kernel."""
        await netns.run_in_async(None, self._remove)

    def _reconcile(self, peers: Iterable[PeerRoute], facts: NodeFacts) -> None:
        tunnel = compile_tunnel(facts)
        if tunnel is None:
            self._remove()
            return
        compiled = _told(compile_peers(peers, tunnel))
        wanted = list(compiled.programs.values())
        with Rtnl(self._netns_fd) as rtnl:
            index = bring_up(rtnl, tunnel.device, tunnel.addresses, self._netns_fd)
            entries = {p.entry: None for p in wanted}
            neighbours = {p.neighbour: None for p in wanted}
            routes = {p.route: None for p in wanted}
            live_entries = set(rtnl.entries(VXLAN_LINK))
            live_neighbours = {n for n in rtnl.neighbours() if n.device == VXLAN_LINK}
            live_routes = set(rtnl.routes(VXLAN_ROUTE_PROTOCOL))
            # What a route needs before the route; what is stale goes when nothing leads there any more.
            requests = [rtmsg_overlay.new_entry(index, e) for e in entries if e not in live_entries]
            requests += [rtmsg.new_neighbour(index, n) for n in neighbours if n not in live_neighbours]
            requests += [rtmsg.new_route(index, r) for r in routes if r not in live_routes]
            replaced = {r.destination for r in routes}
            stale = [r for r in live_routes if r not in routes and not _is_replaced(r, replaced)]
            requests += [rtmsg.delete_route(_index(rtnl, r, index), r) for r in stale]
            addresses, macs = {n.address for n in neighbours}, {e.mac for e in entries}
            requests += [
                rtmsg.delete_neighbour(index, n.address, n.device)
                for n in live_neighbours
                if n.address not in addresses
            ]
            requests += [
                rtmsg_overlay.delete_entry(index, e)
                for e in live_entries
                if e not in entries and e.mac not in macs
            ]
            rtnl.batch_tolerating_gone(requests)
        self._tunnel = tunnel
        self._in_force = dict(compiled.programs)
        self._users = Counter()
        for program in wanted:
            self._users.update((program.neighbour, program.entry))

    def _change(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        tunnel = self._tunnel
        if tunnel is None:  # without an address of ours there is no tunnel, and the model said so
            return
        taken = {
            p.entry.mac: p.entry.remote
            # MACs made of IPv4 addresses are as different as these
            for cidr, p in (self._in_force.items() if tunnel.device.local.version == 6 else ())
            if cidr not in changes and p.entry.remote is not None
        }
        wanted = _told(compile_peers([p for p in changes.values() if p is not None], tunnel, taken)).programs
        with Rtnl(self._netns_fd) as rtnl:
            index = rtnl.index(VXLAN_LINK)
            requests = [*self._adding(index, wanted)]
            requests += self._taking_away(index, [c for c in changes if c in self._in_force], wanted)
            rtnl.batch_tolerating_gone(requests)

    def _adding(self, index: int, wanted: Mapping[Cidr, PeerProgram]) -> list[Request]:
        requests: list[Request] = []
        for cidr, program in wanted.items():
            if not self._users[program.entry]:
                requests.append(rtmsg_overlay.new_entry(index, program.entry))
            if not self._users[program.neighbour]:
                requests.append(rtmsg.new_neighbour(index, program.neighbour))
            before = self._in_force.get(cidr)
            if before is None or before.route != program.route:
                requests.append(rtmsg.new_route(index, program.route))
            self._users.update((program.neighbour, program.entry))
        return requests

    def _taking_away(
        self, index: int, cidrs: Iterable[Cidr], wanted: Mapping[Cidr, PeerProgram]
    ) -> list[Request]:
        """What the former programs of these ranges had and nothing needs now; the new ones are in force from here on."""
        requests: list[Request] = []
        for cidr in cidrs:
            before = self._in_force.pop(cidr)
            self._users.subtract((before.neighbour, before.entry))
            if cidr not in wanted:
                requests.append(rtmsg.delete_route(index, before.route))
            if not self._users[before.neighbour]:
                requests.append(
                    rtmsg.delete_neighbour(index, before.neighbour.address, before.neighbour.device)
                )
            if not self._users[before.entry]:
                requests.append(rtmsg_overlay.delete_entry(index, before.entry))
            for needed in (before.neighbour, before.entry):
                if not self._users[needed]:
                    del self._users[needed]
        self._in_force.update(wanted)
        return requests

    def _remove(self) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            rtnl.delete_link(VXLAN_LINK)
            rtnl.change_routes(delete=rtnl.routes(VXLAN_ROUTE_PROTOCOL))
        self._tunnel = None
        self._in_force = {}
        self._users = Counter()


def _is_replaced(route: Route, destinations: set[Cidr]) -> bool:
    """A route that the new one for the same destination took the place of, as the kernel sees it."""
    return route.destination in destinations and not route.metric


def _index(rtnl: Rtnl, route: Route, ours: int) -> int:
    if route.device == VXLAN_LINK or not route.device:
        return ours if route.device else 0
    return rtnl.index(route.device)


def _told(compiled: Compiled) -> Compiled:
    for finding in compiled.findings:
        log.warning("%s", finding)
    return compiled
