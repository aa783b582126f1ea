"""One node's care for the ways to others, joined: who watches what the fabric has, who asks, who answers, who hears of it. In: the agent's parts. Out: tasks.

Not here: what is asked and what it means (``path_mtu``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping

from netloom.agent.fabric_watch import FabricWatch
from netloom.agent.path_mtu.prober import Checksums, PathProber
from netloom.agent.path_mtu.questions import Asker
from netloom.agent.path_mtu.responder import Responder
from netloom.clock import Clock
from netloom.engine.reconcile import Engine
from netloom.fabric.egress.apply import EgressPaths
from netloom.fabric.measured import MeasuredFabric
from netloom.kube import resources
from netloom.kube.events import EventRecorder
from netloom.metrics import Sample
from netloom.model.provenance import Finding, Source
from netloom.units import ObjectKey

REASON = "PathDegraded"
"""Of Events about a node's way to another."""


class NodePaths:
    """The watch, the prober and the responder of a node; ``prober`` is told by the engine what is in force.

    Args:
        node: its name.
        uid: gives the uid of its Node; empty where there is none.
        port: UDP port of probes on all nodes; 0: nobody asks and nobody is answered.
        checksums: what to do about tunnels whose checksums the hardware spoils.
        fabric: whose routes are narrowed to what was measured.
        ways_out: what leads out by other nodes.
        engine: gives who owns both; None until it is there.
        report: takes findings for the log.
        events: where Events go.
        clock: for bounds.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each part
        self,
        *,
        node: str,
        uid: Callable[[], str],
        port: int,
        checksums: Checksums,
        fabric: MeasuredFabric,
        ways_out: EgressPaths,
        engine: Callable[[], Engine | None],
        report: Callable[[Iterable[Finding]], None],
        events: EventRecorder,
        clock: Clock,
    ) -> None:
        self._node = node
        self._uid = uid
        self._port = port
        self._fabric = fabric
        self._engine = engine
        self._report = report
        self._events = events
        self.prober = PathProber(
            node=node,
            own=lambda: Source("Node", "", node, uid()),
            asker=lambda: Asker(port=port),
            checksums=checksums,
            report=self._tell,
            narrow=self._narrow,
        )
        self._watch = FabricWatch(fabric=fabric, owner=engine, ways_out=ways_out)
        self._responder = Responder(port=port, peers=lambda: self.prober.addresses, clock=clock)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.run(), name="fabric watch")
            if self._port:
                tasks.create_task(self._responder.run(), name="path answers")
                tasks.create_task(self.prober.run(), name="path questions")

    def samples(self) -> Iterator[Sample]:
        """For the page of metrics."""
        yield from self._watch.samples()
        yield from self.prober.samples()

    def _tell(self, findings: Iterable[Finding]) -> None:
        """To the log, and as Events of this node's own Node: each way has two ends, and each end tells of its own."""
        told = list(findings)
        self._report(told)
        for finding in told if self._uid() else ():
            message = f"{finding.problem}; {finding.hint}"
            self._events.emit(
                resources.NODES,
                ObjectKey("", self._node),
                self._uid(),
                reason=REASON,
                message=message,
                warning=True,
            )

    async def _narrow(self, mtus: Mapping[str, int]) -> None:
        engine = self._engine()
        if engine is None:
            return
        async with engine.still():
            await self._fabric.measured(mtus)
