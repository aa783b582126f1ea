"""The ports of one Service, checked.

Comes in: a Service. Goes out: the ports that can be served, and a Finding for each that cannot. Not here: endpoints
(``slices.py``) and addresses (``addresses.py``).
"""

from __future__ import annotations

import msgspec

from netloom.api.core import Service
from netloom.model.provenance import Finding, Source
from netloom.units import Protocol

_PROTOCOLS = {protocol.value: protocol for protocol in Protocol}

PortKey = tuple[str, str]
"""Name (empty for none) and protocol of a port: what joins Services and EndpointSlices (discovery/v1 EndpointPort). The protocol is
a text, whose hash is computed once and for all; 10,000 Services ask for it."""


class ServedPort(msgspec.Struct, frozen=True, gc=False):
    """One usable entry of ``spec.ports``."""

    index: int
    """Place in ``spec.ports``, for field paths."""
    key: PortKey
    protocol: Protocol
    port: int
    node_port: int
    """0 where the Service has none here, or none that can be used."""

    @property
    def name(self) -> str:
        """Empty for the only unnamed one."""
        return self.key[0]


def read_protocol(text: str | None) -> Protocol | None:
    """A core/v1 Protocol; absent means TCP; None where the text is none that we know."""
    return Protocol.TCP if text is None else _PROTOCOLS.get(text)


def is_port(number: int) -> bool:
    """True for a number that a port can have (RFC 6335: 0 is reserved)."""
    return 1 <= number <= 65535


def read_ports(service: Service, subject: Source) -> tuple[tuple[ServedPort, ...], tuple[Finding, ...]]:
    """The usable ports in the order of ``spec.ports``; ``subject`` names the Service.

    A port that repeats protocol and number (or NodePort) of an earlier one is left out: the first counts.
    """
    served: list[ServedPort] = []
    findings: list[Finding] = []
    taken: set[tuple[str, int]] = set()
    node_taken: set[tuple[str, int]] = set()
    for index, given in enumerate(service.spec.ports):
        protocol = _PROTOCOLS.get(given.protocol)
        if protocol is None:
            hint = "use TCP, UDP or SCTP"
            findings.append(_finding(subject, index, "protocol", given.protocol, "is no protocol", hint))
            continue
        place = (given.protocol, given.port)
        if not is_port(given.port):
            findings.append(_finding(subject, index, "port", given.port, "is no port", "use 1 to 65535"))
            continue
        if place in taken:
            problem, hint = f"repeats {given.protocol} port", "the first one counts; remove this one"
            findings.append(_finding(subject, index, "port", given.port, problem, hint))
            continue
        taken.add(place)
        node_port = given.node_port
        if node_port:
            problem, hint = _node_port_trouble(given.protocol, node_port, node_taken)
            if problem:
                findings.append(_finding(subject, index, "nodePort", node_port, problem, hint))
                node_port = 0
        served.append(ServedPort(index, (given.name, given.protocol), protocol, given.port, node_port))
    return tuple(served), tuple(findings)


def _node_port_trouble(protocol: str, node_port: int, taken: set[tuple[str, int]]) -> tuple[str, str]:
    """What is wrong with a NodePort, and what to do; a sound one is taken from now on."""
    if not is_port(node_port):
        return "is no port", "use 1 to 65535"
    if (protocol, node_port) in taken:
        return f"repeats a {protocol} nodePort of the same Service", "give each port its own"
    taken.add((protocol, node_port))
    return "", ""


def _finding(subject: Source, index: int, field: str, value: object, problem: str, hint: str) -> Finding:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Finding(subject.at(f"spec.ports[{index}].{field}"), f"{shown} {problem}", hint)
