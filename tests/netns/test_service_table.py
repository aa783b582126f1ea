"""Every policy and field of a Service with real packets, from everywhere; each row is written by hand, and told by the naive reading too.

A row is ``who address:port fate``. Who: ``client`` outside, ``node`` the node itself, ``pod`` its pod a, ``other`` the pod of the other
node. Fate: the pods that answer (``a``, ``b`` of this node, ``far`` of the other), with ``*`` those that see the node's address instead of
the asker's own; ``refused`` at once; ``silence``; ``untouched``: no business of Services.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from netloom.api.core import ClientIPConfig, Service, SessionAffinityConfig
from netloom.api.discovery import Endpoint, EndpointPort, EndpointSlice
from netloom.api.meta import KubeObject
from netloom.model.inputs import ClusterView
from netloom.testing import builders as b
from netloom.testing.naive_services import Asker, Outcome, Packet, Verdict, naive
from netloom.testing.service_rig import Rig, probe, service_rig
from netloom.testing.service_universe import node_facts, nodes, pods
from netloom.testing.service_words import ADDRESSES, ENDING, GONE, UNREADY, Words, for_node, for_zones
from netloom.testing.universe_words import described
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

Step = tuple[list[KubeObject], str]
Case = Callable[[Words], list[Step]]


def cluster_policies(w: Words) -> list[Step]:
    everywhere = """
        client node:30080     a* far*
        client balancer:80    a* far*
        client external:80    a* far*
        other  node:30080     a* far*
        node   node:30080     a* far*
        node   service:80     a* far*
        node   balancer:80    a* far*
        pod    service:80     a* far
        pod    node:30080     a* far
        pod    balancer:80    a* far
        pod    external:80    a* far
        second service:80     a far
        client balancer:81    untouched
        client node:30081     untouched
        client service:81     refused
        pod    service:81     refused
        pod    nobody:80      refused
        node   nobody:80      refused
    """
    return [([w.service(), w.slice(w.endpoint("a"), w.endpoint("far"))], everywhere)]


def external_local_without_local_endpoint(w: Words) -> list[Step]:
    local = w.service(external_traffic_policy="Local")
    remote_only = """
        client node:30080     silence
        client balancer:80    silence
        client external:80    silence
        other  node:30080     silence
        pod    node:30080     far
        pod    balancer:80    far
        node   external:80    far*
        pod    service:80     far
    """
    with_local = """
        client node:30080     b
        client balancer:80    b
        client external:80    b
        other  node:30080     b
        pod    node:30080     b far
        second balancer:80    b* far
        node   node:30080     b* far*
    """
    ending = """
        client node:30080     b
        client balancer:80    b
        pod    balancer:80    far
    """
    nobody = """
        client node:30080     refused
        client balancer:80    refused
        pod    node:30080     refused
        node   service:80     refused
    """
    far = w.endpoint("far")
    return [
        ([local, w.slice(far)], remote_only),
        ([local, w.slice(far, w.endpoint("b"))], with_local),
        ([local, w.slice(far, w.endpoint("b", ENDING))], ending),
        ([local, w.slice(far, w.endpoint("b", GONE))], remote_only),
        ([local, w.slice(w.endpoint("b", UNREADY))], nobody),
        ([local, w.slice(far, w.endpoint("b"))], with_local),
    ]


def internal_local(w: Words) -> list[Step]:
    local = w.service(internal_traffic_policy="Local")
    remote_only = """
        pod    service:80     silence
        node   service:80     silence
        client node:30080     far*
        pod    balancer:80    far
    """
    with_local = """
        pod    service:80     b
        node   service:80     b*
        client node:30080     b* far*
    """
    nobody = """
        pod    service:80     refused
        node   service:80     refused
        client node:30080     refused
    """
    far = w.endpoint("far")
    return [
        ([local, w.slice(far)], remote_only),
        ([local, w.slice(far, w.endpoint("b"))], with_local),
        ([local, w.slice(far, w.endpoint("b", ENDING))], with_local.replace("b* far*", "far*")),
        ([local, w.slice()], nobody),
        ([local], nobody),
    ]


def both_local(w: Words) -> list[Step]:
    local = w.service(internal_traffic_policy="Local", external_traffic_policy="Local")
    rows = """
        pod    service:80     silence
        pod    balancer:80    far
        client balancer:80    silence
    """
    return [([local, w.slice(w.endpoint("far"))], rows)]


def terminating_endpoints(w: Words) -> list[Step]:
    service = w.service()
    return [
        ([service, w.slice(w.endpoint("a", ENDING), w.endpoint("far"))], "second service:80 far"),
        ([service, w.slice(w.endpoint("a", ENDING), w.endpoint("far", ENDING))], "second service:80 a far"),
        ([service, w.slice(w.endpoint("a", ENDING), w.endpoint("far", GONE))], "second service:80 a"),
        ([service, w.slice(w.endpoint("a", GONE), w.endpoint("far", UNREADY))], "second service:80 refused"),
        # Not ready, not terminating, and yet serving: KEP-1669 lets in only what terminates.
        ([service, w.slice(w.endpoint("a", (False, True, False)))], "second service:80 refused"),
        ([service, w.slice(w.endpoint("a", (True, True, True)))], "second service:80 a"),
        ([service, w.slice(w.endpoint("a", (None, None, None)))], "second service:80 a"),
    ]


def hints(w: Words) -> list[Step]:
    service = w.service()
    e = w.endpoint
    near = [e("b", hints=for_zones("zone-a")), e("far", hints=for_zones("zone-b"))]
    return [
        ([service, w.slice(*near)], "pod service:80 b\nclient balancer:80 b*"),
        ([service, w.slice(near[0], e("far", hints=for_zones("zone-a", "zone-b")))], "pod service:80 b far"),
        ([service, w.slice(near[0], e("far"))], "pod service:80 b far"),
        (
            [service, w.slice(e("b", hints=for_zones("zone-b")), e("far", hints=for_zones("zone-b")))],
            "pod service:80 b far",
        ),
        # Only ready endpoints are asked for hints, and only they get connections.
        ([service, w.slice(*near, e("a", UNREADY))], "pod service:80 b"),
        ([service, w.slice(e("b", ENDING, for_zones("zone-a")), near[1])], "pod service:80 far"),
        (
            [service, w.slice(e("b", hints=for_node("node-1")), e("far", hints=for_node("node-2")))],
            "pod service:80 b",
        ),
        (
            [service, w.slice(e("b", hints=for_node("node-2")), e("far", hints=for_node("node-2")))],
            "pod service:80 b far",
        ),
        # Some have no node: zones are left.
        ([service, w.slice(e("b", hints=for_node("node-1")), near[1])], "pod service:80 b"),
        # externalTrafficPolicy Local asks no hints.
        (
            [
                w.service(external_traffic_policy="Local"),
                w.slice(e("b", hints=for_zones("zone-b")), e("far", hints=for_zones("zone-a"))),
            ],
            "client balancer:80 b\npod service:80 far",
        ),
    ]


def source_ranges(w: Words) -> list[Step]:
    found = w.slice(w.endpoint("b"))

    def only(*words: str, **spec: Any) -> Service:
        return w.service(load_balancer_source_ranges=tuple(map(w.text, words)), **spec)

    shut = """
        client balancer:80    silence
        pod    balancer:80    silence
        node   balancer:80    silence
        client external:80    b*
        client node:30080     b*
        pod    service:80     b
    """
    for_clients = """
        client balancer:80    b*
        other  balancer:80    silence
        pod    balancer:80    silence
    """
    for_pods = """
        client balancer:80    silence
        other  balancer:80    b*
        pod    balancer:80    b
    """
    return [
        ([only("strangers"), found], shut),
        ([only("clients"), found], for_clients),
        ([only("pods"), found], for_pods),
        ([only("strangers", "clients", external_traffic_policy="Local"), found], "client balancer:80 b"),
        ([only("strangers"), w.slice()], "client balancer:80 silence\nclient external:80 refused"),
        ([only("strangers"), found], shut),
        ([w.service(), found], "client balancer:80 b*\npod balancer:80 b\nnode balancer:80 b*"),
    ]


def who_serves_balancers(w: Words) -> list[Step]:
    found = w.slice(w.endpoint("b"))
    return [
        ([w.service(ip_mode="VIP"), found], "client balancer:80 b*\nnode balancer:80 b*"),
        (
            [w.service(ip_mode="Proxy"), found],
            "client balancer:80 untouched\npod balancer:80 untouched\nclient node:30080 b*",
        ),
        ([w.service("NodePort"), found], "client balancer:80 untouched\nclient node:30080 b*"),
        (
            [w.service(ports=[b.port(80)]), found],
            "client balancer:80 b*\nclient node:30080 untouched\nclient external:80 b*",
        ),
    ]


def opt_outs(w: Words) -> list[Step]:
    found = w.slice(w.endpoint("b"))
    away = "client balancer:80 untouched\nclient node:30080 untouched\nclient external:80 untouched"
    here = "client balancer:80 b*\nclient node:30080 b*\npod service:80 b"
    return [
        ([w.service(), found], here),
        ([w.service(labels={"service.kubernetes.io/service-proxy-name": "other"}), found], away),
        ([w.service(), found], here),
        ([w.service(labels={"service.kubernetes.io/headless": ""}), found], away),
        ([w.service("ExternalName"), found], away),
    ]


def several_ports_and_protocols(w: Words) -> list[Step]:
    ports = [
        b.port(80, "web", node_port=30080, target="http"),
        b.port(80, "dns", protocol="UDP", node_port=30080, target=8081),
        b.port(81, "more", node_port=30081),
    ]
    offers = [
        EndpointPort(name="web", protocol="TCP", port=8081),
        EndpointPort(name="dns", protocol="UDP", port=8080),
        EndpointPort(name="more", protocol="UDP", port=8080),
    ]
    rows = """
        client node:30080      b*:8081
        client node:30080/udp  b*:8080
        pod    service:80      b:8081
        pod    service:80/udp  b:8080
        pod    service:81      refused
        pod    service:81/udp  refused
        client balancer:80/udp b*:8080
        node   external:80/udp b*:8080
    """
    return [([w.service(ports=ports), w.slice(w.endpoint("b"), ports=offers)], rows)]


def several_slices(w: Words) -> list[Step]:
    def one(name: str, *found: Endpoint, port: int = 8080) -> EndpointSlice:
        return w.slice(*found, name=f"a/{name}", port=port)

    e = w.endpoint
    return [
        ([w.service(), one("s1", e("b")), one("s2", e("far"))], "pod service:80 b far"),
        ([w.service(), one("s1", e("b")), one("s2", e("b"), port=8081)], "pod service:80 b:8080 b:8081"),
        # The same place twice counts once; ready in one slice is ready.
        ([w.service(), one("s1", e("b", UNREADY)), one("s2", e("b"))], "pod service:80 b"),
        ([w.service(), one("s1", e("b", ENDING)), one("s2", e("far"))], "pod service:80 far"),
    ]


def external_address_of_the_node(w: Words) -> list[Step]:
    service = w.service(external_ips=(w.text("node"),))
    rows = """
        client node:80        b*
        client node:30080     b*
        pod    node:80        b
        client node:81        untouched
    """
    return [([service, w.slice(w.endpoint("b"))], rows)]


CASES: list[Case] = [
    cluster_policies,
    external_local_without_local_endpoint,
    internal_local,
    both_local,
    terminating_endpoints,
    hints,
    source_ranges,
    who_serves_balancers,
    opt_outs,
    several_ports_and_protocols,
    several_slices,
    external_address_of_the_node,
]


def told(w: Words, packet: Packet, fate: list[str], affinity_s: int) -> Outcome:
    """The words of a row as an outcome."""
    verdicts = {"refused": Verdict.REJECT, "silence": Verdict.DROP, "untouched": Verdict.PASS}
    if fate[0] in verdicts:
        return Outcome(verdicts[fate[0]])
    places = {}
    for word in fate:
        name, _, port = word.partition(":")
        address = ADDRESSES[name.rstrip("*")][list(Family).index(w.family)]
        places[(type(packet.source)(address), int(port or 8080))] = not name.endswith("*")
    kept = frozenset(place for place, is_kept in places.items() if is_kept)
    assert packet.asker is not Asker.NODE or not kept, "a node's own packets come from the node: write a *"
    return Outcome(Verdict.SERVED, frozenset(places), kept, affinity_s)


def rows_of(rig: Rig, w: Words, text: str) -> list[tuple[str, Packet, list[str]]]:
    askers = {
        "client": rig.client,
        "node": rig.node,
        "pod": rig.net.pod_1,
        "second": rig.second,
        "other": rig.net.pod_2,
    }
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        who, where, *fate = line.split()
        place, _, protocol = where.partition("/")
        address, _, port = place.partition(":")
        word = Protocol.UDP if protocol == "udp" else Protocol.TCP
        found.append((line, probe(rig, askers[who], w.text(address), int(port), word), fate))
    return found


async def check(rig: Rig, w: Words, objects: list[KubeObject], rows: str, affinity_s: int = 0) -> None:
    view: ClusterView = b.view(*objects, *nodes(), *pods())
    await rig.put(view)
    expected = {}
    for line, packet, fate in rows_of(rig, w, rows):
        expected[packet] = told(w, packet, fate, affinity_s)
        assert naive(view, rig.facts, packet) == expected[packet], (
            f"the naive reading and the row disagree: {line}"
        )
    assert await rig.contradictions(expected) == [], described(view)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_table(case):
    async with service_rig() as rig:
        for w in map(Words, Family):
            for objects, rows in case(w):
                await check(rig, w, objects, rows)


async def test_node_ports_at_chosen_addresses_only():
    """The node's address lies in the range, those of its link to the client and its IPv6 addresses do not."""
    w = Words(Family.V4)
    link, loopback = "192.0.2.17", "127.0.0.1"
    for cidrs, has_link in ((None, True), (("172.30.0.0/24",), False), (("192.0.2.0/24",), True)):
        async with service_rig(node_facts("zone-a", cidrs)) as rig:
            await rig.put(b.view(w.service(), w.slice(w.endpoint("b")), *nodes(), *pods()))
            has_node = cidrs is None or "172" in cidrs[0]
            for address, is_served in ((w.text("node"), has_node), (link, has_link), (loopback, False)):
                askers = [rig.node] if address == loopback else [rig.client, rig.net.pod_1, rig.node]
                for host in askers:
                    to = type(host.address)(address)
                    assert await host.reaches(to, 30080) == is_served, (cidrs, host.name, address)


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_affinity_holds_for_each_client_alone(family):
    w = Words(family)
    sticky = {
        "session_affinity": "ClientIP",
        "session_affinity_config": SessionAffinityConfig(ClientIPConfig(60)),
    }
    rows = """
        pod    service:80     b far
        second service:80     b* far
        client balancer:80    b* far*
        client external:80    b* far*
        node   node:30080     b* far*
    """
    async with service_rig() as rig:
        found = w.slice(w.endpoint("b"), w.endpoint("far"))
        await check(rig, w, [w.service(**sticky), found], rows, affinity_s=60)
