"""Rules for ClusterNetworkPolicies. Pure.

Comes in: a document whose types fit. Goes out: FieldErrors, worded as a server words them that has the kind from its
CustomResourceDefinition. Not here: what a policy means (netloom.model). Source: clusternetworkpolicies.policy.networking.k8s.io
(kubernetes-sigs/network-policy-api v0.2.0, experimental channel): limits, enumerations, patterns and expressions; NPEP-133 for
domain names. Beyond these, label selectors are held to the rules of meta/v1, for one that breaks them selects nobody knows whom.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    invalid,
    items,
    mapping,
    required,
    too_long,
    too_many,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_policies import address_range

_TIERS = ("Admin", "Baseline")
_ACTIONS = ("Accept", "Deny", "Pass")
_MOST = 25
_LAST_PRIORITY = 1000
_LONGEST_NAME = 100
_LONGEST_CIDR = 43
_DOMAIN = r"^(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$"
_SENDERS = ("namespaces", "pods")
_RECEIVERS = ("namespaces", "pods", "nodes", "networks", "domainNames")
_PROTOCOLS = ("tcp", "udp", "sctp", "destinationNamedPort")
_UNNAMED = ("networks", "nodes", "domainNames")
"""Peers whose ports have no names."""


def cluster_network_policy(document: Mapping[str, Any]) -> Errors:
    """A policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy."""
    if document.get("spec") is None:
        yield required("spec")
        return
    spec = mapping(document["spec"])
    tier, priority = spec.get("tier"), spec.get("priority")
    yield from names.one_of("spec.tier", tier, _TIERS, needed=True)
    if priority is None:
        yield required("spec.priority")
    else:
        yield from _within("spec.priority", priority, 0, _LAST_PRIORITY)
    if spec.get("subject") is None:
        yield required("spec.subject")
    else:
        subject = mapping(spec["subject"])
        yield from _one_of_fields("spec.subject", subject, _SENDERS)
        yield from _pods("spec.subject", subject)
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        rules = items(spec.get(direction))
        yield from _at_most(f"spec.{direction}", rules)
        for number, rule in enumerate(rules):
            yield from _rule(f"spec.{direction}[{number}]", mapping(rule), peers, tier)
    yield from _conditions(mapping(document.get("status")))


def _rule(path: str, rule: Mapping[str, Any], peers: str, tier: Json) -> Errors:
    if len(str(rule.get("name") or "")) > _LONGEST_NAME:
        yield too_long(f"{path}.name", _LONGEST_NAME)
    action = rule.get("action")
    yield from names.one_of(f"{path}.action", action, _ACTIONS, needed=True)
    kinds = _SENDERS if peers == "from" else _RECEIVERS
    if rule.get(peers) is None:
        yield required(f"{path}.{peers}")
    found = [mapping(peer) for peer in items(rule.get(peers))]
    if rule.get(peers) is not None:
        yield from _some(f"{path}.{peers}", found)
    for number, peer in enumerate(found):
        here = f"{path}.{peers}[{number}]"
        yield from _one_of_fields(here, peer, kinds)
        yield from _pods(here, peer)
        if peers == "to":
            yield from _receiver(here, peer)
            if peer.get("domainNames") is not None:
                yield from _domain_rules(here, action, tier)
    protocols = [mapping(protocol) for protocol in items(rule.get("protocols"))]
    if rule.get("protocols") is not None:
        yield from _some(f"{path}.protocols", protocols)
    for number, protocol in enumerate(protocols):
        yield from _protocol(f"{path}.protocols[{number}]", protocol)
    names_port = any(protocol.get("destinationNamedPort") is not None for protocol in protocols)
    if names_port and any(peer.get(kind) is not None for peer in found for kind in _UNNAMED):
        everybody = "networks/nodes/domainNames"
        why = f"{everybody} peer cannot be set with namedPorts since there are no namedPorts for {everybody}"
        yield invalid(path, "object", why)


def _domain_rules(path: str, action: Json, tier: Json) -> Errors:
    """A deny by names would be passed by whoever knows the address; in Baseline nobody could write the exception (NPEP-133)."""
    if action in _ACTIONS and action != "Accept":
        yield invalid(f"{path}.domainNames", "array", "domainNames is only supported for Accept rules")
    if tier == "Baseline":
        yield invalid(f"{path}.domainNames", "array", "domainNames is only supported in the Admin tier")


def _pods(path: str, peer: Mapping[str, Any]) -> Errors:
    """What of a peer or subject selects pods."""
    if peer.get("namespaces") is not None:
        yield from names.label_selector(f"{path}.namespaces", peer["namespaces"])
    if peer.get("pods") is None:
        return
    pods = mapping(peer["pods"])
    yield from names.label_selector(f"{path}.pods.namespaceSelector", pods.get("namespaceSelector"))
    if pods.get("podSelector") is None:
        yield required(f"{path}.pods.podSelector")
    else:
        yield from names.label_selector(f"{path}.pods.podSelector", pods["podSelector"])


def _receiver(path: str, peer: Mapping[str, Any]) -> Errors:
    if peer.get("nodes") is not None:
        yield from names.label_selector(f"{path}.nodes", peer["nodes"])
    if peer.get("networks") is not None:
        yield from _set(f"{path}.networks", items(peer["networks"]), _network)
    if peer.get("domainNames") is not None:
        yield from _set(f"{path}.domainNames", items(peer["domainNames"]), _domain)


def _set(path: str, values: list[Any], rule: Callable[[str, Json], Errors]) -> Errors:
    yield from _some(path, values)
    for number, value in enumerate(values):
        yield from rule(f"{path}[{number}]", value)
        if value in values[:number]:
            yield duplicate(f"{path}[{number}]", value)


def _network(path: str, value: Json) -> Errors:
    if len(str(value)) > _LONGEST_CIDR:
        yield too_long(path, _LONGEST_CIDR)
    if address_range(value) is None:
        yield invalid(path, value, "Invalid CIDR format provided")


def _domain(path: str, value: Json) -> Errors:
    if not re.fullmatch(_DOMAIN.removesuffix("$"), str(value)):
        yield invalid(path, value, f"{path} in body should match '{_DOMAIN}'")


def _protocol(path: str, protocol: Mapping[str, Any]) -> Errors:
    yield from _one_of_fields(path, protocol, _PROTOCOLS)
    for word in ("tcp", "udp", "sctp"):
        if protocol.get(word) is None:
            continue
        attributes, here = mapping(protocol[word]), f"{path}.{word}"
        yield from _one_of_fields(here, attributes, ("destinationPort",))
        if attributes.get("destinationPort") is not None:
            yield from _ports(f"{here}.destinationPort", mapping(attributes["destinationPort"]))


def _ports(path: str, port: Mapping[str, Any]) -> Errors:
    yield from _one_of_fields(path, port, ("number", "range"))
    if port.get("number") is not None:
        yield from _within(f"{path}.number", port["number"], 1, names.MAX_PORT)
    if port.get("range") is None:
        return
    bounds = mapping(port["range"])
    for end in ("start", "end"):
        if bounds.get(end) is None:
            yield required(f"{path}.range.{end}")
        else:
            yield from _within(f"{path}.range.{end}", bounds[end], 1, names.MAX_PORT)
    start, last = bounds.get("start"), bounds.get("end")
    if isinstance(start, int) and isinstance(last, int) and start >= last:
        yield invalid(f"{path}.range", "object", "Start port must be less than End port")


def _conditions(status: Mapping[str, Any]) -> Errors:
    conditions = items(status.get("conditions"))
    for number, condition in enumerate(map(mapping, conditions)):
        path = f"status.conditions[{number}]"
        for field in ("type", "reason", "lastTransitionTime"):
            if not condition.get(field):
                yield required(f"{path}.{field}")
        if condition.get("message") is None:
            yield required(f"{path}.message")
        yield from names.one_of(
            f"{path}.status", condition.get("status"), ("True", "False", "Unknown"), needed=True
        )
        if any(mapping(other).get("type") == condition.get("type") for other in conditions[:number]):
            yield duplicate(path, {"type": condition.get("type")})


def _one_of_fields(path: str, value: Mapping[str, Any], known: tuple[str, ...]) -> Errors:
    """Exactly one of the fields (minProperties and maxProperties of the definition)."""
    count = sum(value.get(name) is not None for name in known)
    if count < 1:
        yield invalid(path, count, f"{path} in body should have at least 1 properties")
    elif count > 1:
        yield too_many(path, count, 1)


def _some(path: str, values: list[Any]) -> Errors:
    """From 1 to 25 items."""
    if not values:
        yield invalid(path, 0, f"{path} in body should have at least 1 items")
    yield from _at_most(path, values)


def _at_most(path: str, values: list[Any]) -> Errors:
    if len(values) > _MOST:
        yield too_many(path, len(values), _MOST)


def _within(path: str, value: Json, first: int, last: int) -> Errors:
    if isinstance(value, int) and value < first:
        yield invalid(path, value, f"{path} in body should be greater than or equal to {first}")
    elif isinstance(value, int) and value > last:
        yield invalid(path, value, f"{path} in body should be less than or equal to {last}")
