"""Gateways with the listeners of their ListenerSets, apart from any route.

Comes in: a Gateway of ours, the ListenerSets that name it, what is around. Goes out: a ``Frame``. Not here: routes (``attach.py``), statuses
(``gateway_status.py``), classes that are not ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from netloom.api.core import ConfigMap, Namespace, Secret
from netloom.api.gateway import (
    GROUP,
    FrontendTLSConfig,
    Gateway,
    GatewayClass,
    GatewayClassSpec,
    GatewaySpec,
    Listener,
    ListenerSet,
    ListenerSetSpec,
    read_spec,
)
from netloom.api.lenient import Reading
from netloom.model.gateways.conflicts import settle
from netloom.model.gateways.entrances import service_of_gateway
from netloom.model.gateways.grants import Grants
from netloom.model.gateways.listener_tls import KeyPairs, TlsReader
from netloom.model.gateways.listeners import (
    ListenerId,
    Namespaces,
    ReadListener,
    read_listener,
    read_namespaces,
)
from netloom.model.gateways.status import CONTROLLER
from netloom.model.gateways.troubles import UNSUPPORTED, Trouble
from netloom.model.provenance import Source, source_of
from netloom.units import ObjectKey, parse_addr


class SetFrame(msgspec.Struct, frozen=True):
    """A ListenerSet at the Gateway that it names."""

    key: ObjectKey
    source: Source
    refused: tuple[Trouble, ...]
    listeners: tuple[ReadListener, ...]
    """Also where it is refused, for its status; then none of them serves."""

    @property
    def is_attached(self) -> bool:
        """Condition Accepted: it is let in, and something of it can be used."""
        return not self.refused and any(one.is_accepted for one in self.listeners)


class Frame(msgspec.Struct, frozen=True):
    """A Gateway without its routes."""

    key: ObjectKey
    class_name: str
    source: Source
    service: ObjectKey
    listeners: tuple[ReadListener, ...]
    sets: tuple[SetFrame, ...] = ()
    refused: tuple[Trouble, ...] = ()
    """Why the Gateway as a whole is not accepted."""
    requested: tuple[str, ...] = ()
    """Addresses of ``spec.addresses`` that have a value."""
    insecure: str = ""
    """Where client certificates are not insisted on, in words."""
    unresolved: tuple[Trouble, ...] = ()
    """Condition ResolvedRefs, of references that belong to no listener."""
    secrets: frozenset[ObjectKey] = frozenset()
    config_maps: frozenset[ObjectKey] = frozenset()
    boundary: float = float("inf")
    """When it must be looked at again because of a certificate; seconds since the epoch."""

    @property
    def serving(self) -> tuple[ReadListener, ...]:
        """Listeners of the Gateway and its ListenerSets that take connections."""
        if self.refused:
            return ()
        sets = (one for group in self.sets if not group.refused for one in group.listeners)
        return tuple(one for one in (*self.listeners, *sets) if one.is_programmed)


class FrameAround(msgspec.Struct, frozen=True):
    """What of the cluster a Gateway depends on."""

    secrets: Mapping[ObjectKey, Secret]
    config_maps: Mapping[ObjectKey, ConfigMap]
    namespaces: Mapping[ObjectKey, Namespace]
    grants: Grants
    pairs: KeyPairs
    now: float


def class_is_ours(class_: GatewayClass) -> bool:
    """Whether its controller is this one."""
    return read_spec(class_, GatewayClassSpec).value.controller_name == CONTROLLER


def class_trouble(class_: GatewayClass) -> Trouble | None:
    """Why a class of ours is not accepted."""
    ref = read_spec(class_, GatewayClassSpec).value.parameters_ref
    if ref is None:
        return None
    return Trouble(
        "spec.parametersRef", "InvalidParameters", f"{ref.group}/{ref.kind} is not known; leave it out"
    )


def class_of(gateway: Gateway) -> str:
    """The name of its GatewayClass."""
    return read_spec(gateway, GatewaySpec).value.gateway_class_name


def parent_of(listener_set: ListenerSet) -> ObjectKey | None:
    """The Gateway that a ListenerSet names; None where it names something else."""
    ref = read_spec(listener_set, ListenerSetSpec).value.parent_ref
    if (ref.group, ref.kind) != (GROUP, "Gateway") or not ref.name:
        return None
    return ObjectKey(ref.namespace or listener_set.metadata.namespace, ref.name)


def frame_of(
    gateway: Gateway, class_: GatewayClass, sets: Iterable[ListenerSet], around: FrameAround
) -> Frame:
    """The Gateway with its listeners, and those of its sets in the order of precedence."""
    reading = read_spec(gateway, GatewaySpec)
    spec = reading.value
    source = source_of("Gateway", gateway.metadata)
    refused = [
        Trouble(u.field, UNSUPPORTED, u.problem)
        for u in reading.unread
        if u.field in ("spec", "spec.listeners")
    ]
    problem = class_trouble(class_)
    if problem is not None:
        refused.append(
            Trouble("spec.gatewayClassName", problem.reason, f"GatewayClass {class_.key.name}: {problem}")
        )
    if spec.infrastructure.parameters_ref is not None:
        ref = spec.infrastructure.parameters_ref
        text = f"{ref.group}/{ref.kind} is not known; leave it out"
        refused.append(Trouble("spec.infrastructure.parametersRef", "InvalidParameters", text))
    requested = _requested(spec, refused)
    tls = TlsReader(around.secrets, around.config_maps, around.grants, around.pairs, around.now)
    frontend = spec.tls.frontend
    owner = _Owner(gateway.key, frontend, tls)
    own = owner.read(source, spec.listeners, reading)
    allowed = _allowed(gateway, spec, refused)
    drafts = [owner.read_set(one, allowed, around) for one in sorted(sets, key=_age)]
    let_in = [draft for draft in drafts if not draft.refused]
    settled = settle([own, *(draft.listeners for draft in let_in)])
    by_set = {draft.key: tuple(group) for draft, group in zip(let_in, settled[1:], strict=True)}
    return Frame(
        key=gateway.key,
        class_name=spec.gateway_class_name,
        source=source,
        service=service_of_gateway(gateway.key, spec.gateway_class_name),
        listeners=tuple(settled[0]),
        sets=tuple(replace(draft, listeners=by_set.get(draft.key, draft.listeners)) for draft in drafts),
        refused=tuple(refused),
        requested=requested,
        insecure=_insecure(frontend),
        unresolved=_client_certificate(spec),
        secrets=frozenset(tls.secrets),
        config_maps=frozenset(tls.config_maps),
        boundary=tls.boundary,
    )


def _age(listener_set: ListenerSet) -> tuple[str, str]:
    """ListenerSet ``spec.listeners``: oldest first, then by namespace/name."""
    return listener_set.metadata.creation_timestamp or "9", str(listener_set.key)


def _requested(spec: GatewaySpec, refused: list[Trouble]) -> tuple[str, ...]:
    found = []
    for index, one in enumerate(spec.addresses):
        field = f"spec.addresses[{index}]"
        if one.type != "IPAddress":
            problem = f'type "{one.type}" is not supported; use IPAddress'
            refused.append(Trouble(f"{field}.type", "UnsupportedAddress", problem))
        elif one.value and parse_addr(one.value) is None:
            refused.append(Trouble(f"{field}.value", "UnsupportedAddress", f'"{one.value}" is no IP address'))
        elif one.value:
            found.append(str(parse_addr(one.value)))
    return tuple(found)


def _allowed(gateway: Gateway, spec: GatewaySpec, refused: list[Trouble]) -> Namespaces:
    """Where ListenerSets may come from; without a word from nowhere."""
    own = gateway.metadata.namespace
    if spec.allowed_listeners is None:
        return Namespaces("None", own)
    return read_namespaces(
        spec.allowed_listeners.namespaces, "None", own, "spec.allowedListeners.namespaces", refused
    )


class _Owner(msgspec.Struct, frozen=True):
    """Reads the listeners of the objects of one gateway."""

    gateway: ObjectKey
    frontend: FrontendTLSConfig | None
    tls: TlsReader

    def read(
        self, source: Source, given: tuple[Listener, ...], reading: Reading[object]
    ) -> list[ReadListener]:
        found: list[ReadListener] = []
        names: set[str] = set()
        owner = ObjectKey(source.namespace, source.name)
        for index, one in enumerate(given):
            field = f"spec.listeners[{index}]"
            id_ = ListenerId(self.gateway, source.kind, owner, index, one.name)
            listener = read_listener(id_, one, reading.under(field), source.at(field))
            listener = self.tls.equip(listener, one.tls, self.frontend)
            if one.name in names:
                trouble = Trouble(
                    f"{field}.name", UNSUPPORTED, f'"{one.name}" is the name of another listener'
                )
                listener = replace(listener, refused=(*listener.refused, trouble))
            names.add(one.name)
            found.append(listener)
        return found

    def read_set(self, given: ListenerSet, allowed: Namespaces, around: FrameAround) -> SetFrame:
        reading = read_spec(given, ListenerSetSpec)
        source = source_of("ListenerSet", given.metadata)
        refused = [
            Trouble(u.field, "Invalid", u.problem)
            for u in reading.unread
            if u.field in ("spec", "spec.listeners")
        ]
        name = given.metadata.namespace
        namespace = around.namespaces.get(ObjectKey("", name))
        if not allowed.includes(name, None if namespace is None else namespace.metadata.labels):
            problem = (
                f"Gateway {self.gateway} lets no ListenerSets of {name} add listeners (spec.allowedListeners)"
            )
            refused.append(Trouble("spec.parentRef", "NotAllowed", problem))
        listeners = self.read(source, reading.value.listeners, reading)
        return SetFrame(given.key, source, tuple(refused), tuple(listeners))


def _insecure(frontend: FrontendTLSConfig | None) -> str:
    """Gateway condition InsecureFrontendValidationMode."""
    if frontend is None:
        return ""
    places = [("spec.tls.frontend.default", frontend.default.validation)]
    places += [
        (f"spec.tls.frontend.perPort[{i}].tls", p.tls.validation) for i, p in enumerate(frontend.per_port)
    ]
    return ", ".join(
        f"{field}.validation.mode"
        for field, v in places
        if v is not None and v.mode == "AllowInsecureFallback"
    )


def _client_certificate(spec: GatewaySpec) -> tuple[Trouble, ...]:
    backend = spec.tls.backend
    if backend is None or backend.client_certificate_ref is None:
        return ()
    problem = "certificates towards backends are not supported; backends are asked without one"
    return (Trouble("spec.tls.backend.clientCertificateRef", "InvalidClientCertificateRef", problem),)
