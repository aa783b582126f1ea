"""The rules that CustomResourceDefinitions say in CEL (``x-kubernetes-validations``), as functions, by their message. Pure.

Comes in: the value that a rule is about, with defaults, and sound as far as its schema goes. Goes out: whether the rule holds. A test
demands that every rule of deploy/crds is here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from netloom.api.durations import milliseconds

Rule = Callable[[Any], bool]

_WITHOUT_TLS = {"HTTP", "TCP", "UDP"}
_WITHOUT_HOST = {"TCP", "UDP"}
_SERVICE = re.compile(r"(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*\Z")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+\Z")
_WILD = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_WORDED = ("Exact", "PathPrefix")
_MOST_MATCHES = 128


def _each(condition: Rule) -> Rule:
    return lambda values: all(condition(value) for value in values)


def _distinct(values: Iterable[object]) -> bool:
    found = [repr(value) for value in values]
    return len(set(found)) == len(found)


def _place(listener: Mapping[str, Any]) -> object:
    return listener["port"], listener["protocol"], listener.get("hostname")


def _one_address(kind: str) -> Rule:
    return lambda values: _distinct(a["value"] for a in values if a["type"] == kind and "value" in a)


def _terminates(tls: Mapping[str, Any]) -> bool:
    return tls["mode"] != "Terminate" or bool(tls.get("certificateRefs") or tls.get("options"))


def _parent(ref: Mapping[str, Any]) -> object:
    return ref["group"], ref["kind"], ref["name"], ref.get("namespace") or ""


def _part(ref: Mapping[str, Any]) -> tuple[str, int]:
    return ref.get("sectionName") or "", ref.get("port") or 0


def _parents_say_sections(refs: list[Mapping[str, Any]]) -> bool:
    said: dict[object, set[tuple[bool, bool]]] = {}
    for ref in refs:
        section, port = _part(ref)
        said.setdefault(_parent(ref), set()).add((bool(section), bool(port)))
    return all(len(ways) == 1 for ways in said.values())


def _target(ref: Mapping[str, Any]) -> object:
    return ref["group"], ref["kind"], ref["name"], ref.get("sectionName")


def _takes_traffic(ref: Mapping[str, Any]) -> bool:
    group, kind = str(ref["group"]), str(ref["kind"])
    if group == "gateway.networking.k8s.io":
        return kind in ("Gateway", "HTTPRoute", "GRPCRoute")
    return group == "networking.k8s.io" and kind == "Ingress"


def _needs_port(ref: Mapping[str, Any]) -> bool:
    return bool(ref["group"] != "" or ref["kind"] != "Service" or "port" in ref)


def _says(kind: str, field: str) -> Rule:
    return lambda change: change["type"] != kind or field in change


def _only_for(kind: str, field: str) -> Rule:
    return lambda change: field not in change or change["type"] == kind


def _at_most_one(kind: str) -> Rule:
    return lambda filters: sum(f["type"] == kind for f in filters) <= 1


def _not_both(filters: list[Mapping[str, Any]]) -> bool:
    return not {"RequestRedirect", "URLRewrite"} <= {f["type"] for f in filters}


def _path(condition: Callable[[str], bool]) -> Rule:
    return lambda path: path["type"] not in _WORDED or condition(path["value"])


def _without(part: str) -> Rule:
    return _path(lambda value: part not in value)


def _not_ending(part: str) -> Rule:
    return _path(lambda value: not value.endswith(part))


def _alone(values: list[str]) -> bool:
    return "*" not in values or len(values) == 1


def _redirect_alone(rule: Mapping[str, Any]) -> bool:
    return not (
        rule.get("backendRefs") and any(f["type"] == "RequestRedirect" for f in rule.get("filters") or ())
    )


def _one_prefix(rule: Mapping[str, Any], filters: Iterable[Mapping[str, Any]], kind: str, field: str) -> bool:
    replaces = any(
        f["type"] == kind and (f.get(field) or {}).get("path", {}).get("type") == "ReplacePrefixMatch"
        for f in filters
    )
    if not replaces:
        return True
    matches = list(rule.get("matches") or ())
    return len(matches) == 1 and bool(matches[0].get("path", {}).get("type") == "PathPrefix")


def _prefix_in_rule(kind: str, field: str) -> Rule:
    return lambda rule: _one_prefix(rule, rule.get("filters") or (), kind, field)


def _prefix_in_backends(kind: str, field: str) -> Rule:
    return lambda rule: _one_prefix(
        rule, (f for b in rule.get("backendRefs") or () for f in b.get("filters") or ()), kind, field
    )


def _tries_within_request(timeouts: Mapping[str, str]) -> bool:
    whole, one = (milliseconds(timeouts.get(name, "0s")) for name in ("request", "backendRequest"))
    return not whole or one <= whole


def _is_no_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return True
    return False


def _alternative(name: Mapping[str, Any]) -> bool:
    wanted, other = ("hostname", "uri") if name["type"] == "Hostname" else ("uri", "hostname")
    return wanted in name and other not in name


_FILTERS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "ExtensionRef": "extensionRef",
    "CORS": "cors",
}

RULES: Mapping[str, Rule] = {
    # listeners
    "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']": _each(
        lambda one: one["protocol"] not in _WITHOUT_TLS or "tls" not in one
    ),
    "tls mode must be Terminate for protocol HTTPS": _each(
        lambda one: one["protocol"] != "HTTPS" or one.get("tls", {}).get("mode", "Terminate") == "Terminate"
    ),
    "tls mode must be set for protocol TLS": _each(
        lambda one: one["protocol"] != "TLS" or bool(one.get("tls", {}).get("mode"))
    ),
    "hostname must not be specified for protocols ['TCP', 'UDP']": _each(
        lambda one: one["protocol"] not in _WITHOUT_HOST or not one.get("hostname")
    ),
    "Listener name must be unique within the Gateway": lambda values: _distinct(
        one["name"] for one in values
    ),
    "Combination of port, protocol and hostname must be unique for each listener": lambda values: _distinct(
        map(_place, values)
    ),
    "certificateRefs or options must be specified when mode is Terminate": _terminates,
    "IPAddress values must be unique": _one_address("IPAddress"),
    "Hostname values must be unique": _one_address("Hostname"),
    # references
    "sectionName or port must be specified when parentRefs includes 2 or more references to the same parent": (
        _parents_say_sections
    ),
    "sectionName or port must be unique when parentRefs includes 2 or more references to the same parent": (
        lambda refs: _distinct((_parent(ref), _part(ref)) for ref in refs)
    ),
    "Must have port for Service reference": _needs_port,
    "targetRefs must be distinct, by sectionName where they name one object": lambda refs: _distinct(
        map(_target, refs)
    ),
    "targetRefs must be Gateways, HTTPRoutes or GRPCRoutes of gateway.networking.k8s.io, or Ingresses of networking.k8s.io": (
        _each(_takes_traffic)
    ),
    "an Ingress has no sections; leave sectionName out": _each(
        lambda ref: ref["kind"] != "Ingress" or "sectionName" not in ref
    ),
    "backendRef must be a Service": lambda ref: ref["group"] == "" and ref["kind"] == "Service",
    # filters
    **{
        f"filter.{field} must be nil if the filter.type is not {kind}": _only_for(kind, field)
        for kind, field in _FILTERS.items()
    },
    **{
        f"filter.{field} must be specified for {kind} filter.type": _says(kind, field)
        for kind, field in _FILTERS.items()
    },
    **{f"{kind} filter cannot be repeated": _at_most_one(kind) for kind in _FILTERS},
    "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both": _not_both,
    "numerator must be less than or equal to denominator": lambda fraction: (
        fraction["numerator"] <= fraction["denominator"]
    ),
    "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter": lambda mirror: (
        not ("percent" in mirror and "fraction" in mirror)
    ),
    **{
        f"{field} must be specified when type is set to '{kind}'": _says(kind, field)
        for kind, field in (
            ("ReplaceFullPath", "replaceFullPath"),
            ("ReplacePrefixMatch", "replacePrefixMatch"),
        )
    },
    **{
        f"type must be '{kind}' when {field} is set": _only_for(kind, field)
        for kind, field in (
            ("ReplaceFullPath", "replaceFullPath"),
            ("ReplacePrefixMatch", "replacePrefixMatch"),
        )
    },
    **{
        f"Allow{what.capitalize()} cannot contain '*' alongside other {what}": _alone
        for what in ("origins", "methods", "headers")
    },
    # matches and rules
    "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']": _path(
        lambda value: value.startswith("/")
    ),
    **{
        f"must not contain '{part}' when type one of ['Exact', 'PathPrefix']": _without(part)
        for part in ("//", "/./", "/../", "%2f", "%2F", "#")
    },
    **{
        f"must not end with '{part}' when type one of ['Exact', 'PathPrefix']": _not_ending(part)
        for part in ("/..", "/.")
    },
    "must only contain valid characters for types ['Exact', 'PathPrefix']": _path(
        lambda value: _PATH.match(value) is not None
    ),
    "RequestRedirect filter must not be used together with backendRefs": _redirect_alone,
    **{
        f"{where} using {kind} filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified": rule(
            kind, _FILTERS[kind]
        )
        for where, rule in (
            ("When", _prefix_in_rule),
            ("Within backendRefs, when", _prefix_in_backends),
        )
        for kind in ("RequestRedirect", "URLRewrite")
    },
    "backendRequest timeout cannot be longer than request timeout": _tries_within_request,
    "Rule name must be unique within the route": lambda rules: _distinct(
        rule["name"] for rule in rules if "name" in rule
    ),
    "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must be "
    "less than 128": lambda rules: sum(len(rule.get("matches") or ()) for rule in rules) <= _MOST_MATCHES,
    "One or both of 'service' or 'method' must be specified": lambda method: (
        "service" in method or "method" in method
    ),
    "service must only contain valid characters": lambda method: (
        method["type"] != "Exact" or "service" not in method or _SERVICE.match(method["service"]) is not None
    ),
    "method must only contain valid characters": lambda method: (
        method["type"] != "Exact" or "method" not in method or _METHOD.match(method["method"]) is not None
    ),
    "Hostnames cannot contain an IP": _each(_is_no_address),
    "Wildcards on hostnames must be the first label, and the rest of hostname must be valid based on RFC-1123": _each(
        lambda host: _WILD.match(host) is not None
    ),
    # policies
    "SubjectAltName must contain exactly the field that type names": _alternative,
    "exactly one of caCertificateRefs or wellKnownCACertificates must be specified": lambda said: (
        bool(said.get("caCertificateRefs")) != bool(said.get("wellKnownCACertificates"))
    ),
}
"""Whether a value is in order."""

ABOUT_CHANGE: Mapping[str, Callable[[Any, Any], bool]] = {
    "Value is immutable": lambda new, old: bool(new == old),
}
"""Whether a value may follow the old one."""
