"""Listeners of Gateways and ListenerSets, each apart from the others.

Comes in: listeners as written, what is around them. Goes out: ``ReadListener``: what it takes, and what is wrong with it. Not here: TLS
(``listener_tls.py``), listeners that conflict (``conflicts.py``), statuses (``gateway_status.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.gateway import GROUP, FromNamespaces, Listener
from netloom.api.lenient import Unread
from netloom.api.meta import LabelSelector
from netloom.api.selectors import Selector, from_selector
from netloom.model.gateways.hostnames import is_hostname
from netloom.model.gateways.plan import ListenerTls, Transport
from netloom.model.gateways.troubles import UNSUPPORTED, Trouble
from netloom.model.provenance import Source
from netloom.units import ObjectKey

_TRANSPORTS = {
    "HTTP": Transport.HTTP,
    "HTTPS": Transport.TLS,
    "TLS": Transport.TLS,
    "TCP": Transport.TCP,
    "UDP": Transport.UDP,
}
_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})
PASSTHROUGH, TERMINATE = "Passthrough", "Terminate"


class ListenerId(msgspec.Struct, frozen=True, order=True, gc=False):
    """A listener of a gateway: the object that has it, and its place there."""

    gateway: ObjectKey
    kind: str
    """Gateway or ListenerSet."""
    owner: ObjectKey
    index: int
    name: str


class Namespaces(msgspec.Struct, frozen=True):
    """Which namespaces routes, or ListenerSets, may come from."""

    origin: str
    """All, Same, Selector or None."""
    own: str
    selector: Selector | None = None

    def includes(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """Whether this namespace is one; ``labels`` are None where there is no such namespace."""
        match self.origin:
            case "All":
                return True
            case "Same":
                return name == self.own
            case "Selector":
                return self.selector is not None and labels is not None and self.selector.matches(labels)
            case _:
                return False


class ReadListener(msgspec.Struct, frozen=True):
    """One listener, as far as it can be seen alone, and what the others and its references make of it."""

    id: ListenerId
    source: Source
    port: int
    protocol: str
    """In upper case."""
    transport: Transport | None
    """None for a protocol that is not known."""
    hostname: str
    """Empty where every host is meant."""
    mode: str
    """Terminate or Passthrough; empty without TLS."""
    supported: tuple[str, ...]
    """Kinds of routes that it takes, of those that are written or of those that the protocol has."""
    namespaces: Namespaces
    refused: tuple[Trouble, ...] = ()
    """Condition Accepted."""
    unresolved: tuple[Trouble, ...] = ()
    """Condition ResolvedRefs."""
    conflict: Trouble | None = None
    overlap: str = ""
    """Listeners whose TLS it overlaps with, in words."""
    tls: ListenerTls | None = None
    is_down: bool = False
    """Accepted, and still nothing can be served: no certificate."""

    @property
    def is_accepted(self) -> bool:
        """Condition Accepted."""
        return not self.refused and self.conflict is None

    @property
    def is_programmed(self) -> bool:
        """Condition Programmed."""
        return self.is_accepted and not self.is_down

    @property
    def is_stream(self) -> bool:
        """Whether it carries connections rather than requests."""
        return self.protocol in ("TLS", "TCP", "UDP")


def read_listener(
    id_: ListenerId, given: Listener, unread: tuple[Unread, ...], source: Source
) -> ReadListener:
    """A listener without its TLS."""
    field = source.field
    refused = [Trouble(u.field, UNSUPPORTED, u.problem) for u in unread]
    protocol = given.protocol.upper()
    transport = _TRANSPORTS.get(protocol)
    if transport is None:
        problem = f'"{given.protocol}" is not supported; use HTTP, HTTPS, TLS, TCP or UDP'
        refused.append(Trouble(f"{field}.protocol", "UnsupportedProtocol", problem))
    if not 1 <= given.port <= 65535:
        refused.append(Trouble(f"{field}.port", "PortUnavailable", f"{given.port} is no port"))
    hostname = given.hostname or ""
    if transport in (Transport.TCP, Transport.UDP):
        hostname = ""
    elif hostname and not is_hostname(hostname):
        refused.append(Trouble(f"{field}.hostname", UNSUPPORTED, f'"{hostname}" is no host name'))
    mode = _mode(given, protocol, field, refused)
    namespaces = read_namespaces(
        given.allowed_routes.namespaces,
        "Same",
        id_.owner.namespace,
        f"{field}.allowedRoutes.namespaces",
        refused,
    )
    supported, unresolved = _kinds(given, protocol, mode, field)
    return ReadListener(
        id=id_,
        source=source,
        port=given.port,
        protocol=protocol,
        transport=transport,
        hostname=hostname,
        mode=mode,
        supported=supported,
        namespaces=namespaces,
        refused=tuple(refused),
        unresolved=unresolved,
    )


def read_namespaces(
    given: FromNamespaces, default: str, own: str, field: str, troubles: list[Trouble]
) -> Namespaces:
    """Which namespaces are meant; what cannot be read means none."""
    origin = given.from_ or default
    if origin not in ("All", "Same", "Selector", "None"):
        troubles.append(
            Trouble(f"{field}.from", UNSUPPORTED, f'"{origin}" is none of All, Same and Selector')
        )
        origin = "None"
    selector = None
    if origin == "Selector":
        selector = _selector(given.selector, f"{field}.selector", troubles)
    return Namespaces(origin, own, selector)


def _selector(given: LabelSelector | None, field: str, troubles: list[Trouble]) -> Selector | None:
    if given is None:
        troubles.append(Trouble(field, UNSUPPORTED, "is absent, and from is Selector"))
        return None
    for index, one in enumerate(given.match_expressions):
        is_set = one.operator in ("In", "NotIn")
        if one.operator not in _OPERATORS or is_set != bool(one.values):
            problem = f'operator "{one.operator}" with {len(one.values)} values is no expression'
            troubles.append(Trouble(f"{field}.matchExpressions[{index}]", UNSUPPORTED, problem))
            return None
    return from_selector(given)


def _mode(given: Listener, protocol: str, field: str, refused: list[Trouble]) -> str:
    tls = given.tls
    if protocol not in ("HTTPS", "TLS"):
        if tls is not None and protocol in _TRANSPORTS:
            refused.append(Trouble(f"{field}.tls", UNSUPPORTED, f"protocol {protocol} has no TLS"))
        return ""
    if tls is None:
        refused.append(Trouble(f"{field}.tls", UNSUPPORTED, f"is absent, and protocol {protocol} needs it"))
        return TERMINATE
    if tls.mode not in (TERMINATE, PASSTHROUGH):
        refused.append(
            Trouble(f"{field}.tls.mode", UNSUPPORTED, f'"{tls.mode}" is not Terminate or Passthrough')
        )
        return TERMINATE
    if tls.mode == PASSTHROUGH and protocol == "HTTPS":
        refused.append(
            Trouble(f"{field}.tls.mode", UNSUPPORTED, "HTTPS is terminated here; use protocol TLS to pass it")
        )
    return tls.mode


def kinds_of(protocol: str, mode: str) -> tuple[str, ...]:
    """Kinds of routes that a listener of this protocol can take."""
    match protocol, mode:
        case (("HTTP" | "HTTPS"), _):
            return "HTTPRoute", "GRPCRoute"
        case "TLS", "Passthrough":
            return ("TLSRoute",)
        case "TLS", _:
            return "TLSRoute", "TCPRoute"
        case "TCP", _:
            return ("TCPRoute",)
        case "UDP", _:
            return ("UDPRoute",)
        case _:
            return ()


def _kinds(
    given: Listener, protocol: str, mode: str, field: str
) -> tuple[tuple[str, ...], tuple[Trouble, ...]]:
    possible = kinds_of(protocol, mode)
    wanted = given.allowed_routes.kinds
    if not wanted:
        return possible, ()
    supported: list[str] = []
    troubles: list[Trouble] = []
    for index, one in enumerate(wanted):
        if one.group == GROUP and one.kind in possible:
            supported.append(one.kind)
        else:
            kind = f"{one.group}/{one.kind}" if one.group != GROUP else one.kind
            problem = f"{kind} cannot attach to protocol {protocol}; use {' or '.join(possible) or 'another protocol'}"
            troubles.append(Trouble(f"{field}.allowedRoutes.kinds[{index}]", "InvalidRouteKinds", problem))
    return tuple(dict.fromkeys(supported)), tuple(troubles)
