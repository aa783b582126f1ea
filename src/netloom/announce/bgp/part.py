"""BGP as a part of the speaker: the situation, the peers and their passwords become what BIRD has, and its sessions are told.

Comes in: situations, and what its own watches tell. Goes out: BIRD's configuration, statuses, Events, samples. Decides nothing: what is
announced and learned says ``model/announcing/bgp``. A fault, such as a BIRD that is not installed, is told and tried again; nothing else
of the speaker hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from netloom.announce.bgp.bird import Bird, Session
from netloom.announce.bgp.board import Board, Entry, refused
from netloom.announce.bgp.config import password_problem, protocol_of, render
from netloom.announce.bgp.passwords import Passwords
from netloom.announce.reports import Reports
from netloom.api.meta import KubeObject
from netloom.api.pools import IPBlock, IPPool
from netloom.clock import Clock
from netloom.errors import NetloomError, NotFound
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.resources import Resource
from netloom.kube.watch import Reflector
from netloom.metrics import Sample, counter, gauge
from netloom.model.announcing.bgp import Outside, PodNetwork, Speech, speech
from netloom.model.announcing.view import Situation
from netloom.model.routes.ways import FabricKind
from netloom.units import Cidr, ObjectKey

log = logging.getLogger(__name__)

T = TypeVar("T", bound=KubeObject)

_LINGER_S = 0.01
_LOOK_S = 1.0
"""How often BIRD is asked for its sessions: it tells nobody by itself."""
_REST_S = (0.1, 30.0)
"""After a fault: at first, and at most."""


class BgpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What of the speaker's configuration is for this part."""

    node: str
    directory: Path
    cluster_cidrs: tuple[Cidr, ...] = ()
    fabric: FabricKind = FabricKind.HOSTGW


