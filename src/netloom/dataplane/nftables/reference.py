"""What the kernel shows of our rules when nobody has touched them. In: the table's state and the node's layout. Out: digests.

The kernel's form of a rule is not the text that we wrote. So the program is put once into a network namespace made for that,
which nobody else knows, and read there; without elements, which make no difference to rules. Not here: the program (``compile``,
``policy``), the digests (``linux/nft_dump``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables.compile import TableState
from netloom.dataplane.nftables.policy.table import PolicyTable, creation
from netloom.dataplane.nftables.skeleton import Layout
from netloom.errors import NotFound
from netloom.linux import netns
from netloom.linux.nft import Nft
from netloom.linux.nft_dump import NftDump, TableDump
from netloom.program import names
from netloom.program.nft import AddElements, AddTable, Op, Transaction
from netloom.units import Family

_MOST_KEPT = 8
_OPS_AT_ONCE = 500


class References:
    """Tables as they should be, each made when it is first asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[Layout, frozenset[int]], TableDump] = {}
        self._policies: dict[Family, tuple[object, TableDump]] = {}

    async def table(self, node: Layout, table: TableState) -> TableDump:
        """The table of this layout.

        Raises:
            KernelError: no right to make a network namespace, or the kernel refused the program.
            Unsupported: no nftables in this kernel, or no ``nft`` program.
        """
        wanted = (node, table.times)
        known = self._known.get(wanted)
        if known is None:
            while len(self._known) >= _MOST_KEPT:
                del self._known[next(iter(self._known))]
            known = self._known[wanted] = await _services(node, table.times)
        if table.policy is None or not (table.policy.programs or table.policy.sets):
            return known
        policies = await self._of_policies(table.policy)
        return TableDump(
            {**known.chains, **policies.chains}, {**known.containers, **policies.containers}, known.flags
        )

    async def _of_policies(self, policy: PolicyTable) -> TableDump:
        wanted = (policy.comments(), frozenset(policy.sets))
        known = self._policies.get(policy.family)
        if known is None or known[0] != wanted:
            known = self._policies[policy.family] = wanted, await _policies(policy)
        return known[1]


async def _services(node: Layout, times: frozenset[int]) -> TableDump:
    fd = await netns.run_in_async(None, netns.new_netns)
    try:
        with Nft(netns_fd=fd) as nft:
            for piece in program.foundations(node, times, nft.most_rules):
                await nft.run(piece)
            await nft.run(program.hooks(node))
        return await _dumped(fd, node.family)
    finally:
        os.close(fd)


async def _policies(policy: PolicyTable) -> TableDump:
    ops: list[Op] = [op for op in creation(policy) if not isinstance(op, AddElements)]
    fd = await netns.run_in_async(None, netns.new_netns)
    try:
        with Nft(netns_fd=fd) as nft:
            await nft.run(_transaction(policy.family, [AddTable()]))
            for start in range(0, len(ops), _OPS_AT_ONCE):
                await nft.run(_transaction(policy.family, ops[start : start + _OPS_AT_ONCE]))
        return await _dumped(fd, policy.family)
    finally:
        os.close(fd)


def _transaction(family: Family, ops: Iterable[Op]) -> Transaction:
    return Transaction(family, names.NFT_TABLE, tuple(ops))


async def _dumped(fd: int, family: Family) -> TableDump:
    with NftDump(netns_fd=fd) as dump:
        found = await dump.table(family, names.NFT_TABLE)
    if found is None:
        raise NotFound(f"table {family.value} {names.NFT_TABLE} in a namespace of its own")
    return found
