"""The composition root of a speaker: constructors and one TaskGroup. It joins the parts and decides nothing.

Order at the start: the watches read the cluster, the key is had, then this node listens for the others for a moment; only then, and when its agent has everything in
force, it is ready, which its heartbeats say: others give up what is its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from netloom.announce.answering import Answerer
from netloom.announce.authority import Authority
from netloom.announce.bgp.part import BgpPart, BgpSettings
from netloom.announce.cluster import Cluster
from netloom.announce.config import SpeakerConfig
from netloom.announce.guard import Guard
from netloom.announce.layer2 import Layer2
from netloom.announce.members.exchange import Exchange
from netloom.announce.members.key import secret_key, shared_key
from netloom.announce.members.state import Members
from netloom.announce.part import Part
from netloom.announce.reports import Reports
from netloom.announce.told import QUESTION, GoneFeed
from netloom.clock import Clock
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.kubeconfig import in_cluster, load
from netloom.linux.pages import PageServer, parse_place
from netloom.linux.questions import QuestionServer
from netloom.metrics import CONTENT_TYPE, render
from netloom.units import parse_cidr

log = logging.getLogger(__name__)


class Speaker:
    """Everything that one node's speaker consists of."""

    def __init__(self, *, config: SpeakerConfig, client: KubeClient, clock: Clock) -> None:
        self._config = config
        self._client = client
        self._clock = clock
        self._is_fit = not config.waits_for_agent
        self._is_synced = self._was_ready = self._is_stale = False
        self._silent: frozenset[str] | None = None
        self._events = EventRecorder(client, "netloom-speaker", clock=clock)
        self._reports = Reports(self._events)
        self._cluster = Cluster(client=client, config=config, clock=clock, on_change=self._changed)
        self._members = Members(config.node)
        self._authority = Authority(members=self._members, client=client, node=config.node, clock=clock)
        self._exchange = Exchange(
            members=self._members,
            port=config.members_port,
            clock=clock,
            claims=lambda: self._layer2.claims,
            is_ready=lambda: self._is_ready,
            on_turn=self._turn,
        )
        self._layer2 = Layer2(
            members=self._members,
            answerer=Answerer(
                interfaces=config.interfaces,
                clock=clock,
                is_awake=lambda: self._exchange.slept_s < self._members.rhythm.fence_s,
                on_conflict=lambda found: self._layer2.conflict(found),  # noqa: PLW0108 - it is made with this
            ),
            clock=clock,
            may_take=self._authority.may_take,
            on_moved=self._exchange.tell_all,
            report=lambda finding: self._reports.tell(finding, "AddressConflict"),
        )
        self._bgp = BgpPart(
            settings=BgpSettings(
                node=config.node,
                directory=Path(config.directory),
                cluster_cidrs=tuple(c for t in config.cluster_cidrs if (c := parse_cidr(t)) is not None),
                fabric=config.fabric,
            ),
            client=client,
            events=self._events,
            clock=clock,
        )
        self._parts: tuple[Part, ...] = (self._layer2, self._bgp, Guard())
        self._gone = GoneFeed(self._agent_is_there)
        self._questions = QuestionServer(
            config.socket, self._answers(), followed={QUESTION: self._gone.follow}
        )

    @property
    def _is_ready(self) -> bool:
        """Whether this node may be given duties."""
        return self._is_fit and self._is_synced and self._members.is_settled(self._clock.monotonic())

    async def run(self) -> None:
        """Until cancelled."""
        secret = secret_key(self._config.members_key)
        place = parse_place(self._config.metrics_address) if self._config.metrics_address else None
        self._questions.open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._questions.run(), name="questions")
            tasks.create_task(self._events.run(), name="events")
            tasks.create_task(self._authority.run(), name="authority")
            if place is not None:
                pages = PageServer(place, {"/metrics": lambda: (CONTENT_TYPE, self._count())})
                tasks.create_task(pages.run(), name="metrics")
            for watch in self._cluster.watches:
                tasks.create_task(watch.run(), name="watch")
            for part in self._parts:
                tasks.create_task(part.run(), name=part.name)
            await self._cluster.synced()
            key = await shared_key(self._client, secret)
            self._is_synced = True
            self._exchange.know(self._cluster.speakers())
            await self._exchange.run(
                key, lambda: shared_key(self._client, secret), before_leaving=self._layer2.stop
            )

    def _answers(self) -> dict[str, Callable[[], object]]:
        return {part.name: part.report for part in self._parts} | {"metrics": self._count}

    def _agent_is_there(self) -> None:
        if not self._is_fit:
            log.info("the agent has everything in force: this node may have duties")
        self._is_fit = True

    def _changed(self) -> None:
        self._is_stale = True

    def _turn(self, is_news: bool) -> None:
        """Some times a heartbeat, and when somebody has said something new."""
        now = self._clock.monotonic()
        if not self._members.is_settled(now):
            return
        silent = self._members.silent(now) | self._members.unready(now) | self._cluster.unready(now)
        if not self._is_ready:
            silent |= {self._config.node}
        elif not self._was_ready:
            self._was_ready = True
            self._members.became_ready(now)
            self._exchange.tell_all()
        if silent != self._silent or self._is_stale:
            self._tell(silent)
        self._layer2.turn(is_news=is_news)

    def _tell(self, silent: frozenset[str]) -> None:
        """The situation is another."""
        before, self._silent = self._silent, silent
        if self._is_stale:
            self._is_stale = False
            self._exchange.know(self._cluster.speakers())
        if before is None or silent != before:
            log.info("without duties: %s", ", ".join(sorted(silent)) or "nobody")
        situation = self._cluster.situation(silent)
        self._gone.tell(frozenset(key.name for key in situation.view.gone))
        for part in self._parts:
            part.take(situation)
        live = {key.name for key in situation.view.nodes} - {key.name for key in situation.view.gone}
        self._reports.take(
            self._cluster.announced.findings, teller=min(live, default="") == self._config.node
        )

    def _count(self) -> str:
        """The page of metrics."""
        sources = (self._exchange.samples, *(part.samples for part in self._parts))
        return render([sample for source in sources for sample in source()])


async def serve(config: SpeakerConfig, *, clock: Clock) -> None:
    """Be the speaker of one node until cancelled."""
    credentials = load(config.kubeconfig) if config.kubeconfig else in_cluster()
    async with KubeClient(credentials, user_agent="netloom-speaker") as client:
        await Speaker(config=config, client=client, clock=clock).run()
