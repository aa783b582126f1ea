"""What a speaker finds, told to people: a line in its log, and an Event at the object. In: Findings. Out: those that are new, once.

Not here: what is found. What several nodes find alike is told by one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from netloom.kube import resources
from netloom.kube.events import EventRecorder
from netloom.model.provenance import Finding
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_RESOURCES = {
    one.kind: one
    for one in (
        resources.SERVICES,
        resources.NODES,
        resources.LOAD_BALANCER_POOLS,
        resources.EGRESS_GATEWAYS,
        resources.BGP_PEERS,
    )
}


class Reports:
    """Tells findings once."""

    def __init__(self, events: EventRecorder) -> None:
        self._events = events
        self._known: frozenset[Finding] = frozenset()

    def take(self, findings: Iterable[Finding], *, teller: bool) -> None:
        """These hold now; ``teller`` says whether this node is the one that makes Events of them."""
        found = frozenset(findings)
        for finding in sorted(found - self._known):
            if teller:
                self.tell(finding, "NotAnnounced")
            else:
                log.info("%s", finding)
        self._known = found

    def tell(self, finding: Finding, reason: str) -> None:
        """This one, now."""
        log.warning("%s", finding)
        source = finding.source
        if (resource := _RESOURCES.get(source.kind)) is not None:
            key = ObjectKey(source.namespace, source.name)
            self._events.emit(resource, key, source.uid, reason=reason, message=_words(finding), warning=True)


def _words(finding: Finding) -> str:
    text = f"{finding.problem}; {finding.hint}" if finding.hint else finding.problem
    return f"{finding.source.field}: {text}" if finding.source.field else text
