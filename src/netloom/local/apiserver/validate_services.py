"""Rules for Services, EndpointSlices and Endpoints. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Not here: which addresses and node ports
are free (allocate.py). Source: API reference of core/v1 Service and Endpoints, discovery.k8s.io/v1 EndpointSlice.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    not_supported,
    required,
    too_many,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.service_updates import is_reached_from_outside, needs_health_port
from netloom.local.apiserver.validate_names import Errors
from netloom.units import parse_addr, parse_cidr

PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_FAMILIES = ("IPv4", "IPv6")
_POLICIES = ("Cluster", "Local")
_ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
_DAY = 86400
_MAX_ENDPOINTS = 1000
_MAX_ADDRESSES = 100
_MAX_SLICE_PORTS = 20000
_MAX_HINTS = 8
_KUBELET_PORT = 10250
_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_LOCAL_MULTICAST = ipaddress.IPv4Network("224.0.0.0/24")

Document = Mapping[str, Any]


def service(document: Document, old: Document | None) -> Errors:
    """A core/v1 Service."""
    spec, before = mapping(document.get("spec")), mapping((old or {}).get("spec"))
    yield from names.one_of("spec.type", spec.get("type"), _TYPES, needed=True)
    yield from _addresses(spec, before)
    yield from _service_ports(spec)
    yield from names.labels("spec.selector", spec.get("selector"))
    yield from _affinity(spec)
    yield from _traffic(spec)
    yield from _load_balancer(spec, before)
    yield from _source_ranges(spec, mapping(mapping(document.get("metadata")).get("annotations")))
    yield from _ingress(spec, mapping(mapping(document.get("status")).get("loadBalancer")))
    for number, text in enumerate(items(spec.get("externalIPs"))):
        yield from _endpoint_address(f"spec.externalIPs[{number}]", text)


def _addresses(spec: Document, before: Document) -> Errors:
    kind = spec.get("type")
    if kind == "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field):
                yield forbidden(f"spec.{field}", "may not be set for ExternalName services")
        yield from names.named("spec.externalName", spec.get("externalName"), _external_name_problem)
    else:
        yield from _cluster_ips(spec)
    if "ExternalName" not in (kind, before.get("type")):
        yield from _unchanged_addresses(spec, before)
    families = items(spec.get("ipFamilies"))
    if len(families) > 2:
        yield too_many("spec.ipFamilies", len(families), 2)
    for number, family in enumerate(families):
        yield from names.one_of(f"spec.ipFamilies[{number}]", family, _FAMILIES, needed=True)
        if family in families[:number]:
            yield duplicate(f"spec.ipFamilies[{number}]", family)
    policies = ("PreferDualStack", "RequireDualStack", "SingleStack")
    yield from names.one_of("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), policies)


def _cluster_ips(spec: Document) -> Errors:
    kind = spec.get("type")
    given = items(spec.get("clusterIPs")) or [ip for ip in (spec.get("clusterIP"),) if ip]
    families = items(spec.get("ipFamilies"))
    if "None" in given:
        if kind in ("NodePort", "LoadBalancer"):
            yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
        if len(given) > 1:
            yield invalid("spec.clusterIPs", given, "'None' must be the first and only value")
        return
    if len(given) > 2:
        yield too_many("spec.clusterIPs", len(given), 2)
    seen: set[int] = set()
    for number, text in enumerate(given):
        path, address = f"spec.clusterIPs[{number}]", parse_addr(str(text))
        if address is None:
            yield invalid(path, text, 'must be empty, "None", or an IP address such as 10.96.7.7')
            continue
        if number < len(families) and families[number] != f"IPv{address.version}":
            yield invalid(
                path, text, f"expected an {families[number]} value as indicated by `ipFamilies[{number}]`"
            )
        if address.version in seen:
            yield invalid("spec.clusterIPs", given, "may specify no more than one IP for each IP family")
        seen.add(address.version)


def _unchanged_addresses(spec: Document, before: Document) -> Errors:
    """Addresses and families that a Service has stay; a second one may come and go."""
    if spec.get("clusterIP") and before.get("clusterIP") and spec["clusterIP"] != before["clusterIP"]:
        yield invalid("spec.clusterIPs[0]", spec["clusterIP"], "may not change once set")
    for field, start in (("clusterIPs", 1), ("ipFamilies", 0)):
        for number, (now, then) in enumerate(
            zip(items(spec.get(field)), items(before.get(field)), strict=False)
        ):
            if number >= start and now != then:
                yield invalid(f"spec.{field}[{number}]", now, "may not change once set")


def _external_name_problem(text: str) -> str:
    return names.subdomain_problem(text.lower().removesuffix("."))


def _service_ports(spec: Document) -> Errors:
    ports = [mapping(item) for item in items(spec.get("ports"))]
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    seen_names: set[str] = set()
    seen_ports: set[tuple[Json, Json]] = set()
    seen_node_ports: set[tuple[Json, Json]] = set()
    for number, port in enumerate(ports):
        path = f"spec.ports[{number}]"
        yield from _port_name(path, port.get("name"), seen_names, needed=len(ports) > 1)
        yield from names.port(f"{path}.port", port.get("port"))
        if spec.get("type") == "LoadBalancer" and port.get("port") == _KUBELET_PORT:
            why = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
            yield invalid(f"{path}.port", _KUBELET_PORT, why)
        yield from names.one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS, needed=True)
        if port.get("targetPort") is not None:
            yield from names.port_or_name(f"{path}.targetPort", port["targetPort"])
        yield from names.optional(
            f"{path}.appProtocol", port.get("appProtocol"), names.qualified_name_problem
        )
        key = (port.get("protocol"), port.get("port"))
        if key in seen_ports:
            yield duplicate(path, {"port": key[1], "protocol": key[0]})
        seen_ports.add(key)
        if node_port := port.get("nodePort"):
            yield from _node_port(path, spec, port)
            if (key[0], node_port) in seen_node_ports:
                yield duplicate(f"{path}.nodePort", node_port)
            seen_node_ports.add((key[0], node_port))


def _port_name(path: str, name: Json, seen: set[str], *, needed: bool) -> Errors:
    if not name:
        if needed:
            yield required(f"{path}.name")
        return
    yield from names.optional(f"{path}.name", name, names.label_problem)
    if name in seen:
        yield duplicate(f"{path}.name", name)
    seen.add(name)


def _node_port(path: str, spec: Document, port: Document) -> Errors:
    if spec.get("type") not in ("NodePort", "LoadBalancer"):
        yield forbidden(f"{path}.nodePort", f"may not be used when `type` is '{spec.get('type')}'")
    yield from names.port(f"{path}.nodePort", port["nodePort"])


def _affinity(spec: Document) -> Errors:
    yield from names.one_of("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
    client = mapping(mapping(spec.get("sessionAffinityConfig")).get("clientIP"))
    seconds = client.get("timeoutSeconds")
    if spec.get("sessionAffinity") == "ClientIP" and seconds is not None and not 1 <= seconds <= _DAY:
        why = f"must be greater than 0 and less than {_DAY}"
        yield invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, why)


def _traffic(spec: Document) -> Errors:
    external = spec.get("externalTrafficPolicy")
    yield from names.one_of("spec.externalTrafficPolicy", external, _POLICIES)
    if external and not is_reached_from_outside(spec):
        why = "may only be set for externally-accessible services"
        yield invalid("spec.externalTrafficPolicy", external, why)
    yield from names.one_of("spec.internalTrafficPolicy", spec.get("internalTrafficPolicy"), _POLICIES)
    distributions = ("PreferClose", "PreferSameNode", "PreferSameZone")
    yield from names.one_of("spec.trafficDistribution", spec.get("trafficDistribution"), distributions)
    if health := spec.get("healthCheckNodePort"):
        path = "spec.healthCheckNodePort"
        yield from names.port(path, health)
        if not needs_health_port(spec):
            why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            yield invalid(path, health, why)


def _load_balancer(spec: Document, before: Document) -> Errors:
    path, name = "spec.loadBalancerClass", spec.get("loadBalancerClass")
    if spec.get("type") == "LoadBalancer":
        yield from names.optional(path, name, names.qualified_name_problem)
        if before.get("type") == "LoadBalancer" and name != before.get("loadBalancerClass"):
            yield invalid(path, name, "may not change once set")
        return
    for field in ("loadBalancerClass", "allocateLoadBalancerNodePorts"):
        if spec.get(field) is not None:
            yield forbidden(f"spec.{field}", _ONLY_BALANCED)


def _source_ranges(spec: Document, annotations: Document) -> Errors:
    """Of the field, or where that is empty of the annotation that was there before it."""
    path, ranges = "spec.loadBalancerSourceRanges", items(spec.get("loadBalancerSourceRanges"))
    if not ranges and _SOURCE_RANGES in annotations:
        path, told = f"metadata.annotations[{_SOURCE_RANGES}]", str(annotations[_SOURCE_RANGES]).strip()
        if spec.get("type") != "LoadBalancer":
            yield forbidden(path, _ONLY_BALANCED)
            return
        if told and any(parse_cidr(text.strip()) is None for text in told.split(",")):
            yield invalid(path, told, "must be a list of ranges such as 192.0.2.0/24,198.51.100.0/24")
        return
    if ranges and spec.get("type") != "LoadBalancer":
        yield forbidden(path, _ONLY_BALANCED)
    for number, text in enumerate(ranges):
        if parse_cidr(str(text).strip()) is None:
            yield invalid(f"{path}[{number}]", text, "must be a range such as 192.0.2.0/24")


def _ingress(spec: Document, balancer: Document) -> Errors:
    """The addresses of a load balancer, which its controller writes into status."""
    path, ingress = "status.loadBalancer.ingress", items(balancer.get("ingress"))
    if ingress and spec.get("type") != "LoadBalancer":
        yield forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
        return
    for number, item in enumerate(ingress):
        here, one = f"{path}[{number}]", mapping(item)
        ip, mode, host = one.get("ip"), one.get("ipMode"), one.get("hostname")
        if ip and parse_addr(str(ip)) is None:
            yield invalid(f"{here}.ip", ip, "must be an IP address, such as 192.0.2.7 or 2001:db8::7")
        if mode is not None and not ip:
            yield forbidden(f"{here}.ipMode", "may not be specified when `ip` is not set")
        else:
            yield from names.one_of(f"{here}.ipMode", mode, ("Proxy", "VIP"))
        if host:
            yield from names.optional(f"{here}.hostname", host, names.subdomain_problem)
            if parse_addr(str(host)) is not None:
                yield invalid(f"{here}.hostname", host, "must be a DNS name, not an IP address")


def endpoint_slice(document: Document, old: Document | None) -> Errors:
    """A discovery.k8s.io/v1 EndpointSlice."""
    kind = document.get("addressType")
    yield from names.one_of("addressType", kind, ("FQDN", "IPv4", "IPv6"), needed=True)
    if old is not None and kind != old.get("addressType"):
        yield invalid("addressType", kind, "field is immutable")
    endpoints = items(document.get("endpoints"))
    if len(endpoints) > _MAX_ENDPOINTS:
        yield too_many("endpoints", len(endpoints), _MAX_ENDPOINTS)
    else:
        for number, item in enumerate(endpoints):
            yield from _endpoint(f"endpoints[{number}]", mapping(item), kind)
    ports = items(document.get("ports"))
    if len(ports) > _MAX_SLICE_PORTS:
        yield too_many("ports", len(ports), _MAX_SLICE_PORTS)
        return
    seen: set[Json] = set()
    for number, item in enumerate(ports):
        port, path = mapping(item), f"ports[{number}]"
        name = port.get("name") or ""
        yield from names.optional(f"{path}.name", name, names.label_problem)
        if name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)
        yield from names.one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS, needed=True)
        if port.get("port") is not None:
            yield from names.port(f"{path}.port", port["port"])
        yield from names.optional(
            f"{path}.appProtocol", port.get("appProtocol"), names.qualified_name_problem
        )


def _endpoint(path: str, endpoint: Document, kind: Json) -> Errors:
    addresses = items(endpoint.get("addresses"))
    if not addresses:
        yield required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MAX_ADDRESSES:
        yield too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES)
    for number, text in enumerate(addresses):
        here = f"{path}.addresses[{number}]"
        if kind == "FQDN":
            yield from names.named(here, text, names.subdomain_problem)
        elif kind in _FAMILIES and (problem := _address_problem(str(text), str(kind))):
            yield invalid(here, text, problem)
        if text in addresses[:number]:
            yield duplicate(here, text)
    yield from names.optional(f"{path}.hostname", endpoint.get("hostname"), names.label_problem)
    yield from names.optional(f"{path}.nodeName", endpoint.get("nodeName"), names.subdomain_problem)
    yield from names.optional(f"{path}.zone", endpoint.get("zone"), names.label_value_problem)
    if hints := mapping(endpoint.get("hints")):
        for field in ("forZones", "forNodes"):
            yield from _hints(f"{path}.hints.{field}", items(hints.get(field)))


def _hints(path: str, hints: list[Any]) -> Errors:
    if len(hints) > _MAX_HINTS:
        yield too_many(path, len(hints), _MAX_HINTS)
    seen: set[Json] = set()
    for number, item in enumerate(hints):
        name = mapping(item).get("name")
        yield from names.named(f"{path}[{number}].name", name, names.label_value_problem)
        if name in seen:
            yield duplicate(f"{path}[{number}].name", name)
        seen.add(name)


def _endpoint_address(path: str, text: Json) -> Errors:
    """An address that a peer can be: not unspecified, loopback, link-local or multicast."""
    if problem := _address_problem(str(text), ""):
        yield invalid(path, text, problem)


@functools.lru_cache(maxsize=1 << 16)
def _address_problem(text: str, family: str) -> str:
    """What keeps a text from being an endpoint's address; remembered, as endpoints are written again and again."""
    address = parse_addr(text)
    if family and (address is None or f"IPv{address.version}" != family):
        return f"must be an {family} address"
    if address is None:
        return "must be an IP address, such as 192.0.2.7 or 2001:db8::7"
    for special, words in (
        (address.is_unspecified, "may not be unspecified (0.0.0.0 or ::)"),
        (address.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (address in _LOCAL_MULTICAST, "may not be in the link-local multicast range (224.0.0.0/24)"),
    ):
        if special:
            return words
    return ""


def endpoints(document: Document) -> Errors:
    """A core/v1 Endpoints."""
    for number, item in enumerate(items(document.get("subsets"))):
        subset, path = mapping(item), f"subsets[{number}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(path, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for position, entry in enumerate(items(subset.get(field))):
                address, here = mapping(entry), f"{path}.{field}[{position}]"
                yield from _endpoint_address(f"{here}.ip", address.get("ip", ""))
                yield from names.optional(f"{here}.hostname", address.get("hostname"), names.label_problem)
                yield from names.optional(
                    f"{here}.nodeName", address.get("nodeName"), names.subdomain_problem
                )
        ports = items(subset.get("ports"))
        seen: set[str] = set()
        for position, entry in enumerate(ports):
            port, here = mapping(entry), f"{path}.ports[{position}]"
            yield from _port_name(here, port.get("name"), seen, needed=len(ports) > 1)
            yield from names.port(f"{here}.port", port.get("port"))
            yield from names.one_of(f"{here}.protocol", port.get("protocol"), PROTOCOLS, needed=True)


def port_protocol(path: str, protocol: Json) -> Errors:
    """A transport protocol, where one is given."""
    if protocol not in (None, "", *PROTOCOLS):
        yield not_supported(path, protocol, PROTOCOLS)
