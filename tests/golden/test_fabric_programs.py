"""What the compilers of the fabrics give, as files in the words of iproute2: the difference between two fabrics at a glance."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netloom.fabric.hostgw.compile import compile_peers as compile_hostgw
from netloom.fabric.l2.compile import compile_bridge, compile_table, segments_of, station
from netloom.fabric.vxlan.compile import compile_peers as compile_vxlan
from netloom.fabric.vxlan.compile import compile_tunnel
from netloom.model.provenance import Finding
from netloom.model.routes.ways import FabricKind, Way
from netloom.program.neighbours import Neighbour
from netloom.program.routes import Route
from netloom.testing.fabric_rig import Layout, facts_of_node, peers_of
from netloom.units import Family

HERE = Path(__file__).parent / "fabrics"
V4, V6 = Family.V4, Family.V6
ROUTED = Layout(count=3, is_routed=True, fabric=FabricKind.VXLAN)
CASES = {
    "hostgw": Layout(count=3),
    "l2": Layout(count=3, fabric=FabricKind.L2),
    "l2-stretched": Layout(count=3, fabric=FabricKind.L2, stretched=True),
    "vxlan": ROUTED,
    "vxlan-over-ipv6": msgspec.structs.replace(ROUTED, outer=(V6, V4)),
    "vxlan-ipv6-in-ipv4": msgspec.structs.replace(ROUTED, outer=(V4,), inner=(V6,)),
    "vxlan-other-numbers": msgspec.structs.replace(ROUTED, vni=77, tunnel_port=8472, mtu=9000, inner=(V4,)),
    "vxlan-direct": msgspec.structs.replace(ROUTED, is_routed=False),
}


def words_of_route(route: Route) -> str:
    via = (
        f" via {'inet6 ' if route.via.version != route.destination.version else ''}{route.via}"
        if route.via
        else ""
    )
    parts = [f"route {route.destination}{via} dev {route.device} proto {route.protocol}"]
    parts += ["onlink"] if route.onlink else []
    parts += [f"src {route.source}"] if route.source else []
    parts += [f"mtu {route.mtu}"] if route.mtu else []
    return " ".join(parts)


def words(layout: Layout) -> Iterator[str]:
    facts = facts_of_node(layout, 1)
    peers = peers_of(layout, facts, (1, 2, 3)).values()
    bridge = compile_bridge(facts)
    if bridge is not None:
        yield f"link {bridge.bridge.name} type bridge address {bridge.bridge.mac} mtu {bridge.bridge.mtu}"
        yield from (f"address {gateway} dev {bridge.bridge.name}" for gateway in bridge.gateways)
        yield from (f"sysctl {s.path}={s.value}" for s in bridge.settings)
        stations = [
            station(Neighbour(device="nl-bridge", address=a, mac="0a:58:0a:f4:01:02"))
            for a in (cidr.network_address + 2 for cidr in facts.pod_cidrs)
        ]
        for family, key in zip(layout.inner, stations, strict=True):
            yield from compile_table(family, [key]).render().splitlines()
        yield from (f"pods: gateway {s.interface} on {s.device}" for s in segments_of(facts))
    tunnel = compile_tunnel(facts)
    assert tunnel is not None
    if facts.fabric is FabricKind.VXLAN:
        link = tunnel.device
        yield (
            f"link {link.name} type vxlan id {link.vni} local {link.local} dstport {link.port} nolearning"
            f" address {link.mac} mtu {link.mtu}"
        )
        yield from (f"address {address} dev {link.name}" for address in tunnel.addresses)
    plain = compile_hostgw(
        [p for p in peers if p.way is Way.DIRECT], facts.underlay.segments, facts.underlay.mtu
    )
    yield from map(words_of_route, plain.routes)
    compiled = compile_vxlan([p for p in peers if p.way is Way.VXLAN], tunnel)
    yield from (words_of_route(p.route) for p in compiled.programs.values())
    neighbours = dict.fromkeys(p.neighbour for p in compiled.programs.values())
    yield from (f"neighbour {n.address} lladdr {n.mac} dev {n.device} permanent" for n in neighbours)
    entries = dict.fromkeys(p.entry for p in compiled.programs.values())
    yield from (f"fdb {e.mac} dev {e.device} dst {e.remote} self permanent" for e in entries)
    yield from map(str, (*plain.findings, *compiled.findings))


@pytest.mark.parametrize("case", CASES)
def test_programs(case: str, golden):
    golden(HERE / f"{case}.txt", "\n".join(words(CASES[case])) + "\n")


def test_both_families_come_out_the_same_after_renaming():
    """Outer and inner of one family each: what differs is only what a next hop may be."""
    four = list(words(msgspec.structs.replace(ROUTED, outer=(V4,), inner=(V4,))))
    six = list(words(msgspec.structs.replace(ROUTED, outer=(V6,), inner=(V6,))))
    assert [line.split()[0] for line in four] == [line.split()[0] for line in six]


def peers_and_tunnel():
    facts = facts_of_node(ROUTED, 1)
    tunnel = compile_tunnel(facts)
    assert tunnel is not None
    return list(peers_of(ROUTED, facts, (1, 2, 3)).values()), tunnel


def test_the_order_of_peers_does_not_matter():
    peers, tunnel = peers_and_tunnel()
    assert compile_vxlan(peers, tunnel) == compile_vxlan(peers[::-1], tunnel)


def test_a_peer_of_the_other_family_is_a_finding_and_the_others_go_on():
    peers, tunnel = peers_and_tunnel()
    other = msgspec.structs.replace(peers[0], via=ipaddress.ip_address("2001:db8::9"))
    compiled = compile_vxlan([other, *peers[1:]], tunnel)
    assert len(compiled.programs) == len(peers) - 1
    (said,) = compiled.findings
    assert isinstance(said, Finding)
    assert "different families" in said.problem
    assert said.source == other.source


def test_two_nodes_with_one_mac_are_a_finding():
    peers, tunnel = peers_and_tunnel()
    mac = compile_vxlan(peers[:1], tunnel).programs[peers[0].destination].entry.mac
    compiled = compile_vxlan(peers[:1], tunnel, {mac: ipaddress.ip_address("172.30.9.9")})
    assert compiled.programs == {}
    assert "172.30.9.9" in compiled.findings[0].problem


def test_a_node_without_an_address_has_no_tunnel_and_one_with_other_pods_no_bridge():
    facts = facts_of_node(ROUTED, 1)
    assert compile_tunnel(msgspec.structs.replace(facts, addresses=())) is None
    assert compile_bridge(facts) is None
    assert segments_of(facts) == ()


def test_a_narrower_peer_has_a_narrower_route():
    facts = facts_of_node(Layout(), 1)
    peers = [msgspec.structs.replace(p, mtu=1400) for p in peers_of(Layout(), facts, (1, 2)).values()]
    assert {r.mtu for r in compile_hostgw(peers, facts.underlay.segments, 1500).routes} == {1400}
    assert {r.mtu for r in compile_hostgw(peers, facts.underlay.segments, 1400).routes} == {0}
