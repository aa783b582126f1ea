"""Which pods are behind which other node.

Comes in: Nodes, what this node is. Goes out: a route for each pod range of each other node, and Findings. Not here: how the
packets get there (a fabric decides), and this node's own pods (``local_pods.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netloom.api.core import Node
from netloom.model.claims import Seniority, seniority
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.routes.ways import (
    DEFAULT_MTU,
    FABRIC_ANNOTATION,
    KEY_ANNOTATION,
    TUNNELS,
    UNDERLAY_ANNOTATION,
    FabricKind,
    FabricSettings,
    Way,
    is_near,
    outer_family,
    overhead,
    read_fabric,
    read_key,
    read_underlay,
)
from netloom.model.state import PeerRoute
from netloom.units import Addr, Cidr, Family, family_of, parse_addr, parse_cidr


class NodeRanges(msgspec.Struct, frozen=True):
    """What routing reads of a Node. A heartbeat changes a Node but not this, so it costs no computing."""

    subject: Source
    seniority: Seniority
    cidrs: tuple[tuple[str, Cidr], ...]
    """Field and range, in the order of ``spec.podCIDRs``."""
    addresses: tuple[Addr, ...]
    findings: tuple[Finding, ...]
    key: str = ""
    """Public key (``ways.KEY_ANNOTATION``); empty where it has none."""
    mtu: int = DEFAULT_MTU
    """Of its own network, bytes."""
    fabric: FabricSettings | None = None
    """What it builds, where it says so."""


def read_node(node: Node) -> NodeRanges:
    """A Node's pod ranges (``spec.podCIDRs``, or ``spec.podCIDR`` where only that is set) and InternalIPs, checked."""
    subject = source_of("Node", node.metadata)
    findings: list[Finding] = []
    cidrs: list[tuple[str, Cidr]] = []
    for field, text in _given_cidrs(node):
        cidr = parse_cidr(text)
        if cidr is None:
            hint = "write the range's first address and a prefix, such as 10.244.1.0/24"
            findings.append(Finding(subject.at(field), f'"{text}" is no CIDR', hint))
        else:
            cidrs.append((field, cidr))
    if not node.spec.pod_cidrs and not node.spec.pod_cidr:
        hint = "pods of this node are not reached until a range is assigned"
        findings.append(Finding(subject.at("spec.podCIDRs"), "is empty", hint))
    addresses: list[Addr] = []
    for index, given in enumerate(node.status.addresses):
        if given.type != "InternalIP":
            continue
        address = parse_addr(given.address)
        if address is None:
            field = f"status.addresses[{index}].address"
            findings.append(
                Finding(
                    subject.at(field), f'"{given.address}" is no IP address', "set the node's own address"
                )
            )
        else:
            addresses.append(address)
    key, mtu = _read_annotations(node, subject, findings)
    return NodeRanges(
        subject,
        seniority(node.metadata),
        tuple(cidrs),
        tuple(addresses),
        tuple(findings),
        key,
        mtu,
        read_fabric(node.metadata.annotations.get(FABRIC_ANNOTATION, "")),
    )


def _read_annotations(node: Node, subject: Source, findings: list[Finding]) -> tuple[str, int]:
    """Public key and MTU; what is unreadable counts as not there."""
    said = node.metadata.annotations
    key, underlay = read_key(said.get(KEY_ANNOTATION, "")), read_underlay(said.get(UNDERLAY_ANNOTATION, ""))
    hint = "remove the annotation: the node's agent writes it anew"
    if not key and said.get(KEY_ANNOTATION):
        problem = "is no public key (32 bytes in base64)"
        findings.append(Finding(subject.at(f"metadata.annotations[{KEY_ANNOTATION}]"), problem, hint))
    if underlay is None and UNDERLAY_ANNOTATION in said:
        problem = "does not say how the node is connected"
        findings.append(Finding(subject.at(f"metadata.annotations[{UNDERLAY_ANNOTATION}]"), problem, hint))
    return key, DEFAULT_MTU if underlay is None else underlay.mtu


def first_of_each_family(addresses: Iterable[Addr]) -> dict[Family, Addr]:
    """The address that counts of each family: the first (as kubelet and kube-proxy read ``status.addresses``)."""
    first: dict[Family, Addr] = {}
    for address in addresses:
        first.setdefault(family_of(address), address)
    return first


