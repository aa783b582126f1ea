"""The composition root of a node's gateway: constructors and one TaskGroup. It joins the rooms and decides nothing.

Order: the questions' socket, then the watches of the first round. Until there is a Gateway or an Ingress nothing else happens. Then
everything is read once, the first plan is made, and an engine is started as soon as a plan has a door (or a former run left files).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any

from netloom import __version__
from netloom.api.core import Node
from netloom.clock import Clock
from netloom.gateway import in_force
from netloom.gateway.config import GatewayConfig
from netloom.gateway.engine import Engine
from netloom.gateway.kept import KeptEngine
from netloom.gateway.pending import Pending
from netloom.gateway.publish import Publisher
from netloom.gateway.report import GatewayReport
from netloom.gateway.turns import Turns
from netloom.gateway.watches import Watches
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import in_cluster, load
from netloom.kube.resources import NODES
from netloom.kube.watch import Reflector
from netloom.linux import inherited
from netloom.linux.pages import PageServer, parse_place
from netloom.linux.questions import QuestionServer
from netloom.metrics import CONTENT_TYPE, gauge, render
from netloom.units import Addr, ObjectKey, parse_addr

log = logging.getLogger(__name__)


class NodeGateway:
    """Everything that one node's gateway consists of."""

    def __init__(self, *, config: GatewayConfig, client: KubeClient, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._addresses = config.listen_at()
        self._known = asyncio.Event()
        self._uid = ""
        self._engine = KeptEngine(
            lambda: Engine(Path(config.directory), self._addresses, clock, outlives=True)
        )
        self._node = Reflector(
            client, NODES, Node, on_change=self._node_changed, field_selector=f"metadata.name={config.node}"
        )
        self._pending = Pending(clock=clock)
        self._turns = Turns(
            node=config.node,
            pending=self._pending,
            engine=self._engine,
            on_turn=lambda is_news: self._publisher.look(is_news=is_news),
            clock=clock,
        )
        self._watches = Watches(client, on_change=self._changed, on_seen=self._pending.seen)
        self._publisher = Publisher(
            client=client,
            node=config.node,
            uid=lambda: self._uid,
            told=lambda: self._turns.told,
            kinds=in_force.TOLD,
            clock=clock,
        )
        self._questions = QuestionServer(config.socket, {"gateway": self.report})

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            StorageError: the socket cannot be made.
        """
        self._questions.open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._questions.run(), name="questions")
            if self._config.metrics_address:
                place = parse_place(self._config.metrics_address)
                tasks.create_task(PageServer(place, {"/metrics": self._page}).run(), name="metrics")
            tasks.create_task(self._watches.run(), name="watches")
            tasks.create_task(self._work(), name="work")

    async def _work(self) -> None:
        await self._watches.first_synced()
        if not self._watches.is_wanted:
            self._end_former()
        await self._watches.synced.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._node.run(), name="own node")
            await self._known.wait()
            tasks.create_task(self._publisher.run(), name="in force")
            tasks.create_task(self._engine.run(), name="engine")
            await self._turns.run()

    def _end_former(self) -> None:
        """An engine may have outlived a former process, and the last Gateway gone meanwhile."""
        for former in inherited.find("haproxy", Path(self._config.directory)):
            log.info(
                "there is neither a Gateway nor an Ingress any more: HAProxy (process %d) ends", former.pid
            )
            former.kill(signal.SIGUSR1)
            former.close()

    def report(self) -> GatewayReport:
        """What there is to see for ``netloom gateway status``."""
        if not self._watches.synced.is_set():
            return GatewayReport(node=self._config.node, state="idle")
        return self._turns.report()

    def _page(self) -> tuple[str, str]:
        samples = [
            gauge("netloom_build_info", "1; the label has the version.", 1, version=__version__),
            *self._turns.samples(),
            *self._publisher.samples(),
            *self._engine.samples(),
        ]
        return CONTENT_TYPE, render(samples)

    def _changed(self, kind: str, key: ObjectKey, value: Any) -> None:  # noqa: ANN401 - a struct of the kind, or None
        self._pending.mark(kind, key, value)

    def _node_changed(self, key: ObjectKey, node: Node | None) -> None:
        if node is None:
            return
        self._uid = node.metadata.uid
        if not self._config.addresses and not self._addresses:
            self._addresses = _internal(node)
        if self._addresses:
            self._known.set()
            self._publisher.look()


def _internal(node: Node) -> tuple[Addr, ...]:
    found = (parse_addr(one.address) for one in node.status.addresses if one.type == "InternalIP")
    return tuple(address for address in found if address is not None)


async def serve(config: GatewayConfig, *, clock: Clock) -> None:
    """Be the gateway of one node until cancelled."""
    credentials = load(config.kubeconfig) if config.kubeconfig else in_cluster()
    async with KubeClient(credentials, user_agent="netloom-gateway") as client:
        await NodeGateway(config=config, client=client, clock=clock).run()
