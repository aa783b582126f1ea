"""networking.k8s.io/v1 NetworkPolicy, read.

Comes in: the object as written. Goes out: a ``PolicyReading``. The sentences of the API that decide (types.go of
networking/v1, and its defaults):

- ``podSelector`` left out or empty: all pods of the policy's namespace.
- ``policyTypes`` left out or empty: Ingress always, and Egress where there is at least one egress rule.
- a rule's ``from``/``to`` left out or empty: all sources or destinations, pods or not. ``ports`` likewise.
- a peer with only ``podSelector``: pods of the policy's namespace; only ``namespaceSelector``: all pods of these namespaces; both:
  these pods of these namespaces. ``ipBlock`` goes with neither.
- a port without ``port``: every port of its protocol; without ``protocol``: TCP.

What cannot be read closes: a port, a peer or a rule matches nothing; a policy of which the selector, or a field beside the rules,
is not understood isolates all pods that it may mean, and allows nothing.
"""

from __future__ import annotations

from netloom.api.networking import NetworkPolicy
from netloom.model.policy.reading.blocks import read_cidr, without
from netloom.model.policy.reading.document import Document, short
from netloom.model.policy.reading.ports import read_network_policy_port
from netloom.model.policy.reading.rules import PolicyReading, ReadPeer, ReadPort, ReadRule
from netloom.model.policy.reading.selectors import pod_peers, read_selector
from netloom.model.policy.state import Action, AddressSetKey, NetworkPeers, PodPeers, PolicyRef, Tier
from netloom.model.provenance import source_of
from netloom.units import Cidr

KIND = "NetworkPolicy"
_INGRESS, _EGRESS = "Ingress", "Egress"


def read_network_policy(policy: NetworkPolicy) -> PolicyReading:
    """One NetworkPolicy, whatever was written in it."""
    document = Document(source_of(KIND, policy.metadata))
    namespace = policy.metadata.namespace
    spec = document.mapping(
        {} if policy.spec is None else policy.spec,
        "spec",
        ("podSelector", "policyTypes", "ingress", "egress"),
    )
    raw = policy.spec if isinstance(policy.spec, dict) else {}
    selector = raw.get("podSelector")
    chosen = read_selector(document, {} if selector is None else selector, "spec.podSelector")
    is_certain = spec is not None and chosen.is_whole
    types = _types(document, raw) if isinstance(policy.spec, dict | None) else (_INGRESS, _EGRESS)
    ingress = _rules(document, raw.get("ingress"), "ingress", "from", namespace)
    egress = _rules(document, raw.get("egress"), "egress", "to", namespace)
    return PolicyReading(
        ref=PolicyRef(KIND, namespace, policy.metadata.name),
        source=document.subject,
        tier=Tier.NETWORK_POLICY,
        priority=0,
        subject=PodPeers(namespace=namespace, pods=chosen.selector),
        ingress=(ingress if is_certain else ()) if _INGRESS in types else None,
        egress=(egress if is_certain else ()) if _EGRESS in types else None,
        findings=tuple(document.findings),
    )


def _types(document: Document, spec: dict[str, object]) -> tuple[str, ...]:
    """The directions that the policy is about; both where a word is not understood."""
    given = spec.get("policyTypes")
    words = [] if given is None else document.items(given, "spec.policyTypes")
    if words is None:
        return (_INGRESS, _EGRESS)
    unknown = False
    for number, word in enumerate(words):
        if word not in (_INGRESS, _EGRESS):
            document.note(
                f"spec.policyTypes[{number}]", f"{short(word)} is no direction", "use Ingress or Egress"
            )
            unknown = True
    if unknown:
        return (_INGRESS, _EGRESS)
    if words:
        return tuple(map(str, words))
    return (_INGRESS, _EGRESS) if spec.get("egress") else (_INGRESS,)


