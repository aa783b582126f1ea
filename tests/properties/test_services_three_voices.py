"""Services: what the model says, what an independent naive reading of the API says, and what a walk says, is the same.

The fourth voice, real packets, speaks in ``tests/netns/test_service_packets.py``, about the same small universe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

import msgspec
from hypothesis import event, given
from hypothesis import strategies as st

from netloom.model.inputs import ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.model.services.frontends import Frontend, FrontendAction, FrontendKey, FrontendKind, Pool
from netloom.model.state import NetworkState, keepers
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import AddressTarget, Destination, Origin, OriginKind
from netloom.model.walk.steps import Branch, Stage, Walk
from netloom.model.walk.steps import Outcome as Ending
from netloom.model.walk.walk import walk
from netloom.testing.naive_services import (
    Asker,
    Outcome,
    Packet,
    Place,
    Verdict,
    health_checks,
    known_places,
    naive,
)
from netloom.testing.service_universe import CLUSTER, NODE, Choose, some_cluster, some_facts, some_packet
from netloom.testing.universe_words import described
from netloom.units import Protocol, family_of

PACKETS = 12
"""Asked of each cluster: a cluster costs far more than a packet."""


def choices(data: st.DataObject) -> Choose:
    def choose(options):
        return data.draw(st.sampled_from(options))

    return choose


def frontend_of(state: NetworkState, facts: NodeFacts, packet: Packet) -> Frontend | None:
    family, to = family_of(packet.destination), packet.destination
    found = state.frontends.get(FrontendKey(family, to, packet.protocol, packet.port))
    if found is not None and found.kind is FrontendKind.HOST_PORT and to not in facts.addresses:
        return None  # the kernel asks itself whether the address is one of the node's
    if found is not None or to not in facts.addresses:
        return found
    if facts.node_port_cidrs is not None and not any(to in cidr for cidr in facts.node_port_cidrs):
        return None
    return state.frontends.get(FrontendKey(family, None, packet.protocol, packet.port))


def modelled(state: NetworkState, facts: NodeFacts, packet: Packet) -> Outcome:
    """What the model's values mean for a packet."""
    frontend = frontend_of(state, facts, packet)
    if frontend is None:
        is_ours = any(packet.destination in cidr for cidr in facts.service_cidrs)
        return Outcome(Verdict.REJECT if is_ours else Verdict.PASS)
    if frontend.source_ranges is not None and not any(packet.source in r for r in frontend.source_ranges):
        return Outcome(Verdict.DROP)
    is_inside = packet.asker is not Asker.OTHER and frontend.inside is not None
    pool: Frontend | Pool = frontend.inside if is_inside and frontend.inside is not None else frontend
    match pool.action:
        case FrontendAction.NODE_LOCAL:
            return Outcome(Verdict.PASS)
        case FrontendAction.REJECT:
            return Outcome(Verdict.REJECT)
        case FrontendAction.DROP:
            return Outcome(Verdict.DROP)
    places = frozenset((backend.address, backend.port) for backend in pool.backends)
    match packet.asker:
        case Asker.POD:
            kept = frozenset(place for place in places if place[0] != packet.source)
        case Asker.NODE:
            kept = frozenset()
        case Asker.OTHER:
            kept = frozenset() if frontend.masquerade else places
    return Outcome(Verdict.SERVED, places, kept, frontend.affinity_s)


def is_led_to_a_cluster_ip(packet: Packet, facts: NodeFacts) -> bool:
    """A client from elsewhere whose network leads ClusterIPs to this node: the model keeps its address, kube-proxy does not."""
    return packet.asker is Asker.OTHER and any(packet.destination in cidr for cidr in facts.service_cidrs)


def without_source(outcome: Outcome) -> Outcome:
    return msgspec.structs.replace(outcome, kept=frozenset())


