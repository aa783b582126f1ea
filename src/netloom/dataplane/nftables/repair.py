"""Puts right what an audit has found, while the engine holds still. In: what differs. Out: a kernel that has what it should.

Elements one by one, in one transaction of exactly these; chains of policies and those that can be renewed in place; and where that is
not enough, the whole table, by the plane's own start. Not here: finding (``audit``), what differs (``drift``).
"""

from __future__ import annotations

import logging

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables import drift
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.compile import TableState
from netloom.dataplane.nftables.containers import POLICED, POLICY_EGRESS, POLICY_INGRESS
from netloom.dataplane.nftables.contents import containers_of, frontend_key, peer_sets, wanted
from netloom.dataplane.nftables.drift import Difference, Drift
from netloom.dataplane.nftables.drift_words import meanings
from netloom.dataplane.nftables.element_ops import Elements
from netloom.dataplane.nftables.policy.reconcile import PresentPolicies, is_peers_set, is_policy_chain, pieces
from netloom.dataplane.nftables.policy.sets import container_of
from netloom.dataplane.nftables.policy.table import PolicyTable, verdicts
from netloom.dataplane.nftables.reference import References
from netloom.dataplane.nftables.skeleton import edition, layout
from netloom.dataplane.nftables.suspects import MOST_SUSPECTS
from netloom.errors import KernelError, NetloomError, NftError
from netloom.linux.nft import Nft
from netloom.linux.nft_dump import NftDump
from netloom.model.inputs import NodeFacts
from netloom.model.policy.state import PolicyDelta
from netloom.model.state import Delta, NetworkState
from netloom.program import names
from netloom.program.nft import AddChain, Chain, DeleteChain, FlushChain, Key, Transaction
from netloom.units import Family

log = logging.getLogger(__name__)

_Comments = dict[str, tuple[str, ...]]
_SPOILED = ("",)
"""Comments of a chain that nobody takes for one of ours."""


