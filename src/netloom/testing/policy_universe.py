"""A small universe of policies, pods and packets in which everything meets everything: for property and packet tests.

Comes in: a way to choose one of several (hypothesis, or a seeded ``random.Random``). Goes out: objects of a cluster and packets between
them. Everything is sampled from a handful of values, so that labels, ports, ranges and names collide. Not here: what should happen.
"""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import ContainerPort, Namespace, Node, Pod, Service
from netloom.api.networking import NetworkPolicy
from netloom.model.inputs import ClusterFacts, ClusterView, NodeFacts
from netloom.model.policy.domains import KnownName
from netloom.model.policy.verdicts import Traffic
from netloom.testing import builders as b
from netloom.testing.service_universe import Choose
from netloom.units import Protocol, parse_addr

Json = Any
Spec = dict[str, Json]

NODE = "node-1"
NODES = {"node-1": ("172.30.0.11", "2001:db8:30::11"), "node-2": ("172.30.0.12", "2001:db8:30::12")}
DNS = "10.96.0.10"
FACTS = NodeFacts(
    name=NODE,
    addresses=tuple(map(ipaddress.ip_address, NODES[NODE])),
    pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("2001:db8:44:1::/64")),
    cluster_cidrs=(ipaddress.ip_network("10.244.0.0/16"), ipaddress.ip_network("2001:db8:44::/48")),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
    dns_addresses=(ipaddress.ip_address(DNS),),
)
CLUSTER = ClusterFacts(
    cluster_cidrs=FACTS.cluster_cidrs, service_cidrs=FACTS.service_cidrs, dns_addresses=FACTS.dns_addresses
)
PODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "a/p": ("node-1", ("10.244.1.2", "2001:db8:44:1::2")),
    "a/q": ("node-1", ("10.244.1.3", "2001:db8:44:1::3")),
    "b/p": ("node-1", ("10.244.1.4",)),
    "b/q": ("node-2", ("10.244.2.2", "2001:db8:44:2::2")),
    "c/p": ("node-2", ("10.244.2.3",)),
}
CLIENTS = ("192.0.2.18", "192.0.2.130", "2001:db8:c::2")
PORTS = (80, 8080, 53)
LABELS: tuple[dict[str, str], ...] = (
    {"app": "web"},
    {"app": "api"},
    {"app": "web", "tier": "x"},
    {"k8s-app": "kube-dns"},
    {},
)
NAMED_PORTS: tuple[tuple[ContainerPort, ...], ...] = (
    (ContainerPort(container_port=80, name="http"),),
    (ContainerPort(container_port=8080, name="http"), ContainerPort(53, name="dns", protocol="UDP")),
    (ContainerPort(container_port=80, name="http"), ContainerPort(8080, name="http")),
    (ContainerPort(container_port=80),),
)


def some_pod(choose: Choose) -> Pod:
    """One of a few pods; seldom with another's address, in the node's network, or finished."""
    name = choose(tuple(PODS))
    node, addresses = PODS[name]
    if choose((False,) * 7 + (True,)):
        node, addresses = PODS[choose(tuple(PODS))]
    pod = b.pod(
        name,
        *choose((addresses, addresses, addresses, addresses[:1], ())),
        node=node,
        labels=choose(LABELS),
        ports=choose(NAMED_PORTS),
        phase=choose(("Running",) * 5 + ("Pending", "Succeeded")),
        created=choose(("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", None)),
        host_network=choose((False,) * 7 + (True,)),
    )
    if choose((True,) * 7 + (False,)):
        return pod
    ending = msgspec.structs.replace(pod.metadata, deletion_timestamp="2024-01-03T00:00:00Z")
    return msgspec.structs.replace(pod, metadata=ending)


def some_namespace(choose: Choose) -> Namespace:
    """One of three namespaces."""
    labels = choose(({"team": "one"}, {"team": "two"}, {"team": "one", "env": "dev"}, {}))
    return Namespace(metadata=b.meta(choose(("a", "b", "c", "kube-system")), labels=labels))


def some_node(choose: Choose) -> Node:
    """One of two nodes; seldom with the other's address."""
    name = choose(tuple(NODES))
    addresses = NODES[choose((name, name, name, *NODES))]
    return b.node(name, *addresses, labels=choose(({"role": "edge"}, {})))


PATTERNS = (["*.example.org"], ["example.org"], ["www.example.org", "*.b.example.org"], ["Example.org."])


def some_domain(choose: Choose) -> KnownName:
    """A domain name with addresses of anybody's."""
    addresses = tuple(
        ipaddress.ip_address(a) for a in choose((CLIENTS, CLIENTS[:1], ("10.244.1.3", "192.0.2.130")))
    )
    names = ("example.org", "www.example.org", "a.b.example.org", "example.net", "badexample.org")
    return KnownName(choose(names), tuple(sorted(addresses, key=lambda a: (a.version, a))))


