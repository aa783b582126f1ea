"""Policies as the API's documentation tells them, read naively: a second voice beside the model, for property and packet tests.

Comes in: the objects of a cluster, and the first packet of a connection where policy sees it: its destination is translated already,
its source not yet. Goes out: whether both ends let it pass, and where one does not, which and why. Every question goes through all
objects again, in the order in which the documentation speaks of them; nothing is shared with ``netloom.model`` but its inputs, so
that the two can disagree. Not here: policies that no API server would let in, how a packet came to this place (``naive_services``).

Sources: the API references of networking.k8s.io/v1 NetworkPolicy and of policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy, and
the Kubernetes documentation's page on network policies. What they leave to the implementation, netloom says itself:
- pods in a node's network are the node: no policy is about them, and no peer but one of addresses means them;
- what a node sends to its own pods is allowed before anything is asked, cluster-wide policies too; what a pod sends to its node is
  egress like any other;
- no NetworkPolicy keeps a pod from itself, whichever of its addresses it uses; cluster-wide policies are asked;
- a name of a port means every port of that name and protocol that the pod's containers have;
- of ClusterNetworkPolicies with the same tier and priority the first by name is asked first;
- a pod that has finished has no address any more; of several pods that claim one address the oldest has it that is not being
  deleted, then the oldest, then the first by namespace and name;
- a domain name has the addresses that the node's DNS server told its pods; ``*.`` stands for labels, one at least;
- the address of the cluster's DNS, which a server of the node itself answers, is that of a pod as its Service describes it: in its
  namespace, with the labels that it selects (or its own, where it selects nothing) and its ports by their names.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Container, ContainerPort, Node, Pod, PodSpec
from netloom.api.meta import ObjectMeta
from netloom.api.networking import NetworkPolicy
from netloom.model.inputs import ClusterView
from netloom.model.policy.state import Direction
from netloom.units import Addr, Protocol, parse_addr

Json = Any
_address = functools.lru_cache(maxsize=4096)(parse_addr)
NAME_LABEL = "kubernetes.io/metadata.name"
"""Set on every namespace by the API server."""


class Packet(msgspec.Struct, frozen=True):
    """The first packet of a connection. ``protocol`` is None for what has no ports, such as ICMP."""

    sender: Addr
    receiver: Addr
    protocol: Protocol | None = Protocol.TCP
    port: int = 0

    def __str__(self) -> str:
        word = self.protocol.word if self.protocol else "no protocol with ports"
        return f"{self.sender} to {self.receiver} port {self.port}/{word}"


class Verdict(msgspec.Struct, frozen=True):
    """Whether the packet passes; where not, the end that stops it, the sender's first, and the reason in a few words."""

    allowed: bool
    denied_by: Direction | None = None
    reason: str = ""


def naive(view: ClusterView, packet: Packet, dns: Collection[Addr] = ()) -> Verdict:
    """What policies say of a packet, at both ends; ``dns`` are the addresses of the cluster's DNS."""
    for direction in (Direction.EGRESS, Direction.INGRESS):
        reason = _End(view, packet, direction, dns).refusal()
        if reason is not None:
            return Verdict(False, direction, reason)
    return Verdict(True)


def pod_at(view: ClusterView, address: Addr) -> Pod | None:
    """The pod that has an address in a network of its own."""

    def age(pod: Pod) -> tuple[bool, bool, str, str, str]:
        meta = pod.metadata
        created = meta.creation_timestamp
        return meta.deletion_timestamp is not None, created is None, created or "", meta.namespace, meta.name

    found = [pod for pod in view.pods.values() if address in addresses_of(pod)]
    return min(found, key=age) if found else None


def dns_pod(view: ClusterView, address: Addr) -> Pod | None:
    """The pod that answers for the cluster's DNS at an address, as the Service with this address describes it."""
    for service in sorted(view.services.values(), key=lambda s: s.key):
        spec = service.spec
        if str(address) in (spec.cluster_ips or (spec.cluster_ip,)):
            labels = dict(spec.selector or service.metadata.labels)
            meta = ObjectMeta(name="", namespace=service.metadata.namespace, labels=labels)
            ports = tuple(ContainerPort(p.port, p.name, p.protocol) for p in spec.ports)
            return Pod(metadata=meta, spec=PodSpec(containers=(Container(ports=ports),)))
    return None


def addresses_of(pod: Pod) -> list[Addr]:
    """The addresses that are a pod's own; none where it is in a node's network, has finished, or has no node."""
    if pod.spec.host_network or pod.status.phase in {"Succeeded", "Failed"} or not pod.spec.node_name:
        return []
    texts = [one.ip for one in pod.status.pod_ips] or [pod.status.pod_ip]
    return [address for address in map(_address, texts) if address is not None]


