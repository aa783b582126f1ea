"""Statuses of GatewayClasses, Gateways and ListenerSets, without the times that the writer puts in.

Comes in: frames, how many routes are attached, the gateway's Service. Goes out: the ``.status`` that is ours. The words are the specification's
(``apis/v1/gateway_types.go``, ``listenerset_types.go``). Not here: routes (``route_status.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from netloom.api.core import Service
from netloom.api.gateway import GROUP, GatewayClass
from netloom.model.gateways.doors import addresses, node_port
from netloom.model.gateways.frames import Frame, SetFrame, class_trouble
from netloom.model.gateways.listeners import ListenerId, ReadListener
from netloom.model.gateways.plan import Transport
from netloom.model.gateways.status import Condition, condition
from netloom.model.gateways.troubles import Trouble, in_words
from netloom.units import Protocol, parse_addr

FEATURES = (
    "BackendTLSPolicy",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSAndTLSPassthroughSamePort",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructurePropagation",
    "GatewayListenerSet",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
)
"""What the class says of itself; sorted (GatewayClass ``status.supportedFeatures``)."""


def class_status(class_: GatewayClass) -> dict[str, Any]:
    """Status of a GatewayClass of ours."""
    trouble = class_trouble(class_)
    generation = class_.metadata.generation
    if trouble is None:
        accepted = condition("Accepted", True, "Accepted", "", generation)
    else:
        accepted = condition("Accepted", False, trouble.reason, str(trouble), generation)
    return {"conditions": [accepted], "supportedFeatures": [{"name": name} for name in sorted(FEATURES)]}


def gateway_status(
    frame: Frame, attached: Mapping[ListenerId, int], service: Service | None
) -> dict[str, Any]:
    """Status of a Gateway; ``service`` is its own, None until there is one."""
    generation = frame.source.generation
    given = addresses(service)
    status: dict[str, Any] = {
        "addresses": [_address(one) for one in given],
        "conditions": [
            _accepted(frame),
            _programmed(frame, given, service),
            _resolved(frame),
            *_insecure(frame.insecure, generation),
        ],
        "listeners": _listeners(frame.listeners, attached, generation, frame.refused),
    }
    if frame.sets:
        status["attachedListenerSets"] = sum(1 for one in frame.sets if one.is_attached)
    return status


def set_status(frame: Frame, one: SetFrame, attached: Mapping[ListenerId, int]) -> dict[str, Any]:
    """Status of a ListenerSet."""
    generation = one.source.generation
    if one.refused:
        reason, message = one.refused[0].reason, in_words(one.refused)
    elif frame.refused:
        reason, message = (
            "ParentNotAccepted",
            f"Gateway {frame.key} is not accepted: {in_words(frame.refused)}",
        )
    else:
        reason, message = _soundness(one.listeners)
    is_accepted = reason == "Accepted" or (reason == "ListenersNotValid" and one.is_attached)
    accepted = condition("Accepted", is_accepted, reason, message, generation)
    is_programmed = is_accepted and any(listener.is_programmed for listener in one.listeners)
    why = "Programmed" if is_programmed else reason if not is_accepted else "ListenersNotValid"
    programmed = condition("Programmed", is_programmed, why, "" if is_programmed else message, generation)
    status: dict[str, Any] = {"conditions": [accepted, programmed]}
    if not one.refused:
        status["listeners"] = _listeners(one.listeners, attached, generation, frame.refused)
    return status


def _address(text: str) -> dict[str, str]:
    return {"type": "Hostname" if parse_addr(text) is None else "IPAddress", "value": text}


def _soundness(listeners: Sequence[ReadListener]) -> tuple[str, str]:
    """Reason and message of Accepted, as far as listeners decide it."""
    bad = [one for one in listeners if not one.is_accepted]
    if not listeners:
        return "ListenersNotValid", "spec.listeners: is empty"
    if not bad:
        return "Accepted", ""
    good = ", ".join(one.id.name for one in listeners if one.is_accepted) or "none"
    troubles = [t for one in bad for t in (*one.refused, *((one.conflict,) if one.conflict else ()))]
    return "ListenersNotValid", f"{in_words(troubles)}; accepted: {good}"


def _accepted(frame: Frame) -> Condition:
    generation = frame.source.generation
    if frame.refused:
        return condition("Accepted", False, frame.refused[0].reason, in_words(frame.refused), generation)
    reason, message = _soundness(frame.listeners)
    is_accepted = any(one.is_accepted for one in frame.listeners)
    return condition("Accepted", is_accepted, reason, message, generation)


def _programmed(frame: Frame, given: Iterable[str], service: Service | None) -> Condition:
    generation = frame.source.generation
    given = set(given)
    reason, message = "Programmed", ""
    unusable = [one for one in frame.requested if one not in given]
    if frame.refused or not any(one.is_accepted for one in frame.listeners):
        reason, message = "Invalid", "see condition Accepted"
    elif not frame.serving:
        reason, message = "Invalid", "no listener can serve: see their conditions"
    elif service is None:
        reason, message = "Pending", f"Service {frame.service} is not there yet"
    elif frame.requested and unusable and given:
        reason, message = "AddressNotUsable", f"spec.addresses: {', '.join(unusable)} cannot be had"
    elif not given:
        reason, message = "AddressNotAssigned", f"Service {frame.service} has no address yet; see its events"
        if unusable:
            reason, message = "AddressNotUsable", f"spec.addresses: {', '.join(unusable)} cannot be had yet"
    elif not all(_has_port(service, one) for one in frame.serving):
        reason, message = "Pending", f"Service {frame.service} has not all ports yet"
    return condition("Programmed", reason == "Programmed", reason, message, generation)


def _has_port(service: Service, listener: ReadListener) -> bool:
    protocol = Protocol.UDP if listener.transport is Transport.UDP else Protocol.TCP
    if protocol is Protocol.UDP:
        return any(p.protocol == "UDP" and p.port == listener.port for p in service.spec.ports)
    return node_port(service, listener.port, protocol) is not None


def _resolved(frame: Frame) -> Condition:
    """Of references of the Gateway itself, and a summary of its listeners'."""
    generation = frame.source.generation
    if frame.unresolved:
        reason, message = frame.unresolved[0].reason, in_words(frame.unresolved)
        return condition("ResolvedRefs", False, reason, message, generation)
    bad = [one.id.name for one in frame.listeners if one.unresolved]
    if bad:
        message = f"see the conditions of {', '.join(bad)}"
        return condition("ResolvedRefs", False, "ListenersNotResolved", message, generation)
    return condition("ResolvedRefs", True, "ResolvedRefs", "", generation)


