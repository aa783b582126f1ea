"""What the kernel shows of our rules when nobody has touched them. In: the node's layout. Out: digests to compare with.

The kernel's form of a rule is not the text that we wrote. So the program is put once into a network namespace made for that,
which nobody else knows, and read there. Not here: the program (``compile``), the digests (``linux/nft_dump``).
"""

from __future__ import annotations

import os

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables.skeleton import Layout
from netloom.errors import NotFound
from netloom.linux import netns
from netloom.linux.nft import Nft
from netloom.linux.nft_dump import NftDump, TableDump
from netloom.program import names

_MOST_KEPT = 8


class References:
    """Tables as they should be, each made when it is first asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[Layout, frozenset[int]], TableDump] = {}

    async def table(self, node: Layout, times: frozenset[int]) -> TableDump:
        """The table of this layout, with chains for these times of session affinity, and without elements.

        Raises:
            KernelError: no right to make a network namespace, or the kernel refused the program.
            Unsupported: no nftables in this kernel, or no ``nft`` program.
        """
        wanted = (node, times)
        known = self._known.get(wanted)
        if known is None:
            while len(self._known) >= _MOST_KEPT:
                del self._known[next(iter(self._known))]
            known = self._known[wanted] = await _made(node, times)
        return known


async def _made(node: Layout, times: frozenset[int]) -> TableDump:
    fd = await netns.run_in_async(None, netns.new_netns)
    try:
        with Nft(netns_fd=fd) as nft, NftDump(netns_fd=fd) as dump:
            for piece in program.foundations(node, times, nft.most_rules):
                await nft.run(piece)
            await nft.run(program.hooks(node))
            found = await dump.table(node.family, names.NFT_TABLE)
    finally:
        os.close(fd)
    if found is None:
        raise NotFound(f"table {node.family.value} {names.NFT_TABLE} in a namespace of its own")
    return found
