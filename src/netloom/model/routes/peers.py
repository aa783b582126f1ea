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
    return NodeRanges(subject, seniority(node.metadata), tuple(cidrs), tuple(addresses), tuple(findings))


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
        via_of = first_of_each_family(node.addresses)
        for field, cidr in node.cidrs:
            source = node.subject.at(field)
            via = via_of.get(family_of(cidr))
            if holder := taken.holder(cidr):
                findings.append(
                    Finding(source, f"{cidr} overlaps with {holder}", "give each node a range of its own")
                )
            elif via is None:
                problem = f"no InternalIP of the family of {cidr}"
                findings.append(
                    Finding(node.subject.at("status.addresses"), problem, "let the node report one")
                )
            elif via in facts.addresses:
                problem = f"InternalIP {via} is also the address of {facts.name}"
                findings.append(
                    Finding(
                        node.subject.at("status.addresses"), problem, "give each node an address of its own"
                    )
                )
            else:
                taken.add(cidr, f"{cidr} of {node.subject.subject}")
                routes[cidr] = PeerRoute(cidr, via, node.subject.name, source)
    return routes, tuple(findings)


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
