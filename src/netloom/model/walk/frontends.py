"""What a Service does to a packet that reaches one of its frontends on a node.

Comes in: the way so far, the frontend. Goes out: an onward way for each endpoint, or an ending. Not here: routes (``path.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netloom.api.core import Service
from netloom.api.selectors import from_labels
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source, source_of
from netloom.model.services.backends import candidates_of
from netloom.model.services.frontends import Backend, Frontend, FrontendAction, FrontendKind, Pool
from netloom.model.services.labels import served_service
from netloom.model.services.ports import read_ports
from netloom.model.services.slices import read_slice
from netloom.model.services.source_ranges import ranges_field
from netloom.model.services.spec import EXTERNAL_POLICY, INTERNAL_POLICY
from netloom.model.services.topology import Nearness, Place, preference_of
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.steps import Branch, Outcome, Stage
from netloom.model.walk.trail import Trail
from netloom.units import Addr, family_of

_MOST_TRANSLATIONS = 2
"""A packet that is translated more often is going round, between NodePorts whose endpoints are NodePorts of other nodes."""


class Frontends:
    """All frontends of one cluster, for packets of one walk."""

    def __init__(self, cluster: ClusterModel) -> None:
        self._cluster = cluster

    def enter(self, trail: Trail, frontend: Frontend, facts: NodeFacts) -> Iterator[Trail | Branch]:
        """The ways on from a frontend of the node where the packet is."""
        service = self._cluster.view.services[frontend.service_port.service]
        subject = source_of("Service", service.metadata)
        text = f"{trail.packet} is the {frontend.kind.value} of {subject.subject}"
        trail = trail.then(Stage.SERVICE, text, frontend.source)
        if frontend.action is FrontendAction.NODE_LOCAL:
            text = f"the DNS server of {trail.node} has this address itself: not translated"
            trail = trail.then(Stage.DELIVERY, text, frontend.source)
            yield trail.ends(Outcome.DELIVERED, f"DNS server of {trail.node}")
            return
        entered = _let_in(trail, frontend, service, subject)
        if isinstance(entered, Branch):
            yield entered
            return
        # who is a pod of this node is known by all of its ranges
        facts = msgspec.structs.replace(facts, pod_cidrs=self._cluster.own_ranges(facts.name))
        pool, policy = _pool_of(entered, frontend, service, facts)
        trail = self._choice(entered, frontend, pool, policy, facts)
        match pool.action:
            case FrontendAction.BALANCE:
                yield from _balanced(trail, frontend, pool, subject, facts)
            case FrontendAction.DROP:
                yield _nobody_here(trail, frontend, service, subject.at(policy))
            case _:
                yield self._nobody(trail, pool, service, subject)

    def _choice(self, trail: Trail, frontend: Frontend, pool: Pool, policy: str, facts: NodeFacts) -> Trail:
        """Steps that say who is chosen among, and why each other one is not."""
        service = self._cluster.view.services[frontend.service_port.service]
        subject = source_of("Service", service.metadata)
        if policy and pool is frontend.inside:
            text = f"asked from {trail.node} itself: the endpoints of all nodes count"
            trail = trail.then(Stage.SERVICE, text, subject.at(policy))
        elif policy:
            text = f"only endpoints on {trail.node} count"
            if policy == EXTERNAL_POLICY:
                text += ", and they see the client's own address"
            trail = trail.then(Stage.SERVICE, text, subject.at(policy))
        if pool.action is FrontendAction.BALANCE and (not policy or pool is frontend.inside):
            trail = self._preferred(trail, frontend, service, subject, facts)
        for out in pool.left_out:
            trail = trail.then(Stage.LEFT_OUT, f"{out.address or 'an endpoint'}: {out.reason}", out.source)
        if pool.action is FrontendAction.BALANCE and frontend.affinity_s:
            text = f"a client stays with its endpoint for {frontend.affinity_s} s after its last connection"
            trail = trail.then(Stage.SERVICE, text, subject.at("spec.sessionAffinity"))
        return trail

    def _preferred(
        self, trail: Trail, frontend: Frontend, service: Service, subject: Source, facts: NodeFacts
    ) -> Trail:
        """Whether near endpoints are preferred here; nothing where neither the Service nor an endpoint asks for it."""
        wanted = service.spec.traffic_distribution
        slices = [
            read_slice(s) for s in self._cluster.view.slices.values() if served_service(s) == service.key
        ]
        ports, _ = read_ports(service, subject)
        key = (frontend.service_port.port, frontend.service_port.protocol.value)
        port = next(port for port in ports if port.key == key)
        endpoints = candidates_of(slices, frontend.key.family, port).endpoints
        found = preference_of(endpoints, Place(facts.name, facts.zone))
        if found.nearness is Nearness.SAME_NODE:
            text = f"endpoints that are hinted for {facts.name} are preferred"
        elif found.nearness is Nearness.SAME_ZONE:
            text = f"endpoints that are hinted for {facts.zone} are preferred"
        elif found.has_hints:
            text = f"hints of endpoints do not count: {found.because}"
        elif wanted:
            text = f"{wanted} changes nothing: no ready endpoint has hints"
        else:
            return trail
        return trail.then(Stage.SERVICE, text, *((subject.at("spec.trafficDistribution"),) if wanted else ()))

    def _nobody(self, trail: Trail, pool: Pool, service: Service, subject: Source) -> Branch:
        """A Service without a usable endpoint: why, as far as the objects tell."""
        name = f"{subject.subject} has no ready endpoints"
        if pool.left_out:
            count = len(pool.left_out)
            reason = f"{name}: {'the only one is' if count == 1 else f'all {count} are'} left out"
            return trail.ends(Outcome.REJECTED, reason, "see the endpoints above", (pool.left_out[0].source,))
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


def own_address(facts: NodeFacts, other: Addr) -> Addr | None:
    """The node's address of the family of another one."""
    return next((a for a in facts.addresses if family_of(a) is family_of(other)), None)


