"""From changes to what is in force on this node. In: what watches marked, an engine. Out: plans applied, what is in force, problems.

A plan that an engine cannot put in force is tried again, whether anything changes or not, and everything else goes on: the problem is told
of. While the API is away nothing changes, so the last plan stays in force. Not here: watches, and how a plan is put in force (``engine.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from netloom.clock import Clock
from netloom.errors import NetloomError
from netloom.gateway.applied import Applied
from netloom.gateway.in_force import TOLD, Problem, Told
from netloom.gateway.pending import Pending, Taken
from netloom.gateway.report import DoorReport, GatewayReport, ListenerReport
from netloom.metrics import Histogram, Sample, counter, gauge
from netloom.model.gateways.build import Built, Gateways
from netloom.model.gateways.plan import Door, Plan
from netloom.model.provenance import Finding
from netloom.units import Protocol as Transported

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""So often the time is looked at when nothing changes: certificates expire."""
_RETRY_S = (1.0, 15.0)


class Applier(Protocol):
    """What is wanted of an engine."""

    async def apply(self, plan: Plan) -> Applied:
        """Return when the plan is in force.

        Raises:
            NetloomError: it is not.
        """


class Turns:
    """Turns changes into plans in force, one after the other.

    Args:
        node: this node's name.
        pending: what changed.
        engine: what puts plans in force; given nothing until there is a door.
        on_turn: called after each turn, with whether anything that matters had changed.
        clock: the time.
    """

    def __init__(
        self,
        *,
        node: str,
        pending: Pending,
        engine: Applier,
        on_turn: Callable[[bool], None],
        clock: Clock,
    ) -> None:
        self._node = node
        self._pending = pending
        self._engine = engine
        self._on_turn = on_turn
        self._clock = clock
        self._gateways: Gateways | None = None
        self._plan: Plan | None = None
        """The one that is in force."""
        self._is_used = False
        self._versions: dict[str, str] = {}
        self._waiting: dict[str, str] = {}
        self._findings: tuple[Finding, ...] = ()
        self._failure = ""
        self._retry_s = _RETRY_S[0]
        self._since: float | None = None
        self._last: float | None = None
        self._plans = self._reloads = self._commands = self._failures = 0
        self._latency_s = Histogram()

    async def run(self) -> None:
        """Put in force until cancelled; everything must have been read once before."""
        while True:
            await self.turn(self._retry_s if self._failure else PATIENCE_S)

    async def turn(self, patience_s: float = 0.0) -> None:
        """One turn: wait for a change for so long, then put in force what there is."""
        if self._gateways is None:
            view = self._pending.view(self._clock.wall())
            taken = self._pending.take_now()
            self._gateways = Gateways(view)
            built = self._gateways.built
        else:
            taken = await self._pending.take(patience_s)
            built = self._update(taken)
        self._waiting.update(taken.versions)
        if self._since is None:
            self._since = taken.since
        had_failed = bool(self._failure)
        await self._put_in_force(built)
        self._on_turn(taken.count > 0 or had_failed or bool(self._failure))

    def _update(self, taken: Taken) -> Built:
        assert self._gateways is not None  # noqa: S101 - of the first turn
        if taken.count == 0 and taken.versions:
            return self._gateways.built
        return self._gateways.update(taken.changes)

    async def _put_in_force(self, built: Built) -> None:
        plan = built.plan
        if plan is not self._plan and (plan.doors or self._is_used):
            self._is_used = True
            try:
                applied = await self._engine.apply(plan)
            except NetloomError as error:
                self._fail(str(error))
                return
            self._take(applied)
        if self._failure:
            log.info("the gateway works")
        self._failure, self._retry_s = "", _RETRY_S[0]
        self._plan = plan
        self._versions.update(self._waiting)
        self._waiting.clear()
        self._since = None

    def _fail(self, problem: str) -> None:
        self._failures += 1
        if problem != self._failure:
            log.warning("the plan is not in force: %s", problem)
            self._retry_s = _RETRY_S[0]
        else:
            self._retry_s = min(2 * self._retry_s, _RETRY_S[1])
        self._failure = problem

    def _take(self, applied: Applied) -> None:
        now = self._clock.monotonic()
        for finding in applied.findings:
            if finding not in self._findings:
                log.warning("%s", finding)
        self._findings = applied.findings
        self._plans += 1
        self._commands += applied.commands
        self._reloads += applied.is_reloaded
        self._last = now
        if self._since is not None:
            self._latency_s.observe(now - self._since)

    @property
    def told(self) -> Told:
        """What is in force, for the cluster."""
        versions = {kind: version for kind, version in self._versions.items() if kind in TOLD}
        return Told(versions, self._ports(), self._problems())

    def report(self) -> GatewayReport:
        """What is in force, for people."""
        plan = self._plan or Plan()
        problems = tuple(map(str, self._findings))
        state = "failing" if self._failure else "reading" if self._plan is None else "in force"
        return GatewayReport(
            node=self._node,
            state=state,
            plans=self._plans,
            reloads=self._reloads,
            commands=self._commands,
            last_s=None if self._last is None else round(self._clock.monotonic() - self._last, 3),
            doors=tuple(map(_door, plan.doors)),
            pools=len(plan.pools),
            endpoints=sum(len(pool.endpoints) for pool in plan.pools.values()),
            problems=(self._failure, *problems) if self._failure else problems,
            versions=dict(self._versions),
        )

    def samples(self) -> tuple[Sample, ...]:
        """What is to be seen from outside."""
        plan = self._plan or Plan()
        return (
            gauge("netloom_gateway_doors", "Ports of gateways that are in force.", len(plan.doors)),
            gauge("netloom_gateway_pools", "Service ports that gateways lead to.", len(plan.pools)),
            counter("netloom_gateway_plans_total", "Plans that were put in force.", self._plans),
            counter("netloom_gateway_plans_failed_total", "Plans that could not be.", self._failures),
            counter(
                "netloom_gateway_reloads_total", "Plans for which a new engine took over.", self._reloads
            ),
            counter(
                "netloom_gateway_commands_total", "Changes made while the engine ran on.", self._commands
            ),
            self._latency_s.sample(
                "netloom_gateway_event_to_in_force_seconds",
                "From the arrival of a turn's first event to the engine's answer.",
            ),
        )

    def _ports(self) -> frozenset[int]:
        if self._plan is None:
            return frozenset()
        shut = {_object_and_field(finding) for finding in self._findings}
        return frozenset(
            door.node_port
            for door in self._plan.doors
            if door.node_port and door.protocol is Transported.TCP and _object_and_field_of(door) not in shut
        )

    def _problems(self) -> tuple[Problem, ...]:
        own = (Problem(self._failure),) if self._failure else ()
        return own + tuple(
            Problem(finding.problem, finding.source.kind, finding.source.namespace, finding.source.name)
            for finding in self._findings
        )


def _object_and_field(finding: Finding) -> tuple[str, str, str, str]:
    source = finding.source
    return source.kind, source.namespace, source.name, source.field


def _object_and_field_of(door: Door) -> tuple[str, str, str, str]:
    source = door.source
    return source.kind, source.namespace, source.name, source.field


def _door(door: Door) -> DoorReport:
    return DoorReport(
        gateway=str(door.gateway),
        port=door.port,
        transport=door.transport.value,
        node_port=door.node_port,
        listeners=tuple(
            ListenerReport(one.name, one.hostname, sum(len(h.rules) for h in one.hosts) + len(one.streams))
            for one in door.listeners
        ),
    )