def _rules(
    document: Document, value: object, direction: str, peers: str, namespace: str
) -> tuple[ReadRule, ...]:
    field = f"spec.{direction}"
    items = [] if value is None else document.items(value, field) or []
    rules = (
        _rule(document, item, f"{field}[{number}]", peers, namespace) for number, item in enumerate(items)
    )
    return tuple(rule for rule in rules if rule is not None)


def _rule(document: Document, value: object, field: str, peers: str, namespace: str) -> ReadRule | None:
    given = document.mapping(value, field, (peers, "ports"))
    if given is None:
        return None
    return ReadRule(
        field=field,
        action=Action.ACCEPT,
        peers=_peers(document, given.get(peers, []), f"{field}.{peers}", namespace),
        ports=_ports(document, given.get("ports", []), f"{field}.ports"),
    )


def _peers(document: Document, value: object, field: str, namespace: str) -> tuple[ReadPeer, ...] | None:
    items = document.items(value, field)
    if items is None:
        return ()
    if not items:
        return None
    found = []
    for number, item in enumerate(items):
        key = _peer(document, item, f"{field}[{number}]", namespace)
        if key is not None:
            found.append(ReadPeer(f"{field}[{number}]", key, _written(item)))
    return tuple(found)


def _peer(document: Document, value: object, field: str, namespace: str) -> AddressSetKey | None:
    given = document.mapping(value, field, ("podSelector", "namespaceSelector", "ipBlock"))
    if given is None:
        return None
    if "ipBlock" in given:
        if len(given) > 1:
            document.note(field, "has an ipBlock and a selector", "make two peers of them")
            return None
        return _block(document, given["ipBlock"], f"{field}.ipBlock")
    if not given:
        document.note(field, "names nobody", "give it a podSelector, namespaceSelector or ipBlock")
        return None
    pods = read_selector(document, given.get("podSelector", {}), f"{field}.podSelector")
    if "namespaceSelector" not in given:
        return PodPeers(namespace=namespace, pods=pods.selector) if pods.is_whole else None
    namespaces = read_selector(document, given["namespaceSelector"], f"{field}.namespaceSelector")
    return pod_peers(namespaces.selector, pods.selector) if pods.is_whole and namespaces.is_whole else None


def _block(document: Document, value: object, field: str) -> NetworkPeers | None:
    """None where any part of it cannot be used: with one exception less, more would be accepted than was meant."""
    given = document.mapping(value, field, ("cidr", "except"))
    if given is None:
        return None
    block = read_cidr(document, given.get("cidr"), f"{field}.cidr")
    items = document.items(given.get("except", []), f"{field}.except")
    if block is None or items is None:
        return None
    excepted = [_except(document, block, item, f"{field}.except[{n}]") for n, item in enumerate(items)]
    parts = [part for part in excepted if part is not None]
    return NetworkPeers(without(block, parts)) if len(parts) == len(items) else None


def _written(peer: object) -> str:
    """The ipBlock of a peer that could be read, in words; empty where it has none."""
    block = peer.get("ipBlock") if isinstance(peer, dict) else None
    if not isinstance(block, dict):
        return ""
    excepted = block.get("except")
    return f"{block['cidr']} except {' and '.join(excepted)}" if excepted else str(block["cidr"])


def _except(document: Document, block: Cidr, value: object, field: str) -> Cidr | None:
    part = read_cidr(document, value, field)
    if part is None:
        return None
    is_inside = part.version == block.version and part != block and part.subnet_of(block)  # type: ignore[arg-type] # versions equal
    if not is_inside:
        document.note(field, f"{part} is no part of {block}", "take out a smaller range of the cidr")
        return None
    return part


def _ports(document: Document, value: object, field: str) -> tuple[ReadPort, ...] | None:
    items = document.items(value, field)
    if items is None:
        return ()
    if not items:
        return None
    read = (read_network_policy_port(document, item, f"{field}[{n}]") for n, item in enumerate(items))
    return tuple(port for port in read if port is not None)