def serves_node_ports(facts: NodeFacts, address: Addr) -> bool:
    """Whether NodePorts are served at this address of the node."""
    return facts.node_port_cidrs is None or any(address in cidr for cidr in facts.node_port_cidrs)


def _let_in(trail: Trail, frontend: Frontend, service: Service, subject: Source) -> Trail | Branch:
    """Past the source ranges, or an ending before them."""
    ranges, client = frontend.source_ranges, trail.packet.source
    if ranges is None:
        return trail
    source = subject.at(ranges_field(service))
    within = next((cidr for cidr in ranges if client in cidr), None) if client is not None else None
    if client is None:
        within = next((cidr for cidr in ranges if cidr.prefixlen == 0), None)
    if within is not None:
        return trail.then(Stage.SERVICE, f"{client or 'every client'} is let in, by {within}", source)
    shown = ", ".join(map(str, ranges)) or "nobody"
    if client is None:
        hint = "ask again with the client's address in place of internet"
        return trail.ends(Outcome.DROPPED, f"only {shown} is let in", hint, (source,))
    return trail.ends(Outcome.DROPPED, f"{client} is not let in, only {shown}", "", (source,))


def _pool_of(trail: Trail, frontend: Frontend, service: Service, facts: NodeFacts) -> tuple[Pool, str]:
    """What this client gets, and the field of the policy Local that has a say in it; empty where none has."""
    pool = Pool(frontend.action, frontend.backends, frontend.left_out)
    if frontend.inside is not None:
        return (frontend.inside if _is_inside(trail.packet.source, facts) else pool), EXTERNAL_POLICY
    is_local = frontend.kind is FrontendKind.CLUSTER_IP and service.spec.internal_traffic_policy == "Local"
    return pool, INTERNAL_POLICY if is_local else ""


def _is_inside(client: Addr | None, facts: NodeFacts) -> bool:
    """A pod of this node, or the node itself."""
    return client is not None and (client in facts.addresses or _is_pod_here(client, facts))


def _is_pod_here(client: Addr | None, facts: NodeFacts) -> bool:
    return client is not None and any(client in cidr for cidr in facts.pod_cidrs)


def _nobody_here(trail: Trail, frontend: Frontend, service: Service, policy: Source) -> Branch:
    """A traffic policy of Local on a node without endpoints, while other nodes have some."""
    field = policy.field
    reason = f"{policy.subject} has no usable endpoint on {trail.node}, and {field} is Local"
    elsewhere = frontend.inside.backends if frontend.inside is not None else ()
    nodes = sorted({backend.node for backend in elsewhere if backend.node})
    if service.spec.health_check_node_port and frontend.kind is FrontendKind.LOAD_BALANCER:
        port = service.spec.health_check_node_port
        hint = f"a load balancer that asks port {port} of each node sends nothing here"
    elif nodes:
        hint = f"reach it at {' or '.join(nodes)}"
    else:
        hint = "see the endpoints above"
    return trail.ends(Outcome.DROPPED, reason, hint, (policy,))


def _balanced(
    trail: Trail, frontend: Frontend, pool: Pool, subject: Source, facts: NodeFacts
) -> Iterator[Trail | Branch]:
    """On to each backend, all with the same share."""
    if len(trail.translations) == _MOST_TRANSLATIONS:
        reason = f"the packet goes round: it was translated {_MOST_TRANSLATIONS} times already"
        hint = "let no endpoint be the NodePort of a node"
        yield trail.ends(Outcome.UNREACHABLE, reason, hint, (frontend.source,))
        return
    share = msgspec.structs.replace(trail, share=trail.share / len(pool.backends))
    for backend in pool.backends:
        yield _translated(share, frontend, backend, len(pool.backends), subject, facts)


def _translated(
    trail: Trail, frontend: Frontend, backend: Backend, count: int, subject: Source, facts: NodeFacts
) -> Trail:
    """On to one backend: destination translated, and for some frontends the source too."""
    who = f"pod {backend.pod}" if backend.pod else "endpoint"
    where = f" on {backend.node}" if backend.node else ""
    chance = "the only one" if count == 1 else f"1 of {count}"
    sources = () if backend.source is None else (backend.source,)
    trail = trail.then(Stage.ENDPOINT, f"{backend} {who}{where} ({chance})", *sources)
    trail = trail.then(Stage.NAT, f"destination becomes {backend}", frontend.source)
    trail = trail.sent_to(backend.address, backend.port, frontend.source)
    client, own = trail.packet.source, own_address(facts, backend.address)
    if not frontend.masquerade or _is_pod_here(client, facts) or (client is not None and client == own):
        return trail
    text = f"source becomes {own or 'an address of the node'}: the answer must come back through {facts.name}"
    return trail.then(Stage.NAT, text, subject.at(EXTERNAL_POLICY)).sent_from(own)