def domain_policy(choose: Choose) -> ClusterNetworkPolicy:
    """A ClusterNetworkPolicy that lets every pod out to domain names only."""
    rules = [
        {"action": "Accept", "to": [{"domainNames": choose(PATTERNS)}]},
        {"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]},
    ]
    spec = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": rules}
    return ClusterNetworkPolicy(metadata=b.meta("domains"), spec=spec)


def dns_service(choose: Choose) -> Service:
    """The Service of the cluster's DNS, with and without a selector."""
    return b.service(
        "kube-system/kube-dns",
        choose((DNS, DNS, "10.96.0.99")),
        ports=[b.port(53, "dns", protocol="UDP"), b.port(53, "dns-tcp")],
        labels={"k8s-app": "kube-dns"},
        selector=choose((None, {"app": "web"})),
    )


def some_selector(choose: Choose) -> Spec:
    """A label selector for pods or namespaces."""
    return choose(
        (
            {},
            {},
            {"matchLabels": {"app": "web"}},
            {"matchLabels": {"app": "api"}},
            {"matchLabels": {"app": "web", "tier": "x"}},
            {"matchLabels": {"team": "one"}},
            {"matchLabels": {"kubernetes.io/metadata.name": "b"}},
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "web"]}]},
            {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
            {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
            {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
            {"matchLabels": {"k8s-app": "kube-dns"}},
        )
    )


def some_network_policy(choose: Choose) -> NetworkPolicy:
    """A NetworkPolicy that an API server would take."""
    spec: Spec = {"podSelector": some_selector(choose)}
    types = choose((None, ["Ingress"], ["Egress"], ["Ingress", "Egress"], ["Ingress", "Egress"]))
    if types is not None:
        spec["policyTypes"] = types
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        rules = [_some_rule(choose, peers) for _ in range(choose((0, 1, 1, 2)))]
        if rules or _perhaps(choose):
            spec[direction] = rules
    return NetworkPolicy(metadata=b.meta(choose(("a/x", "a/y", "b/x"))), spec=spec)


def _perhaps(choose: Choose) -> bool:
    return choose((True, False))


def _some_rule(choose: Choose, peers: str) -> Spec:
    rule: Spec = {}
    found = [some_peer(choose) for _ in range(choose((0, 1, 1, 2)))]
    if found or _perhaps(choose):
        rule[peers] = found
    ports = [_some_port(choose) for _ in range(choose((0, 0, 1, 2)))]
    if ports or _perhaps(choose):
        rule["ports"] = ports
    return rule


def some_peer(choose: Choose) -> Spec:
    """A peer of a NetworkPolicy."""
    kind = choose(("pods", "pods", "namespaces", "both", "block"))
    if kind == "block":
        return {"ipBlock": choose(BLOCKS)}
    peer: Spec = {}
    if kind != "namespaces":
        peer["podSelector"] = some_selector(choose)
    if kind != "pods":
        peer["namespaceSelector"] = some_selector(choose)
    return peer


BLOCKS: tuple[Spec, ...] = (
    {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]},
    {"cidr": "0.0.0.0/0", "except": ["10.244.1.0/30", "10.244.2.0/24"]},
    {"cidr": "10.244.1.0/24"},
    {"cidr": "2001:db8::/32", "except": ["2001:db8:44:1::2/128"]},
    {"cidr": "172.30.0.11/32"},
)


def _some_port(choose: Choose) -> Spec:
    return choose(
        (
            {"port": 80},
            {"port": 80, "protocol": "UDP"},
            {"port": "http"},
            {"port": "http", "protocol": "TCP"},
            {"port": "dns", "protocol": "UDP"},
            {"port": 53, "endPort": 8079},
            {"protocol": "SCTP"},
            {},
        )
    )


def some_cluster_policy(choose: Choose) -> ClusterNetworkPolicy:
    """A ClusterNetworkPolicy that an API server would take."""
    spec: Spec = {
        "tier": choose(("Admin", "Admin", "Baseline")),
        "priority": choose((0, 10, 10, 1000)),
        "subject": _some_pods(choose),
    }
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        rules = [_some_cluster_rule(choose, peers) for _ in range(choose((0, 1, 2, 3)))]
        if rules:
            spec[direction] = rules
    return ClusterNetworkPolicy(metadata=b.meta(choose(("x", "y"))), spec=spec)


def _some_pods(choose: Choose) -> Spec:
    if _perhaps(choose):
        return {"namespaces": some_selector(choose)}
    return {"pods": {"namespaceSelector": some_selector(choose), "podSelector": some_selector(choose)}}


def _some_cluster_rule(choose: Choose, peers: str) -> Spec:
    action = choose(("Accept", "Deny", "Pass"))
    rule: Spec = {"action": action}
    only_pods = peers == "from"
    kinds: Sequence[str] = ("pods",) if only_pods else ("pods", "pods", "nodes", "networks", "domains")
    found = []
    for _ in range(choose((1, 1, 2))):
        kind = choose(kinds)
        if kind == "pods":
            found.append(_some_pods(choose))
        elif kind == "nodes":
            found.append({"nodes": choose(({}, {"matchLabels": {"role": "edge"}}))})
        elif kind == "domains" and action == "Accept":
            found.append({"domainNames": choose(PATTERNS)})
        else:
            found.append({"networks": choose((["0.0.0.0/0"], ["192.0.2.0/25", "2001:db8::/32"]))})
    rule[peers] = found
    has_names = all(peer.keys() <= {"pods", "namespaces"} for peer in found)
    protocols = choose((None, None, *(_PROTOCOLS if has_names else _PROTOCOLS[1:])))
    if protocols is not None:
        rule["protocols"] = protocols
    return rule


