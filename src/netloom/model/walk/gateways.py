"""The way of a request through a gateway: to its node, past its listener and routes, and on to a pod.

Comes in: who asks, a URL, the gateways' plan. Goes out: a branch for each way that the request may take. Not here: which rule matches
(``gateways/matching.py``), what a gateway says of it (``gateway_steps.py``), how packets go from node to node (``path.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import msgspec

from netloom.model.gateways.hostnames import covers
from netloom.model.gateways.matching import Decision, Request, decide, normalised
from netloom.model.gateways.plan import Door, Endpoint, Plan, Pool, Share, Transport
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.frontends import own_address
from netloom.model.walk.gateway_steps import inside
from netloom.model.walk.packet import (
    AddressTarget,
    Destination,
    Origin,
    OriginKind,
    Packet,
    ServiceTarget,
    UrlTarget,
    endpoint_text,
)
from netloom.model.walk.path import Paths
from netloom.model.walk.resolve import resolve
from netloom.model.walk.steps import Branch, Ending, Outcome, Stage, Step
from netloom.model.walk.trail import Trail
from netloom.model.walk.urls import Asked, Url
from netloom.units import Protocol


class Answerer(msgspec.Struct, frozen=True):
    """The gateway that a URL means, and what it would do."""

    door: Door
    decision: Decision
    request: Request
    others: tuple[Door, ...] = ()
    """Further gateways that have a listener for the host."""


def answerer_of(plan: Plan, url: Url, asked: Asked, at: Door | None = None) -> Answerer | None:
    """Who answers a URL: the gateway with a rule for it before one that only listens; None where nobody does.

    Args:
        plan: of the gateways.
        url: what is asked for.
        asked: the rest of the request.
        at: the door that the URL's address leads to; None: any may be meant.
    """
    request = normalised(
        Request(
            host=url.host,
            path=url.path,
            query=url.query,
            method=asked.method,
            headers=asked.headers,
        )
    )
    wanted = (Transport.TLS,) if url.is_encrypted else (Transport.HTTP, Transport.TCP)
    doors = [
        door
        for door in (plan.doors if at is None else (at,))
        if door.transport in wanted and (at is not None or door.port == url.port)
    ]
    decided = [(door, decide(plan, door, request)) for door in doors]
    taken = [(door, one) for door, one in decided if at is not None or _is_meant(door, one, url)]
    if not taken:
        return None
    door, decision = max(taken, key=lambda one: _rank(one[1]))
    others = tuple(other for other, _ in taken if other is not door)
    return Answerer(door, decision, request, others)


def _is_meant(door: Door, decision: Decision, url: Url) -> bool:
    return decision.listener is not None or any(covers(one.hostname, url.host) for one in door.listeners)


def _rank(decision: Decision) -> tuple[bool, int]:
    has_rule = decision.rule is not None or decision.stream is not None
    return has_rule, len(decision.listener.hostname) if decision.listener is not None else 0


def through_gateway(cluster: ClusterModel, origin: Origin, target: UrlTarget) -> Iterator[Branch]:
    """All ways of a request; none where no gateway is meant by its URL."""
    url, at = target.url, None
    if url.address is not None:
        at = _door_at(cluster, url)
        if at is None:
            return
    found = answerer_of(cluster.plan, url, target.asked, at)
    if found is not None:
        yield from _GatewayPaths(cluster, origin).send(found, url)


def _door_at(cluster: ClusterModel, url: Url) -> Door | None:
    """The gateway that an address and port lead to: those of its Service, or a NodePort."""
    address, plan = url.address, cluster.plan
    if address is None:
        return None
    if cluster.node_at(address) is not None:
        return next((door for door in plan.doors if door.node_port == url.port), None)
    service = cluster.outer_service(address) or cluster.service_with(address)
    ports = () if service is None else service.spec.ports
    node_port = next((one.node_port for one in ports if one.port == url.port and one.protocol == "TCP"), 0)
    return next((door for door in plan.doors if node_port and door.node_port == node_port), None)


class _GatewayPaths:
    def __init__(self, cluster: ClusterModel, origin: Origin) -> None:
        self._cluster = cluster
        self._origin = origin
        self._plan = cluster.plan

    def send(self, found: Answerer, url: Url) -> Iterator[Branch]:
        """From the sender to the gateway's node, and from there on."""
        first = _chosen(found, url)
        service = self._cluster.service_at_node_port(found.door.node_port)
        if service is None:
            reason = f"{found.door.source.subject} has no Service yet: no node listens for it"
            hint = "see the conditions of its status, and whether netloom controller runs"
            ending = Ending(Outcome.UNREACHABLE, reason, hint, (found.door.source,))
            yield Branch(Fraction(1), first, ending)
            return
        given = self._cluster.outer_addresses(service)
        address = url.address or (given[0].address if given else None)
        target = ServiceTarget(service.key) if address is None else AddressTarget(address)
        port = url.port if url.address is not None else found.door.port
        wanted = Destination(str(url), target, port, Protocol.TCP)
        paths = Paths(self._cluster, self._origin)
        for start in resolve(self._cluster, self._origin, wanted):
            if isinstance(start, Branch):
                yield msgspec.structs.replace(start, steps=(*first, *start.steps))
                continue
            for branch in paths.send(Trail(start.share, start.packet, steps=(*first, *start.steps))):
                yield from self._arrived(branch, found)

    def _arrived(self, branch: Branch, found: Answerer) -> Iterator[Branch]:
        """At a node where the gateway listens; whatever ended before stays as it is."""
        packet, door = branch.packet, found.door
        node = None if packet is None else self._cluster.node_at(packet.destination)
        if packet is None or node is None or packet.port != door.node_port:
            yield branch
            return
        # that a process may listen there is said of any port of a node: here it is known which, and the answer is its own
        steps = tuple(step for step in branch.steps if step.stage not in (Stage.DELIVERY, Stage.REPLY))
        client = "the client's own address" if packet.source is None else f"source {packet.source}"
        text = f"the gateway listens at {endpoint_text(packet.destination, packet.port)}; it sees {client}"
        trail = Trail(branch.share, packet, node, (*steps, Step(Stage.GATEWAY, node, text, (door.source,))))
        onward = inside(trail, found.decision, found.request, self._plan)
        if isinstance(onward, Branch):
            yield onward
            return
        total = sum(share.weight for share in found.decision.shares)
        for share in found.decision.shares:
            part = msgspec.structs.replace(onward, share=onward.share * Fraction(share.weight, total))
            yield from self._to_pool(part, share, total)

    def _to_pool(self, trail: Trail, share: Share, total: int) -> Iterator[Branch]:
        """To each endpoint of one share."""
        part = "" if share.weight == total else f", {share.weight} of {total} requests"
        pool = self._plan.pools.get(share.pool)
        if pool is None:
            text = f"the backend cannot be used{part}: answered with 500"
            yield trail.then(Stage.GATEWAY, text, share.source).ends(
                Outcome.REJECTED, "answered with 500: the backend cannot be used", "", (share.source,)
            )
            return
        text = f"to Service {pool.service} port {pool.port}{part}"
        trail = trail.then(Stage.GATEWAY, text, share.source, pool.source)
        if not pool.endpoints:
            reason = f"answered with 503: Service {pool.service} has no endpoint that is ready"
            hint = "compare spec.selector with the labels of the pods, and see whether they are ready"
            yield trail.ends(Outcome.REJECTED, reason, hint, (pool.source,))
            return
        for endpoint in pool.endpoints:
            each = msgspec.structs.replace(trail, share=trail.share / len(pool.endpoints))
            yield from self._to_endpoint(each, pool, endpoint)

    def _to_endpoint(self, trail: Trail, pool: Pool, endpoint: Endpoint) -> Iterator[Branch]:
        """A connection of its own, from the gateway's node."""
        node = trail.node
        addresses = self._cluster.nodes[node].addresses
        sender = Origin(OriginKind.NODE, f"the gateway on {node}", addresses, node)
        source = own_address(self._cluster.nodes[node], endpoint.address)
        place = endpoint_text(endpoint.address, endpoint.port)
        chance = "the only one" if len(pool.endpoints) == 1 else f"1 of {len(pool.endpoints)}"
        where = f" on {endpoint.node}" if endpoint.node else ""
        text = f"{place}{where} ({chance}), by a connection of the gateway's own from {source}"
        trail = trail.then(Stage.ENDPOINT, text, pool.source)
        packet = Packet(source, endpoint.address, Protocol.TCP, endpoint.port)
        yield from Paths(self._cluster, sender).send(Trail(trail.share, packet, node, trail.steps))


def _chosen(found: Answerer, url: Url) -> tuple[Step, ...]:
    """Why this gateway: said before the way to it."""
    listener = found.decision.listener
    name = f"port {found.door.port}" if listener is None else f"listener {listener.name}"
    source = found.door.source if listener is None else listener.source
    steps = [Step(Stage.NAME, "", f"{url.host} is meant by {name} of {found.door.source.subject}", (source,))]
    for other in found.others:
        text = f"{other.source.subject} listens for it, too: which of them is asked, DNS decides"
        steps.append(Step(Stage.NAME, "", text, (other.source,)))
    return tuple(steps)