class BgpPart:
    """Implements ``announce/part.py``."""

    name = "bgp"

    def __init__(
        self, *, settings: BgpSettings, client: KubeClient, events: EventRecorder, clock: Clock
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._dirty = asyncio.Event()
        self._bird = Bird(settings.directory, on_end=self._dirty.set)
        self._passwords = Passwords(client, self._dirty.set)
        self._board = Board(node=settings.node, client=client, events=events, clock=clock)
        self._reports = Reports(events)
        self._watches: list[Reflector[Any]] = []
        self._ip_pools: Reflector[IPPool] | None = None
        self._blocks: Reflector[IPBlock] | None = None
        if settings.fabric is FabricKind.BGP:
            self._ip_pools = self._follow(client, resources.IP_POOLS, IPPool)
            self._blocks = self._follow(client, resources.IP_BLOCKS, IPBlock)
            self._watches += [self._ip_pools, self._blocks]
        self._situation: Situation | None = None
        self._speech: Speech | None = None
        self._sessions: dict[str, Session] = {}
        self._faults = 0

    def take(self, situation: Situation) -> None:
        """This is so from now on."""
        self._situation = situation
        self._dirty.set()

    async def run(self) -> None:
        """Until cancelled; then BIRD ends as planned, and peers keep our routes for as long as was agreed with them."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for watch in self._watches:
                    tasks.create_task(watch.run(), name="bgp watch")
                for watch in self._watches:
                    await watch.synced.wait()
                while True:
                    await self._turn(tasks)
                    await self._wait()
        finally:
            await asyncio.shield(self._bird.leave())

    def report(self) -> Any:  # noqa: ANN401 - anything that msgspec can write
        """Sessions and prefixes."""
        spoken = self._speech
        if spoken is None:
            return {"sessions": [], "announced": []}
        sessions = [
            Entry(peer.name, str(peer.address), *_parts(self._sessions.get(peer.name)))
            for peer in spoken.peers
        ]
        return {"sessions": sessions, "announced": [str(one.prefix) for one in spoken.announced]}

    def samples(self) -> Iterator[Sample]:
        """For the page of metrics."""
        spoken = self._speech
        announced = 0 if spoken is None else len(spoken.announced)
        yield gauge("netloom_bgp_prefixes_announced", "Prefixes that this node tells its peers.", announced)
        yield counter("netloom_bird_starts_total", "How often BIRD was started.", self._bird.starts)
        for name, session in sorted(self._sessions.items()):
            help_ = "1 where the session with a BGPPeer is established."
            yield gauge("netloom_bgp_session_up", help_, float(session.is_up), peer=name)

    def _follow(self, client: KubeClient, resource: Resource, type_: type[T]) -> Reflector[T]:
        return Reflector(client, resource, type_, on_change=lambda _key, _item: self._dirty.set())

    async def _wait(self) -> None:
        """For news; where BIRD runs for no longer than until the next look, after a fault for longer and longer."""
        if self._faults:
            await asyncio.sleep(min(_REST_S[1], _REST_S[0] * 2.0 ** min(self._faults - 1, 10)))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S if self._bird.is_running else None):
                await self._dirty.wait()
                await asyncio.sleep(_LINGER_S)

    async def _turn(self, tasks: asyncio.TaskGroup) -> None:
        """Once: from what is known to what BIRD has, and from what BIRD knows to what is told."""
        is_news = self._dirty.is_set() or self._faults > 0
        self._dirty.clear()
        spoken = self._compute() if is_news or self._speech is None else self._speech
        if spoken is None:
            return
        self._speech = spoken
        wanted = [peer.password for peer in spoken.peers if peer.password is not None]
        self._passwords.follow(wanted, tasks)
        await self._passwords.synced()
        states = await self._bring(spoken)
        self._sessions = states
        if self._situation is not None:
            await self._board.tell(states, self._situation.view.bgp_peers)

    def _compute(self) -> Speech | None:
        """None until it is known what there is: what a BIRD says that runs already stays until then."""
        situation, own = self._situation, ObjectKey("", self._settings.node)
        node = None if situation is None else situation.view.nodes.get(own)
        if situation is None or node is None:
            return None
        view = situation.view
        if own in view.gone and self._speech is None and self._bird.has_run:
            return None  # whoever comes back has duties in a moment; peers are not told otherwise in between
        outside = Outside(duties=situation.duties, pools=view.load_balancer_pools, services=view.services)
        fabric = None
        if self._ip_pools is not None and self._blocks is not None:
            fabric = PodNetwork(
                cluster_cidrs=self._settings.cluster_cidrs,
                nodes=view.nodes,
                pools=self._ip_pools.items,
                blocks=self._blocks.items,
            )
        live = {key.name for key in view.nodes if key not in view.gone}
        spoken = speech(node, view.bgp_peers.values(), outside, fabric)
        self._reports.take(spoken.findings, teller=min(live, default="") == own.name)
        return spoken

    async def _bring(self, spoken: Speech) -> dict[str, Session]:
        """BIRD as it should be; the sessions by BGPPeer, with those that are not tried."""
        if not spoken.peers and not self._bird.has_run:
            return {}
        passwords: dict[str, str] = {}
        found: dict[str, Session] = {}
        for peer in spoken.peers:
            if peer.password is None:
                continue
            text, problem = self._passwords.find(peer.password)
            if not problem and (said := password_problem(text)):
                problem = f"the password {said}"
            if problem:
                found[peer.name] = refused(problem)
            else:
                passwords[peer.name] = text
        try:
            texts = [
                render(spoken, passwords=passwords, log=self._bird.log, is_recovering=recovering)
                for recovering in (False, True)
            ]
            await self._bird.bring(texts[0], texts[1])
            live = await self._bird.sessions()
        except NetloomError as error:
            self._fault(error)
            return {peer.name: refused(str(error)) for peer in spoken.peers}
        self._faults = 0
        for peer in spoken.peers:
            found.setdefault(peer.name, live.get(protocol_of(peer.name), Session("Idle")))
        return found

    def _fault(self, error: NetloomError) -> None:
        """Told once in a row."""
        self._faults += 1
        if self._faults == 1:
            hint = " (install it: apt-get install bird2)" if isinstance(error, NotFound) else ""
            log.error("BGP: %s%s", error, hint)


def _parts(session: Session | None) -> tuple[str, str]:
    return ("", "") if session is None else (session.state, session.error)
