"""Findings of gateways become Events of the objects that they are about. In: all findings that hold now; out: Events, each once.

Not here: what is wrong with an object (``model/gateways``), how Events are sent (``kube/events``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from netloom.gateway.watches import FIRST, REST
from netloom.kube.events import EventRecorder
from netloom.model.provenance import Finding
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

MOST_OF_ONE_OBJECT = 5
"""Events about one object at once."""
REASON = "NotAsWritten"
_RESOURCES = {one.resource.kind: one.resource for one in (*FIRST, *REST)}


class GatewayEvents:
    """Tells of findings that are new.

    Args:
        events: where Events go.
        may_write: asked before anything is told.
    """

    def __init__(self, events: EventRecorder, *, may_write: Callable[[], bool]) -> None:
        self._events = events
        self._may_write = may_write
        self._told: frozenset[Finding] = frozenset()

    def take(self, findings: Iterable[Finding]) -> None:
        """These hold now."""
        now = frozenset(findings)
        if now == self._told or not self._may_write():
            return
        counts: dict[str, int] = {}
        for finding in sorted(now - self._told):
            source = finding.source
            log.warning("%s", finding)
            resource = _RESOURCES.get(source.kind)
            counts[source.subject] = counts.get(source.subject, 0) + 1
            if resource is None or not source.uid or counts[source.subject] > MOST_OF_ONE_OBJECT:
                continue
            said = f"{source.field}: {finding.problem}" if source.field else finding.problem
            self._events.emit(
                resource,
                ObjectKey(source.namespace, source.name),
                source.uid,
                reason=REASON,
                message=f"{said}; {finding.hint}" if finding.hint else said,
                warning=True,
            )
        self._told = now
