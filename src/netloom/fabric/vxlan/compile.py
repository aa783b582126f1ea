"""Peers of the model become routes, neighbours and forwarding entries. Pure. In: facts and peers. Out: programs and findings.

Not here: what of it is in the kernel already (``apply``), and which peers are reached so (the model).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding
from netloom.model.routes.ways import Way, node_address_in, overhead
from netloom.model.state import PeerRoute
from netloom.program.links import Interface, Vxlan
from netloom.program.names import VXLAN_LINK, VXLAN_ROUTE_PROTOCOL, vtep_link_local, vtep_mac
from netloom.program.neighbours import ForwardingEntry, Neighbour
from netloom.program.routes import Route
from netloom.units import Addr, Cidr, Family, family_of

DEFAULT_PORT = 4789
"""UDP port of VXLAN (IANA; RFC 7348 section 8)."""


class Tunnel(msgspec.Struct, frozen=True):
    """This node's end: the interface, the node's own addresses on it, and which of them its own packets come from."""

    device: Vxlan
    addresses: tuple[Interface, ...] = ()
    sources: Mapping[Family, Addr] = {}


class PeerProgram(msgspec.Struct, frozen=True):
    """What leads to one range of a peer. Ranges of one node share neighbour and entry, but for the family of the neighbour."""

    route: Route
    neighbour: Neighbour
    entry: ForwardingEntry


class Compiled(msgspec.Struct, frozen=True):
    """The programs of some peers by range; peers without one are in the findings."""

    programs: Mapping[Cidr, PeerProgram] = {}
    findings: tuple[Finding, ...] = ()


def compile_tunnel(facts: NodeFacts) -> Tunnel | None:
    """The end of a node's tunnels at its first InternalIP; None for a node without one."""
    if not facts.addresses:
        return None
    local = facts.addresses[0]
    device = Vxlan(
        name=VXLAN_LINK,
        vni=facts.vni,
        local=local,
        port=facts.tunnel_port or DEFAULT_PORT,
        mac=vtep_mac(local),
        mtu=facts.underlay.mtu - overhead(Way.VXLAN, family_of(local)),
    )
    own = [node_address_in(cidr) for cidr in facts.pod_cidrs]
    return Tunnel(
        device,
        tuple(ipaddress.ip_interface(address) for address in own),
        {family_of(address): address for address in reversed(own)},
    )


def compile_peers(
    peers: Iterable[PeerRoute], tunnel: Tunnel, taken: Mapping[str, Addr] | None = None
) -> Compiled:
    """A route, a neighbour and a forwarding entry for each range, in the order of their destinations.

    Args:
        peers: those that are reached through the tunnel.
        tunnel: our end.
        taken: MACs of peers that are in force, and their underlay addresses.
    """
    macs = {**(taken or {}), tunnel.device.mac: tunnel.device.local}
    programs: dict[Cidr, PeerProgram] = {}
    findings: list[Finding] = []
    for peer in sorted(peers, key=lambda p: (p.destination.version, p.destination.network_address.packed)):
        problem = _problem(peer, tunnel, macs)
        if problem is not None:
            findings.append(problem)
            continue
        program = _compile_peer(peer, tunnel)
        macs[program.entry.mac] = peer.via
        programs[peer.destination] = program
    return Compiled(programs, tuple(findings))


def _compile_peer(peer: PeerRoute, tunnel: Tunnel) -> PeerProgram:
    device, mac = tunnel.device.name, vtep_mac(peer.via)
    family = family_of(peer.destination)
    # IPv4 within IPv4 names the peer's own address, for people. IPv6 refuses a next hop that a network of another interface has
    # ("device mismatch"), so there, and where the two families differ, it is the link-local address of the peer's interface.
    next_hop = (
        peer.via if family is Family.V4 and family_of(peer.via) is Family.V4 else vtep_link_local(peer.via)
    )
    return PeerProgram(
        Route(
            destination=peer.destination,
            via=next_hop,
            device=device,
            onlink=True,
            source=tunnel.sources.get(family),
            protocol=VXLAN_ROUTE_PROTOCOL,
            mtu=peer.mtu if peer.mtu < tunnel.device.mtu else 0,
        ),
        Neighbour(device=device, address=next_hop, mac=mac),
        ForwardingEntry(device=device, mac=mac, remote=peer.via),
    )


def _problem(peer: PeerRoute, tunnel: Tunnel, macs: Mapping[str, Addr]) -> Finding | None:
    local = tunnel.device.local
    if family_of(peer.via) is not family_of(local):
        return Finding(
            peer.source,
            f"node {peer.node} at {peer.via} cannot be reached from {local} in VXLAN: the two are of different families",
            "let all nodes report an InternalIP of one family first",
        )
    if macs.get(vtep_mac(peer.via), peer.via) != peer.via:
        other = macs[vtep_mac(peer.via)]
        return Finding(
            peer.source,
            f"node {peer.node} at {peer.via} has the VXLAN MAC of the node at {other}",
            "give it another address",
        )
    return None
