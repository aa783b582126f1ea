"""Which endpoints of a Service's slices serve one port, and why each other one does not.

Comes in: EndpointSlices, a port, a locality. Goes out: backends and left-out endpoints. Not here: what the frontends
are (``build.py``). The rules: discovery/v1 (conditions, the port's name joins slice and Service), KEP-1669 (when no
endpoint is ready, those that still serve while terminating do), KEP-2086 (traffic policies).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import msgspec

from netloom.api.discovery import Endpoint, EndpointSlice
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.services.addresses import read_address
from netloom.model.services.frontends import Backend, LeftOut
from netloom.model.services.ports import ServedPort, is_port, read_protocol
from netloom.units import Addr, Family, ObjectKey, Protocol

_FAMILIES = {family.address_type: family for family in Family}
_VERSIONS = {Family.V4: 4, Family.V6: 6}


class Usability(enum.IntEnum):
    """How willing an endpoint is; the lowest that anybody offers is used."""

    READY = 0
    SERVING_TERMINATING = 1
    """Used only where nobody is ready (KEP-1669)."""
    NOT_READY = 2


class ReadEndpoint(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``endpoints`` with an address that packets can be sent to."""

    address: Addr
    packed: bytes
    """The same; hashed and compared far more cheaply."""
    node: str
    pod: ObjectKey | None
    usability: Usability
    is_terminating: bool
    source: Source


class ReadSlice(msgspec.Struct, frozen=True, gc=False):
    """An EndpointSlice, checked once for all ports of its Service."""

    family: Family | None
    source: Source
    ports: dict[tuple[str, Protocol], int]
    endpoints: tuple[ReadEndpoint, ...]
    left_out: tuple[LeftOut, ...]
    findings: tuple[Finding, ...]


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A backend that would be, with what decides about it."""

    backend: Backend
    usability: Usability
    is_terminating: bool
    source: Source


class Candidates(msgspec.Struct, frozen=True, gc=False):
    """All endpoints of one Service port in one family, before conditions and traffic policies are looked at."""

    candidates: tuple[Candidate, ...]
    """In order of ``Backend.sort_key``."""
    left_out: tuple[LeftOut, ...]


class Locality(msgspec.Struct, frozen=True):
    """A traffic policy of Local: only endpoints on this node count."""

    node: str
    field: str
    """The Service's field that says so, for the reason."""


def read_slice(slice_: EndpointSlice) -> ReadSlice:
    """Check a slice's ports and addresses."""
    subject = source_of("EndpointSlice", slice_.metadata)
    family = _FAMILIES.get(slice_.address_type)
    if family is None:
        problem = f'addressType "{slice_.address_type}" is not served'
        return ReadSlice(
            None, subject, {}, (), (), (Finding(subject.at("addressType"), problem, "use IPv4 or IPv6"),)
        )
    ports, findings = _read_slice_ports(slice_, subject)
    endpoints: list[ReadEndpoint] = []
    left_out: list[LeftOut] = []
    for index, endpoint in enumerate(slice_.endpoints):
        source = subject.at(f"endpoints[{index}]")
        address, trouble = _read_address(endpoint, family)
        if address is None:
            at = subject.at(f"endpoints[{index}].addresses[0]") if endpoint.addresses else source
            findings.append(Finding(at, trouble, "the endpoint is left out; correct it"))
            left_out.append(LeftOut(endpoint.addresses[0] if endpoint.addresses else "", trouble, at))
            continue
        endpoints.append(
            ReadEndpoint(
                address,
                address.packed,
                endpoint.node_name or "",
                _pod_of(endpoint, slice_.metadata.namespace),
                _usability(endpoint),
                endpoint.is_terminating,
                source,
            )
        )
    return ReadSlice(family, subject, ports, tuple(endpoints), tuple(left_out), tuple(findings))


def candidates_of(slices: Sequence[ReadSlice], family: Family, port: ServedPort) -> Candidates:
    """All endpoints that carry this Service port, each address and port once.

    Where two slices hold the same endpoint (the controller moves it from one to the other), the more usable entry
    counts; of equals the first in the order of ``slices``.
    """
    best: dict[tuple[bytes, int], Candidate] = {}
    left_out: list[LeftOut] = []
    portless: list[ReadEndpoint] = []
    for slice_ in slices:
        if slice_.family is not family:
            continue
        left_out.extend(slice_.left_out)
        number = slice_.ports.get((port.name, port.protocol))
        if number is None:
            portless.extend(slice_.endpoints)
            continue
        for endpoint in slice_.endpoints:
            key = (endpoint.packed, number)
            rival = best.get(key)
            if rival is None or endpoint.usability < rival.usability:
                backend = Backend(endpoint.address, number, endpoint.node, endpoint.pod, endpoint.source)
                best[key] = Candidate(backend, endpoint.usability, endpoint.is_terminating, endpoint.source)
    if portless:
        carried = {packed for packed, _ in best}
        named = f'port "{port.name}"' if port.name else "unnamed port"
        left_out.extend(
            LeftOut(
                str(e.address),
                f"its slice has no {named} with protocol {port.protocol.value}",
                _ports_of(e.source),
            )
            for e in portless
            if e.packed not in carried
        )
    # Packed addresses of one family sort as Backend.sort_key does.
    return Candidates(tuple(best[key] for key in sorted(best)), tuple(left_out))