class _End:
    """One end of a connection: the pod there, and what policies say of it."""

    def __init__(
        self, view: ClusterView, packet: Packet, direction: Direction, dns: Collection[Addr]
    ) -> None:
        self._view = view
        self._packet = packet
        self._is_ingress = direction is Direction.INGRESS
        self._section = direction.value
        own, other = packet.sender, packet.receiver
        if self._is_ingress:
            own, other = other, own
        self._other = other
        self._pod = pod_at(view, own)
        self._other_pod = dns_pod(view, other) if other in dns else pod_at(view, other)
        self._receiver = self._pod if self._is_ingress else self._other_pod

    def refusal(self) -> str | None:
        """Why this end refuses; None where it does not."""
        pod = self._pod
        if pod is None:
            return None
        node = next((n for n in self._view.nodes.values() if n.metadata.name == pod.spec.node_name), None)
        if self._is_ingress and node is not None and self._other in _node_addresses(node):
            return None  # NetworkPolicySpec.ingress: the source is the pod's local node
        said = self._first_word(pod, "Admin")
        if said in {None, "Pass"}:
            said = self._network_policies(pod)
            if said is not None and self._other_pod is pod:
                said = "Accept"  # a pod cannot block itself
        if said is None:
            said = self._first_word(pod, "Baseline")
        return None if said in {None, "Pass", "Accept"} else said

    # --- ClusterNetworkPolicy ------------------------------------------------------------------------------------

    def _first_word(self, pod: Pod, tier: str) -> str | None:
        """The action of the first rule of a tier that matches (with a reason, where it denies); None where none does."""
        for policy in self._of_tier(tier):
            spec: Json = policy.spec
            if not self._is_named(spec["subject"], pod):
                continue
            for number, rule in enumerate(spec.get(self._section) or ()):
                if not any(map(self._is_cluster_peer, rule["from" if self._is_ingress else "to"])):
                    continue
                protocols = rule.get("protocols")
                if protocols is None or any(map(self._is_cluster_port, protocols)):
                    action: str = rule["action"]
                    where = f"ClusterNetworkPolicy {policy.key} {self._section}[{number}]"
                    return f"{where} denies" if action == "Deny" else action
        return None

    def _of_tier(self, tier: str) -> list[ClusterNetworkPolicy]:
        found = self._view.cluster_policies.values()

        def precedence(policy: ClusterNetworkPolicy) -> tuple[int, str]:
            spec: Json = policy.spec
            return spec["priority"], policy.metadata.name

        return sorted((p for p in found if _spec(p)["tier"] == tier), key=precedence)

    def _is_named(self, chosen: Json, pod: Pod | None) -> bool:
        """Whether a subject or a peer by ``namespaces`` or ``pods`` means this pod."""
        if pod is None:
            return False
        if "namespaces" in chosen:
            return self._is_in(chosen["namespaces"], pod)
        both = chosen["pods"]
        in_namespace = self._is_in(both.get("namespaceSelector") or {}, pod)
        return in_namespace and selects(both.get("podSelector") or {}, pod.metadata.labels)

    def _is_cluster_peer(self, peer: Json) -> bool:
        if "namespaces" in peer or "pods" in peer:
            return self._is_named(peer, self._other_pod)
        if "nodes" in peer:
            chosen = [n for n in self._view.nodes.values() if selects(peer["nodes"], n.metadata.labels)]
            return any(self._other in _node_addresses(node) for node in chosen)
        if "networks" in peer:
            return any(_is_within(self._other, text) for text in peer["networks"])
        if "domainNames" in peer:
            called = [known.name for known in self._view.domains.values() if self._other in known.addresses]
            return any(_is_called_so(name, text) for name in called for text in peer["domainNames"])
        return False

    def _is_cluster_port(self, protocol: Json) -> bool:
        if "destinationNamedPort" in protocol:
            return self._is_called(protocol["destinationNamedPort"], None)
        ((word, attributes),) = protocol.items()
        if self._packet.protocol is None or self._packet.protocol.word != word:
            return False
        wanted = (attributes or {}).get("destinationPort")
        if wanted is None:
            return True
        if "number" in wanted:
            return bool(wanted["number"] == self._packet.port)
        return bool(wanted["range"]["start"] <= self._packet.port <= wanted["range"]["end"])

    # --- NetworkPolicy -------------------------------------------------------------------------------------------

    def _network_policies(self, pod: Pod) -> str | None:
        """``Accept``, why not, or None where no NetworkPolicy isolates the pod in this direction."""
        isolating = sorted(
            (policy for policy in self._view.policies.values() if self._isolates(policy, pod)),
            key=lambda policy: policy.key,
        )
        if not isolating:
            return None
        if any(self._is_allowed(rule, p) for p in isolating for rule in _spec(p).get(self._section) or ()):
            return "Accept"
        return f"no rule of NetworkPolicy {', '.join(str(p.key) for p in isolating)} allows it"

    def _isolates(self, policy: NetworkPolicy, pod: Pod) -> bool:
        spec = _spec(policy)
        if policy.metadata.namespace != pod.metadata.namespace:
            return False
        if not selects(spec.get("podSelector") or {}, pod.metadata.labels):
            return False
        types = spec.get("policyTypes") or []
        if types:
            return ("Ingress" if self._is_ingress else "Egress") in types
        return self._is_ingress or bool(spec.get("egress"))

    def _is_allowed(self, rule: Json, policy: NetworkPolicy) -> bool:
        """A rule's peers and ports both match; a list that is empty or missing matches everything."""
        peers = rule.get("from" if self._is_ingress else "to") or []
        ports = rule.get("ports") or []
        matches_peer = not peers or any(self._is_peer(peer, policy) for peer in peers)
        return matches_peer and (not ports or any(map(self._is_port, ports)))

    def _is_peer(self, peer: Json, policy: NetworkPolicy) -> bool:
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            exceptions = block.get("except") or []
            inside = _is_within(self._other, block["cidr"])
            return inside and not any(_is_within(self._other, one) for one in exceptions)
        other = self._other_pod
        if other is None:
            return False
        if "podSelector" in peer and not selects(peer["podSelector"], other.metadata.labels):
            return False
        if "namespaceSelector" in peer:
            return self._is_in(peer["namespaceSelector"], other)
        return other.metadata.namespace == policy.metadata.namespace

    def _is_port(self, port: Json) -> bool:
        protocol = Protocol(port.get("protocol") or "TCP")
        first = port.get("port")
        if self._packet.protocol is not protocol:
            return False
        if first is None:
            return True
        if isinstance(first, str):
            return self._is_called(first, protocol)
        last = port.get("endPort")
        return bool(first <= self._packet.port <= (first if last is None else last))

    # --- both ----------------------------------------------------------------------------------------------------

    def _is_called(self, name: str, protocol: Protocol | None) -> bool:
        """Whether the packet goes to a port of this name: of the pod that it goes to, for no other destination has names."""
        of = self._receiver.spec.containers if self._receiver is not None else ()
        wanted = self._packet.protocol
        if wanted is None or protocol not in {None, wanted}:
            return False
        return any(
            (port.name, port.container_port, port.protocol or "TCP")
            == (name, self._packet.port, wanted.value)
            for container in of
            for port in container.ports
        )

    def _is_in(self, selector: Json, pod: Pod) -> bool:
        """Whether a namespace selector selects the pod's namespace."""
        name = pod.metadata.namespace
        labels = [n.metadata.labels for n in self._view.namespaces.values() if n.metadata.name == name]
        return selects(selector, {**(labels[0] if labels else {}), NAME_LABEL: name})


