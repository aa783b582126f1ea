"""The static routes of a configuration, read and checked. In: texts. Out: routes, or UsageError that names the field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netloom.errors import UsageError
from netloom.model.egress.settings import StaticRoute
from netloom.program.names import is_own_link
from netloom.units import Addr, Cidr, family_of, parse_addr, parse_cidr

_LONGEST_NAME = 15
"""IFNAMSIZ less the zero."""


def read_routes(entries: Iterable[tuple[str, str, str]], inside: Sequence[Cidr]) -> tuple[StaticRoute, ...]:
    """Destination, router and interface of each; ``inside`` are the cluster's own ranges, to which no such route may lead.

    Raises:
        UsageError: names the field.
    """
    found: list[StaticRoute] = []
    for index, (destination, via, device) in enumerate(entries):
        field = f"static_routes[{index}]"
        route = StaticRoute(
            _destination(f"{field}.destination", destination, inside),
            _via(field, via),
            _device(field, device),
        )
        if route.via is None and not route.device:
            raise _wrong(field, "has neither via nor device", "say where it leads")
        if route.via is not None and family_of(route.via) is not family_of(route.destination):
            raise _wrong(
                f"{field}.via", f"{via} is not of the family of {destination}", "use one of its family"
            )
        if route.via is not None and route.via.is_link_local and not route.device:
            raise _wrong(f"{field}.device", f"is missing, and {via} is link-local", "say on which link it is")
        if any(route.destination == other.destination for other in found):
            raise _wrong(f"{field}.destination", f"{destination} stands twice", "remove one")
        found.append(route)
    return tuple(found)


def _destination(field: str, text: str, inside: Sequence[Cidr]) -> Cidr:
    cidr = parse_cidr(text)
    if cidr is None:
        raise _wrong(field, f"{text!r} is no network", "write it as 198.51.100.0/24, without host bits")
    if cidr.prefixlen and (cidr.is_multicast or cidr.is_loopback or cidr.is_link_local):
        raise _wrong(field, f"{text} is not routed", "leave it out")
    for own in inside:
        if cidr.prefixlen and own.version == cidr.version and own.overlaps(cidr):
            raise _wrong(
                field, f"{text} overlaps with {own} of the cluster", "let the fabric see to that one"
            )
    return cidr


def _via(field: str, text: str) -> Addr | None:
    if not text:
        return None
    address = parse_addr(text)
    if address is None or address.is_multicast or address.is_loopback or address.is_unspecified:
        raise _wrong(f"{field}.via", f"{text!r} is no address of a router", "write it as 192.0.2.1")
    return address


def _device(field: str, text: str) -> str:
    if text and (len(text) > _LONGEST_NAME or "/" in text or text.split() != [text]):
        raise _wrong(f"{field}.device", f"{text!r} is no name of an interface", "see: ip link")
    if text == "lo" or is_own_link(text):
        raise _wrong(f"{field}.device", f"{text} leads nowhere outside", "see: ip link")
    return text


def _wrong(field: str, problem: str, hint: str) -> UsageError:
    return UsageError(f"agent configuration: {field}: {problem}", hint)