class Repairs:
    """Compares and puts right; one task, while nothing else uses the plane.

    Args:
        plane: whose table it is.
        nft: the one that the plane uses.
        dump: reads beside it.
        references: tables as they should be.
    """

    def __init__(self, *, plane: NftablesPlane, nft: Nft, dump: NftDump, references: References) -> None:
        self._plane = plane
        self._nft = nft
        self._dump = dump
        self._references = references

    async def shape_drifts(self, family: Family, state: NetworkState, facts: NodeFacts) -> list[Drift]:
        """Chains, rules and declarations that are not as they should be."""
        table = self._plane.tables[family]
        try:
            desired = await self._references.table(layout(facts, family), table)
        except NetloomError as error:
            log.warning("rules cannot be compared on %s: %s", facts.name, error)
            return []
        present = await self._dump.table(family, names.NFT_TABLE)
        if desired == present:
            return []
        return drift.compare_tables(desired, present, family, facts.name, meanings(state, table))

    async def differences(self, table: TableState, keys: dict[str, frozenset[Key]]) -> list[Difference]:
        """Elements at these keys that are not as they should be."""
        containers = containers_of(table)
        known = {name: some for name, some in keys.items() if name in containers}
        present: Elements = {
            name: await self._dump.look_up(table.family, names.NFT_TABLE, containers[name], list(some))
            for name, some in known.items()
        }
        return drift.differences(containers, wanted(table, known), present)

    async def elements(
        self, state: NetworkState, facts: NodeFacts, wrong: dict[Family, list[Difference]]
    ) -> None:
        """Exactly these elements, and the flows that would not have been made without the drift.

        Raises:
            KernelError: the kernel refused, and a start too.
        """
        try:
            if max(map(len, wrong.values())) >= min(self._nft.most_elements, MOST_SUSPECTS):
                await self._plane.start(state, facts)
                return
            await self._nft.run(*(drift.repair(family, found) for family, found in wrong.items()))
            await self._plane.apply(self._same_again(state, wrong))
        except KernelError as error:
            # Whoever changes our table may have done it again, between our look and our repair.
            log.info("elements cannot be put right one by one, comparing everything: %s", error)
            await self._plane.start(state, facts)

    def _same_again(self, state: NetworkState, wrong: dict[Family, list[Difference]]) -> Delta:
        """A change to what is there already: it changes no element, and ends the flows that have no place."""
        places = {
            frontend_key(one.container, one.key, family) for family, found in wrong.items() for one in found
        }
        frontends = {
            key: state.frontends[key] for key in places if key is not None and key in state.frontends
        }
        policies = {name for family in wrong for name in peer_sets(self._plane.tables[family])} | {
            POLICY_INGRESS.name,
            POLICY_EGRESS.name,
            POLICED.name,
        }
        touched = any(one.container.name in policies for found in wrong.values() for one in found)
        policy = PolicyDelta(pods=state.policy.pods) if touched else PolicyDelta()
        return Delta(frontends=frontends, flows=tuple(frontends), policy=policy)

    async def shapes(
        self, state: NetworkState, facts: NodeFacts, found: dict[Family, list[Drift]]
    ) -> list[Drift]:
        """Chains, rules and maps; what is still wrong in the end.

        Where renewing them in place is not enough, the table is no longer of any edition, and a start replaces it in one transaction.

        Raises:
            KernelError: the kernel refused that, too.
        """
        for family, some in found.items():
            wrong = drift.names_of(some)
            if wrong:
                await self._renew(family, facts, wrong)
        left = await self._left(state, facts, found)
        if left:
            for family in {one.family for one in left}:
                await self._disown(family)
            await self._plane.start(state, facts)
            left = await self._left(state, facts, found)
        return left

    async def _left(
        self, state: NetworkState, facts: NodeFacts, found: dict[Family, list[Drift]]
    ) -> list[Drift]:
        return [
            one
            for family, some in found.items()
            if some
            for one in await self.shape_drifts(family, state, facts)
        ]

    async def _renew(self, family: Family, facts: NodeFacts, wrong: frozenset[str]) -> None:
        """These chains and sets of policies anew; nothing where they cannot be renewed in place."""
        present = await self._nft.chains(family, names.NFT_TABLE) or {}
        seen: _Comments = {name: _SPOILED if name in wrong else found for name, found in present.items()}
        table = self._plane.tables[family]
        try:
            if table.policy is not None and any(is_policy_chain(n) or is_peers_set(n) for n in wrong):
                there = await self._nft.containers(family, names.NFT_TABLE)
                for ops in pieces(table.policy, _as_if(table.policy, seen, there), self._nft.most_elements):
                    await self._nft.run(Transaction(family, names.NFT_TABLE, tuple(ops)))
            if program.is_renewable(family, seen) and not program.is_right(
                layout(facts, family), seen, table.times
            ):
                await self._nft.run(program.renewal(layout(facts, family), seen, table.times))
        except NftError as error:
            log.info("chains cannot be renewed in place: %s", error)

    async def _disown(self, family: Family) -> None:
        if await self._dump.table(family, names.NFT_TABLE) is None:
            return
        chain = edition(family)
        ops = (AddChain(Chain(chain)), FlushChain(chain), DeleteChain(chain))
        await self._nft.run(Transaction(family, names.NFT_TABLE, ops))


def _as_if(policy: PolicyTable, chains: _Comments, containers: set[str]) -> PresentPolicies:
    """A table with these chains and containers whose elements are all right: those are put right one by one."""
    sets = {container_of(key).name: dict.fromkeys(members) for key, members in policy.sets.items()}
    return PresentPolicies(
        chains={name: comments for name, comments in chains.items() if is_policy_chain(name)},
        sets={name: members for name, members in sets.items() if name in containers},
        strange_sets=frozenset(name for name in containers - sets.keys() if is_peers_set(name)),
        verdicts=verdicts(policy.pods),
    )
