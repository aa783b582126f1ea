"""A tunnel's nftables tables, in and out of the kernel. In: the node's facts. Out: tables in force, or NftError.

Not here: what they say (``tunnel_rules``).
"""

from __future__ import annotations

from netloom.fabric.tunnel_rules import TunnelTable, no_tunnel_rules, tunnel_rules
from netloom.linux.nft import Nft
from netloom.model.inputs import NodeFacts


async def put_rules(table: TunnelTable, facts: NodeFacts, netns_fd: int | None) -> None:
    """Have the tables as this node needs them; each is replaced in one step."""
    with Nft(netns_fd=netns_fd) as nft:
        for transaction in tunnel_rules(facts, table):
            await nft.run(transaction)


async def take_rules(table: TunnelTable, netns_fd: int | None) -> None:
    """Have no such tables; costs next to nothing where there are none."""
    with Nft(netns_fd=netns_fd) as nft:
        for transaction in no_tunnel_rules(table):
            if await nft.chains(transaction.family, table.name) is not None:
                await nft.run(transaction)


async def has_rules(table: TunnelTable, netns_fd: int | None) -> bool:
    """Whether the tables of both families are there."""
    with Nft(netns_fd=netns_fd) as nft:
        for transaction in no_tunnel_rules(table):
            if await nft.chains(transaction.family, table.name) is None:
                return False
    return True
