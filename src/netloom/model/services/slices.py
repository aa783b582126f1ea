"""One EndpointSlice, checked once for all ports of its Service.

Comes in: an EndpointSlice. Goes out: its ports, and its endpoints with what decides about them. Not here: which of them are used
(``pools.py``). The rules are those of discovery/v1.
"""

from __future__ import annotations

import enum
import operator

import msgspec

from netloom.api.discovery import Endpoint, EndpointSlice
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.services.frontends import Backend, LeftOut
from netloom.model.services.ports import PortKey, is_port, read_protocol
from netloom.model.services.texts import read_address
from netloom.units import Addr, Family, ObjectKey

_FAMILIES = {family.address_type: family for family in Family}


class Usability(enum.IntEnum):
    """How willing an endpoint is; the lowest that anybody offers is used, if it is one of the first two."""

    READY = 0
    SERVING_TERMINATING = 1
    """Used only where nobody is ready (KEP-1669)."""
    TERMINATING = 2
    """And no longer serving."""
    NOT_READY = 3


_READY = Usability.READY
_value = operator.attrgetter("value")


class ReadEndpoint(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``endpoints`` with an address that packets can be sent to."""

    address: Addr
    value: int
    """The same as a number; hashed and compared far more cheaply."""
    node: str
    pod: ObjectKey | None
    usability: Usability
    of: Source
    """The slice."""
    index: int
    """Its place in ``endpoints``."""
    zone_hints: tuple[str, ...] = ()
    """``hints.forZones``."""
    node_hints: tuple[str, ...] = ()
    """``hints.forNodes``."""

    @property
    def source(self) -> Source:
        """EndpointSlice and ``endpoints[i]``."""
        return self.of.at(f"endpoints[{self.index}]")


class ReadSlice(msgspec.Struct, frozen=True, gc=False):
    """An EndpointSlice, checked."""

    family: Family | None
    source: Source
    ports: dict[PortKey, tuple[int, int]]
    """The number of each usable port, and its place in ``ports``."""
    endpoints: tuple[ReadEndpoint, ...]
    is_plain: bool
    """All endpoints can be read, are ready, without hints, each once: nothing has to be decided about them."""
    left_out: tuple[LeftOut, ...] = ()
    findings: tuple[Finding, ...] = ()
    made: dict[int, tuple[Backend, ...]] = {}
    """By port number: what the endpoints were as backends, see ``backends_at``."""

    def backends_at(self, number: int) -> tuple[Backend, ...]:
        """What each endpoint would be at a port. The same objects each time: a change of another slice leaves them as they are."""
        found = self.made.get(number)
        if found is None:
            found = tuple([Backend(e.address, number, e.node, e.pod, e.of, e.index) for e in self.endpoints])
            self.made[number] = found
        return found


def read_slice(slice_: EndpointSlice) -> ReadSlice:
    """Check a slice's ports and addresses."""
    meta = slice_.metadata
    subject = source_of("EndpointSlice", meta)
    family = _FAMILIES.get(slice_.address_type)
    if family is None:
        finding = Finding(
            subject.at("addressType"),
            f'addressType "{slice_.address_type}" is not served',
            "use IPv4 or IPv6",
        )
        return ReadSlice(None, subject, {}, (), False, (), (finding,))
    findings: list[Finding] = []
    ports = _read_ports(slice_, subject, findings)
    endpoints: list[ReadEndpoint] = []
    left_out: list[LeftOut] = []
    is_plain = True
    for index, endpoint in enumerate(slice_.endpoints):
        given = endpoint.addresses
        read = read_address(given[0], family) if given else "has no address"
        if isinstance(read, str):
            left_out.append(_unreadable(endpoint, subject.at(f"endpoints[{index}]"), read))
            continue
        usability = _READY if endpoint.conditions.ready is not False else _unready(endpoint)
        target = endpoint.target_ref
        pod = None
        if target is not None and target.kind == "Pod" and target.name:
            pod = ObjectKey(target.namespace or meta.namespace, target.name)
        hints = endpoint.hints
        is_plain = is_plain and usability is _READY and hints is None
        endpoints.append(
            ReadEndpoint(read[0], read[1], endpoint.node_name or "", pod, usability, subject, index)
            if hints is None
            else ReadEndpoint(
                *read,
                endpoint.node_name or "",
                pod,
                usability,
                subject,
                index,
                tuple(zone.name for zone in hints.for_zones),
                tuple(node.name for node in hints.for_nodes),
            )
        )
    findings.extend(
        Finding(out.source, out.reason, "the endpoint is left out; correct it") for out in left_out
    )
    if len(set(map(_value, endpoints))) != len(endpoints):
        is_plain = False
        findings.extend(_repeated(endpoints))
    return ReadSlice(
        family,
        subject,
        ports,
        tuple(endpoints),
        is_plain and not left_out,
        tuple(left_out),
        tuple(findings),
    )


def _unreadable(endpoint: Endpoint, source: Source, trouble: str) -> LeftOut:
    if not endpoint.addresses:
        return LeftOut("", trouble, source)
    return LeftOut(endpoint.addresses[0], trouble, source.at(f"{source.field}.addresses[0]"))


def _unready(endpoint: Endpoint) -> Usability:
    if endpoint.is_terminating:
        return Usability.SERVING_TERMINATING if endpoint.is_serving else Usability.TERMINATING
    return Usability.NOT_READY


def _repeated(endpoints: list[ReadEndpoint]) -> list[Finding]:
    """Each entry with an address that an earlier one has."""
    first: dict[int, ReadEndpoint] = {}
    return [
        Finding(
            endpoint.source.at(f"{endpoint.source.field}.addresses[0]"),
            f"{endpoint.address} repeats {found.source.field}",
            "the more usable one counts; remove the other",
        )
        for endpoint in endpoints
        if (found := first.setdefault(endpoint.value, endpoint)) is not endpoint
    ]


def _read_ports(
    slice_: EndpointSlice, subject: Source, findings: list[Finding]
) -> dict[PortKey, tuple[int, int]]:
    ports: dict[PortKey, tuple[int, int]] = {}
    for index, port in enumerate(slice_.ports or ()):
        key = (port.name or "", "TCP" if port.protocol is None else port.protocol)
        if read_protocol(port.protocol) is None:
            problem = f'"{port.protocol}" is no protocol'
            findings.append(Finding(subject.at(f"ports[{index}].protocol"), problem, "use TCP, UDP or SCTP"))
        elif port.port is None:
            problem = "has no number, and a Service port needs one"
            findings.append(
                Finding(subject.at(f"ports[{index}].port"), problem, "set it to the port of the endpoints")
            )
        elif not is_port(port.port):
            findings.append(
                Finding(subject.at(f"ports[{index}].port"), f"{port.port} is no port", "use 1 to 65535")
            )
        elif key in ports:
            problem = f'repeats the name "{key[0]}"'
            findings.append(
                Finding(subject.at(f"ports[{index}].name"), problem, "the first one counts; remove this one")
            )
        else:
            ports[key] = (port.port, index)
    return ports
