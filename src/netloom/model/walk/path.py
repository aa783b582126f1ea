"""A packet's way from node to node.

Comes in: a packet that is about to be sent. Goes out: a branch for each way that it may take. Not here: names (``names.py``).
The order on each node is the kernel's: translation of the destination, then policies and the route, then translation of the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import msgspec

from netloom.api.core import Pod, Service
from netloom.model.inputs import NodeFacts
from netloom.model.policy.state import Direction
from netloom.model.provenance import Source, source_of
from netloom.model.routes.ways import Way
from netloom.model.services.frontends import FrontendAction, FrontendKey, FrontendKind
from netloom.model.services.labels import opt_out
from netloom.model.walk.announced import answering
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.frontends import Frontends, own_address, serves_node_ports
from netloom.model.walk.host_ports import is_served, to_pod
from netloom.model.walk.learned import untold
from netloom.model.walk.links import into_pod, out_of_pod, to_peer
from netloom.model.walk.networks import beside
from netloom.model.walk.outward import masqueraded, outward
from netloom.model.walk.packet import Origin, OriginKind, Packet, endpoint_text
from netloom.model.walk.policies import past_policies
from netloom.model.walk.ports import listed, pod_ports, service_ports
from netloom.model.walk.steps import Branch, Outcome, Stage
from netloom.model.walk.trail import Trail
from netloom.units import ObjectKey, family_of


class Paths:
    """All ways of one sender's packets through one cluster."""

    def __init__(self, cluster: ClusterModel, origin: Origin) -> None:
        self._cluster = cluster
        self._origin = origin
        self._frontends = Frontends(cluster)

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
            yield from self._from_inside(trail.at(origin.node))

    def _from_inside(self, trail: Trail) -> Iterator[Branch]:
        """From a pod, or from the node itself."""
        origin, cluster = self._origin, self._cluster
        if origin.kind is not OriginKind.POD:
            yield from self._on_node(trail)
            return
        if origin.pod is not None and cluster.pod_at(trail.packet.destination) is None:
            onward = beside(trail, cluster.view.pods[origin.pod], cluster.further_networks)
            if isinstance(onward, Branch):
                yield onward
                return
            trail = onward
        yield from self._on_node(out_of_pod(trail, cluster.nodes[origin.node]))

    def _from_outside(self, trail: Trail) -> Iterator[Branch]:
        to = trail.packet.destination
        node = self._cluster.node_at(to)
        if node is not None:
            yield from self._on_node(trail.then(Stage.ROUTE, f"{to} is the address of {node}").at(node))
            return
        if (service := self._cluster.outer_service(to)) is not None:
            yield from self._from_balancer(trail, service)
            return
        facts = self._cluster.facts
        anywhere = (cidr for name in self._cluster.nodes for cidr in self._cluster.pod_ranges(name))
        inside = [*facts.cluster_cidrs, *facts.service_cidrs, *anywhere]
        is_inside = any(to in cidr for cidr in inside) or self._cluster.pod_at(to) is not None
        if is_inside or self._cluster.service_with(to) is not None:
            hint = "from outside, go to a NodePort of a node, a LoadBalancer address or an external IP"
            yield trail.ends(Outcome.UNREACHABLE, f"{to} has a meaning only inside of the cluster", hint)
        else:
            yield trail.ends(Outcome.EXTERNAL, "neither end is in the cluster")

    def _from_balancer(self, trail: Trail, service: Service) -> Iterator[Branch]:
        """To a LoadBalancer address or external IP: whatever is in front of the cluster chooses the node."""
        cluster, packet = self._cluster, trail.packet
        key = FrontendKey(family_of(packet.destination), packet.destination, packet.protocol, packet.port)
        doors = [name for name in cluster.nodes if key in cluster.state(name).frontends]
        if not doors:
            subject = source_of("Service", service.metadata)
            has = listed(service_ports(service))
            reason = f"{subject.subject} has no port {packet.port}/{packet.protocol.word}; it has {has}"
            yield trail.ends(Outcome.UNREACHABLE, reason, "use one of its ports", (subject.at("spec.ports"),))
            return
        doors, trail = _healthy_doors(cluster, trail, key, doors)
        answered = answering(cluster.duties.get(packet.destination), trail, doors)
        if isinstance(answered, Branch):
            yield answered
            return
        doors, trail = answered
        ways = {
            name: list(
                self._on_node(
                    trail.then(Stage.ROUTE, f"{packet.destination} leads to a node: here {name}").at(name)
                )
            )
            for name in doors
        }
        results = {tuple(sorted(map(_result, branches))) for branches in ways.values()}
        if len(results) == 1:
            first = doors[0]
            where = first if len(doors) == 1 else f"a node, and each does the same: here {first}"
            same = f"{packet.destination} leads to {where}"
            yield from self._on_node(trail.then(Stage.ROUTE, same).at(first))
            return
        share = Fraction(1, len(doors))
        for branches in ways.values():
            yield from (msgspec.structs.replace(one, share=one.share * share) for one in branches)

    def _on_node(self, trail: Trail) -> Iterator[Branch]:
        """Arrived at a node, or sent by it: first the Services."""
        facts = self._cluster.nodes[trail.node]
        packet = trail.packet
        family = family_of(packet.destination)
        frontends = self._cluster.state(trail.node).frontends
        frontend = frontends.get(FrontendKey(family, packet.destination, packet.protocol, packet.port))
        if frontend is not None and not is_served(frontend, facts, packet.destination):
            frontend = None
        if frontend is None and any(packet.destination in cidr for cidr in facts.service_cidrs):
            yield self._refused(trail)
            return
        if frontend is None and packet.destination in facts.addresses:
            frontend = frontends.get(FrontendKey(family, None, packet.protocol, packet.port))
            if frontend is not None and not serves_node_ports(facts, packet.destination):
                ranges = ", ".join(map(str, facts.node_port_cidrs or ())) or "nowhere"
                text = f"{trail.node} serves NodePorts at {ranges} only: {packet} is no Service's"
                trail, frontend = trail.then(Stage.SERVICE, text, frontend.source), None
        if frontend is None:
            yield from self._allowed(trail)
            return
        if frontend.kind is FrontendKind.HOST_PORT:
            yield from self._allowed(to_pod(trail, frontend))
            return
        if frontend.action is FrontendAction.NODE_LOCAL:
            judged = self._past_egress(trail)
            if isinstance(judged, Branch):
                yield judged
                return
            trail = judged
        for onward in self._frontends.enter(trail, frontend, facts):
            if isinstance(onward, Branch):
                yield onward
            else:
                yield from self._allowed(onward)

    def _allowed(self, trail: Trail) -> Iterator[Branch]:
        """Past the policies of the sender, where it lives on this node; then on."""
        judged = self._past_egress(trail)
        if isinstance(judged, Branch):
            yield judged
        else:
            yield from self._route(judged)

    def _past_egress(self, trail: Trail) -> Trail | Branch:
        origin = self._origin
        is_here = origin.kind is OriginKind.POD and origin.node == trail.node
        if not is_here or trail.came_from not in origin.addresses:
            return trail
        return past_policies(self._cluster, trail, Direction.EGRESS)

    def _refused(self, trail: Trail) -> Branch:
        """Within the range of ClusterIPs, what no Service answers is refused."""
        packet = trail.packet
        service = self._cluster.service_with(packet.destination)
        if service is None:
            reason = f"no Service has the address {packet.destination}"
            return trail.ends(Outcome.REJECTED, reason, "see kubectl get services -A")
        subject = source_of("Service", service.metadata)
        if label := opt_out(service.metadata.labels):
            reason = f"{subject.subject} has the label {label}: it is not served here"
            return trail.ends(Outcome.REJECTED, reason, "", (subject.at(f"metadata.labels[{label}]"),))
        ports = service_ports(service)
        reason = f"{subject.subject} has no port {packet.port}/{packet.protocol.word}; it has {listed(ports)}"
        return trail.ends(Outcome.REJECTED, reason, "use one of its ports", (subject.at("spec.ports"),))

    def _route(self, trail: Trail) -> Iterator[Branch]:
        """Where the node's routes lead."""
        cluster, to = self._cluster, trail.packet.destination
        facts = cluster.nodes[trail.node]
        pod = cluster.pod_at(to, trail.node)
        if pod is not None:
            yield self._to_pod(_hairpin(trail, facts), pod)
        elif to in facts.addresses:
            yield self._to_node(trail)
        elif cluster.own_range(trail.node, to) is not None:
            reason = f"no pod has the address {to}, which is in the range of {trail.node}"
            yield trail.ends(Outcome.UNREACHABLE, reason, "see kubectl get pods -A -o wide")
        elif (route := cluster.route(trail.node, to)) is not None:
            onward = trail.then(Stage.ROUTE, f"{to} is in {route.destination} of {route.node}", route.source)
            sent = untold(cluster, onward, route) or to_peer(
                onward, route, facts, _node_source(cluster, route.node)
            )
            if isinstance(sent, Branch):
                yield sent
            else:
                yield from self._on_node(sent.at(route.node))
        elif (node := cluster.node_at(to)) is not None:
            left = masqueraded(cluster, trail)
            onward = left.then(Stage.ROUTE, f"{to} is the address of {node}", _node_source(cluster, node))
            yield from self._on_node(onward.at(node))
        elif any(to in cidr for cidr in cluster.pod_ranges(trail.node)):
            yield self._no_route(trail)
        else:
            yield outward(cluster, trail)

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
        trail = trail.then(Stage.ROUTE, text, source)
        if guests:
            pod, declared = min(guests, key=lambda guest: guest[0].key)
            text = f"hostNetwork pod {pod.key} declares {declared}; it sees {_seen(packet)}"
            delivered = trail.then(Stage.DELIVERY, text, declared.source).answered()
            return delivered.ends(Outcome.DELIVERED, f"pod {pod.key} on {trail.node}")
        port = f"{packet.port}/{packet.protocol.word}"
        text = f"port {port}, if a process of the node listens there; it sees {_seen(packet)}"
        return trail.then(Stage.DELIVERY, text).answered().ends(Outcome.DELIVERED, f"node {trail.node}")

    def _to_pod(self, trail: Trail, pod: Pod) -> Branch:
        packet = trail.packet
        subject = source_of("Pod", pod.metadata)
        trail = trail.then(
            Stage.ROUTE, f"{packet.destination} is pod {pod.key} on this node", subject.at("status.podIPs")
        )
        judged = past_policies(self._cluster, trail, Direction.INGRESS)
        if isinstance(judged, Branch):
            return judged
        trail = judged
        if (trouble := self._no_way_back(trail)) is not None:
            return trouble
        trail = into_pod(trail, self._cluster.nodes[trail.node])
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
        return trail.answered().ends(
            Outcome.DELIVERED, f"pod {pod.key} at {endpoint_text(packet.destination, packet.port)}"
        )

    def _no_way_back(self, trail: Trail) -> Branch | None:
        """The answer must find the sender: a pod on another node needs a route from here."""
        origin, source = self._origin, trail.packet.source
        if origin.kind is not OriginKind.POD or source not in origin.addresses or origin.node == trail.node:
            return None
        route = None if source is None else self._cluster.route(trail.node, source)
        if source is None or (route is not None and route.way is not Way.BLOCKED):
            return None
        if route is not None:
            there = to_peer(
                trail, route, self._cluster.nodes[trail.node], _node_source(self._cluster, route.node)
            )
            return there if isinstance(there, Branch) else None
        reason = f"{trail.node} has no route back to {source} of {origin.text}"
        return trail.ends(Outcome.UNREACHABLE, reason, *self._route_trouble(trail.node, origin.node))


