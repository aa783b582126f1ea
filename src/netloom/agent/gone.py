"""Nodes that are held dead, as inputs of this node's model. In: the speaker's word, and conditions of Nodes. Out: marks of kind ``gone``.

Not here: how a death is noticed (``announce/members``), and what the model makes of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from netloom.announce.told import ToldGone
from netloom.api.core import Node
from netloom.metrics import Sample
from netloom.model.announcing.gone import GoneNode, is_unready
from netloom.units import ObjectKey


class GoneNodes:
    """Who is gone, by either word.

    Args:
        path: the speaker's socket; empty: there is none.
        mark: hands an input to the model.
        in_force: waits until a mark is in force: then this node may have duties, and the speaker learns that by our first question.
    """

    def __init__(
        self,
        *,
        path: str,
        mark: Callable[[ObjectKey, GoneNode | None], int],
        in_force: Callable[[int], Awaitable[None]],
    ) -> None:
        self._mark = mark
        self._in_force = in_force
        self._told: frozenset[str] = frozenset()
        self._unready: set[str] = set()
        self._speaker = ToldGone(path, self._take)

    async def run(self) -> None:
        """Until cancelled."""
        await self._in_force(1)
        await self._speaker.run()

    def samples(self) -> Iterator[Sample]:
        """For the page of metrics."""
        return self._speaker.samples()

    def node_changed(self, key: ObjectKey, node: Node | None) -> None:
        """A Node is now this, or None: it is not there any more, which the model sees itself."""
        before = self._all()
        if node is not None and is_unready(node):
            self._unready.add(key.name)
        else:
            self._unready.discard(key.name)
        self._tell(before)

    def _take(self, names: frozenset[str]) -> None:
        before = self._all()
        self._told = names
        self._tell(before)

    def _all(self) -> frozenset[str]:
        return self._told | self._unready

    def _tell(self, before: frozenset[str]) -> None:
        after = self._all()
        for name in sorted(before ^ after):
            key = ObjectKey("", name)
            self._mark(key, GoneNode(name) if name in after else None)
