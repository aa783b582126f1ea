"""Peers of the model become WireGuard peers and routes. Pure. In: facts, peers, our public key. Out: a program, and findings.

Not here: what of it is in force already (``apply``), and which peers are blocked (the model).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from netloom.fabric.tunnel_rules import pod_ranges
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding
from netloom.model.routes.ways import KEY_ANNOTATION, Way, node_address_in, outer_family, overhead
from netloom.model.state import PeerRoute
from netloom.program.links import Interface
from netloom.program.names import (
    BLOCKED_ROUTE_PROTOCOL,
    GUARD_ROUTE_PROTOCOL,
    WIREGUARD_LINK,
    WIREGUARD_ROUTE_PROTOCOL,
)
from netloom.program.routes import Route, RouteKind, Scope
from netloom.program.wireguard import Endpoint, WireguardPeer
from netloom.units import Addr, Cidr, Family, family_of

DEFAULT_PORT = 51820
"""UDP port of the tunnels where nobody says otherwise."""

GUARD_METRIC = 1 << 30
"""Any other route to the same addresses is better."""


class Tunnel(msgspec.Struct, frozen=True):
    """This node's end of all tunnels."""

    port: int
    mtu: int
    addresses: tuple[Interface, ...] = ()
    sources: Mapping[Family, Addr] = {}


class Compiled(msgspec.Struct, frozen=True):
    """Peers by public key, and a route for each destination, to nobody where the node's key cannot be used."""

    peers: Mapping[str, WireguardPeer] = {}
    routes: Mapping[Cidr, Route] = {}
    findings: tuple[Finding, ...] = ()


def compile_tunnel(facts: NodeFacts) -> Tunnel:
    """Our end: the port, the interface's MTU, and the node's addresses among its pods."""
    own = [node_address_in(cidr) for cidr in facts.pod_cidrs]
    return Tunnel(
        port=facts.tunnel_port or DEFAULT_PORT,
        mtu=facts.underlay.mtu - overhead(Way.WIREGUARD, outer_family(facts.addresses)),
        addresses=tuple(ipaddress.ip_interface(address) for address in own),
        sources={family_of(address): address for address in reversed(own)},
    )


def compile_guard(facts: NodeFacts) -> tuple[Route, ...]:
    """What packets for pods meet that no route of a peer has: nothing of them leaves in plain text."""
    return tuple(
        Route(
            destination=cidr,
            kind=RouteKind.UNREACHABLE,
            metric=GUARD_METRIC,
            protocol=GUARD_ROUTE_PROTOCOL,
        )
        for cidr in pod_ranges(facts)
    )


def compile_peers(peers: Iterable[PeerRoute], tunnel: Tunnel, own_key: str) -> Compiled:
    """A WireGuard peer for each node, a route for each of its ranges.

    A key that another node has, too, or that is our own, belongs to none of the later ones (in the order of their names): the
    driver would send all packets to the one that spoke last.
    """
    wanted: dict[str, WireguardPeer] = {}
    routes: dict[Cidr, Route] = {}
    holders: dict[str, str] = {own_key: "this node"}
    findings: dict[str, Finding] = {}
    for peer in sorted(peers, key=_order):
        holder = holders.setdefault(peer.key, peer.node)
        if holder != peer.node:
            routes[peer.destination] = closed_route(peer.destination, WIREGUARD_ROUTE_PROTOCOL)
            source = peer.source.at(f"metadata.annotations[{KEY_ANNOTATION}]")
            hint = "remove the key's file on one of the two nodes: its agent makes another one"
            problem = f"node {peer.node} has the key of {holder}, so nothing is sent to its pods"
            findings[peer.node] = Finding(source, problem, hint)
            continue
        before = wanted.get(peer.key)
        allowed = {peer.destination} if before is None else before.allowed | {peer.destination}
        wanted[peer.key] = WireguardPeer(peer.key, Endpoint(peer.via, tunnel.port), frozenset(allowed))
        routes[peer.destination] = Route(
            destination=peer.destination,
            device=WIREGUARD_LINK,
            scope=Scope.LINK if peer.destination.version == 4 else Scope.UNIVERSE,
            source=tunnel.sources.get(family_of(peer.destination)),
            protocol=WIREGUARD_ROUTE_PROTOCOL,
            mtu=peer.mtu if peer.mtu < tunnel.mtu else 0,
        )
    return Compiled(wanted, routes, tuple(findings.values()))


def closed_route(destination: Cidr, protocol: int = BLOCKED_ROUTE_PROTOCOL) -> Route:
    """The route to pods that may be reached encrypted only, while they cannot: nobody is there."""
    return Route(destination=destination, kind=RouteKind.UNREACHABLE, protocol=protocol)


def _order(peer: PeerRoute) -> tuple[str, int, bytes, int]:
    network = peer.destination
    return peer.node, network.version, network.network_address.packed, network.prefixlen