def _insecure(places: str, generation: int) -> list[Condition]:
    if not places:
        return []
    message = f"{places}: clients without a valid certificate are let in"
    return [condition("InsecureFrontendValidationMode", True, "ConfigurationChanged", message, generation)]


def _listeners(
    listeners: Iterable[ReadListener],
    attached: Mapping[ListenerId, int],
    generation: int,
    refused: tuple[Trouble, ...],
) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in listeners:
        if one.id.name not in found:  # a list keyed by name: a second one of it has no place
            found[one.id.name] = {
                "name": one.id.name,
                "supportedKinds": [{"group": GROUP, "kind": kind} for kind in one.supported],
                "attachedRoutes": attached.get(one.id, 0),
                "conditions": _listener_conditions(one, generation, refused),
            }
    return list(found.values())


def _listener_conditions(one: ReadListener, generation: int, refused: tuple[Trouble, ...]) -> list[Condition]:
    conditions = [
        _listener_accepted(one, generation),
        condition("ResolvedRefs", True, "ResolvedRefs", "", generation),
        condition("Conflicted", False, "NoConflicts", "", generation),
    ]
    if one.unresolved:
        reason, message = one.unresolved[0].reason, in_words(one.unresolved)
        conditions[1] = condition("ResolvedRefs", False, reason, message, generation)
    if one.conflict is not None:
        conditions[2] = condition("Conflicted", True, one.conflict.reason, str(one.conflict), generation)
    if one.is_programmed and not refused:
        conditions.append(condition("Programmed", True, "Programmed", "", generation))
    else:
        down = (*refused, *one.refused, *((one.conflict,) if one.conflict else ()), *one.unresolved)
        conditions.append(condition("Programmed", False, "Invalid", in_words(down), generation))
    if one.overlap:
        message = f"{one.source.field}.hostname overlaps with {one.overlap}"
        conditions.append(
            condition("OverlappingTLSConfig", True, "OverlappingHostnames", message, generation)
        )
    return conditions


def _listener_accepted(one: ReadListener, generation: int) -> Condition:
    if one.refused:
        return condition("Accepted", False, one.refused[0].reason, in_words(one.refused), generation)
    if one.conflict is not None:
        return condition("Accepted", False, "Invalid", str(one.conflict), generation)
    return condition("Accepted", True, "Accepted", "", generation)