@given(st.data())
def test_the_model_says_what_the_api_says(data):
    choose = choices(data)
    facts, view = some_facts(choose), some_cluster(choose)
    state = Network.compute(view, facts)
    for _ in range(PACKETS):
        packet = some_packet(choose, view, facts)
        expected = naive(view, facts, packet)
        event(expected.verdict.name)
        told = modelled(state, facts, packet)
        if is_led_to_a_cluster_ip(packet, facts):
            told, expected = without_source(told), without_source(expected)
        assert told == expected, f"{packet}\n{described(view)}"


@given(st.data())
def test_established_connections_live_as_long_as_their_endpoint_stands_in_a_slice(data):
    choose = choices(data)
    facts, view = some_facts(choose), some_cluster(choose)
    state = Network.compute(view, facts)
    for _ in range(PACKETS):
        packet = some_packet(choose, view, facts)
        frontend = frontend_of(state, facts, packet)
        served = naive(view, facts, packet)
        if frontend is None or frontend.action is FrontendAction.NODE_LOCAL:
            continue
        kept = keepers(frontend, inside=packet.asker is not Asker.OTHER)
        if packet.protocol is not Protocol.UDP:
            assert kept == known_places(view, facts, packet), f"{packet}\n{described(view)}"
        elif served.verdict is not Verdict.DROP:
            assert kept == served.backends, f"{packet}\n{described(view)}"


@given(st.data())
def test_load_balancers_are_told_how_many_endpoints_are_here(data):
    choose = choices(data)
    facts, view = some_facts(choose), some_cluster(choose)
    numbers = {key: choose((0, 31000, 31000, 31001)) for key in view.services}
    services = {
        key: msgspec.structs.replace(
            one, spec=msgspec.structs.replace(one.spec, health_check_node_port=numbers[key])
        )
        for key, one in view.services.items()
    }
    view = msgspec.structs.replace(view, services=services)
    state = Network.compute(view, facts)
    told = {number: (check.service, check.local_endpoints) for number, check in state.health_checks.items()}
    expected = health_checks(view, facts)
    event(f"{len(expected)} checks")
    assert told == expected


def walked(view: ClusterView, packet: Packet) -> Walk:
    pod = next(
        (p for p in view.pods.values() if str(packet.source) in {ip.ip for ip in p.status.pod_ips}), None
    )
    if packet.asker is Asker.POD and pod is not None:
        origin = Origin(OriginKind.POD, f"pod {pod.key}", (packet.source,), NODE, pod.key)
    else:
        origin = Origin(OriginKind.NODE, f"node {NODE}", (packet.source,), NODE)
    destination = Destination("it", AddressTarget(packet.destination), packet.port, packet.protocol)
    return walk(ClusterModel(view, CLUSTER), origin, destination)


def translations(result: Walk, branch: Branch) -> Iterator[Place]:
    """What the destination becomes at the sender's node, first translation only."""
    for step in (*result.steps, *branch.steps):
        match = re.fullmatch(r"destination becomes \[?([^\]]*)\]?:(\d+)", step.text)
        if step.stage is Stage.NAT and match:
            yield ip_address(match[1]), int(match[2])
            return


@given(st.data())
def test_a_walk_from_a_pod_or_the_node_says_so_too(data):
    choose = choices(data)
    view = some_cluster(choose)
    facts = ClusterModel(view, CLUSTER).nodes[NODE]
    for _ in range(4):
        packet = some_packet(choose, view, facts)
        if packet.asker is Asker.OTHER:
            continue
        expected = naive(view, facts, packet)
        result = walked(view, packet)
        event(f"walk {expected.verdict.name}")
        told = {place for branch in result.branches for place in translations(result, branch)}
        assert told == expected.backends, f"{packet}\n{described(view)}"
        endings = {branch.ending.outcome for branch in result.branches}
        if expected.verdict is Verdict.REJECT:
            assert endings == {Ending.REJECTED}, f"{packet}\n{described(view)}"
        elif expected.verdict is Verdict.DROP:
            assert endings == {Ending.DROPPED}, f"{packet}\n{described(view)}"
        elif packet.destination in facts.addresses:
            assert not endings & {Ending.UNREACHABLE}, packet
