"""The nftables plane of one node: brings the kernel to the model, and keeps it there change by change.

In: ``NetworkState`` at the start, then ``Delta`` after ``Delta``. Out: the kernel's table, and conntrack without flows that
have ended. Not here: what the program is (``compile``), which flows end (``flows``), how the kernel is spoken to (``linux``).

One caller at a time. The order: first the switch, then the flows, so that a flow that starts anew starts right.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables.compile import TableState
from netloom.dataplane.nftables.containers import OURS, POLICED, POLICY_EGRESS, POLICY_INGRESS
from netloom.dataplane.nftables.ender import Conntrack, FlowEnder
from netloom.dataplane.nftables.policy.flows import may_deny
from netloom.dataplane.nftables.policy.reconcile import (
    PresentPolicies,
    is_peers_set,
    is_policy_chain,
    pieces,
)
from netloom.dataplane.nftables.skeleton import Layout, families, layout
from netloom.errors import NetloomError, NftError
from netloom.linux.nft import Nft as KernelNft
from netloom.model.egress.leaving import own_ranges
from netloom.model.inputs import NodeFacts
from netloom.model.state import Delta, NetworkState, PodRange
from netloom.program import names
from netloom.program.nft import Container, Key, Transaction, Value
from netloom.units import Addr, Cidr, Family

_PIECE = 20_000
"""Most elements of one transaction where the whole needs not be atomic: the kernel does nothing else meanwhile."""


class Nft(Protocol):
    """What of ``linux.nft.Nft`` is used; ``testing.fake_nft`` is the other one."""

    @property
    def most_elements(self) -> int:
        """How many element operations one transaction can hold."""

    @property
    def most_rules(self) -> int:
        """How many rules one transaction can hold."""

    async def run(self, *transactions: Transaction) -> None:
        """Apply all of them together or none; NftError."""

    async def elements(self, family: Family, table: str, container: Container) -> dict[Key, Value]:
        """What is in a container; NftError where it is not there."""

    async def containers(self, family: Family, table: str) -> set[str]:
        """Names of a table's maps and sets."""

    async def chains(self, family: Family, table: str) -> dict[str, tuple[str, ...]] | None:
        """A table's chains and the comments of their rules; None without the table."""


