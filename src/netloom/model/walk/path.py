"""A packet's way from node to node.

Comes in: a packet that is about to be sent. Goes out: a branch for each way that it may take. Not here: names (``names.py``).
The order on each node is the kernel's: translation of the destination, then the route, then translation of the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import msgspec

from netloom.api.core import Pod
from netloom.api.selectors import from_labels
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source, source_of
from netloom.model.services.frontends import Backend, Frontend, FrontendAction, FrontendKey, FrontendKind
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import Origin, OriginKind, Packet, endpoint_text
from netloom.model.walk.policies import policy_step
from netloom.model.walk.ports import listed, pod_ports, service_ports
from netloom.model.walk.steps import Branch, Ending, Outcome, Stage, Step
from netloom.units import Addr, Family, ObjectKey, family_of

_MOST_TRANSLATIONS = 2
"""A packet that is translated more often is going round, between NodePorts whose endpoints are NodePorts of other nodes."""


class Trail(msgspec.Struct, frozen=True):
    """How far one way has come."""

    share: Fraction
    packet: Packet
    node: str = ""
    steps: tuple[Step, ...] = ()
    translations: int = 0
    is_translated: bool = False
    """The destination was translated on this node (conntrack status dnat)."""

    def then(self, stage: Stage, text: str, *sources: Source) -> Trail:
        """One step further, on the node where the packet is."""
        return msgspec.structs.replace(self, steps=(*self.steps, Step(stage, self.node, text, sources)))

    def sent_from(self, source: Addr | None) -> Trail:
        """With another source address."""
        return msgspec.structs.replace(self, packet=msgspec.structs.replace(self.packet, source=source))

    def at(self, node: str) -> Trail:
        """Arrived at a node."""
        return msgspec.structs.replace(self, node=node, is_translated=False)

    def ends(self, outcome: Outcome, reason: str, hint: str = "", sources: tuple[Source, ...] = ()) -> Branch:
        """Here the way is over."""
        return Branch(self.share, self.steps, Ending(outcome, reason, hint, sources))


class Paths:
    """All ways of one sender's packets through one cluster."""

    def __init__(self, cluster: ClusterModel, origin: Origin) -> None:
        self._cluster = cluster
        self._origin = origin

    def send(self, trail: Trail) -> Iterator[Branch]:
        """From the sender on."""
        origin, to = self._origin, trail.packet.destination
        if to.is_loopback or (origin.kind is OriginKind.POD and to in origin.addresses):
            text = f"{to} is the sender's own address: the packet does not leave it"
            here = msgspec.structs.replace(trail, node=origin.node)
            yield here.then(Stage.ROUTE, text).ends(Outcome.DELIVERED, f"{origin.text} itself")
        elif origin.kind is OriginKind.OUTSIDE:
            yield from self._from_outside(trail)
        elif origin.node not in self._cluster.nodes:
            reason = f"{origin.text} is on no node" if not origin.node else f"there is no node {origin.node}"
            source = _pod_source(self._cluster, origin.pod, "spec.nodeName")
            yield trail.ends(Outcome.UNREACHABLE, reason, "see kubectl get pods -o wide", source)
        elif trail.packet.source is None:
            source = _pod_source(self._cluster, origin.pod, "spec.nodeName")
            yield trail.ends(
                Outcome.UNREACHABLE, f"{origin.text} has no address", "wait until it runs", source
            )
        else:
            yield from self._on_node(trail.at(origin.node))

    def _from_outside(self, trail: Trail) -> Iterator[Branch]:
        to = trail.packet.destination
        node = self._cluster.node_at(to)
        if node is not None:
            yield from self._on_node(trail.then(Stage.ROUTE, f"{to} is the address of {node}").at(node))
            return
        inside = [*self._cluster.facts.cluster_cidrs, *self._cluster.facts.service_cidrs]
        is_inside = any(to in cidr for cidr in inside) or self._cluster.pod_at(to) is not None
        if is_inside or self._cluster.service_with(to) is not None:
            reason = f"{to} has a meaning only inside of the cluster"
            yield trail.ends(Outcome.UNREACHABLE, reason, "from outside, go to a NodePort of a node")
        else:
            yield trail.ends(Outcome.EXTERNAL, "neither end is in the cluster")

    def _on_node(self, trail: Trail) -> Iterator[Branch]:
        """Arrived at a node, or sent by it: first the Services."""
        facts = self._cluster.nodes[trail.node]
        packet = trail.packet
        family = family_of(packet.destination)
        frontends = self._cluster.state(trail.node).frontends
        frontend = frontends.get(FrontendKey(family, packet.destination, packet.protocol, packet.port))
        if frontend is None and any(packet.destination in cidr for cidr in facts.service_cidrs):
            yield self._refused(trail)
            return
        if frontend is None and packet.destination in facts.addresses:
            frontend = frontends.get(FrontendKey(family, None, packet.protocol, packet.port))
        if frontend is None:
            yield from self._route(trail)
        else:
            yield from self._at_frontend(trail, frontend, facts)

    def _refused(self, trail: Trail) -> Branch:
        """Within the range of ClusterIPs, what no Service answers is refused."""
        packet = trail.packet
        service = self._cluster.service_with(packet.destination)
        if service is None:
            reason = f"no Service has the address {packet.destination}"
            return trail.ends(Outcome.REJECTED, reason, "see kubectl get services -A")
        subject = source_of("Service", service.metadata)
        ports = service_ports(service)
        reason = f"{subject.subject} has no port {packet.port}/{packet.protocol.word}; it has {listed(ports)}"
        return trail.ends(Outcome.REJECTED, reason, "use one of its ports", (subject.at("spec.ports"),))

    def _at_frontend(self, trail: Trail, frontend: Frontend, facts: NodeFacts) -> Iterator[Branch]:
        what = "NodePort" if frontend.kind is FrontendKind.NODE_PORT else "ClusterIP"
        text = f"{trail.packet} is the {what} of Service {frontend.service_port.service}"
        trail = trail.then(Stage.SERVICE, text, frontend.source)
        for out in frontend.left_out:
            trail = trail.then(Stage.LEFT_OUT, f"{out.address or 'an endpoint'}: {out.reason}", out.source)
        match frontend.action:
            case FrontendAction.NODE_LOCAL:
                text = f"the DNS server of {trail.node} has this address itself: not translated"
                trail = trail.then(Stage.DELIVERY, text, frontend.source)
                yield trail.ends(Outcome.DELIVERED, f"DNS server of {trail.node}")
            case FrontendAction.REJECT:
                yield self._nobody(trail, frontend)
            case FrontendAction.DROP:
                reason = f"Service {frontend.service_port.service} has no endpoint on {trail.node}"
                yield trail.ends(Outcome.DROPPED, reason, "see the endpoints above", (frontend.source,))
            case FrontendAction.BALANCE if trail.translations == _MOST_TRANSLATIONS:
                reason = f"the packet goes round: it was translated {_MOST_TRANSLATIONS} times already"
                hint = "let no endpoint be the NodePort of a node"
                yield trail.ends(Outcome.UNREACHABLE, reason, hint, (frontend.source,))
            case FrontendAction.BALANCE:
                for backend in frontend.backends:
                    yield from self._route(_translated(trail, frontend, backend, facts))

    def _nobody(self, trail: Trail, frontend: Frontend) -> Branch:
        """A Service without a usable endpoint: why, as far as the objects tell."""
        service = self._cluster.view.services[frontend.service_port.service]
        subject = source_of("Service", service.metadata)
        name = f"{subject.subject} has no ready endpoints"
        if frontend.left_out:
            count = len(frontend.left_out)
            reason = f"{name}: {'the only one is' if count == 1 else f'all {count} are'} left out"
            return trail.ends(
                Outcome.REJECTED, reason, "see the endpoints above", (frontend.left_out[0].source,)
            )
        selector = service.spec.selector
        if not selector:
            reason = f"{name}: it has no selector, and no EndpointSlice gives it any"
            return trail.ends(Outcome.REJECTED, reason, "set spec.selector", (subject.at("spec.selector"),))
        chosen = from_labels(selector)
        pods = [
            pod
            for key, pod in self._cluster.view.pods.items()
            if key.namespace == service.metadata.namespace and chosen.matches(pod.metadata.labels)
        ]
        shown = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        if pods:
            found = "1 pod, which has no" if len(pods) == 1 else f"{len(pods)} pods, none with an"
            reason = f"{name}: {shown} selects {found} endpoint for this port"
            hint = "compare targetPort with the ports of the pods' containers"
        else:
            reason = f"{name}: {shown} selects no pod"
            hint = "compare spec.selector with the labels of the pods"
        return trail.ends(Outcome.REJECTED, reason, hint, (subject.at("spec.selector"),))

    def _route(self, trail: Trail) -> Iterator[Branch]:
        """Where the node's routes lead."""
        cluster, to = self._cluster, trail.packet.destination
        facts = cluster.nodes[trail.node]
        pod = cluster.pod_at(to, trail.node)
        if pod is not None:
            yield self._to_pod(_hairpin(trail, facts), pod)
        elif to in facts.addresses:
            yield self._to_node(trail)
        elif any(to in cidr for cidr in facts.pod_cidrs):
            reason = f"no pod has the address {to}, which is in the range of {trail.node}"
            yield trail.ends(Outcome.UNREACHABLE, reason, "see kubectl get pods -A -o wide")
        elif (route := cluster.route(trail.node, to)) is not None:
            onward = trail.then(Stage.ROUTE, f"{to} is in {route.destination} of {route.node}", route.source)
            onward = onward.then(
                Stage.FABRIC, f"to {route.node} at {route.via}", _node_source(cluster, route.node)
            )
            yield from self._on_node(onward.at(route.node))
        elif (node := cluster.node_at(to)) is not None:
            leaving = self._leaving(trail, facts)
            onward = leaving.then(Stage.ROUTE, f"{to} is the address of {node}", _node_source(cluster, node))
            yield from self._on_node(onward.at(node))
        elif any(to in cidr for cidr in facts.cluster_cidrs):
            yield self._no_route(trail)
        else:
            leaving = self._leaving(trail, facts).then(
                Stage.ROUTE, f"{to} is not of the cluster: default route"
            )
            yield self._past_policies(leaving, None).ends(
                Outcome.EXTERNAL, f"leaves the cluster at {trail.node}"
            )

    def _no_route(self, trail: Trail) -> Branch:
        """An address of the pods' range that no node's route holds: whose it is, and what is wrong with that node."""
        to = trail.packet.destination
        pod = self._cluster.pod_at(to)
        if pod is None:
            reason = f"{trail.node} has no route to {to}: it is in no node's range"
            return trail.ends(Outcome.UNREACHABLE, reason, "see the podCIDRs of the nodes")
        home = pod.spec.node_name
        reason = f"{trail.node} has no route to {to} (pod {pod.key} on {home})"
        return trail.ends(Outcome.UNREACHABLE, reason, *self._route_trouble(trail.node, home))

    def _route_trouble(self, node: str, home: str) -> tuple[str, tuple[Source, ...]]:
        """What of the Node ``home`` keeps ``node`` from having a route to its pods."""
        if home not in self._cluster.nodes:
            return f"there is no node {home}", ()
        for finding in self._cluster.route_findings(node):
            if finding.source.name == home:
                return f"{finding.problem}; {finding.hint}", (finding.source,)
        source = source_of("Node", self._cluster.view.nodes[ObjectKey("", home)].metadata, "spec.podCIDRs")
        return f"the address is not in the range of {home}", (source,)

    def _past_policies(self, trail: Trail, receiver: Pod | None) -> Trail:
        sender = self._cluster.view.pods.get(self._origin.pod) if self._origin.pod else None
        step = policy_step(self._cluster, sender, receiver, trail.node)
        return trail if step is None else msgspec.structs.replace(trail, steps=(*trail.steps, step))

    def _leaving(self, trail: Trail, facts: NodeFacts) -> Trail:
        """Pods' packets to what is no part of the cluster carry the node's address: nobody out there has a way back to a pod.

        Other nodes have that way, so packets to those that pods are routed to keep their source.
        """
        packet = trail.packet
        own = facts.addresses
        inside = (*facts.cluster_cidrs, *facts.pod_cidrs, *facts.service_cidrs)
        is_pod = packet.source is not None and any(packet.source in cidr for cidr in facts.pod_cidrs)
        if not is_pod or any(packet.destination in cidr for cidr in inside):
            return trail
        if self._cluster.is_peer(trail.node, packet.destination):
            return trail
        source = next((a for a in own if family_of(a) is family_of(packet.destination)), None)
        text = (
            f"source becomes {source or 'an address of the node'}: the destination is outside of the cluster"
        )
        return trail.then(Stage.NAT, text).sent_from(source)

    def _to_node(self, trail: Trail) -> Branch:
        packet = trail.packet
        guests = [
            (pod, port)
            for pod in self._cluster.view.pods.values()
            if pod.spec.host_network and pod.spec.node_name == trail.node
            for port in pod_ports(pod)
            if (port.number, port.protocol) == (packet.port, packet.protocol)
        ]
        text = f"{packet.destination} is the node's own address"
        source = _node_source(self._cluster, trail.node)
        trail = self._past_policies(trail.then(Stage.ROUTE, text, source), None)
        if guests:
            pod, declared = min(guests, key=lambda guest: guest[0].key)
            text = f"hostNetwork pod {pod.key} declares {declared}; it sees {_seen(packet)}"
            return trail.then(Stage.DELIVERY, text, declared.source).ends(
                Outcome.DELIVERED, f"pod {pod.key} on {trail.node}"
            )
        port = f"{packet.port}/{packet.protocol.word}"
        text = f"port {port}, if a process of the node listens there; it sees {_seen(packet)}"
        return trail.then(Stage.DELIVERY, text).ends(Outcome.DELIVERED, f"node {trail.node}")

    def _to_pod(self, trail: Trail, pod: Pod) -> Branch:
        packet = trail.packet
        subject = source_of("Pod", pod.metadata)
        trail = trail.then(
            Stage.ROUTE, f"{packet.destination} is pod {pod.key} on this node", subject.at("status.podIPs")
        )
        trail = self._past_policies(trail, pod)
        if (trouble := self._no_way_back(trail)) is not None:
            return trouble
        declared = next(
            (p for p in pod_ports(pod) if (p.number, p.protocol) == (packet.port, packet.protocol)), None
        )
        if declared is not None:
            text, source = f"port {declared}, declared", declared.source
        else:
            text = f"port {packet.port}/{packet.protocol.word}, which no container declares"
            source = subject.at("spec.containers")
        unready = "" if pod.is_ready else "; the pod is not ready"
        trail = trail.then(Stage.DELIVERY, f"{text}; it sees {_seen(packet)}{unready}", source)
        return trail.ends(
            Outcome.DELIVERED, f"pod {pod.key} at {endpoint_text(packet.destination, packet.port)}"
        )

    def _no_way_back(self, trail: Trail) -> Branch | None:
        """The answer must find the sender: a pod on another node needs a route from here."""
        origin, source = self._origin, trail.packet.source
        if origin.kind is not OriginKind.POD or source not in origin.addresses or origin.node == trail.node:
            return None
        if source is None or self._cluster.route(trail.node, source) is not None:
            return None
        reason = f"{trail.node} has no route back to {source} of {origin.text}"
        return trail.ends(Outcome.UNREACHABLE, reason, *self._route_trouble(trail.node, origin.node))


