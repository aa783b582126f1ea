"""What the nodes have in force, as long as somebody asks. In: Leases and Nodes; out: the moment at which something is so.

The Leases are watched only while someone waits, and a little longer. Nothing is polled: who waits looks again when a Lease, a
Node, or what the owner of this object says (``poke``) has changed. Not here: what is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from netloom.agent import acks_lease
from netloom.agent.acks_lease import Lack, Versions, Wanted
from netloom.api.coordination import Lease
from netloom.api.core import Node
from netloom.kube.client import KubeClient
from netloom.kube.resources import LEASES
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

_LINGER_S = 10.0
"""Who asked once often asks again soon: a rollout replaces one pod after another."""

T = TypeVar("T")


class AckFollower:
    """Follows what all nodes have in force.

    Args:
        client: an open client.
        nodes: the Nodes, kept up to date by its owner, who pokes this when they change.
        own: a node that is waited for even where it is not Ready; empty for none.
        linger_s: how long the Leases are watched after the last who waits has gone.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        nodes: Mapping[ObjectKey, Node],
        own: str = "",
        linger_s: float = _LINGER_S,
    ) -> None:
        self._nodes = nodes
        self._own = own
        self._linger_s = linger_s
        self._leases = Reflector(
            client,
            LEASES,
            Lease,
            on_change=self._lease_changed,
            namespace=acks_lease.NAMESPACE,
            label_selector=acks_lease.SELECTOR,
        )
        self._told: dict[str, Versions] | None = None
        self._waiting: set[asyncio.Event] = set()
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self._watching = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def is_watching(self) -> bool:
        """True while the Leases are watched."""
        return self._watching

    def told(self) -> Mapping[str, Versions]:
        """What each node tells; to be read inside of :meth:`until` only."""
        if self._told is None:
            self._told = acks_lease.by_node(self._leases.items.values())
        return self._told

    def lacking(self, wanted: Iterable[Wanted], *, only: Iterable[str] = ()) -> tuple[Lack, ...]:
        """Which nodes lack what: of all Ready nodes, or of ``only`` these, whether Ready or not."""
        nodes = set(only)
        if not nodes:
            nodes.update(acks_lease.ready_and_not(self._nodes.values())[0])
            nodes.update(filter(None, (self._own,)))
        return acks_lease.lacking(wanted, sorted(nodes), self.told())

    def poke(self) -> None:
        """Something has changed that who waits may depend on."""
        for changed in self._waiting:
            changed.set()

    async def until(self, answer: Callable[[], T | None]) -> T:
        """The first answer that is not None; asked at once, and again after every change."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        self._none.clear()
        self._some.set()
        try:
            await self._leases.synced.wait()
            while (found := answer()) is None:
                await changed.wait()
                changed.clear()
            return found
        finally:
            self._waiting.discard(changed)
            if not self._waiting:
                self._some.clear()
                self._none.set()

    async def everywhere(self, wanted: Iterable[Wanted], *, only: Iterable[str] = ()) -> None:
        """Wait until all of it is in force on all Ready nodes, or on ``only`` these."""
        wants = acks_lease.strictest(wanted)
        names = tuple(only)
        await self.until(lambda: None if self.lacking(wants, only=names) else True)

    async def run(self) -> None:
        """Watch while somebody waits, until cancelled."""
        while True:
            await self._some.wait()
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._leases.run(), name="watch leases")
                self._watching = True
                await self._idle()
                watch.cancel()
            self._watching = False

    async def _idle(self) -> None:
        """Until nobody has waited for a while."""
        while True:
            await self._none.wait()
            try:
                async with asyncio.timeout(self._linger_s):
                    await self._some.wait()
            except TimeoutError:
                return

    def _lease_changed(self, _: ObjectKey, __: Lease | None) -> None:
        self._told = None
        self.poke()