class NftablesPlane:
    """The Service plane of DESIGN decision 1; see ``dataplane.face.Dataplane``.

    Args:
        nft: the tables to program; None for those of the network namespace that this is called in.
        conntrack: the flows that go with them, where there is no ``ender``; None likewise.
        addresses: of the node's interfaces, likewise.
        ender: whose ``run`` ends the flows that go with changes; None: they end before ``apply`` is done.

    Raises:
        Unsupported: this kernel has no netfilter.
    """

    def __init__(
        self,
        *,
        nft: Nft | None = None,
        conntrack: Conntrack | None = None,
        ender: FlowEnder | None = None,
        addresses: Callable[[], tuple[Addr, ...]] | None = None,
    ) -> None:
        self._nft: Nft = nft if nft is not None else KernelNft()
        self._ends_at_once = ender is None
        self._ender = ender if ender is not None else FlowEnder(conntrack=conntrack, addresses=addresses)
        self._facts: NodeFacts | None = None
        self._tables: dict[Family, TableState] = {}

    @property
    def tables(self) -> dict[Family, TableState]:
        """What the kernel has, by family; for those who explain it. Empty after an error, until the next start."""
        return dict(self._tables)

    async def start(self, state: NetworkState, facts: NodeFacts) -> None:
        """Bring the kernel to ``state`` from whatever a former run left.

        What is right already is not touched; a table that is ours keeps its maps while its chains are renewed in place;
        established flows live on, save those that the model would not create (``flows``).

        Raises:
            NftError: the kernel refused. A family may be done and another not; calling again is safe.
            KernelError: conntrack could not be read.
            Unsupported: no nftables in this kernel, or no ``nft`` program.
        """
        self._tables = {}
        self._facts = None
        served = families(facts)
        tables: dict[Family, TableState] = {}
        async with self._ender.changing:
            for family in Family:
                if family in served:
                    tables[family] = await self._start_family(state, layout(facts, family))
                elif await self._nft.chains(family, names.NFT_TABLE) is not None:
                    await self._nft.run(program.removal(family))
            policies = [table.policy for table in tables.values() if table.policy is not None]
            self._ender.follow(state.frontends, policies, whole=True)
        await self._ender.end_stale(state, _with_ranges(facts, state.ranges), served)
        self._ender.offer_policies(policy for policy in policies if policy.pods)
        if self._ends_at_once:
            await self._ender.end_offered()
        self._tables, self._facts = tables, facts

    async def apply(self, delta: Delta) -> None:
        """Put one change in force: one transaction, then the flows that ended with it.

        Raises:
            NftError: the kernel refused and nothing has changed, or there was no start. Only a start helps.
            KernelError: the change is in force, but conntrack could not be read. A start looks again.
        """
        facts = self._facts
        if facts is None:
            raise NftError("apply a change", errno.ENOENT, "the plane has not been started", "start it first")
        steps = [program.step(table, delta) for table in self._tables.values()]
        try:
            async with self._ender.changing:
                await self._nft.run(*(step.transaction for step in steps))
                self._tables = {step.before.family: step.commit() for step in steps}
                self._offer(delta, facts)
            if self._ends_at_once:
                await self._ender.end_offered()
        except BaseException:
            self._facts, self._tables = None, {}
            raise

    def _offer(self, delta: Delta, facts: NodeFacts) -> None:
        """Tell of what is in force now, and whose flows may have ended with it."""
        tables = [table.policy for table in self._tables.values() if table.policy is not None]
        self._ender.follow(delta.frontends, tables)
        ranges = {cidr: one for table in self._tables.values() for cidr, one in table.places.ranges.items()}
        ended = {key: delta.frontends.get(key) for key in delta.flows}
        self._ender.offer(ended, _with_ranges(facts, ranges))
        self._ender.offer_policies(table for table in tables if may_deny(delta.policy, table))

    async def remove(self) -> None:
        """Take the table of each family out of the kernel; no error where there is none.

        Raises:
            NftError: the kernel refused.
        """
        self._facts, self._tables = None, {}
        for family in Family:
            if await self._nft.chains(family, names.NFT_TABLE) is not None:
                await self._nft.run(program.removal(family))

    async def _start_family(self, state: NetworkState, node: Layout) -> TableState:
        chains = await self._nft.chains(node.family, names.NFT_TABLE)
        if chains is None:
            return await self._create(state, node)
        if program.is_renewable(node.family, chains):
            try:
                return await self._renew(state, node, chains)
            except NftError:
                # A map is missing, or a chain that we do not know is in use: nothing of that table can be kept.
                return await self._replace(state, node)
        return await self._replace(state, node)

    async def _create(self, state: NetworkState, node: Layout) -> TableState:
        """Where there is no table: fill it in pieces while it stands at no hook, and hook it last."""
        table = program.table_state(state, node.family)
        try:
            for piece in program.foundations(node, table.times, self._nft.most_rules):
                await self._nft.run(piece)
            for piece in program.filling(table, self._piece()):
                await self._nft.run(piece)
            await self._put_policies(table, PresentPolicies())
            await self._nft.run(program.hooks(node))
        except BaseException:
            with contextlib.suppress(NetloomError):  # the first error is the one to tell
                await self._nft.run(program.removal(node.family))
            raise
        return table

    async def _renew(
        self, state: NetworkState, node: Layout, chains: dict[str, tuple[str, ...]]
    ) -> TableState:
        """Where there is a table of ours: what differs is changed; a restart with nothing new changes nothing.

        Chains come anew, in one transaction, if one of them is not as it should be; then the elements that differ.
        """
        present = {
            container.name: await self._nft.elements(node.family, names.NFT_TABLE, container)
            for container in OURS
        }
        held = program.held_slots(present, node.family, state)
        table = program.table_state(state, node.family, held, program.times_in(chains))
        # before the chains: a new base chain may ask for policies that are not there yet
        await self._put_policies(table, await self._present_policies(table, chains))
        if not program.is_right(node, chains, table.times):
            await self._nft.run(program.renewal(node, chains, table.times))
        for piece in program.convergence(table, present, self._piece()):
            await self._nft.run(piece)
        return table

    async def _present_policies(
        self, table: TableState, chains: dict[str, tuple[str, ...]]
    ) -> PresentPolicies:
        family = table.family
        there = {name for name in await self._nft.containers(family, names.NFT_TABLE) if is_peers_set(name)}
        wanted = {one.name: one for one in table.policy.containers()} if table.policy is not None else {}

        async def read(container: Container) -> dict[Key, Value]:
            return await self._nft.elements(family, names.NFT_TABLE, container)

        return PresentPolicies(
            chains={name: comments for name, comments in chains.items() if is_policy_chain(name)},
            sets={name: await read(one) for name, one in wanted.items() if name in there},
            strange_sets=frozenset(there - wanted.keys()),
            verdicts={
                container: await read(container) for container in (POLICY_INGRESS, POLICY_EGRESS, POLICED)
            },
        )

    async def _put_policies(self, table: TableState, present: PresentPolicies) -> None:
        if table.policy is not None:
            for ops in pieces(table.policy, present, self._piece()):
                await self._nft.run(Transaction(table.family, names.NFT_TABLE, tuple(ops)))

    async def _replace(self, state: NetworkState, node: Layout) -> TableState:
        table = program.table_state(state, node.family)
        try:
            await self._nft.run(program.replacement(node, table))
        except NftError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            # Without root a transaction is limited by the send buffer. New connections find no Service until this is done.
            await self._nft.run(program.removal(node.family))
            return await self._create(state, node)
        return table

    def _piece(self) -> int:
        return min(self._nft.most_elements, _PIECE)


def _with_ranges(facts: NodeFacts, ranges: Mapping[Cidr, PodRange]) -> NodeFacts:
    """The node with all ranges of its pods: whoever has an address there is inside."""
    return msgspec.structs.replace(facts, pod_cidrs=own_ranges(facts, ranges))
