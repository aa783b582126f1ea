"""What in objects could not be used for BGP: told in the log of each node, and as Events by one of them. In: findings. Out: both.

Not here: findings about anything else (``agent/findings.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from netloom.kube import resources
from netloom.kube.events import EventRecorder
from netloom.kube.resources import Resource
from netloom.model.announcing.elect import elected
from netloom.model.announcing.view import Situation
from netloom.model.provenance import Finding
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_TOLD: Mapping[str, tuple[Resource, str]] = {
    "BGPPeer": (resources.BGP_PEERS, "PeerNotRead"),
    "LoadBalancerPool": (resources.LOAD_BALANCER_POOLS, "AnnouncementNotRead"),
    "Service": (resources.SERVICES, "AnnouncementNotRead"),
}


class Told:
    """Findings of one node, each told once while it lasts."""

    def __init__(self, *, node: str, events: EventRecorder) -> None:
        self._node = node
        self._events = events
        self._known: frozenset[Finding] = frozenset()

    def tell(self, findings: Sequence[Finding], situation: Situation) -> None:
        """These are all that there are now."""
        new = [finding for finding in findings if finding not in self._known]
        self._known = frozenset(findings)
        if not new:
            return
        view = situation.view
        speaker = elected("bgp-findings", (key.name for key in view.nodes if key not in view.gone))
        for finding in new:
            log.warning("%s", finding)
            resource = _TOLD.get(finding.source.kind)
            if resource is not None and speaker == self._node:
                key = ObjectKey(finding.source.namespace, finding.source.name)
                message = f"{finding.source.field}: {finding.problem}; {finding.hint}"
                self._events.emit(
                    resource[0], key, finding.source.uid, reason=resource[1], message=message, warning=True
                )
