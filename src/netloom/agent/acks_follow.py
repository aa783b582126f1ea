"""What the nodes have in force, as long as somebody asks. In: Leases and Nodes; out: the moment at which something is so.

The Leases are watched only while someone waits, and a little longer. Nothing is polled: who waits looks again when a Lease, a
Node, or what the owner of this object says (``poke``) has changed. Not here: what is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from netloom.agent import acks_lease
from netloom.agent.acks_lease import Lack, Versions, Wanted
from netloom.api.coordination import Lease
from netloom.api.core import Node
from netloom.gateway import in_force
from netloom.gateway.in_force import GatewayLease
from netloom.kube.client import KubeClient
from netloom.kube.resources import LEASES
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey


class Speakers(msgspec.Struct, frozen=True):
    """Whose Leases are followed, and what they say."""

    selector: str
    """Of labels, in namespace kube-system."""
    type: type[Any]
    read: Callable[[Any], tuple[str, Versions]]
    """The node (empty: not believed), and what it has in force."""


AGENTS = Speakers(
    acks_lease.SELECTOR, Lease, lambda lease: (acks_lease.node_of(lease), acks_lease.versions_in(lease))
)
GATEWAYS = Speakers(
    in_force.SELECTOR,
    GatewayLease,
    lambda lease: (in_force.node_of(lease), in_force.told_by(lease, in_force.TOLD).versions),
)
"""The processes that serve Gateways and Ingresses; there are none where there is neither."""
_LINGER_S = 10.0
"""Who asked once often asks again soon: a rollout replaces one pod after another."""

T = TypeVar("T")


class AckFollower:
    """Follows what all nodes have in force.

    Args:
        client: an open client.
        nodes: the Nodes, kept up to date by its owner, who calls ``nodes_changed``.
        own: a node that is waited for even where it is not Ready; empty for none.
        speakers: whose Leases.
        linger_s: how long the Leases are watched after the last who waits has gone.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        nodes: Mapping[ObjectKey, Node],
        own: str = "",
        speakers: Speakers = AGENTS,
        linger_s: float = _LINGER_S,
    ) -> None:
        self._nodes = nodes
        self._own = own
        self._linger_s = linger_s
        self._read = speakers.read
        self._leases = Reflector(
            client,
            LEASES,
            speakers.type,
            on_change=self._lease_changed,
            namespace=acks_lease.NAMESPACE,
            label_selector=speakers.selector,
        )
        self._holders: dict[ObjectKey, str] = {}
        self._told: dict[str, Versions] = {}
        self._expected: tuple[str, ...] | None = None
        self._laggard = ""
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

    @property
    def expected(self) -> tuple[str, ...]:
        """The nodes that are waited for: those that are Ready, and the own one."""
        if self._expected is None:
            ready, _ = acks_lease.ready_and_not(self._nodes.values())
            self._expected = tuple(sorted({*ready, *filter(None, (self._own,))}))
        return self._expected

    def lacking(self, wanted: Iterable[Wanted], *, only: tuple[str, ...] = ()) -> tuple[Lack, ...]:
        """Which of the expected nodes, or of ``only`` these, lack what. To be asked inside of :meth:`until`."""
        return acks_lease.lacking(wanted, only or self.expected, self._told)

    def is_everywhere(self, wanted: tuple[Wanted, ...], *, only: tuple[str, ...] = ()) -> bool:
        """Whether nobody lacks anything. Who lacked something last is asked first: with thousands of nodes that is quick."""
        nodes = only or self.expected
        if self._laggard in nodes and acks_lease.lacking(wanted, (self._laggard,), self._told):
            return False
        for node in nodes:
            if acks_lease.lacking(wanted, (node,), self._told):
                self._laggard = node
                return False
        return True

    def nodes_changed(self) -> None:
        """The Nodes have changed."""
        self._expected = None
        self.poke()

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

    async def everywhere(self, wanted: Iterable[Wanted], *, only: tuple[str, ...] = ()) -> None:
        """Wait until all of it is in force on the expected nodes, or on ``only`` these."""
        wants = acks_lease.strictest(wanted)
        await self.until(lambda: self.is_everywhere(wants, only=only) or None)

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

    def _lease_changed(self, key: ObjectKey, lease: Any) -> None:  # noqa: ANN401 - of the speakers' type, or None
        former = self._holders.pop(key, "")
        self._told.pop(former, None)
        node, versions = ("", {}) if lease is None else self._read(lease)
        if node:
            self._holders[key] = node
            self._told[node] = versions
        self.poke()