def _translated(trail: Trail, frontend: Frontend, backend: Backend, facts: NodeFacts) -> Trail:
    """On to one backend: destination translated, and for some frontends the source too."""
    share = trail.share / len(frontend.backends)
    who = f"pod {backend.pod}" if backend.pod else "endpoint"
    where = f" on {backend.node}" if backend.node else ""
    count = len(frontend.backends)
    chance = "the only one" if count == 1 else f"1 of {count}"
    sources = () if backend.source is None else (backend.source,)
    trail = trail.then(Stage.ENDPOINT, f"{backend} {who}{where} ({chance})", *sources)
    trail = trail.then(Stage.NAT, f"destination becomes {backend}", frontend.source)
    packet = msgspec.structs.replace(trail.packet, destination=backend.address, port=backend.port)
    trail = msgspec.structs.replace(
        trail, share=share, packet=packet, translations=trail.translations + 1, is_translated=True
    )
    if frontend.masquerade:
        source = _own_address(facts, packet)
        field = frontend.source.at("spec.externalTrafficPolicy")
        text = f"source becomes {source or 'an address of the node'}: the answer must come back through {facts.name}"
        trail = trail.then(Stage.NAT, text, field).sent_from(source)
    return trail


def _hairpin(trail: Trail, facts: NodeFacts) -> Trail:
    """A pod that reaches itself through a Service must not see its own address as the source: it would answer itself."""
    packet = trail.packet
    if not trail.is_translated or packet.source != packet.destination:
        return trail
    source = _own_address(facts, packet)
    text = f"source becomes {source or 'an address of the node'}: the pod reaches itself (hairpin)"
    return trail.then(Stage.NAT, text).sent_from(source)


def _own_address(facts: NodeFacts, packet: Packet) -> Addr | None:
    family: Family = family_of(packet.destination)
    return next((a for a in facts.addresses if family_of(a) is family), None)


def _seen(packet: Packet) -> str:
    return f"source {packet.source}" if packet.source is not None else "the client's own address"


def _node_source(cluster: ClusterModel, node: str) -> Source:
    return source_of("Node", cluster.view.nodes[ObjectKey("", node)].metadata, "status.addresses")


def _pod_source(cluster: ClusterModel, pod: ObjectKey | None, field: str) -> tuple[Source, ...]:
    if pod is None:
        return ()
    return (source_of("Pod", cluster.view.pods[pod].metadata, field),)