def _result(branch: Branch) -> tuple[Fraction, str, str]:
    """What makes two ways different for whoever asks."""
    return branch.share, branch.ending.outcome.value, branch.ending.reason


def _healthy_doors(
    cluster: ClusterModel, trail: Trail, key: FrontendKey, doors: list[str]
) -> tuple[list[str], Trail]:
    """The nodes that a load balancer sends to: it asks ``spec.healthCheckNodePort`` of each, where the Service has one."""
    frontend = cluster.state(doors[0]).frontends[key]
    if frontend.kind is not FrontendKind.LOAD_BALANCER:
        return doors, trail
    counts = {
        name: (port, check)
        for name in doors
        for port, check in cluster.state(name).health_checks.items()
        if check.service == frontend.service_port.service
    }
    healthy = [name for name in doors if name in counts and counts[name][1].local_endpoints]
    if not healthy or healthy == doors:
        return doors, trail
    port, check = counts[healthy[0]]
    text = f"port {port} tells load balancers which nodes have endpoints: {', '.join(healthy)}"
    return healthy, trail.then(Stage.SERVICE, text, check.source)


def _hairpin(trail: Trail, facts: NodeFacts) -> Trail:
    """A pod that reaches itself through a Service must not see its own address as the source: it would answer itself."""
    packet = trail.packet
    if not trail.is_translated or packet.source != packet.destination:
        return trail
    source = own_address(facts, packet.destination)
    text = f"source becomes {source or 'an address of the node'}: the pod reaches itself (hairpin)"
    return trail.then(Stage.NAT, text).sent_from(source)


def _seen(packet: Packet) -> str:
    return f"source {packet.source}" if packet.source is not None else "the client's own address"


def _node_source(cluster: ClusterModel, node: str) -> Source:
    return source_of("Node", cluster.view.nodes[ObjectKey("", node)].metadata, "status.addresses")


def _pod_source(cluster: ClusterModel, pod: ObjectKey | None, field: str) -> tuple[Source, ...]:
    if pod is None:
        return ()
    return (source_of("Pod", cluster.view.pods[pod].metadata, field),)
