"""Ends established flows beside the changes that they ended with.

In: frontends and policies that have changed. Out: flows that would not be made any more are gone.

A look at conntrack takes the kernel 12 ms where its table has 262,144 buckets, however empty it is: changes do not wait for it, and
where they follow each other closely, one look serves many. Within 100 ms of a change its flows are gone; looking takes a quarter of
one core. Not here: which flows have ended (``flows``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from netloom.clock import Clock, SystemClock
from netloom.dataplane.nftables import flows
from netloom.dataplane.nftables.policy.flows import is_denied
from netloom.dataplane.nftables.policy.table import PolicyTable
from netloom.errors import KernelError
from netloom.linux import netns
from netloom.linux.conntrack import Conntrack as KernelConntrack
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.services.frontends import Frontend, FrontendKey
from netloom.model.state import NetworkState
from netloom.program.conntrack import Flow, FlowFilter
from netloom.units import Addr, Family

log = logging.getLogger(__name__)

_REST = 5
"""After a look, this many times as long as it took passes before the next ..."""
_MOST_REST_S = 0.04
"""... but never more: it has to be over within 100 ms."""
_RETRY_S = 0.5


class Conntrack(Protocol):
    """What of ``linux.conntrack.Conntrack`` is used."""

    def dump(self, wanted: FlowFilter) -> list[Flow]:
        """The flows that fit; KernelError."""

    def delete(self, flows: Iterable[Flow]) -> int:
        """End flows; those that have gone are no error."""


def own_addresses(netns_fd: int | None = None) -> tuple[Addr, ...]:
    """The addresses of a namespace's interfaces, loopback left out; KernelError."""
    with Rtnl(netns_fd) as rtnl:
        return tuple(one.interface.ip for one in rtnl.addresses() if not one.interface.ip.is_loopback)


class FlowEnder:
    """Looks after flows of one network namespace.

    Args:
        conntrack: the flows; None for those of the network namespace that this is called in.
        addresses: gives the addresses of the node's own interfaces; None for those of the namespace that this is called in.
        clock: for the pause between looks.

    Raises:
        Unsupported: this kernel has no connection tracking over netlink.
    """

    def __init__(
        self,
        *,
        conntrack: Conntrack | None = None,
        addresses: Callable[[], tuple[Addr, ...]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._addresses = addresses if addresses is not None else own_addresses
        self._conntrack: Conntrack = conntrack if conntrack is not None else KernelConntrack()
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._changed: dict[FrontendKey, Frontend | None] = {}
        self._policies: dict[Family, PolicyTable] = {}
        self._looking: dict[FrontendKey, Frontend | None] = {}
        self._looking_policies: dict[Family, PolicyTable] = {}
        self._facts: NodeFacts | None = None
        self._some = asyncio.Event()
        self.changing = asyncio.Lock()
        """To be held while a change is put in force, until what it changed has been told: no flow is judged meanwhile."""
        self.ended = 0
        """Flows ended so far."""
        self.looks = 0
        """Looks at conntrack so far."""

    def follow(
        self,
        now: Mapping[FrontendKey, Frontend | None],
        tables: Iterable[PolicyTable],
        *,
        whole: bool = False,
    ) -> None:
        """Frontends are this now, and policies.

        A look takes its time, and changes go on: a flow to an endpoint that has come since must not be judged by what was before.

        Args:
            now: those that have changed; None where one is gone.
            tables: the policies as they are.
            whole: ``now`` has all frontends that there are.
        """
        for held in (self._changed, self._looking):
            for key in held:
                if whole or key in now:
                    held[key] = now.get(key)
        for table in tables:
            for policies in (self._policies, self._looking_policies):
                if table.family in policies:
                    policies[table.family] = table

    def offer(self, after: Mapping[FrontendKey, Frontend | None], facts: NodeFacts) -> None:
        """These frontends have changed, and their flows have to be looked at; None where one is gone."""
        if after:
            self._changed.update(after)
            self._facts = facts
            self._some.set()

    def offer_policies(self, tables: Iterable[PolicyTable]) -> None:
        """Policies have changed, so that they may deny flows that go on; the tables as they are now."""
        self._policies.update({table.family: table for table in tables})
        if self._policies:
            self._some.set()

    async def run(self) -> None:
        """Until cancelled. What could not be looked at is tried again."""
        while True:
            await self._some.wait()
            began = self._clock.monotonic()
            try:
                await self.end_offered()
                rest = min(_REST * (self._clock.monotonic() - began), _MOST_REST_S)
            except KernelError as error:
                log.error("flows that have ended are still tracked, again in %.1f s: %s", _RETRY_S, error)  # noqa: TRY400 - says all in one line
                rest = _RETRY_S
            await asyncio.sleep(rest)

    async def end_offered(self) -> None:
        """End the flows of all that was offered.

        Raises:
            KernelError: conntrack could not be read; nothing of it is forgotten.
        """
        taken, facts, policies = self._changed, self._facts, self._policies
        self._changed, self._policies = {}, {}
        self._looking, self._looking_policies = taken, policies
        self._some.clear()
        try:
            if facts is not None and taken:
                here = await self._here(facts)
                await self._end(flows.looks(taken), lambda flow: flows.has_ended(flow, taken, here))
            if policies:
                own = await netns.run_in_async(None, self._addresses)
                looks = [FlowFilter(family, None) for family in policies]
                await self._end(looks, lambda flow: is_denied(flow, policies[flow.family], own))
        except BaseException:
            self._changed = taken | self._changed
            self._policies = policies | self._policies
            self._some.set()
            raise

    async def end_stale(self, state: NetworkState, facts: NodeFacts, families: Iterable[Family]) -> None:
        """End what ended while nobody was watching; what was offered before is done with.

        Raises:
            KernelError: conntrack could not be read.
        """
        frontends = state.frontends
        self._changed.clear()
        self._some.clear()
        here = await self._here(facts)
        await self._end(flows.looks_at_start(families), lambda flow: flows.is_stale(flow, frontends, here))

    async def _here(self, facts: NodeFacts) -> NodeFacts:
        """The node with all addresses that it has: whoever uses one of them is the node itself."""
        own = await netns.run_in_async(None, self._addresses)
        return msgspec.structs.replace(facts, addresses=tuple(dict.fromkeys((*facts.addresses, *own))))

    async def _end(self, looks: list[FlowFilter], has_ended: Callable[[Flow], bool]) -> None:
        if not looks:
            return
        suspects = await netns.run_in_async(None, lambda: self._look(looks, has_ended))
        async with self.changing:
            ended = [flow for flow in suspects if has_ended(flow)]
        if ended:
            self.ended += await netns.run_in_async(None, lambda: self._conntrack.delete(ended))

    def _look(self, looks: list[FlowFilter], has_ended: Callable[[Flow], bool]) -> list[Flow]:
        found = []
        for look in looks:
            self.looks += 1
            found += [flow for flow in self._conntrack.dump(look) if has_ended(flow)]
        return found
