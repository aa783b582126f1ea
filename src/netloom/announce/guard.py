"""What comes for an address outside and is for nobody does not go on: a table of nftables of the speaker's own. One of its parts.

Comes in: the situation. Goes out: a set of addresses in the kernel, and three rules. Whatever is served has been translated before, so it never has such an address
any more; the rest (a port that no Service has, ICMP) would be routed back to where it came from, and round and round. The table stays when the speaker ends: nothing else
is served by that. Not here: what is served (the node's agent).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator

from netloom.errors import NetloomError
from netloom.linux.nft import Nft
from netloom.metrics import Sample, gauge
from netloom.model.announcing.view import Situation
from netloom.program.names import NFT_ANNOUNCED, NFT_ANNOUNCED_TABLE
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    Container,
    DeleteTable,
    Field,
    Hook,
    Transaction,
)
from netloom.units import Addr, Family, family_of

log = logging.getLogger(__name__)

ADDRESSES = Container(NFT_ANNOUNCED, (Field.ADDRESS,))
_BEFORE_POLICIES = -10
_RETRY_S = 2.0


def guard(family: Family, addresses: Iterable[Addr]) -> Transaction:
    """The whole table of one family, in place of whatever is there."""
    about = f"{family.value} daddr @{ADDRESSES.name}"
    elements = tuple(((address.packed,), None) for address in sorted(addresses))
    chain = Chain("forward", Hook("filter", "forward", _BEFORE_POLICIES))
    rules = (
        # of a connection that another node translated before: a reset would end it for good
        AddRule(chain.name, f"{about} ct state invalid counter drop", "conntrack cannot place it"),
        AddRule(
            chain.name, f"{about} meta l4proto tcp counter reject with tcp reset", "no Service has this port"
        ),
        AddRule(chain.name, f"{about} counter reject", "no Service has this port"),
    )
    filling = (AddElements(ADDRESSES, elements),) if elements else ()
    ops = (AddTable(), DeleteTable(), AddTable(), AddContainer(ADDRESSES), AddChain(chain), *filling, *rules)
    return Transaction(family, NFT_ANNOUNCED_TABLE, ops)


class Guard:
    """The part: keeps the table as the situation is."""

    name = "guard"

    def __init__(self) -> None:
        self._wanted: frozenset[Addr] = frozenset()
        self._present: frozenset[Addr] | None = None
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. What the kernel refuses is tried again: addresses are announced all the same."""
        with Nft() as nft:
            while True:
                await self._news.wait()
                self._news.clear()
                wanted = self._wanted
                if wanted == self._present:
                    continue
                try:
                    await nft.run(*(guard(f, [a for a in wanted if family_of(a) is f]) for f in Family))
                    self._present = wanted
                except NetloomError as error:
                    log.warning(
                        "packets for nobody at announced addresses are not kept from going on: %s", error
                    )
                    await asyncio.sleep(_RETRY_S)
                    self._news.set()

    def take(self, situation: Situation) -> None:
        """These addresses are announced."""
        self._wanted = frozenset(situation.duties)
        self._news.set()

    def report(self) -> list[str]:
        """The addresses in the kernel."""
        return sorted(map(str, self._present or ()))

    def samples(self) -> Iterator[Sample]:
        """How many addresses the kernel has."""
        yield gauge(
            "netloom_speaker_guarded_addresses",
            "Addresses whose stray packets end here.",
            len(self._present or ()),
        )
