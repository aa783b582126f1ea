"""Rules for Ingresses and IngressClasses. Pure.

Comes in: a document whose types fit, and the one that it replaces. Goes out: FieldErrors. Not here: what an Ingress means
(netloom.model.gateways.ingress). Source: networking.k8s.io/v1 API reference, and what kube-apiserver refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    forbidden,
    invalid,
    items,
    mapping,
    not_supported,
    required,
    too_long,
)
from netloom.local.apiserver.validate_names import Errors
from netloom.units import parse_addr

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "Prefix", "ImplementationSpecific")
_BANNED = ("//", "/./", "/../", "%2f", "%2F")
_BANNED_ENDS = ("/..", "/.")
_LONGEST_CONTROLLER = 250


def ingress(document: Mapping[str, Any], old: Mapping[str, Any] | None) -> Errors:
    """A networking.k8s.io/v1 Ingress."""
    spec = mapping(document.get("spec"))
    rules = items(spec.get("rules"))
    backend = spec.get("defaultBackend")
    if not rules and backend is None:
        yield invalid("spec", dict(spec), "either `defaultBackend` or `rules` must be specified")
    for number, rule in enumerate(map(mapping, rules)):
        yield from _rule(f"spec.rules[{number}]", rule)
    for number, tls in enumerate(map(mapping, items(spec.get("tls")))):
        yield from _tls(f"spec.tls[{number}]", tls)
    if backend is not None:
        yield from _backend("spec.defaultBackend", mapping(backend))
    name = spec.get("ingressClassName")
    if name is not None:
        yield from names.named("spec.ingressClassName", name, names.subdomain_problem)
    annotations = mapping(mapping(document.get("metadata")).get("annotations"))
    if old is None and name is not None and CLASS_ANNOTATION in annotations:
        path = f"metadata.annotations[{CLASS_ANNOTATION}]"
        why = "can not be set when the class field is also set"
        yield invalid(path, annotations[CLASS_ANNOTATION], why)
    yield from _status(mapping(mapping(document.get("status")).get("loadBalancer")))


def ingress_class(document: Mapping[str, Any], old: Mapping[str, Any] | None) -> Errors:
    """A networking.k8s.io/v1 IngressClass."""
    spec = mapping(document.get("spec"))
    controller = str(spec.get("controller") or "")
    if len(controller) > _LONGEST_CONTROLLER:
        yield too_long("spec.controller", _LONGEST_CONTROLLER)
    elif not controller:
        yield required("spec.controller")
    elif problem := _controller_problem(controller):
        yield invalid("spec.controller", controller, problem)
    before = mapping(mapping(old).get("spec")).get("controller") if old is not None else None
    if before is not None and before != controller:
        yield invalid("spec.controller", controller, "field is immutable")
    if spec.get("parameters") is not None:
        yield from _parameters(mapping(spec["parameters"]))


def _controller_problem(text: str) -> str:
    host, slash, path = text.partition("/")
    if not slash or not host or not path:
        return 'must be a domain-prefixed path (such as "acme.io/foo")'
    return names.subdomain_problem(host)


def _rule(path: str, rule: Mapping[str, Any]) -> Errors:
    host = rule.get("host")
    if host:
        yield from _host(f"{path}.host", str(host))
    if rule.get("http") is None:
        return
    paths = items(mapping(rule["http"]).get("paths"))
    if not paths:
        yield required(f"{path}.http.paths")
    for number, item in enumerate(map(mapping, paths)):
        yield from _path(f"{path}.http.paths[{number}]", item)


def _host(path: str, host: str) -> Errors:
    if parse_addr(host) is not None:
        yield invalid(path, host, "must be a DNS name, not an IP address")
    elif "*" in host:
        if problem := _wildcard_problem(host):
            yield invalid(path, host, problem)
    elif problem := names.subdomain_problem(host):
        yield invalid(path, host, problem)


def _wildcard_problem(host: str) -> str:
    if not host.startswith("*."):
        return "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, such as '*.example.com'"
    return names.subdomain_problem(host.removeprefix("*."))


def _path(path: str, item: Mapping[str, Any]) -> Errors:
    kind, text = item.get("pathType"), str(item.get("path") or "")
    if kind is None:
        yield required(f"{path}.pathType", "pathType must be specified")
    elif kind not in _PATH_TYPES:
        yield not_supported(f"{path}.pathType", kind, _PATH_TYPES)
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            yield invalid(f"{path}.path", text, "must be an absolute path")
    else:
        yield from _plain_path(f"{path}.path", text)
    yield from _backend(f"{path}.backend", mapping(item.get("backend")))


def _plain_path(path: str, text: str) -> Errors:
    if not text.startswith("/"):
        yield invalid(path, text, "must be an absolute path")
    if text:
        for part in _BANNED:
            if part in text:
                yield invalid(path, text, f"must not contain '{part}'")
        for part in _BANNED_ENDS:
            if text.endswith(part):
                yield invalid(path, text, f"cannot end with '{part}'")


def _backend(path: str, backend: Mapping[str, Any]) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        said = mapping(resource)
        for field in ("kind", "name"):
            if not said.get(field):
                yield required(f"{path}.resource.{field}")
    elif service is None:
        yield required(path, "a service or a resource must be named")
    else:
        yield from _service(f"{path}.service", mapping(service))


def _service(path: str, service: Mapping[str, Any]) -> Errors:
    yield from names.named(f"{path}.name", service.get("name"), names.label_1035_problem)
    port = mapping(service.get("port"))
    number, name = port.get("number"), port.get("name")
    if name and number:
        yield invalid(path, "", "cannot set both port name & port number")
    elif name:
        if problem := names.port_name_problem(str(name)):
            yield invalid(f"{path}.port.name", name, problem)
    elif not number:
        yield required(f"{path}.port", "port name or number is required")
    elif not 1 <= int(number) <= names.MAX_PORT:
        yield invalid(f"{path}.port.number", number, f"must be between 1 and {names.MAX_PORT}, inclusive")


def _tls(path: str, tls: Mapping[str, Any]) -> Errors:
    for number, host in enumerate(items(tls.get("hosts"))):
        here = f"{path}.hosts[{number}]"
        if "*" in str(host):
            if problem := _wildcard_problem(str(host)):
                yield invalid(here, host, problem)
        elif problem := names.subdomain_problem(str(host)):
            yield invalid(here, host, problem)
    if tls.get("secretName"):
        yield from names.named(f"{path}.secretName", tls["secretName"], names.subdomain_problem)


def _parameters(parameters: Mapping[str, Any]) -> Errors:
    path = "spec.parameters"
    for field in ("kind", "name"):
        if not parameters.get(field):
            yield required(f"{path}.{field}")
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        yield required(f"{path}.scope")
    elif scope not in ("Cluster", "Namespace"):
        yield not_supported(f"{path}.scope", scope, ("Cluster", "Namespace"))
    elif scope == "Namespace" and not namespace:
        yield required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
    elif scope == "Cluster" and namespace is not None:
        yield forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")


def _status(balancer: Mapping[str, Any]) -> Errors:
    for number, point in enumerate(map(mapping, items(balancer.get("ingress")))):
        path = f"status.loadBalancer.ingress[{number}]"
        address, host = point.get("ip"), point.get("hostname")
        if address and parse_addr(str(address)) is None:
            yield invalid(
                f"{path}.ip", address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            )
        if host and (problem := names.subdomain_problem(str(host))):
            yield invalid(f"{path}.hostname", host, problem)
