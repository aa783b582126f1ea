"""What leaves by gateways, in the kernel of one node.

In: ``NetworkState`` at the start, then ``Delta`` after ``Delta``. Out: tunnels, routes, rules and a table that are so, or KernelError. One
caller at a time. What packets need comes before what leads them there, and goes after it; in between, packets that have no right source
yet do not leave. Without gateways there is nothing of it. Not here: what there should be (``compile``, ``table``), which flows end (``flows``).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TypeVar

from netloom.errors import KernelError
from netloom.fabric.egress import table as program
from netloom.fabric.egress.compile import LINK_SETTINGS, TunnelProgram, compile_tunnels
from netloom.fabric.egress.ender import EgressEnder
from netloom.fabric.egress.flows import Outlook
from netloom.fabric.egress.table import CONTAINERS, EgressTable
from netloom.fabric.vxlan_device import bring_up
from netloom.linux import netns, rtmsg, rtmsg_overlay
from netloom.linux.netlink import Request
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.model.egress.state import EgressDelta, EgressState, advanced
from netloom.model.inputs import NodeFacts
from netloom.model.state import Delta, NetworkState, PeerRoute, PodRange
from netloom.program.names import EGRESS_LINK, EGRESS_ROUTE_PROTOCOL, NFT_EGRESS_TABLE
from netloom.program.routes import Route
from netloom.units import Addr, Cidr, Family

log = logging.getLogger(__name__)

V = TypeVar("V")


class EgressPaths:
    """The ways out of one node; see ``engine.reconcile.WaysOut``.

    Args:
        netns_fd: the node's network namespace; None for the caller's own.
        ender: whose ``run`` ends the flows that go with changes; None: they end before ``apply`` is done.
    """

    def __init__(self, *, netns_fd: int | None = None, ender: EgressEnder | None = None) -> None:
        self._netns_fd = netns_fd
        self._ends_at_once = ender is None
        self._ender = ender if ender is not None else EgressEnder(netns_fd=netns_fd)
        self._facts: NodeFacts | None = None
        self._egress = EgressState()
        self._routes: dict[Cidr, PeerRoute] = {}
        self._ranges: dict[Cidr, PodRange] = {}
        self._tables: dict[Family, EgressTable] = {}
        self._left_by: set[Addr] = set()

    async def start(self, state: NetworkState, facts: NodeFacts) -> None:
        """Bring the kernel to ``state`` from whatever a former run left; what is right already is not touched.

        Raises:
            KernelError: the kernel refused; calling again is safe.
        """
        self._facts = facts
        self._egress = state.egress
        self._routes, self._ranges = dict(state.routes), dict(state.ranges)
        self._left_by |= state.egress.exits.keys()
        if state.egress.is_empty:
            await self.remove()
        else:
            await netns.run_in_async(None, self._have)
            await self._start_tables()
        await self._end(None)

    async def apply(self, delta: Delta) -> None:
        """Put one change in force.

        Raises:
            KernelError: as ``start``.
        """
        _take(self._routes, delta.routes)
        _take(self._ranges, delta.ranges)
        before = self._egress
        if not delta.egress.is_empty:
            self._egress = advanced(before, delta.egress)
        after = self._egress
        concerns = delta.routes or delta.ranges or not delta.egress.is_empty
        if not concerns or (before.is_empty and after.is_empty):
            return
        self._left_by |= after.exits.keys()
        if after.is_empty:
            await self.remove()
        elif before.is_empty:
            await netns.run_in_async(None, self._have)
            await self._start_tables()
        else:
            if delta.routes or delta.egress.exits or delta.egress.ends:
                await netns.run_in_async(None, self._have)
            if delta.ranges or not delta.egress.is_empty:
                await self._step_tables(delta.egress.pods.keys())
        await self._end(_suspects(before, after, delta.egress))

    async def again(self) -> None:
        """Compare tunnels, routes and rules once more with what was put in force, and put right what others changed.

        Raises:
            KernelError: as ``start``.
        """
        if self._facts is not None and not self._egress.is_empty:
            await netns.run_in_async(None, self._have)

    async def remove(self) -> None:
        """Take everything of this out of the kernel; the table first, so that no packet is led to where nothing is.

        Raises:
            KernelError: the kernel refused.
        """
        self._tables = {}
        with Nft(netns_fd=self._netns_fd) as nft:
            for family in Family:
                if await nft.chains(family, NFT_EGRESS_TABLE) is not None:
                    await nft.run(program.removal(family))
        await netns.run_in_async(None, lambda: self._reconcile(TunnelProgram()))

    # --- tunnels

    def _have(self) -> None:
        assert self._facts is not None  # noqa: S101 - there was a start
        self._reconcile(compile_tunnels(self._facts, self._routes, self._egress))

    def _reconcile(self, wanted: TunnelProgram) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            index = self._device(rtnl, wanted)
            if index:
                _lead(rtnl, index, wanted)
            routes = wanted.routes if index else frozenset(r for r in wanted.routes if not r.device)
            live = set(rtnl.routes(EGRESS_ROUTE_PROTOCOL))
            replaced = {_place(route) for route in routes}
            stale = [route for route in live - routes if _place(route) not in replaced]
            rtnl.change_routes(replace=sorted(routes - live, key=_place))
            for family in Family:
                rules = {rule for one, rule in wanted.rules if one is family}
                present = {r for r in rtnl.mark_rules(family) if r.protocol == EGRESS_ROUTE_PROTOCOL}
                rtnl.change_mark_rules(family, add=sorted(rules - present), delete=sorted(present - rules))
            rtnl.change_routes(delete=stale)

    def _device(self, rtnl: Rtnl, wanted: TunnelProgram) -> int:
        """The number of the interface; 0 where there is none."""
        if wanted.device is None:
            if rtnl.find_link(EGRESS_LINK) is not None:
                rtnl.delete_link(EGRESS_LINK)
            return 0
        try:
            return bring_up(rtnl, wanted.device, wanted.addresses, self._netns_fd, LINK_SETTINGS)
        except KernelError as error:
            # the rest of the node's network is no worse for it
            log.error("pods of this node do not leave by gateways of other nodes: %s", error)  # noqa: TRY400 - says all in one line
            return 0

    # --- tables

    async def _start_tables(self) -> None:
        self._tables = {}
        facts = self._facts
        assert facts is not None  # noqa: S101 - there was a start
        tables = {}
        with Nft(netns_fd=self._netns_fd) as nft:
            for family in Family:
                present = {}
                is_ours = await nft.chains(family, NFT_EGRESS_TABLE) == program.comments(family)
                if is_ours:
                    present = {
                        one.name: await nft.elements(family, NFT_EGRESS_TABLE, one) for one in CONTAINERS
                    }
                labels = program.labels_in(self._egress, family, present)
                table = program.egress_table(self._egress, family, facts.name, self._inside(), labels)
                await nft.run(program.convergence(table, present) if is_ours else program.creation(table))
                tables[family] = table
        self._tables = tables

    async def _step_tables(self, changed: Collection[Addr]) -> None:
        """After a change of these pods and whatever else."""
        facts = self._facts
        if facts is None or not self._tables:  # something went wrong before
            await self._start_tables()
            return
        before, self._tables = self._tables, {}
        inside = self._inside()
        steps = [
            program.advance(table, self._egress, facts.name, inside, changed) for table in before.values()
        ]
        with Nft(netns_fd=self._netns_fd) as nft:
            await nft.run(*(transaction for _, transaction in steps))
        self._tables = {table.family: table for table, _ in steps}

    # --- flows

    def _inside(self) -> tuple[Cidr, ...]:
        facts = self._facts
        if facts is None:
            return ()
        return (*facts.cluster_cidrs, *facts.pod_cidrs, *facts.service_cidrs, *self._ranges)

    async def _end(self, suspects: dict[Addr, bool] | None) -> None:
        if self._facts is None or not self._left_by:
            return
        outlook = Outlook(self._facts.name, self._egress, self._inside(), frozenset(self._left_by))
        self._ender.offer(suspects, outlook)
        if self._ends_at_once:
            await self._ender.end_offered()


def _lead(rtnl: Rtnl, index: int, wanted: TunnelProgram) -> None:
    """What routes through the tunnel need."""
    live_entries = set(rtnl.entries(EGRESS_LINK))
    live = {one for one in rtnl.neighbours() if one.device == EGRESS_LINK}
    requests: list[Request] = [rtmsg_overlay.new_entry(index, one) for one in wanted.entries - live_entries]
    requests += [rtmsg.new_neighbour(index, one) for one in wanted.neighbours - live]
    macs, addresses = {one.mac for one in wanted.entries}, {one.address for one in wanted.neighbours}
    requests += [
        rtmsg.delete_neighbour(index, one.address, EGRESS_LINK)
        for one in live
        if one.address not in addresses
    ]
    requests += [rtmsg_overlay.delete_entry(index, one) for one in live_entries if one.mac not in macs]
    rtnl.batch_tolerating_gone(requests)


def _place(route: Route) -> tuple[int, int, str]:
    """Two routes of one place cannot both be there."""
    return route.destination.version, route.table, str(route.destination)


def _suspects(before: EgressState, after: EgressState, delta: EgressDelta) -> dict[Addr, bool]:
    """Pods whose ways may be others, and whether they had any before."""
    found = {address: address in before.pods for address in delta.pods}
    if delta.exits:
        found.update(
            (address, address in before.pods)
            for address, pod in after.pods.items()
            if any(way.address in delta.exits for way in pod.ways)
        )
    return found


def _take(held: dict[Cidr, V], changes: Mapping[Cidr, V | None]) -> None:
    for cidr, value in changes.items():
        if value is None:
            held.pop(cidr, None)
        else:
            held[cidr] = value
