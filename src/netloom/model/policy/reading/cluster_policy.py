"""policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy, read.

Comes in: the object as written. Goes out: a ``PolicyReading``. The API (clusternetworkpolicy_types.go) says of a peer that it
cannot make out: an Accept rule then matches nothing, a Deny or Pass rule denies everything. The same is done here for whatever
else of a rule cannot be read. Of a policy whose tier, priority or subject cannot be read (or with a field that is not known),
nobody can tell where it stands or whom it is about: it only denies, first of all, every pod that it may mean; its Pass rules deny,
too, and its Accept rules match nothing.

Limits on the number of rules and peers are told, and what is beyond them holds all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.selectors import Selector
from netloom.model.policy.reading.blocks import joined, read_cidr
from netloom.model.policy.reading.document import Document, listed, short
from netloom.model.policy.reading.ports import read_cluster_policy_protocol
from netloom.model.policy.reading.rules import PolicyReading, ReadPeer, ReadPort, ReadRule
from netloom.model.policy.reading.selectors import pod_peers, read_selector
from netloom.model.policy.state import (
    ALL_PODS,
    Action,
    AddressSetKey,
    DomainPeers,
    NetworkPeers,
    NodePeers,
    PodPeers,
    PolicyRef,
    Tier,
)
from netloom.model.provenance import source_of

KIND = "ClusterNetworkPolicy"
_MOST = 25
_TIERS = {"Admin": Tier.ADMIN, "Baseline": Tier.BASELINE}
_BEFORE_ALL = -1
_INGRESS_PEERS = ("namespaces", "pods")
_EGRESS_PEERS = ("namespaces", "pods", "nodes", "networks", "domainNames")
_DOMAIN = re.compile(
    r"(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?"
)


def read_cluster_policy(policy: ClusterNetworkPolicy) -> PolicyReading:
    """One ClusterNetworkPolicy, whatever was written in it."""
    document = Document(source_of(KIND, policy.metadata))
    spec = document.mapping(policy.spec, "spec", ("tier", "priority", "subject", "ingress", "egress"))
    raw: Mapping[str, object] = policy.spec if isinstance(policy.spec, dict) else {}
    tier = _TIERS.get(str(raw.get("tier")))
    if tier is None:
        document.note("spec.tier", f"{short(raw.get('tier'))} is no tier", "use Admin or Baseline")
    priority = document.number(raw.get("priority"), "spec.priority", 0, 1000)
    before = len(document.findings)
    subject = _subject(document, raw.get("subject"))
    is_certain = len(document.findings) == before and spec is not None
    ingress = _rules(document, raw.get("ingress"), "ingress", "from")
    egress = _rules(document, raw.get("egress"), "egress", "to")
    if not is_certain or tier is None or priority is None:
        tier, priority = Tier.ADMIN, _BEFORE_ALL
        ingress, egress = _only_denying(ingress), _only_denying(egress)
    return PolicyReading(
        ref=PolicyRef(KIND, "", policy.metadata.name),
        source=document.subject,
        tier=tier,
        priority=priority,
        subject=subject,
        ingress=ingress or None,
        egress=egress or None,
        findings=tuple(document.findings),
    )


def _only_denying(rules: tuple[ReadRule, ...]) -> tuple[ReadRule, ...]:
    return tuple(
        msgspec.structs.replace(rule, action=Action.DENY)
        for rule in rules
        if rule.action is not Action.ACCEPT
    )


def _subject(document: Document, value: object) -> PodPeers:
    """Whom the policy is about; with what could not be read left out, so at least everybody that was meant."""
    field = "spec.subject"
    given = document.mapping(value, field, ("namespaces", "pods"))
    if given is None:
        return ALL_PODS
    if len(given) != 1:
        document.note(field, f"has {len(given)} of namespaces and pods", "set one of the two")
        return ALL_PODS
    return _pod_peers(document, given, field)[0]


def _pod_peers(document: Document, given: Mapping[str, object], field: str) -> tuple[PodPeers, bool]:
    """The pods that ``namespaces`` or ``pods`` selects, and whether all of it could be read."""
    if "namespaces" in given:
        namespaces = read_selector(document, given["namespaces"], f"{field}.namespaces")
        return pod_peers(namespaces.selector, Selector()), namespaces.is_whole
    field = f"{field}.pods"
    both = document.mapping(given["pods"], field, ("namespaceSelector", "podSelector"))
    if both is None:
        return ALL_PODS, False
    if "podSelector" not in both:
        document.note(f"{field}.podSelector", "is missing", "write {} for all pods")
    namespaces = read_selector(document, both.get("namespaceSelector", {}), f"{field}.namespaceSelector")
    pods = read_selector(document, both.get("podSelector", {}), f"{field}.podSelector")
    is_whole = "podSelector" in both and namespaces.is_whole and pods.is_whole
    return pod_peers(namespaces.selector, pods.selector), is_whole


def _rules(document: Document, value: object, direction: str, peers: str) -> tuple[ReadRule, ...]:
    field = f"spec.{direction}"
    if value is None:
        return ()
    items = document.items(value, field)
    if items is None:
        return (_deny_all(field),)
    if len(items) > _MOST:
        document.note(field, f"has {len(items)} rules, {_MOST} are allowed", "make two policies of it")
    rules = (_rule(document, item, f"{field}[{number}]", peers) for number, item in enumerate(items))
    return tuple(rule for rule in rules if rule is not None)


def _rule(document: Document, value: object, field: str, peers: str) -> ReadRule | None:
    """None where the rule matches no traffic."""
    given = document.mapping(value, field, ("name", "action", peers, "protocols"))
    raw: Mapping[str, object] = value if isinstance(value, dict) else {}
    action = _action(document, raw.get("action"), field)
    name = raw.get("name") or ""
    found = _peers(document, raw.get(peers), f"{field}.{peers}", action)
    ports = _protocols(document, raw.get("protocols"), f"{field}.protocols")
    if given is not None and found is not None and ports != ():
        rule = ReadRule(field, action, found, ports, name if isinstance(name, str) else "")
        if not (rule.port_names and any(not isinstance(peer.key, PodPeers) for peer in found)):
            return rule
        problem = "names a port, and only pods have named ports"
        document.note(f"{field}.protocols", problem, "use a number, or a rule of its own")
    return None if action is Action.ACCEPT else _deny_all(field)


def _deny_all(field: str) -> ReadRule:
    return ReadRule(field, Action.DENY, None, None)


def _action(document: Document, value: object, field: str) -> Action:
    for action in Action:
        if value == action.value:
            return action
    hint = f"use {listed(tuple(action.value for action in Action))}"
    document.note(f"{field}.action", f"{short(value)} is no action: it is taken for Deny", hint)
    return Action.DENY


def _peers(document: Document, value: object, field: str, action: Action) -> tuple[ReadPeer, ...] | None:
    """None where one of them cannot be read, or there is none."""
    items = [] if value is None else document.items(value, field)
    if items is None:
        return None
    if not items:
        document.note(field, "names nobody", "name at least one peer")
        return None
    if len(items) > _MOST:
        document.note(field, f"has {len(items)} peers, {_MOST} are allowed", "make two rules of it")
    keys = [_peer(document, item, f"{field}[{number}]", action) for number, item in enumerate(items)]
    found = tuple(ReadPeer(f"{field}[{n}]", key) for n, key in enumerate(keys) if key is not None)
    return found if len(found) == len(items) else None


def _peer(document: Document, value: object, field: str, action: Action) -> AddressSetKey | None:
    known = _INGRESS_PEERS if ".from[" in field else _EGRESS_PEERS
    given = document.mapping(value, field, known)
    if given is None:
        return None
    if len(given) != 1:
        document.note(field, f"has {len(given)} kinds of peer", f"set one of {listed(known)}")
        return None
    if "nodes" in given:
        nodes = read_selector(document, given["nodes"], f"{field}.nodes")
        return NodePeers(nodes.selector) if nodes.is_whole else None
    if "networks" in given:
        return _networks(document, given["networks"], f"{field}.networks")
    if "domainNames" in given:
        return _domains(document, given["domainNames"], f"{field}.domainNames", action)
    peers, is_whole = _pod_peers(document, given, field)
    return peers if is_whole else None


def _networks(document: Document, value: object, field: str) -> NetworkPeers | None:
    items = document.items(value, field)
    if not items:
        document.note(field, "is empty", "write at least one CIDR")
        return None
    cidrs = [read_cidr(document, item, f"{field}[{number}]") for number, item in enumerate(items)]
    read = [cidr for cidr in cidrs if cidr is not None]
    return NetworkPeers(joined(read)) if len(read) == len(items) else None


def _domains(document: Document, value: object, field: str, action: Action) -> DomainPeers | None:
    items = document.items(value, field)
    names = [item for item in items or () if isinstance(item, str) and _DOMAIN.fullmatch(item)]
    if not items or len(names) != len(items):
        document.note(field, f"{short(value)} is no list of names", "write names such as *.example.org")
        return None
    if action is not Action.ACCEPT:
        document.note(field, f"go with Accept only, not with {action.value}", "deny networks instead")
        return None
    document.note(field, "are not looked up yet: the rule accepts nothing by them", "name networks, too")
    return DomainPeers(tuple(sorted({name.lower().rstrip(".") for name in names})))


def _protocols(document: Document, value: object, field: str) -> tuple[ReadPort, ...] | None:
    """None for all; empty where one of them cannot be read."""
    if value is None:
        return None
    items = document.items(value, field)
    if not items:
        document.note(field, "is empty", "leave it out for all protocols")
        return ()
    read = [read_cluster_policy_protocol(document, item, f"{field}[{n}]") for n, item in enumerate(items)]
    ports = tuple(port for port in read if port is not None)
    return ports if len(ports) == len(items) else ()
