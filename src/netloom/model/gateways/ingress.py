"""Ingresses of our class as doors: ports 80 and 443 of one gateway, a host's rules in the order that networking.k8s.io/v1 words.

Comes in: a ``GatewayView``, the pools, the TrafficPolicies. Goes out: ``IngressBuilt``. What an Ingress says wrong costs that rule, host or certificate
alone, and a Finding names it. Not here: how one Ingress is read (``ingress_rules.py``), TLS (``ingress_tls.py``), Gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from netloom.api.core import Service
from netloom.api.gateway import read_spec
from netloom.api.ingress import CONTROLLER, IngressClass, IngressClassSpec
from netloom.model.gateways.doors import addresses, node_port
from netloom.model.gateways.entrances import INGRESS
from netloom.model.gateways.hostnames import specificity
from netloom.model.gateways.ingress_reads import IngressReads
from netloom.model.gateways.ingress_rules import PathRule, ReadIngress
from netloom.model.gateways.ingress_tls import listeners_of
from netloom.model.gateways.plan import Door, Host, Listener, Match, Rule, Transport, ValueMatch
from netloom.model.gateways.pools import PoolRefs
from netloom.model.gateways.traffic_lookup import TrafficLookup
from netloom.model.gateways.view import GatewayView
from netloom.model.provenance import Finding, Source, source_of
from netloom.units import ObjectKey, Protocol, parse_addr

HTTP_PORT, HTTPS_PORT = 80, 443


class IngressBuilt(msgspec.Struct, frozen=True):
    """What the Ingresses of our class come to."""

    doors: tuple[Door, ...] = ()
    statuses: Mapping[ObjectKey, dict[str, Any]] = {}
    """By Ingress: ``status.loadBalancer`` as it should be."""
    findings: tuple[Finding, ...] = ()


def ingress_doors(
    view: GatewayView, pools: PoolRefs, traffic: TrafficLookup, reads: IngressReads | None = None
) -> IngressBuilt:
    """The doors of all Ingresses of our classes; no doors where there is no such Ingress.

    Args:
        view: the cluster.
        pools: gets every pool that is used.
        traffic: the TrafficPolicies.
        reads: readings that still hold; new ones are kept there.
    """
    known = reads or IngressReads()
    classes = our_classes(view.ingress_classes)
    ours = sorted(
        (one for one in view.ingresses.values() if known.class_of(one) in classes),
        key=lambda one: (one.metadata.creation_timestamp or "~", one.key),
    )
    service = view.services.get(INGRESS)
    kept = [known.of(one, view.services, traffic) for one in ours]
    pools.take(one.wishes for one in kept)
    findings = [finding for one in kept for finding in one.findings]
    read = [one.read for one in kept]
    hosts = _hosts(read, findings)
    doors: tuple[Door, ...] = ()
    if read:
        source = classes[known.class_of(ours[0])]
        plain = Listener("http", source, hosts=hosts)
        doors = (_door(source, HTTP_PORT, Transport.HTTP, (plain,), service),)
        secure = listeners_of(read, view.secrets, view.now, hosts, findings)
        if secure:
            doors += (_door(source, HTTPS_PORT, Transport.TLS, secure, service),)
    status = {"loadBalancer": _points(service)}
    return IngressBuilt(doors, {one.key: status for one in ours}, tuple(dict.fromkeys(findings)))


def our_classes(classes: Mapping[ObjectKey, IngressClass]) -> Mapping[str, Source]:
    """Classes whose controller we are, by name, and where that is said."""
    return {
        key.name: source_of("IngressClass", one.metadata)
        for key, one in classes.items()
        if read_spec(one, IngressClassSpec).value.controller == CONTROLLER
    }


def _door(
    source: Source, port: int, transport: Transport, listeners: tuple[Listener, ...], service: Service | None
) -> Door:
    return Door(INGRESS, source, port, transport, listeners, node_port(service, port, Protocol.TCP))


def _points(service: Service | None) -> dict[str, Any]:
    found = [{"hostname": text} if parse_addr(text) is None else {"ip": text} for text in addresses(service)]
    return {"ingress": found} if found else {}


def _hosts(read: Iterable[ReadIngress], findings: list[Finding]) -> tuple[Host, ...]:
    """Rules of every host that some Ingress names, and of any; the oldest Ingress wins where two say the same."""
    by_host: dict[str, dict[tuple[object, ...], PathRule]] = {"": {}}
    fallbacks: dict[str, Rule] = {}
    for one in read:
        for path in one.paths:
            _claim(by_host.setdefault(path.host, {}), path, findings)
        if one.default is not None:
            for host in {path.host for path in one.paths} | set(one.bare_hosts):
                by_host.setdefault(host, {})
                fallbacks.setdefault(host, one.default)
    everywhere = _default(list(read), findings)
    anyone = [path.rule for path in sorted(by_host.pop("").values(), key=PathRule.rank)]
    last = [fallbacks.pop("", everywhere)] if "" in fallbacks or everywhere is not None else []
    rest = [rule for rule in last if rule is not None]
    hosts = []
    for name, paths in by_host.items():
        own = [path.rule for path in sorted(paths.values(), key=PathRule.rank)]
        own += [fallbacks[name]] if name in fallbacks else []
        if name.startswith("*."):
            # an Ingress' wildcard is one label: other names below it are no host of its
            own = [_only(rule, _one_label(name)) for rule in own]
            own += [_only(rule, _more_labels(name)) for rule in anyone]
        hosts.append(Host(name, (*own, *rest)))
    if anyone or rest:
        hosts.append(Host("", (*anyone, *rest)))
    return tuple(sorted(hosts, key=lambda host: (specificity(host.name), host.name)))


def _claim(taken: dict[tuple[object, ...], PathRule], path: PathRule, findings: list[Finding]) -> None:
    first = taken.setdefault(path.place, path)
    if first is not path:
        where = f"{path.host or 'any host'}{path.rule.match.path} ({path.rule.match.path_kind.value})"
        problem = f"{where} is taken by {first.rule.source}, which is older"
        findings.append(Finding(path.rule.source, problem, "leave it out of one of the two"))


def _default(read: list[ReadIngress], findings: list[Finding]) -> Rule | None:
    """Where requests go that no rule is for: the oldest Ingress that is nothing but a default backend, else the oldest that has one."""
    having = [one for one in read if one.default is not None]
    alone = [one for one in having if not one.paths]
    for other in alone[1:]:
        if other.default is not None and alone[0].default is not None:
            problem = f"{alone[0].default.source} is the default backend already, and is older"
            findings.append(Finding(other.default.source, problem, "leave one of the two out"))
    return next((one.default for one in (*alone, *having)), None)


def _one_label(wildcard: str) -> ValueMatch:
    return ValueMatch("host", rf"[^.:]+{_escaped(wildcard[1:])}(:[0-9]+)?", is_regex=True)


def _more_labels(wildcard: str) -> ValueMatch:
    return ValueMatch("host", rf"[^:]+\.[^.:]+{_escaped(wildcard[1:])}(:[0-9]+)?", is_regex=True)


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")


def _only(rule: Rule, guard: ValueMatch) -> Rule:
    match: Match = replace(rule.match, headers=(*rule.match.headers, guard))
    return replace(rule, match=match)
