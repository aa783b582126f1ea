"""Findings of gateways become Events of the objects that they are about. In: all findings that hold now; out: Events, each once.

A finding is told when it has held for a moment: objects that are applied together come one after the other, and a Secret that is not there
yet is no news. Not here: what is wrong with an object (``model/gateways``), how Events are sent (``kube/events``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable

from netloom.clock import Clock
from netloom.gateway.watches import FIRST, REST
from netloom.kube.events import EventRecorder
from netloom.model.provenance import Finding
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

HOLDS_S = 1.0
"""How long a finding must have held before it is told."""
MOST_OF_ONE_OBJECT = 5
"""Events about one object at once."""
REASON = "NotAsWritten"
_RESOURCES = {one.resource.kind: one.resource for one in (*FIRST, *REST)}


class GatewayEvents:
    """Tells of findings that are new.

    Args:
        events: where Events go.
        may_write: asked before anything is told.
        clock: for how long something holds.
    """

    def __init__(self, events: EventRecorder, *, may_write: Callable[[], bool], clock: Clock) -> None:
        self._events = events
        self._may_write = may_write
        self._clock = clock
        self._since: dict[Finding, float] = {}
        self._told: set[Finding] = set()
        self._some = asyncio.Event()

    def take(self, findings: Iterable[Finding]) -> None:
        """These hold now."""
        now, held = self._clock.monotonic(), set(findings)
        self._told &= held
        self._since = {one: self._since.get(one, now) for one in held - self._told}
        if self._since:
            self._some.set()

    async def run(self) -> None:
        """Tell until cancelled. Who may not write waits for new findings; the next run tells of what is left."""
        while True:
            while self._since and self._may_write():
                # not a wait for something that has an event: that it holds is what is waited for
                await asyncio.sleep(HOLDS_S)
                self.tell()
            self._some.clear()
            await self._some.wait()

    def tell(self) -> None:
        """Tell of what has held for long enough."""
        if not self._may_write():
            return
        latest = self._clock.monotonic() - HOLDS_S
        due = sorted(one for one, since in self._since.items() if since <= latest)
        counts: Counter[str] = Counter()
        for finding in due:
            del self._since[finding]
            self._told.add(finding)
            log.warning("%s", finding)
            counts[finding.source.subject] += 1
            if counts[finding.source.subject] <= MOST_OF_ONE_OBJECT:
                self._emit(finding)

    def _emit(self, finding: Finding) -> None:
        source = finding.source
        resource = _RESOURCES.get(source.kind)
        if resource is None or not source.uid:
            return
        said = f"{source.field}: {finding.problem}" if source.field else finding.problem
        self._events.emit(
            resource,
            ObjectKey(source.namespace, source.name),
            source.uid,
            reason=REASON,
            message=f"{said}; {finding.hint}" if finding.hint else said,
            warning=True,
        )
