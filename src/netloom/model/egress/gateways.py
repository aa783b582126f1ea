"""EgressGateways, read: whose packets to where leave by which addresses, and which nodes may have these.

Comes in: EgressGateways and Nodes. Goes out: what of them can be used, Findings, and the duties that follow: each address is one, and the
elected of its candidates has it (``announcing/elect``). Not here: which pod has which address (``exits.py``).

An address that several gateways name is the oldest one's: its nodes may have it. One that is a node's own, or a pod's, nobody may have.
A selector with a fault selects nobody: who is meant is not known. Where a destination cannot be read all that is outside is meant, and an address
that cannot be used still means its family: what is to leave by it must not leave by another.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from netloom.api.core import Node
from netloom.api.egress import DROP, NODE, EgressGateway
from netloom.api.selectors import Selector
from netloom.model.announcing.gone import is_unready
from netloom.model.announcing.view import Duty
from netloom.model.claims import Seniority, seniority
from netloom.model.inputs import ClusterView
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.routes.peers import NodeRanges, read_node
from netloom.model.selecting import read_selector
from netloom.units import Addr, Cidr, Family, family_of, parse_addr, parse_cidr


class Gateway(msgspec.Struct, frozen=True):
    """An EgressGateway as it is used. Selectors that are None exclude nobody."""

    name: str
    source: Source
    seniority: Seniority
    addresses: Mapping[Addr, str]
    """And the field that names each."""
    unusable: Mapping[Family, str] = {}
    """Families of addresses that are none to leave by, and the first field that names one of the family."""
    pods: Selector | None = None
    namespaces: Selector | None = None
    nodes: Selector | None = None
    destinations: tuple[Cidr, ...] | None = None
    """None: all that is outside of the cluster."""
    excepts: tuple[Cidr, ...] = ()
    falls_back: bool = False
    """Whether pods leave by their own nodes while nobody has an address."""
    findings: tuple[Finding, ...] = ()

    def selects(self, labels: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
        """Whether pods with these labels, in a namespace with those, leave by it."""
        is_here = self.namespaces is None or self.namespaces.matches(namespace)
        return is_here and (self.pods is None or self.pods.matches(labels))

    def of_family(self, family: Family) -> tuple[Addr, ...]:
        """Its addresses of one family."""
        return tuple(address for address in self.addresses if family_of(address) is family)

    def is_about(self, family: Family) -> bool:
        """Whether it says anything of packets of this family."""
        return family in self.unusable or any(family_of(address) is family for address in self.addresses)

    def field_of(self, family: Family) -> str:
        """The first field that names an address of this family, usable or not."""
        usable = (self.addresses[address] for address in self.of_family(family))
        return next(usable, "") or self.unusable[family]


class Candidate(msgspec.Struct, frozen=True):
    """What of a Node matters for having an address. A heartbeat does not change it."""

    name: str
    labels: Mapping[str, str]
    ranges: NodeRanges
    addresses: tuple[Addr, ...]
    """All that it has, of whatever type: packets to them do not leave the cluster."""
    is_unready: bool = False


class Holding(msgspec.Struct, frozen=True):
    """An address, who says so, and the nodes that may have it, sorted."""

    address: Addr
    source: Source
    candidates: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    """Those of them that are not gone."""
    is_taken: bool = False
    """A node or a pod has it already."""


def read_gateway(gateway: EgressGateway) -> Gateway:
    """One EgressGateway, alone."""
    spec, subject = gateway.spec, source_of("EgressGateway", gateway.metadata)
    findings: list[Finding] = []
    addresses: dict[Addr, str] = {}
    unusable: dict[Family, str] = {}
    for number, text in enumerate(spec.addresses):
        field = f"spec.addresses[{number}]"
        address = parse_addr(text)
        if address is None or not is_usable(address):
            hint = "write one that routers outside lead to the nodes, such as 192.0.2.10"
            findings.append(Finding(subject.at(field), f'"{text}" is no address to leave by', hint))
            unusable.setdefault(_family_meant(text), field)
        else:
            addresses.setdefault(address, field)
    if spec.when_unavailable not in (DROP, NODE):
        problem = (
            f'"{spec.when_unavailable}" says nothing, so packets are dropped while nobody has an address'
        )
        findings.append(Finding(subject.at("spec.whenUnavailable"), problem, f'write "{DROP}" or "{NODE}"'))
    destinations, is_read = _ranges(
        spec.destinations, subject, "destinations", "it concerns all that is outside", findings
    )
    excepts, _ = _ranges(
        spec.except_destinations, subject, "exceptDestinations", "nothing is left out for it", findings
    )
    return Gateway(
        name=gateway.metadata.name,
        source=subject,
        seniority=seniority(gateway.metadata),
        addresses=addresses,
        unusable=unusable,
        pods=read_selector(spec.pod_selector, subject.at("spec.podSelector"), findings),
        namespaces=read_selector(spec.namespace_selector, subject.at("spec.namespaceSelector"), findings),
        nodes=read_selector(spec.node_selector, subject.at("spec.nodeSelector"), findings),
        destinations=destinations if spec.destinations and is_read else None,
        excepts=excepts,
        falls_back=spec.when_unavailable == NODE,
        findings=tuple(findings),
    )


def read_candidate(node: Node) -> Candidate:
    """One Node."""
    given = (parse_addr(one.address) for one in node.status.addresses)
    return Candidate(
        name=node.metadata.name,
        labels=node.metadata.labels,
        ranges=read_node(node),
        addresses=tuple(dict.fromkeys(address for address in given if address is not None)),
        is_unready=is_unready(node),
    )


def holdings(
    gateways: Iterable[Gateway], nodes: Iterable[Candidate], gone: Container[str]
) -> tuple[dict[Addr, Holding], tuple[Finding, ...]]:
    """Every address of every gateway, the oldest gateway's first.

    Args:
        gateways: all of them.
        nodes: all of them.
        gone: names of those that are held dead.
    """
    known = sorted(nodes, key=lambda one: one.name)
    found: dict[Addr, Holding] = {}
    holders: dict[Addr, Gateway] = {}
    findings: list[Finding] = []
    for gateway in sorted(gateways, key=lambda one: one.seniority):
        candidates = _candidates(gateway, known)
        live = tuple(one.name for one in candidates if one.name not in gone and not one.is_unready)
        for address, field in gateway.addresses.items():
            source = gateway.source.at(field)
            holder = holders.setdefault(address, gateway)
            if holder is not gateway:
                if holder.nodes != gateway.nodes:
                    problem = (
                        f"{address} is {holder.source.subject}'s, too, so the nodes of that one may have it"
                    )
                    findings.append(Finding(source, problem, "keep the addresses, or the nodes, the same"))
            elif (owner := _owner(address, known)) is not None:
                problem = f"{address} is of {owner}, so nothing leaves by it"
                findings.append(Finding(source, problem, "choose an address that nobody has"))
                found[address] = Holding(address, source, is_taken=True)
            else:
                names = tuple(one.name for one in candidates)
                found[address] = Holding(address, source, names, live)
        if gateway.addresses and not live:
            findings.append(_nobody(gateway, candidates))
    return found, tuple(findings)


def duties(view: ClusterView) -> tuple[Duty, ...]:
    """The addresses that nodes have for pods to leave by: whoever is elected answers for it, and the pods' packets leave there."""
    gateways = [read_gateway(one) for one in view.egress_gateways.values()]
    if not gateways:
        return ()
    nodes = [read_candidate(node) for node in view.nodes.values()]
    found, _ = holdings(gateways, nodes, {one.name for one in view.gone.values()})
    return tuple(
        Duty(
            address=one.address,
            candidates=one.live,
            layer2=one.live,
            bgp=True,
            source=one.source,
        )
        for one in found.values()
    )


