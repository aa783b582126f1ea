"""The ports of one Service, checked.

Comes in: a Service. Goes out: the ports that can be served, and a Finding for each that cannot. Not here: endpoints
(``backends.py``) and addresses (``addresses.py``).
"""

from __future__ import annotations

import msgspec

from netloom.api.core import Service
from netloom.model.provenance import Finding, Source
from netloom.units import Protocol

_PROTOCOLS = {protocol.value: protocol for protocol in Protocol}


class ServedPort(msgspec.Struct, frozen=True, gc=False):
    """One usable entry of ``spec.ports``."""

    index: int
    """Place in ``spec.ports``, for field paths."""
    name: str
    protocol: Protocol
    port: int
    node_port: int
    """0 where the Service has none here, or none that can be used."""


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
    taken: set[tuple[Protocol, int]] = set()
    node_taken: set[tuple[Protocol, int]] = set()
    for index, given in enumerate(service.spec.ports):
        field = f"spec.ports[{index}]"
        protocol = read_protocol(given.protocol)
        if protocol is None:
            findings.append(
                _finding(
                    subject, f"{field}.protocol", given.protocol, "is no protocol", "use TCP, UDP or SCTP"
                )
            )
            continue
        if not is_port(given.port):
            findings.append(_finding(subject, f"{field}.port", given.port, "is no port", "use 1 to 65535"))
            continue
        if (protocol, given.port) in taken:
            problem = f"repeats {protocol.value} port"
            findings.append(
                _finding(
                    subject, f"{field}.port", given.port, problem, "the first one counts; remove this one"
                )
            )
            continue
        taken.add((protocol, given.port))
        node_port = given.node_port
        if node_port and not is_port(node_port):
            findings.append(_finding(subject, f"{field}.nodePort", node_port, "is no port", "use 1 to 65535"))
            node_port = 0
        elif node_port and (protocol, node_port) in node_taken:
            problem = f"repeats a {protocol.value} nodePort of the same Service"
            findings.append(
                _finding(subject, f"{field}.nodePort", node_port, problem, "give each port its own")
            )
            node_port = 0
        node_taken.add((protocol, node_port))
        served.append(ServedPort(index, given.name, protocol, given.port, node_port))
    return tuple(served), tuple(findings)


def _finding(subject: Source, field: str, value: object, problem: str, hint: str) -> Finding:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Finding(subject.at(field), f"{shown} {problem}", hint)