_PROTOCOLS: tuple[list[Spec], ...] = (
    [{"destinationNamedPort": "http"}, {"udp": {"destinationPort": {"number": 53}}}],
    [{"tcp": {"destinationPort": {"number": 80}}}],
    [{"tcp": {"destinationPort": {"range": {"start": 80, "end": 8080}}}}],
    [{"sctp": {"destinationPort": {"number": 80}}}],
)


def node_policy(choose: Choose) -> ClusterNetworkPolicy:
    """A ClusterNetworkPolicy that is about every pod, and about nodes as peers."""
    nodes = choose(({}, {"matchLabels": {"role": "edge"}}))
    spec = {
        "tier": choose(("Admin", "Baseline")),
        "priority": 1,
        "subject": {"namespaces": {}},
        "egress": [{"action": choose(("Deny", "Accept")), "to": [{"nodes": nodes}]}],
    }
    return ClusterNetworkPolicy(metadata=b.meta("nodes"), spec=spec)


def peers_policy(choose: Choose) -> NetworkPolicy:
    """A NetworkPolicy that is about all pods of a namespace with pods of this node, and about pods as peers."""
    peer = choose(({"podSelector": {}}, {"namespaceSelector": some_selector(choose)}, some_peer(choose)))
    rule = {"from": [peer]}
    spec = {"podSelector": {}, "ingress": [rule], "egress": [{"to": [peer], "ports": [{"port": "http"}]}]}
    return NetworkPolicy(metadata=b.meta(choose(("a/all", "b/all"))), spec=spec)


Maker = Callable[[Choose], b.Thing]
THEMES: tuple[tuple[Maker, ...], ...] = (
    (
        some_pod, some_pod, some_pod, some_network_policy, some_network_policy, some_network_policy,
        some_cluster_policy, some_cluster_policy, some_namespace, some_node, dns_service, some_domain,
    ),
    (some_pod, some_pod, some_pod, peers_policy),
    (some_namespace, some_namespace, some_pod, peers_policy),
    (some_node, some_node, some_node, node_policy),
    (some_domain, some_domain, some_domain, domain_policy),
    (some_pod, some_network_policy, some_cluster_policy),
)  # fmt: skip
"""Kinds that concern each other: in a history of everything they seldom meet."""


def some_object(choose: Choose) -> b.Thing:
    """Anything of this universe."""
    return choose(THEMES[0])(choose)


def some_view(choose: Choose) -> ClusterView:
    """A cluster with all pods, namespaces and nodes, and up to four policies."""
    objects: list[b.Thing] = [some_pod(choose) for _ in range(4)]
    objects += [some_namespace(choose) for _ in range(3)]
    objects += [some_node(choose) for _ in range(2)]
    objects += [dns_service(choose)] * choose((0, 1))
    objects += [some_network_policy(choose) for _ in range(choose((0, 1, 2, 3)))]
    objects += [some_cluster_policy(choose) for _ in range(choose((0, 0, 1, 2)))]
    objects += [some_domain(choose) for _ in range(choose((0, 1, 2)))]
    return b.view(*objects)


def packets() -> Iterator[Traffic]:
    """From everybody to everybody of one family: addresses of pods, nodes, DNS and clients; ports, and none."""
    texts = [a for _, addresses in PODS.values() for a in addresses]
    texts += [DNS, *CLIENTS, *(address for addresses in NODES.values() for address in addresses)]
    addresses = [address for text in texts if (address := parse_addr(text)) is not None]
    for source in addresses:
        for destination in addresses:
            if source.version == destination.version:
                yield from _at_ports(Traffic(source, destination, None))


def _at_ports(traffic: Traffic) -> Iterator[Traffic]:
    yield traffic
    for protocol in (Protocol.TCP, Protocol.UDP):
        for port in PORTS:
            yield msgspec.structs.replace(traffic, protocol=protocol, port=port)
    yield msgspec.structs.replace(traffic, protocol=Protocol.SCTP, port=80)


def spoilt(choose: Choose, spec: Spec) -> Spec:
    """The same spec with one place in it that nobody can read: a field that is not known, or a value of the wrong kind."""
    spec = copy.deepcopy(spec)
    places = list(_objects(spec))
    place = choose(places)
    if place and _perhaps(choose):
        place[choose(sorted(place))] = choose((17.5, True, [[]], "?!"))
    else:
        place["novelty"] = choose((1, {}, "x"))
    return spec


def _objects(value: Json) -> Iterator[Spec]:
    """Every object in a document, but not maps of labels: whatever is in these is a label."""
    if isinstance(value, dict):
        yield value
        for name, part in value.items():
            if name != "matchLabels":
                yield from _objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part)