def peer_routes(
    nodes: Iterable[NodeRanges], facts: NodeFacts
) -> tuple[dict[Cidr, PeerRoute], tuple[Finding, ...]]:
    """A route for each pod range of each node but this one.

    A range that overlaps with one of this node, or of an older node, gets no route and a Finding: two routes to the same
    addresses would send packets to pods that do not have them.
    """
    routes: dict[Cidr, PeerRoute] = {}
    findings: list[Finding] = []
    taken = _TakenRanges()
    for own in facts.pod_cidrs:
        taken.add(own, f"this node ({facts.name})")
    for node in sorted(nodes, key=lambda n: n.seniority):
        if node.subject.name == facts.name:
            continue
        findings.extend(node.findings)
        if node.fabric is not None and node.fabric != facts.fabric_settings:
            problem = f"builds another fabric ({node.fabric}) than {facts.name} ({facts.fabric_settings})"
            hint = "start the agents of all nodes with the same fabric settings"
            findings.append(
                Finding(node.subject.at(f"metadata.annotations[{FABRIC_ANNOTATION}]"), problem, hint)
            )
        for field, cidr in node.cidrs:
            source = node.subject.at(field)
            if holder := taken.holder(cidr):
                findings.append(
                    Finding(source, f"{cidr} overlaps with {holder}", "give each node a range of its own")
                )
                continue
            route = route_to(cidr, node, source, facts)
            if isinstance(route, Finding):
                findings.append(route)
                continue
            taken.add(cidr, f"{cidr} of {node.subject.subject}")
            routes[cidr] = route
            if route.way is Way.BLOCKED:
                problem = f"its key is not known, so nothing is sent to its pods in {cidr}: they are reached encrypted only"
                hint = "its agent writes the annotation; look at its log"
                findings.append(
                    Finding(node.subject.at(f"metadata.annotations[{KEY_ANNOTATION}]"), problem, hint)
                )
    return routes, tuple(findings)


def route_to(cidr: Cidr, node: NodeRanges, source: Source, facts: NodeFacts) -> PeerRoute | Finding:
    """The way to one range of a node, or what keeps us from having one."""
    addresses = node.subject.at("status.addresses")
    way, via = _way_to(cidr, node, facts)
    if via is None:
        wanted = (
            f"the family of {cidr}"
            if way.is_plain
            else f"family {outer_family(facts.addresses).address_type}"
        )
        return Finding(addresses, f"no InternalIP of {wanted}", "let the node report one")
    if via in facts.addresses:
        problem = f"InternalIP {via} is also the address of {facts.name}"
        return Finding(addresses, problem, "give each node an address of its own")
    segments = facts.underlay.segments
    if way is Way.DIRECT and segments and not is_near(via, segments):
        problem = (
            f"{via} is on no network of {facts.name}, so its pods in {cidr} cannot be reached by plain routes"
        )
        return Finding(
            addresses, problem, "put the nodes on one segment, or choose a fabric that encapsulates"
        )
    mtu = min(facts.underlay.mtu, node.mtu) - overhead(way, family_of(via))
    key = node.key if way is Way.WIREGUARD else ""
    return PeerRoute(cidr, via, node.subject.name, source, way, key, mtu)


def _way_to(cidr: Cidr, node: NodeRanges, facts: NodeFacts) -> tuple[Way, Addr | None]:
    """The way to a range of a node, and the node's address on that way where it has one.

    Plain routes need an address of the range's own family on a network in common. A node whose own networks are not known is
    taken to share them all where the fabric knows only plain routes, and none where it can do without.
    """
    of_family = first_of_each_family(node.addresses)
    plain, outer = of_family.get(family_of(cidr)), of_family.get(outer_family(facts.addresses))
    tunnel = TUNNELS.get(facts.fabric)
    if facts.fabric is FabricKind.BGP:
        return Way.BGP, plain
    if tunnel is None:
        return Way.DIRECT, plain
    if tunnel is Way.WIREGUARD:
        return (Way.WIREGUARD if node.key else Way.BLOCKED), outer
    if facts.direct and plain is not None and is_near(plain, facts.underlay.segments):
        return Way.DIRECT, plain
    return tunnel, outer


def _given_cidrs(node: Node) -> Sequence[tuple[str, str]]:
    if node.spec.pod_cidrs:
        return [(f"spec.podCIDRs[{i}]", text) for i, text in enumerate(node.spec.pod_cidrs)]
    return [("spec.podCIDR", node.spec.pod_cidr)] if node.spec.pod_cidr else []


class _TakenRanges:
    """Ranges that do not overlap, found by any range that would.

    Two ranges overlap only if one holds the other, so it is enough to look up each wider prefix, and to keep for each
    taken range all wider ones that it lies in: 33 (129) look-ups instead of one comparison with each node.
    """

    def __init__(self) -> None:
        self._exact: dict[Cidr, str] = {}
        self._within: dict[Cidr, str] = {}

    def add(self, cidr: Cidr, holder: str) -> None:
        self._exact.setdefault(cidr, holder)
        for length in range(cidr.prefixlen):
            self._within.setdefault(cidr.supernet(new_prefix=length), holder)

    def holder(self, cidr: Cidr) -> str:
        if cidr in self._within:
            return self._within[cidr]
        for length in range(cidr.prefixlen, -1, -1):
            holder = self._exact.get(cidr.supernet(new_prefix=length))
            if holder is not None:
                return holder
        return ""