def selects(selector: Json, labels: dict[str, str]) -> bool:
    """A meta/v1 LabelSelector: everything in it must hold, so an empty one selects everything."""
    pairs = (selector.get("matchLabels") or {}).items()
    expressions = selector.get("matchExpressions") or []
    return all(labels.get(key) == value for key, value in pairs) and all(
        _holds(e, labels) for e in expressions
    )


def _holds(expression: Json, labels: dict[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    values = expression.get("values") or []
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    is_one = key in labels and labels[key] in values
    return is_one if operator == "In" else not is_one


def _spec(policy: NetworkPolicy | ClusterNetworkPolicy) -> Json:
    return policy.spec or {}


def _is_within(address: Addr, text: str) -> bool:
    return address in ipaddress.ip_network(text, strict=False)


def _is_called_so(name: str, pattern: str) -> bool:
    labels, wanted = name.split("."), pattern.lower().rstrip(".").split(".")
    if wanted[0] != "*":
        return labels == wanted
    return len(labels) >= len(wanted) and labels[len(labels) - len(wanted) + 1 :] == wanted[1:]


def _node_addresses(node: Node) -> Iterator[Addr]:
    for one in node.status.addresses:
        address = _address(one.address)
        if address is not None:
            yield address
    for text in node.spec.pod_cidrs or (node.spec.pod_cidr,):
        try:
            yield ipaddress.ip_network(text)[1]  # the node's own, on its bridge or its tunnel
        except (ValueError, IndexError):
            continue
