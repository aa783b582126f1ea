"""One node's network: from everything at once, or kept up to date change by change; both give the same.

Comes in: ``NodeFacts`` and a ``ClusterView``, or ``Changes``. Goes out: ``NetworkState`` and ``Delta``. Not here: what one
Service means (``services/build.py``), how a kernel is brought to it (dataplane, fabric).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from netloom.api.core import Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.model.claims import Changed, Claims, seniority, settle
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.provenance import Finding, Source
from netloom.model.routes.local_pods import local_addresses
from netloom.model.routes.peers import NodeRanges, peer_routes, read_node
from netloom.model.services.build import build
from netloom.model.services.frontends import Frontend, FrontendKey
from netloom.model.state import (
    Delta,
    LocalPod,
    NetworkState,
    PeerRoute,
    changed_values,
    may_end_flows,
)
from netloom.units import Addr, Cidr, ObjectKey

T = TypeVar("T")


class Network:
    """The network of one node, following the cluster.

    An update costs what the changed objects cost, not what the cluster holds. The state is a function of the objects
    that are there now, never of the order they came in.
    """

    def __init__(self, facts: NodeFacts) -> None:
        self._services: dict[ObjectKey, Service] = {}
        self._slices: dict[ObjectKey, EndpointSlice] = {}
        self._slices_of: dict[ObjectKey, dict[ObjectKey, EndpointSlice]] = {}
        self._pods: dict[ObjectKey, Pod] = {}
        self._nodes: dict[ObjectKey, NodeRanges] = {}
        self._facts = facts
        self._frontends: Claims[FrontendKey, Frontend] = Claims(_frontend_dispute)
        self._local_pods: Claims[Addr, LocalPod] = Claims(_address_dispute)
        self._routes: dict[Cidr, PeerRoute] = {}
        self._findings: dict[Hashable, tuple[Finding, ...]] = {}
        """By kind and key of the object that they came from; only where there are any."""

    @property
    def state(self) -> NetworkState:
        """The network now, as a value that no later update changes. Costs one copy: not for every change."""
        return NetworkState(
            frontends=dict(self._frontends.held),
            routes=dict(self._routes),
            local_pods=dict(self._local_pods.held),
            findings=self.findings,
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be used as written, in order. Cheap: costs what there is to find."""
        findings = [finding for found in self._findings.values() for finding in found]
        findings += [*self._frontends.findings(), *self._local_pods.findings()]
        return tuple(sorted(findings))

    def update(self, changes: Changes) -> Delta:
        """Take over what changed and say what that means for this node. A repeated change gives an empty delta."""
        frontends: Changed[FrontendKey, Frontend] = Changed()
        local_pods: Changed[Addr, LocalPod] = Changed()
        for key in self._store_services(changes):
            self._rebuild_service(key, frontends)
        for key in _store(self._pods, changes.pods):
            self._rebuild_pod(key, local_pods)
        return Delta(
            frontends={key: after for key, _, after in frontends.items()},
            routes=self._update_routes(changes),
            local_pods={key: after for key, _, after in local_pods.items()},
            flows=tuple(key for key, before, after in frontends.items() if may_end_flows(key, before, after)),
        )

    @staticmethod
    def compute(view: ClusterView, facts: NodeFacts) -> NetworkState:
        """The network of the node of ``facts`` in this cluster. This is the definition; ``update`` is its optimisation."""
        slices_of: dict[ObjectKey, list[EndpointSlice]] = {}
        for slice_ in view.slices.values():
            if slice_.service is not None:
                slices_of.setdefault(slice_.service, []).append(slice_)
        services = [
            (seniority(s.metadata), build(s, slices_of.get(s.key, ()), facts)) for s in view.services.values()
        ]
        pods = [(seniority(p.metadata), local_addresses(p, facts.name)) for p in view.pods.values()]
        frontends, lost_frontends = settle(
            ((rank, {f.key: f for f in built.frontends}) for rank, built in services), _frontend_dispute
        )
        local_pods, lost_addresses = settle(
            ((rank, {p.address: p for p in built.addresses}) for rank, built in pods), _address_dispute
        )
        routes, route_findings = peer_routes(map(read_node, view.nodes.values()), facts)
        findings = [*lost_frontends, *lost_addresses, *route_findings]
        findings.extend(finding for _, service in services for finding in service.findings)
        findings.extend(finding for _, pod in pods for finding in pod.findings)
        return NetworkState(
            frontends=frontends, routes=routes, local_pods=local_pods, findings=tuple(sorted(findings))
        )

    def _store_services(self, changes: Changes) -> dict[ObjectKey, None]:
        """Take over Services and slices; returns the keys of Services to rebuild, in order of the changes."""
        dirty = dict.fromkeys(_store(self._services, changes.services))
        for key, slice_ in changes.slices.items():
            old = self._slices.get(key)
            if old == slice_:
                continue
            if old is not None and old.service is not None:
                siblings = self._slices_of[old.service]
                del siblings[key]
                if not siblings:
                    del self._slices_of[old.service]
                dirty[old.service] = None
            if slice_ is None:
                del self._slices[key]
                continue
            self._slices[key] = slice_
            if slice_.service is not None:
                self._slices_of.setdefault(slice_.service, {})[key] = slice_
                dirty[slice_.service] = None
        return dirty

    def _rebuild_service(self, key: ObjectKey, changed: Changed[FrontendKey, Frontend]) -> None:
        service = self._services.get(key)
        if service is None:
            self._frontends.release(key, changed)
            self._findings.pop(("Service", key), None)
            return
        built = build(service, self._slices_of.get(key, {}).values(), self._facts)
        self._frontends.replace(
            key, seniority(service.metadata), {f.key: f for f in built.frontends}, changed
        )
        self._keep_findings(("Service", key), built.findings)

    def _rebuild_pod(self, key: ObjectKey, changed: Changed[Addr, LocalPod]) -> None:
        pod = self._pods.get(key)
        if pod is None:
            self._local_pods.release(key, changed)
            self._findings.pop(("Pod", key), None)
            return
        built = local_addresses(pod, self._facts.name)
        self._local_pods.replace(
            key, seniority(pod.metadata), {p.address: p for p in built.addresses}, changed
        )
        self._keep_findings(("Pod", key), built.findings)

    def _update_routes(self, changes: Changes) -> dict[Cidr, PeerRoute | None]:
        ranges = {key: None if node is None else read_node(node) for key, node in changes.nodes.items()}
        if not _store(self._nodes, ranges):
            return {}
        before = self._routes
        self._rebuild_routes()
        return changed_values(before, self._routes)

    def _rebuild_routes(self) -> None:
        self._routes, findings = peer_routes(self._nodes.values(), self._facts)
        self._keep_findings("routes", findings)

    def _keep_findings(self, owner: Hashable, findings: tuple[Finding, ...]) -> None:
        if findings:
            self._findings[owner] = findings
        else:
            self._findings.pop(owner, None)


def _store(held: dict[ObjectKey, T], changes: Mapping[ObjectKey, T | None]) -> list[ObjectKey]:
    """Take over objects; returns the keys of those that are not what they were."""
    different = []
    for key, value in changes.items():
        if held.get(key) == value:
            continue
        different.append(key)
        if value is None:
            del held[key]
        else:
            held[key] = value
    return different


def _frontend_dispute(holder: Frontend, loser: Frontend) -> Finding:
    problem = f"{loser.key} belongs to {holder.source.subject}, which is older"
    return Finding(loser.source, problem, "give one of the two another")


def _address_dispute(holder: LocalPod, loser: LocalPod) -> Finding:
    source = Source("Pod", loser.pod.namespace, loser.pod.name, loser.uid, field="status.podIPs")
    problem = f"{loser.address} belongs to Pod {holder.pod}, which is older"
    return Finding(source, problem, "delete one of the two pods")
