"""One node's network: from everything at once, or kept up to date change by change; both give the same.

Comes in: ``NodeFacts`` and a ``ClusterView``, or ``Changes``. Goes out: ``NetworkState`` and ``Delta``. Not here: what one
Service means (``services/build.py``), how a kernel is brought to it (dataplane, fabric).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from netloom.api.core import Namespace, Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.pools import IPBlock, IPPool
from netloom.model.attachments import PlainAttachment
from netloom.model.claims import Changed, Claims, Seniority, Standing, seniority, settle
from netloom.model.disputes import GUESTS, address_dispute, frontend_dispute, health_dispute
from netloom.model.egress.exits import EgressGateways
from netloom.model.egress.leaving import word_of
from netloom.model.held import take_over
from netloom.model.inputs import Changes, ClusterView, NodeFacts
from netloom.model.policy.policies import Policies
from netloom.model.provenance import Finding
from netloom.model.routes.block_changes import BlockNetwork
from netloom.model.routes.blocks import build_blocks
from netloom.model.routes.local_pods import holder_rank, local_addresses
from netloom.model.routes.peers import NodeRanges, peer_routes, read_node
from netloom.model.services.build import ServiceBuild, ServiceBuilder
from netloom.model.services.frontends import Frontend, FrontendKey, HealthCheck
from netloom.model.services.host_ports import HostPortReader, HostPorts, attachment_rank, overlaps, pod_rank
from netloom.model.services.labels import served_service
from netloom.model.services.slices import ReadSlice, read_slice
from netloom.model.state import (
    Delta,
    LocalPod,
    NetworkState,
    PeerRoute,
    PodRange,
    changed_values,
    may_end_flows,
)
from netloom.units import Addr, Cidr, ObjectKey, Protocol


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
        self._namespaces: dict[ObjectKey, Namespace] = {}
        """Those that say something of how their pods leave the cluster."""
        self._nodes: dict[ObjectKey, NodeRanges] = {}
        self._pools: dict[ObjectKey, IPPool] = {}
        self._blocks: dict[ObjectKey, IPBlock] = {}
        self._attachments: dict[ObjectKey, PlainAttachment] = {}
        self._readings: dict[ObjectKey, ReadSlice] = {}
        """Of Services with several slices: a change of one need not read the thousands of endpoints in the others."""
        self._policies = Policies(facts)
        self._egress = EgressGateways(facts, self._pods)
        self.refit(facts)

    def refit(self, facts: NodeFacts) -> None:
        """Everything anew from the objects held, for a node that is another now: addresses, zone, ranges. As cheap as a start."""
        self._facts = facts
        self._builder = ServiceBuilder(facts)
        self._host_ports = HostPortReader(facts)
        self._given_ports: dict[Hashable, tuple[FrontendKey, ...]] = {}
        """Of whoever asks for ports at one address of the node."""
        self._frontends: Claims[FrontendKey, Frontend] = Claims(frontend_dispute)
        self._health_checks: Claims[int, HealthCheck] = Claims(health_dispute)
        self._local_pods: Claims[Addr, LocalPod] = Claims(address_dispute)
        self._routes: dict[Cidr, PeerRoute] = {}
        self._beside = BlockNetwork(facts, self._note_route)
        """What pools and blocks add to the nodes' own ranges."""
        self._routes_before: dict[Cidr, PeerRoute | None] = {}
        self._findings: dict[Hashable, tuple[Finding, ...]] = {}
        """By kind and key of the object that they came from; only where there are any."""
        frontends: Changed[FrontendKey, Frontend] = Changed()
        health_checks: Changed[int, HealthCheck] = Changed()
        local_pods: Changed[Addr, LocalPod] = Changed()
        for key in self._services:
            self._rebuild_service(key, frontends, health_checks)
        for key in self._pods:
            self._rebuild_pod(key, local_pods, frontends)
        for key in self._attachments:
            self._rebuild_attachment(key, frontends)
        self._rebuild_routes()
        self._beside.update(self._pools, self._blocks, self._nodes)
        self._keep_findings("blocks", self._beside.findings)
        self._policies.refit(facts)
        self._egress.refit(facts)

    @property
    def state(self) -> NetworkState:
        """The network now, as a value that no later update changes. Costs one copy: not for every change."""
        return NetworkState(
            frontends=dict(self._frontends.held),
            routes={**self._routes, **self._beside.routes},
            local_pods=dict(self._local_pods.held),
            ranges=dict(self._beside.ranges),
            health_checks=dict(self._health_checks.held),
            policy=self._policies.state,
            egress=self._egress.state,
            findings=self.findings,
        )

    @property
    def policies(self) -> Policies:
        """The policies, following the cluster as this does."""
        return self._policies

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be used as written, in order. Cheap: costs what there is to find."""
        findings = [finding for found in self._findings.values() for finding in found]
        findings += [
            *self._frontends.findings(),
            *overlaps(self._frontends.held, {k for keys in self._given_ports.values() for k in keys}),
            *self._local_pods.findings(),
            *self._health_checks.findings(),
            *self._policies.findings,
            *self._egress.findings,
        ]
        return tuple(sorted(findings))

    def update(self, changes: Changes) -> Delta:
        """Take over what changed and say what that means for this node. A repeated change gives an empty delta."""
        frontends: Changed[FrontendKey, Frontend] = Changed()
        health_checks: Changed[int, HealthCheck] = Changed()
        local_pods: Changed[Addr, LocalPod] = Changed()
        for key in self._store_services(changes):
            self._rebuild_service(key, frontends, health_checks)
        spoke = self._hear_namespaces(changes.namespaces)
        moved = take_over(self._pods, changes.pods)
        for key in (*moved, *self._pods_in(spoke, moved)):
            self._rebuild_pod(key, local_pods, frontends)
        for key in take_over(self._attachments, changes.attachments):
            self._rebuild_attachment(key, frontends)
        routes, ranges = self._update_routes(changes)
        return Delta(
            frontends={key: after for key, _, after in frontends.items()},
            routes=routes,
            ranges=ranges,
            local_pods={key: after for key, _, after in local_pods.items()},
            flows=tuple(
                key
                for key, before, after in frontends.items()
                # Nothing of a new frontend of connections can have ended: most of what a start brings.
                if (before is not None or key.protocol is Protocol.UDP) and may_end_flows(key, before, after)
            ),
            health_checks={port: after for port, _, after in health_checks.items()},
            policy=self._policies.update(changes),
            egress=self._egress.update(changes),
        )

    @staticmethod
    def compute(view: ClusterView, facts: NodeFacts) -> NetworkState:
        """The network of the node of ``facts`` in this cluster. This is the definition; ``update`` is its optimisation."""
        slices_of: dict[ObjectKey, list[ReadSlice]] = {}
        for slice_ in view.slices.values():
            if (service := served_service(slice_)) is not None:
                slices_of.setdefault(service, []).append(read_slice(slice_))
        builder = ServiceBuilder(facts)
        services = [(s, builder.build(s, slices_of.get(s.key, ()))) for s in view.services.values()]
        named = view.namespaces
        pods = [
            (holder_rank(p), local_addresses(p, facts.name, named.get(_namespace_of(p))))
            for p in view.pods.values()
        ]
        reader = HostPortReader(facts)
        asked = [(pod_rank(p), reader.of_pod(p)) for p in view.pods.values()]
        asked += [(attachment_rank(a), reader.of_attachment(a)) for a in view.attachments.values()]
        claims = [claim for service, built in services for claim in _claims_of(service, built)]
        claims += [(rank, ports.claimed) for rank, ports in asked if ports.frontends]
        frontends, lost_frontends = settle(claims, frontend_dispute)
        health_checks, lost_checks = settle(
            ((seniority(service.metadata), _health_claim(built)) for service, built in services),
            health_dispute,
        )
        local_pods, lost_addresses = settle(
            ((rank, {p.address: p for p in built.addresses}) for rank, built in pods), address_dispute
        )
        nodes = [read_node(node) for node in view.nodes.values()]
        routes, route_findings = peer_routes(nodes, facts)
        beside = build_blocks(view.pools.values(), view.blocks.values(), nodes, facts)
        findings = [*lost_frontends, *lost_checks, *lost_addresses, *route_findings, *beside.findings]
        findings.extend(finding for _, built in services for finding in built.findings)
        findings.extend(finding for _, pod in pods for finding in pod.findings)
        findings.extend(finding for _, ports in asked for finding in ports.findings)
        findings.extend(overlaps(frontends, {key for _, ports in asked for key in ports.given}))
        policy = Policies.compute(view, facts)
        egress, egress_findings = EgressGateways.compute(view, facts)
        findings.extend((*policy.findings, *egress_findings))
        return NetworkState(
            frontends=frontends,
            routes={**routes, **beside.routes},
            local_pods=local_pods,
            ranges=beside.ranges,
            health_checks=health_checks,
            policy=policy,
            egress=egress,
            findings=tuple(sorted(findings)),
        )

    def _store_services(self, changes: Changes) -> dict[ObjectKey, None]:
        """Take over Services and slices; returns the keys of Services to rebuild, in order of the changes."""
        dirty = dict.fromkeys(take_over(self._services, changes.services))
        for key, slice_ in changes.slices.items():
            old = self._slices.get(key)
            if old == slice_:
                continue
            self._readings.pop(key, None)
            left = None if old is None else served_service(old)
            if left is not None:
                siblings = self._slices_of[left]
                del siblings[key]
                if not siblings:
                    del self._slices_of[left]
                dirty[left] = None
            if slice_ is None:
                del self._slices[key]
                continue
            self._slices[key] = slice_
            if (service := served_service(slice_)) is not None:
                self._slices_of.setdefault(service, {})[key] = slice_
                dirty[service] = None
        return dirty

    def _rebuild_service(
        self,
        key: ObjectKey,
        frontends: Changed[FrontendKey, Frontend],
        health_checks: Changed[int, HealthCheck],
    ) -> None:
        service = self._services.get(key)
        if service is None:
            self._frontends.release((key, False), frontends)
            self._frontends.release((key, True), frontends)
            self._health_checks.release(key, health_checks)
            self._findings.pop(("Service", key), None)
            return
        built = self._builder.build(service, self._read(key))
        for rank, claimed in _claims_of(service, built):
            self._frontends.replace((key, rank.standing is Standing.GUEST), rank, claimed, frontends)
        self._health_checks.replace(key, seniority(service.metadata), _health_claim(built), health_checks)
        self._keep_findings(("Service", key), built.findings)

    def _read(self, key: ObjectKey) -> list[ReadSlice]:
        """The slices of a Service. Only those of Services with several are kept read: most have one, with few endpoints."""
        slices = self._slices_of.get(key, {})
        if len(slices) < 2:
            return [read_slice(one) for one in slices.values()]
        found = []
        for name, slice_ in slices.items():
            reading = self._readings.get(name)
            if reading is None:
                reading = self._readings[name] = read_slice(slice_)
            found.append(reading)
        return found

    def _hear_namespaces(self, changes: Mapping[ObjectKey, Namespace | None]) -> set[str]:
        """Names of those that say something else of how their pods leave the cluster."""
        found = set()
        for key, namespace in changes.items():
            if word_of(namespace) != word_of(self._namespaces.get(key)):
                found.add(key.name)
            if namespace is None or word_of(namespace) is None:
                self._namespaces.pop(key, None)
            else:
                self._namespaces[key] = namespace
        return found

    def _pods_in(self, namespaces: set[str], but: Sequence[ObjectKey]) -> list[ObjectKey]:
        """Pods of this node that may have an address, in these namespaces."""
        if not namespaces:
            return []
        here = self._facts.name
        found = {
            key
            for key, pod in self._pods.items()
            if key.namespace in namespaces and pod.spec.node_name == here
        }
        return sorted(found.difference(but))

    def _rebuild_pod(
        self, key: ObjectKey, changed: Changed[Addr, LocalPod], frontends: Changed[FrontendKey, Frontend]
    ) -> None:
        pod = self._pods.get(key)
        if pod is None:
            self._local_pods.release(key, changed)
            self._ask_ports(("Pod", key), None, HostPorts(), frontends)
            self._findings.pop(("Pod", key), None)
            return
        built = local_addresses(pod, self._facts.name, self._namespaces.get(_namespace_of(pod)))
        self._local_pods.replace(key, holder_rank(pod), {p.address: p for p in built.addresses}, changed)
        asked = self._host_ports.of_pod(pod)
        self._ask_ports(("Pod", key), pod_rank(pod), asked, frontends)
        self._keep_findings(("Pod", key), (*built.findings, *asked.findings))

    def _rebuild_attachment(self, key: ObjectKey, frontends: Changed[FrontendKey, Frontend]) -> None:
        attachment = self._attachments.get(key)
        if attachment is None:
            self._ask_ports(("Container", key), None, HostPorts(), frontends)
            self._findings.pop(("Container", key), None)
            return
        asked = self._host_ports.of_attachment(attachment)
        self._ask_ports(("Container", key), attachment_rank(attachment), asked, frontends)
        self._keep_findings(("Container", key), asked.findings)

    def _ask_ports(
        self,
        owner: Hashable,
        rank: Seniority | None,
        asked: HostPorts,
        frontends: Changed[FrontendKey, Frontend],
    ) -> None:
        """The host ports that this owner asks for from now on; ``rank`` is None where it is gone."""
        if rank is None:
            self._frontends.release(owner, frontends)
        else:
            self._frontends.replace(owner, rank, asked.claimed, frontends)
        if asked.given:
            self._given_ports[owner] = asked.given
        else:
            self._given_ports.pop(owner, None)

    def _update_routes(
        self, changes: Changes
    ) -> tuple[dict[Cidr, PeerRoute | None], dict[Cidr, PodRange | None]]:
        read = {key: None if node is None else read_node(node) for key, node in changes.nodes.items()}
        nodes = {key: read[key] for key in take_over(self._nodes, read)}
        pools = {key: changes.pools[key] for key in take_over(self._pools, changes.pools)}
        blocks = {key: changes.blocks[key] for key in take_over(self._blocks, changes.blocks)}
        if not (nodes or pools or blocks):
            return {}, {}
        self._routes_before = {}
        before, ranges = self._routes, self._beside.ranges
        if nodes:
            self._rebuild_routes()
        for cidr in changed_values(before, self._routes) if nodes else ():
            self._routes_before[cidr] = self._beside.routes.get(cidr, before.get(cidr))
        self._beside.update(pools, blocks, nodes)
        self._keep_findings("blocks", self._beside.findings)
        after = {cidr: self._beside.routes.get(cidr, self._routes.get(cidr)) for cidr in self._routes_before}
        changed = {cidr: route for cidr, route in after.items() if route != self._routes_before[cidr]}
        return changed, changed_values(ranges, self._beside.ranges)

    def _note_route(self, cidr: Cidr, before: PeerRoute | None) -> None:
        """The route to a block is about to change; a node's range of the same name is what is left without one."""
        self._routes_before.setdefault(cidr, before if before is not None else self._routes.get(cidr))

    def _rebuild_routes(self) -> None:
        self._routes, findings = peer_routes(self._nodes.values(), self._facts)
        self._keep_findings("routes", findings)

    def _keep_findings(self, owner: Hashable, findings: tuple[Finding, ...]) -> None:
        if findings:
            self._findings[owner] = findings
        else:
            self._findings.pop(owner, None)


def _namespace_of(pod: Pod) -> ObjectKey:
    return ObjectKey("", pod.metadata.namespace)


def _claims_of(
    service: Service, built: ServiceBuild
) -> tuple[tuple[Seniority, dict[FrontendKey, Frontend]], ...]:
    """What a Service claims, by right and as a guest.

    LoadBalancer addresses and external IPs are not its own: they never take another's ClusterIP, whichever Service is older.
    """
    meta = service.metadata
    own: dict[FrontendKey, Frontend] = {}
    guests: dict[FrontendKey, Frontend] = {}
    for frontend in built.frontends:
        (guests if frontend.kind in GUESTS else own)[frontend.key] = frontend
    return (seniority(meta), own), (seniority(meta, Standing.GUEST), guests)


def _health_claim(built: ServiceBuild) -> dict[int, HealthCheck]:
    return {} if built.health_check is None else {built.health_port: built.health_check}
