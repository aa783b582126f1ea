"""Ports in rules: numbers, ranges and names, of both kinds of policy. None, with a Finding, where one cannot be read."""

from __future__ import annotations

import re

from netloom.model.policy.reading.document import Document, short
from netloom.model.policy.reading.rules import PortName, ReadPort
from netloom.model.policy.state import PortRange
from netloom.units import Protocol

_LAST = 65535
_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
"""IANA_SVC_NAME (RFC 6335 section 5.1), as container ports are named."""
_CLUSTER_PROTOCOLS = ("tcp", "udp", "sctp", "destinationNamedPort")


def read_network_policy_port(document: Document, value: object, field: str) -> ReadPort | None:
    """networking.k8s.io/v1 NetworkPolicyPort: no protocol is TCP, no port is every port of the protocol."""
    given = document.mapping(value, field, ("protocol", "port", "endPort"))
    if given is None:
        return None
    protocol = _protocol(document, given.get("protocol", "TCP"), f"{field}.protocol")
    if protocol is None:
        return None
    port, last = given.get("port"), given.get("endPort")
    if isinstance(port, int) and not isinstance(port, bool):
        ports = _range(document, port, last, protocol, field)
        return None if ports is None else ReadPort(field, ports)
    if last is not None:
        beginning = "no number" if port is None else f"{short(port)}, which is no number"
        document.note(
            f"{field}.endPort", f"ends a range that begins with {beginning}", "set port to a number"
        )
        return None
    if port is None:
        return ReadPort(field, PortRange(protocol, 0, _LAST))
    return _named(document, port, protocol, field, f"{field}.port")


def _range(document: Document, port: int, last: object, protocol: Protocol, field: str) -> PortRange | None:
    first = document.number(port, f"{field}.port", 1, _LAST)
    end = first if last is None else document.number(last, f"{field}.endPort", 1, _LAST)
    if first is None or end is None:
        return None
    if end < first:
        document.note(f"{field}.endPort", f"{end} is below port {first}", "write the smaller number first")
        return None
    return PortRange(protocol, first, end)


def read_cluster_policy_protocol(document: Document, value: object, field: str) -> ReadPort | None:
    """policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicyProtocol: exactly one of its fields is set."""
    given = document.mapping(value, field, _CLUSTER_PROTOCOLS)
    if given is None:
        return None
    if len(given) != 1:
        document.note(field, f"has {len(given)} protocols", f"set one of {', '.join(_CLUSTER_PROTOCOLS)}")
        return None
    ((word, part),) = given.items()
    if word == "destinationNamedPort":
        return _named(document, part, None, field, f"{field}.{word}")
    attributes = document.mapping(part, f"{field}.{word}", ("destinationPort",))
    if attributes is None:
        return None
    if not attributes:
        document.note(f"{field}.{word}", "is empty", "set destinationPort")
        return None
    ports = _cluster_ports(
        document, attributes["destinationPort"], f"{field}.{word}.destinationPort", Protocol(word.upper())
    )
    return None if ports is None else ReadPort(field, ports)


def _cluster_ports(document: Document, value: object, field: str, protocol: Protocol) -> PortRange | None:
    given = document.mapping(value, field, ("number", "range"))
    if given is None:
        return None
    if len(given) != 1:
        document.note(field, "must have a number or a range", "set one of the two")
        return None
    if "number" in given:
        number = document.number(given["number"], f"{field}.number", 1, _LAST)
        return None if number is None else PortRange(protocol, number, number)
    return _cluster_range(document, given["range"], f"{field}.range", protocol)


def _cluster_range(document: Document, value: object, field: str, protocol: Protocol) -> PortRange | None:
    bounds = document.mapping(value, field, ("start", "end"))
    if bounds is None:
        return None
    start = document.number(bounds.get("start"), f"{field}.start", 1, _LAST)
    end = document.number(bounds.get("end"), f"{field}.end", 1, _LAST)
    if start is None or end is None:
        return None
    if start >= end:
        document.note(field, f"start {start} is not below end {end}", "write the smaller number first")
        return None
    return PortRange(protocol, start, end)


def _protocol(document: Document, value: object, field: str) -> Protocol | None:
    try:
        return Protocol(value)
    except ValueError:
        document.note(field, f"{short(value)} is no protocol of ports", "use TCP, UDP or SCTP")
        return None


def _named(
    document: Document, name: object, protocol: Protocol | None, field: str, at: str
) -> ReadPort | None:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        document.note(
            at, f"{short(name)} is no name of a port", "write a number, or the name of a container's port"
        )
        return None
    return ReadPort(field, PortName(name, protocol))
