"""Which port is meant, where the user gave a name, a number without a protocol, or nothing.

Comes in: what was written, and the Service or pod it is about. Goes out: a number and a protocol. Not here: whether a
Service has the number at all (the walk finds that out, as a packet would).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netloom.api.core import Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.errors import UsageError
from netloom.model.provenance import Source, source_of
from netloom.model.services.ports import read_ports, read_protocol
from netloom.model.walk.packet import Destination
from netloom.units import Protocol

Port = tuple[int, Protocol]


class NamedPort(msgspec.Struct, frozen=True):
    """A port that an object lists."""

    number: int
    protocol: Protocol
    name: str
    source: Source

    def __str__(self) -> str:
        text = f"{self.number}/{self.protocol.word}"
        return f"{text} ({self.name})" if self.name else text


def service_ports(service: Service) -> tuple[NamedPort, ...]:
    """The usable ports of a Service."""
    subject = source_of("Service", service.metadata)
    ports, _ = read_ports(service, subject)
    return tuple(
        NamedPort(p.port, p.protocol, p.name, subject.at(f"spec.ports[{p.index}].port")) for p in ports
    )


def slice_ports(slices: Sequence[EndpointSlice]) -> tuple[NamedPort, ...]:
    """The ports at which the endpoints themselves serve: what counts for a headless Service."""
    found: dict[tuple[int, Protocol, str], NamedPort] = {}
    for slice_ in slices:
        subject = source_of("EndpointSlice", slice_.metadata)
        for index, port in enumerate(slice_.ports or ()):
            protocol = read_protocol(port.protocol)
            if protocol is not None and port.port is not None:
                named = NamedPort(port.port, protocol, port.name or "", subject.at(f"ports[{index}].port"))
                found.setdefault((named.number, protocol, named.name), named)
    return tuple(found.values())


def pod_ports(pod: Pod) -> tuple[NamedPort, ...]:
    """The ports that the pod's containers declare."""
    subject = source_of("Pod", pod.metadata)
    return tuple(
        NamedPort(port.container_port, protocol, port.name, subject.at(f"spec.containers[{i}].ports[{j}]"))
        for i, container in enumerate(pod.spec.containers)
        for j, port in enumerate(container.ports)
        if (protocol := read_protocol(port.protocol)) is not None
    )


def listed(ports: Sequence[NamedPort]) -> str:
    """For messages: ``80/tcp (http), 53/udp``."""
    return ", ".join(map(str, ports)) or "none"


def pick(wanted: Destination, ports: Sequence[NamedPort], subject: str) -> Port:
    """The port that is meant among those that ``subject`` lists; a number need not be among them.

    Raises:
        UsageError: a name that is not there, or no port written where there is not exactly one.
    """
    fitting = [p for p in ports if wanted.protocol in (None, p.protocol)]
    if isinstance(wanted.port, int):
        return wanted.port, wanted.protocol or _protocol_of(wanted.port, fitting)
    if wanted.port is not None:
        named = [p for p in fitting if p.name == wanted.port]
        if not named:
            raise UsageError(
                f"{wanted.text}: {subject} has no port named {wanted.port}", f"it has {listed(ports)}"
            )
        return named[0].number, named[0].protocol
    if len(fitting) == 1:
        return fitting[0].number, fitting[0].protocol
    if not ports:
        raise UsageError(f"{wanted.text}: which port? {subject} lists none", f"write {wanted.text}:80")
    raise UsageError(
        f"{wanted.text}: which port? {subject} has {listed(ports)}", f"write {wanted.text}:{ports[0].number}"
    )


def _protocol_of(number: int, ports: Sequence[NamedPort]) -> Protocol:
    """TCP, unless the number is listed for other protocols only."""
    protocols = [p.protocol for p in ports if p.number == number]
    return protocols[0] if protocols and Protocol.TCP not in protocols else Protocol.TCP
