"""One node's kernel, as its agent reads it. In: an agent's socket. Out: elements, rules and routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from netloom.observe.live.questions import MOST_ASKED, WORD, ElementsOf, KernelAnswer, KernelQuestion, RouteTo
from netloom.program.nft import Container, Key, Value
from netloom.units import Addr, Family, family_of

Ask = Callable[[str], Awaitable[bytes]]
"""Asks the node's agent (``agent.questions.ask``)."""


class NodeKernel:
    """Reads through an agent.

    Args:
        ask: its socket.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def elements(self, family: Family, container: Container, keys: Sequence[Key]) -> dict[Key, Value]:
        """Which of these keys are there, and their values.

        Raises:
            Unavailable: the agent does not answer.
            NotFound: it does not know the question, or its kernel refuses.
        """
        found: dict[Key, Value] = {}
        for start in range(0, len(keys), MOST_ASKED):
            some = ElementsOf(container, tuple(keys[start : start + MOST_ASKED]))
            found.update((await self._asked(KernelQuestion(family, some))).elements)
        return found

    async def rules(self, family: Family, chain: str) -> tuple[str, ...] | None:
        """The comments of a chain's rules; None where there is no such chain.

        Raises:
            Unavailable, NotFound: as for ``elements``.
        """
        return (await self._asked(KernelQuestion(family, chain=chain))).rules

    async def routes(self, addresses: Iterable[Addr]) -> dict[str, RouteTo]:
        """Where packets to these go, by address.

        Raises:
            Unavailable, NotFound: as for ``elements``.
        """
        wanted = list(dict.fromkeys(addresses))
        found: dict[str, RouteTo] = {}
        for start in range(0, len(wanted), MOST_ASKED):
            some = wanted[start : start + MOST_ASKED]
            question = KernelQuestion(family_of(some[0]), addresses=tuple(map(str, some)))
            found.update((one.address, one) for one in (await self._asked(question)).routes)
        return found

    async def _asked(self, question: KernelQuestion) -> KernelAnswer:
        answer = await self._ask(f"{WORD} {msgspec.json.encode(question).decode()}")
        return msgspec.json.decode(answer, type=KernelAnswer)
