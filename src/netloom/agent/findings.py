"""Findings become Events of the objects that they are about: what a user of kubectl sees of a policy that is not all in force.

In: findings that are new on this node. Out: warnings in the log, and Events, each told by one node of the cluster: where every node
finds the same, by one that the object's uid chooses among the nodes that are ready; of a port's name, by the node of the first pod
that it means nothing to. Not here: what is wrong with an object (``model``), how Events are sent (``kube/events``).
"""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping

from netloom.api.core import Node
from netloom.kube import resources
from netloom.kube.events import EventRecorder
from netloom.kube.resources import Resource
from netloom.model.policy.chains import named_ports
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.pods import PodFacts
from netloom.model.policy.reading.rules import PolicyReading, PortName
from netloom.model.policy.state import PolicyRef
from netloom.model.provenance import Finding, Source
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

MOST_OF_ONE_OBJECT = 5
"""Events about one object at once; one more says how many other findings there are."""
_WAITING = 2000
_OWN = ("Pod",)
"""Kinds of which a node finds only what is about its own: it tells all that it finds."""
_ALIKE = ("NetworkPolicy", "ClusterNetworkPolicy")
_TOLD: Mapping[str, tuple[Resource, str]] = {
    "NetworkPolicy": (resources.NETWORK_POLICIES, "PolicyNotRead"),
    "ClusterNetworkPolicy": (resources.CLUSTER_NETWORK_POLICIES, "PolicyNotRead"),
    "Service": (resources.SERVICES, "ServiceNotRead"),
    "EndpointSlice": (resources.ENDPOINT_SLICES, "EndpointSliceNotRead"),
    "IPPool": (resources.IP_POOLS, "PoolNotRead"),
    "IPBlock": (resources.IP_BLOCKS, "BlockNotRead"),
    "EgressGateway": (resources.EGRESS_GATEWAYS, "GatewayNotRead"),
    "Pod": (resources.PODS, "PodNotRead"),
}
"""By kind: its resource, and the reason of Events about fields that cannot be used as written."""
NAMED_PORT_MISSING = "NamedPortMissing"
NAMED_PORT_AMBIGUOUS = "NamedPortAmbiguous"


class FindingEvents:
    """Tells of one node's findings.

    Args:
        node: this node's name.
        nodes: all Nodes, as the API server has them.
        cluster: the policies' own view; None while there is none.
        events: where Events go.
    """

    def __init__(
        self,
        *,
        node: str,
        nodes: Mapping[ObjectKey, Node],
        cluster: Callable[[], PolicyCluster | None],
        events: EventRecorder,
    ) -> None:
        self._node = node
        self._nodes = nodes
        self._cluster = cluster
        self._events = events
        self._waiting: OrderedDict[Finding, None] = OrderedDict()
        self._some = asyncio.Event()
        self._speakers = [node]
        """Sorted: this node, and all that are ready."""

    def take(self, findings: Iterable[Finding]) -> None:
        """These are new. Never waits and never fails; of very many the oldest are not told as Events."""
        for finding in findings:
            log.warning("%s", finding)
            if finding.source.kind in _TOLD and finding.source.uid:
                self._waiting[finding] = None
        while len(self._waiting) > _WAITING:
            self._waiting.popitem(last=False)
        if self._waiting:
            self._some.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._events.run(), name="events")
            while True:
                await self._some.wait()
                self._some.clear()
                await self.tell()

    async def tell(self) -> None:
        """Hand on what waits and is this node's to tell."""
        by_object: dict[tuple[str, str, str, str], list[Finding]] = {}
        for finding in self._waiting:
            source = finding.source
            by_object.setdefault((source.kind, source.namespace, source.name, source.uid), []).append(finding)
        self._waiting.clear()
        self._speakers = sorted(
            {self._node, *(key.name for key, node in self._nodes.items() if node.is_ready)}
        )
        for findings in by_object.values():
            self._tell_of_one(sorted(findings))
            await asyncio.sleep(0)  # there may be thousands, and a change in the cluster comes first

    def _tell_of_one(self, findings: list[Finding]) -> None:
        source = findings[0].source
        ours = [
            (reason, _words(finding))
            for finding in findings[:MOST_OF_ONE_OBJECT]
            if (reason := self._reason(finding)) is not None
        ]
        resource, reason = _TOLD[source.kind]
        more = len(findings) - MOST_OF_ONE_OBJECT
        if more > 0 and self._is_chosen(source):
            ours.append((reason, f"{more} more findings like these; the agents' logs have them all"))
        key = ObjectKey(source.namespace, source.name)
        for reason, words in ours:
            self._events.emit(resource, key, source.uid, reason=reason, message=words, warning=True)

    def _reason(self, finding: Finding) -> str | None:
        """The Event's reason; None where another node tells it."""
        source = finding.source
        reading = self._reading(source)
        name = None if reading is None or finding in reading.findings else _port_name(reading, source.field)
        if reading is None or name is None:
            return _TOLD[source.kind][1] if self._is_chosen(source) else None
        pod = min(self._puzzled(reading, name), key=lambda pod: pod.key, default=None)
        if pod is None or pod.node != self._node or not _is_about(finding, pod.key):
            return None
        return NAMED_PORT_AMBIGUOUS if named_ports(pod, name) else NAMED_PORT_MISSING

    def _reading(self, source: Source) -> PolicyReading | None:
        cluster = self._cluster()
        if cluster is None or source.kind not in _ALIKE:
            return None
        return cluster.readings.get(PolicyRef(source.kind, source.namespace, source.name))

    def _puzzled(self, reading: PolicyReading, name: PortName) -> Iterator[PodFacts]:
        """The pods under a policy to which a port's name means nothing, or two things, on nodes that can tell of it."""
        cluster = self._cluster()
        for pod in () if cluster is None else cluster.pods_of(reading.subject):
            if pod.is_stand_in or not self._can_tell(pod.node):
                continue
            ports = named_ports(pod, name)
            if not ports or len({port.protocol for port in ports}) < len(ports):
                yield pod

    def _is_chosen(self, source: Source) -> bool:
        """Among the nodes that are ready each object has one; a pod has its own."""
        if source.kind in _OWN:
            return True
        number = int.from_bytes(hashlib.sha256(source.uid.encode()).digest()[:8])
        return self._node == self._speakers[number % len(self._speakers)]

    def _can_tell(self, node: str) -> bool:
        place = bisect.bisect_left(self._speakers, node)
        return place < len(self._speakers) and self._speakers[place] == node


def _is_about(finding: Finding, pod: ObjectKey) -> bool:
    """There is one finding for all pods of a node under the same policies; the first pod of the cluster is in one of these."""
    return re.search(rf"\bPod {re.escape(str(pod))}(?![-.\w])", finding.problem) is not None


def _words(finding: Finding) -> str:
    """A sentence about the object, without its name."""
    said = f"{finding.source.field}: {finding.problem}" if finding.source.field else finding.problem
    return f"{said}; {finding.hint}" if finding.hint else said


def _port_name(reading: PolicyReading, field: str) -> PortName | None:
    """The name that stands at this field, where it is the name of a port."""
    for rule in reading.ingress or ():
        for port in rule.ports or ():
            if isinstance(port.port, PortName) and field.startswith(f"{port.field}."):
                return port.port
    return None