def choose(given: Candidates, locality: Locality | None) -> tuple[tuple[Backend, ...], tuple[LeftOut, ...]]:
    """The backends in order of ``Backend.sort_key``, and everybody else with the reason.

    With a locality, endpoints of other nodes are out first; readiness is then judged among the rest.
    """
    left_out = list(given.left_out)
    near: Iterable[Candidate] = given.candidates
    if locality is not None:
        near = [c for c in given.candidates if c.backend.node == locality.node]
        left_out.extend(_not_local(c, locality) for c in given.candidates if c.backend.node != locality.node)
    offered = min((c.usability for c in near), default=Usability.NOT_READY)
    chosen: list[Backend] = []
    for candidate in near:
        if candidate.usability is offered and offered is not Usability.NOT_READY:
            chosen.append(candidate.backend)
        else:
            left_out.append(_unwilling(candidate))
    return (
        tuple(chosen),
        tuple(sorted(left_out, key=lambda out: (out.source, out.address, out.reason))) if left_out else (),
    )


def _not_local(candidate: Candidate, locality: Locality) -> LeftOut:
    where = f"on {candidate.backend.node}" if candidate.backend.node else "on no known node"
    reason = f"{where}, and {locality.field} is Local"
    return LeftOut(str(candidate.backend), reason, _field_of(candidate.source, "nodeName"))


def _unwilling(candidate: Candidate) -> LeftOut:
    if candidate.usability is Usability.SERVING_TERMINATING:
        return LeftOut(
            str(candidate.backend),
            "terminating, while others are ready",
            _field_of(candidate.source, "conditions.terminating"),
        )
    if candidate.is_terminating:
        field, reason = "conditions.serving", "terminating and no longer serving"
    else:
        field, reason = "conditions.ready", "not ready"
    return LeftOut(str(candidate.backend), reason, _field_of(candidate.source, field))


def _field_of(source: Source, field: str) -> Source:
    return source.at(f"{source.field}.{field}")


def _ports_of(endpoint: Source) -> Source:
    return endpoint.at("ports")


def _usability(endpoint: Endpoint) -> Usability:
    if endpoint.is_ready:
        return Usability.READY
    if endpoint.is_serving and endpoint.is_terminating:
        return Usability.SERVING_TERMINATING
    return Usability.NOT_READY


def _pod_of(endpoint: Endpoint, namespace: str) -> ObjectKey | None:
    target = endpoint.target_ref
    if target is None or target.kind != "Pod" or not target.name:
        return None
    return ObjectKey(target.namespace or namespace, target.name)


def _read_address(endpoint: Endpoint, family: Family) -> tuple[Addr | None, str]:
    if not endpoint.addresses:
        return None, "has no address"
    text = endpoint.addresses[0]
    address, trouble = read_address(text)
    if address is not None and address.version != _VERSIONS[family]:
        return None, f"{text} is not of addressType {family.address_type}"
    return address, trouble


def _read_slice_ports(
    slice_: EndpointSlice, subject: Source
) -> tuple[dict[tuple[str, Protocol], int], list[Finding]]:
    ports: dict[tuple[str, Protocol], int] = {}
    findings: list[Finding] = []
    for index, port in enumerate(slice_.ports or ()):
        field = f"ports[{index}]"
        protocol = read_protocol(port.protocol)
        if protocol is None:
            problem = f'"{port.protocol}" is no protocol'
            findings.append(Finding(subject.at(f"{field}.protocol"), problem, "use TCP, UDP or SCTP"))
        elif port.port is None:
            problem = "has no number, and a Service port needs one"
            findings.append(
                Finding(subject.at(f"{field}.port"), problem, "set it to the port of the endpoints")
            )
        elif not is_port(port.port):
            findings.append(Finding(subject.at(f"{field}.port"), f"{port.port} is no port", "use 1 to 65535"))
        elif (port.name or "", protocol) in ports:
            problem = f'repeats the name "{port.name or ""}"'
            findings.append(
                Finding(subject.at(f"{field}.name"), problem, "the first one counts; remove this one")
            )
        else:
            ports[port.name or "", protocol] = port.port
    return ports, findings