def _candidates(gateway: Gateway, nodes: list[Candidate]) -> list[Candidate]:
    """Without a range of pods a node has no end for the others' tunnels."""
    return [
        one
        for one in nodes
        if one.ranges.cidrs and (gateway.nodes is None or gateway.nodes.matches(one.labels))
    ]


def _nobody(gateway: Gateway, candidates: list[Candidate]) -> Finding:
    field = gateway.source.at("spec.nodeSelector")
    becomes = "leave by their own nodes" if gateway.falls_back else "are dropped"
    if candidates:
        names = ", ".join(one.name for one in candidates)
        return Finding(field, f"no node of {names} is alive: packets of its pods {becomes}", "look at them")
    hint = "label nodes that have pod ranges, or mend the selector"
    return Finding(field, f"no node is selected: packets of its pods {becomes}", hint)


def _owner(address: Addr, nodes: Iterable[Candidate]) -> str | None:
    """Who has an address already: a node, or its pods."""
    for node in nodes:
        if address in node.addresses:
            return f"Node {node.name}"
        if any(address in cidr for _, cidr in node.ranges.cidrs):
            return f"the pods of Node {node.name}"
    return None


def is_usable(address: Addr) -> bool:
    """Whether it can be the address of a host that others outside reach."""
    return not (
        address.is_multicast or address.is_loopback or address.is_unspecified or address.is_link_local
    )


def _family_meant(text: str) -> Family:
    """Of an address, however wrong it is."""
    return Family.V6 if ":" in text else Family.V4


def _ranges(
    texts: Iterable[str], subject: Source, name: str, follows: str, findings: list[Finding]
) -> tuple[tuple[Cidr, ...], bool]:
    """Those that can be read, and whether that is all of them."""
    found: dict[Cidr, None] = {}
    is_read = True
    for number, text in enumerate(texts):
        cidr = parse_cidr(text)
        if cidr is None:
            is_read = False
            hint = "write the range's first address and a prefix, such as 198.51.100.0/24"
            field = subject.at(f"spec.{name}[{number}]")
            findings.append(Finding(field, f'"{text}" is no CIDR, so {follows}', hint))
        else:
            found[cidr] = None
    return tuple(found), is_read
