"""What this node's kernel has, for who asks about something in particular: elements of our table, rules of a chain, routes.

In: a question as JSON. Out: what is there, read from the kernel at that moment, not from memory. Read-only. Not here: what should be there
(``observe/live``), the socket (``questions``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from netloom.errors import UsageError
from netloom.linux import netns
from netloom.linux.nft_chain_rules import rule_comments
from netloom.linux.nft_dump import NftDump
from netloom.linux.rtnl import Rtnl
from netloom.observe.live.questions import KernelAnswer, KernelQuestion, RouteTo
from netloom.program.names import NFT_TABLE
from netloom.program.nft import Key, Value
from netloom.program.routes import MAIN_TABLE, Route
from netloom.units import Addr, family_of


class KernelReader:
    """Reads the network namespace that it runs in, or that of a descriptor."""

    def __init__(self, *, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd

    async def answer(self, words: str) -> KernelAnswer:
        """The answer to a :class:`KernelQuestion`.

        Raises:
            UsageError: it is none.
            KernelError, Unsupported: the kernel refused.
        """
        try:
            asked = msgspec.json.decode(words, type=KernelQuestion)
            addresses = [ipaddress.ip_address(text) for text in asked.addresses]
        except (msgspec.MsgspecError, ValueError) as error:
            raise UsageError(f"kernel: {error}", "ask with netloom why --live of the same version") from error
        return KernelAnswer(
            elements=await self._elements(asked),
            rules=await self._rules(asked),
            routes=await netns.run_in_async(None, lambda: self._routes(addresses)) if addresses else (),
        )

    async def _elements(self, asked: KernelQuestion) -> tuple[tuple[Key, Value], ...]:
        wanted = asked.elements
        if wanted is None:
            return ()
        with NftDump(netns_fd=self._netns_fd) as dump:
            found = await dump.look_up(asked.family, NFT_TABLE, wanted.container, wanted.keys)
        return tuple(found.items())

    async def _rules(self, asked: KernelQuestion) -> tuple[str, ...] | None:
        if not asked.chain:
            return None
        return await netns.run_in_async(
            None, lambda: rule_comments(asked.family, NFT_TABLE, asked.chain, netns_fd=self._netns_fd)
        )

    def _routes(self, addresses: Iterable[Addr]) -> tuple[RouteTo, ...]:
        with Rtnl(self._netns_fd) as rtnl:
            routes = [route for route in rtnl.routes() if route.table == MAIN_TABLE]
        return tuple(_route_to(address, routes) for address in addresses)


def _route_to(address: Addr, routes: Iterable[Route]) -> RouteTo:
    """The longest prefix, and of several the least metric (the main table's own rule)."""
    fitting = [one for one in routes if one.family is family_of(address) and address in one.destination]
    best = max(fitting, key=lambda one: (one.destination.prefixlen, -one.metric), default=None)
    if best is None:
        return RouteTo(str(address))
    return RouteTo(str(address), str(best.destination), str(best.via or ""), best.device)
