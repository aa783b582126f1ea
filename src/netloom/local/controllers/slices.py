"""Which endpoints a Service has, and which slices hold them with the fewest writes. Pure.

In: a Service, its pods, zones of nodes, the slices that are there. Out: a Plan of creations, updates and deletions.
Rules: discovery/v1 EndpointSlice and EndpointConditions; core/v1 Service. Not here: watching and writing (endpointslice.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netloom.api.core import ServicePort
from netloom.api.discovery import Endpoint, EndpointConditions, EndpointPort, TargetRef
from netloom.local.controllers.objects import EndpointSlice, Pod, Service

MAX_ENDPOINTS = 100
"""Endpoints a slice holds at most (kube-controller-manager ``--max-endpoints-per-slice``)."""

Ports = tuple[EndpointPort, ...]


class SliceContent(msgspec.Struct, frozen=True):
    """What a slice says, without its name."""

    address_type: str
    ports: Ports
    endpoints: tuple[Endpoint, ...]


class Plan(msgspec.Struct, frozen=True):
    """What to write; a slice that already says the right thing is in none of them."""

    create: tuple[SliceContent, ...] = ()
    update: tuple[tuple[EndpointSlice, SliceContent], ...] = ()
    delete: tuple[EndpointSlice, ...] = ()


def address_types(service: Service) -> tuple[str, ...]:
    """Families of a Service: ``spec.ipFamilies``, else those of its ClusterIPs, else IPv4."""
    if service.spec.ip_families:
        return service.spec.ip_families
    own = [a for a in (*service.spec.cluster_ips, service.spec.cluster_ip) if a and a != "None"]
    return tuple(dict.fromkeys(family_name(a) for a in own)) or ("IPv4",)


def family_name(address: str) -> str:
    """``IPv4`` or ``IPv6``."""
    return "IPv6" if ":" in address else "IPv4"


def target_port(pod: Pod, port: ServicePort) -> int | None:
    """The number behind a Service port in this pod; None where the pod has no port of that name and protocol."""
    target = port.target_port
    if isinstance(target, int):
        return target or port.port
    if not target:
        return port.port
    return next(
        (p.container_port for p in pod.spec.ports if p.name == target and p.protocol == port.protocol), None
    )


def ports_of(service: Service, pod: Pod) -> Ports:
    """The Service's ports as this pod serves them; ports that the pod lacks are left out."""
    numbered = ((p, target_port(pod, p)) for p in service.spec.ports)
    return tuple(
        EndpointPort(name=p.name, protocol=p.protocol, port=number, app_protocol=p.app_protocol or None)
        for p, number in numbered
        if number is not None
    )


def belongs(pod: Pod, *, terminating: bool = True) -> bool:
    """True for a pod that can be an endpoint: it has an address, and has not ended for good."""
    return bool(pod.addresses) and not pod.is_finished and (terminating or not pod.is_terminating)


def endpoint_of(service: Service, pod: Pod, addresses: tuple[str, ...], zone: str | None) -> Endpoint:
    """The endpoint of a pod.

    Serving is its readiness; ready asks besides that it is not terminating, unless the Service publishes not-ready
    addresses (discovery/v1 EndpointConditions, core/v1 publishNotReadyAddresses).
    """
    serving, terminating = pod.is_ready, pod.is_terminating
    named = pod.spec.hostname if pod.spec.subdomain == service.metadata.name else ""
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(
            ready=service.spec.publish_not_ready_addresses or (serving and not terminating),
            serving=serving,
            terminating=terminating,
        ),
        hostname=named or None,
        node_name=pod.spec.node_name or None,
        target_ref=TargetRef(
            kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.uid
        ),
        zone=zone,
    )


def wanted(
    service: Service, pods: Iterable[Pod], zones: Mapping[str, str]
) -> dict[tuple[str, Ports], list[Endpoint]]:
    """Endpoints by address type and port set.

    Args:
        service: with a selector.
        pods: those that it selects.
        zones: node name -> zone, possibly empty. A pod of a node that is not there is left out, unless the
            Service publishes not-ready addresses: a forgotten pod must not stay an endpoint for ever.
    """
    found: dict[tuple[str, Ports], list[Endpoint]] = {}
    types = address_types(service)
    for pod in sorted(pods, key=lambda p: p.key):
        if not belongs(pod):
            continue
        if pod.spec.node_name not in zones and not service.spec.publish_not_ready_addresses:
            continue
        ports = ports_of(service, pod)
        for type_ in types:
            addresses = tuple(a for a in pod.addresses if family_name(a) == type_)
            if addresses:
                zone = zones.get(pod.spec.node_name) or None
                endpoint = endpoint_of(service, pod, addresses, zone)
                found.setdefault((type_, ports), []).append(endpoint)
    for type_ in types:
        # A Service without endpoints has one empty slice, so that readers see that it was looked at.
        if not any(t == type_ for t, _ in found):
            found[(type_, ())] = []
    return found


def plan(
    want: Mapping[tuple[str, Ports], Sequence[Endpoint]],
    there: Iterable[EndpointSlice],
    *,
    labels: Mapping[str, str],
    limit: int = MAX_ENDPOINTS,
) -> Plan:
    """The fewest writes that make the slices hold the wanted endpoints: each stays in the slice where it is.

    Args:
        want: by address type and port set, from :func:`wanted`.
        there: the Service's slices that we manage.
        labels: what each slice must be labelled with; a slice with other labels is written.
        limit: endpoints of a slice at most.
    """
    by_group: dict[tuple[str, Ports], list[EndpointSlice]] = {}
    for slice_ in sorted(there, key=lambda s: s.key):
        by_group.setdefault((slice_.address_type, _normal(slice_.ports)), []).append(slice_)
    create: list[SliceContent] = []
    update: list[tuple[EndpointSlice, SliceContent]] = []
    spare = [s for group, slices in by_group.items() if group not in want for s in slices]
    for group, endpoints in want.items():
        kept, fresh, unused = _pack(group, endpoints, by_group.get(group, []), limit)
        update += [(s, content) for s, content in kept if not _says(s, content, labels)]
        create += fresh
        spare += unused
    return _reuse(create, update, spare)


def _normal(ports: Ports | None) -> Ports:
    """Ports of a slice as :func:`ports_of` writes them: an unnamed port has the empty name, absent or not."""
    return tuple(
        msgspec.structs.replace(p, name=p.name or "", app_protocol=p.app_protocol or None)
        for p in ports or ()
    )


def _says(slice_: EndpointSlice, content: SliceContent, labels: Mapping[str, str]) -> bool:
    return slice_.endpoints == content.endpoints and slice_.metadata.labels == labels


def _pack(
    group: tuple[str, Ports], endpoints: Sequence[Endpoint], slices: Sequence[EndpointSlice], limit: int
) -> tuple[list[tuple[EndpointSlice, SliceContent]], list[SliceContent], list[EndpointSlice]]:
    """Kept slices with their new content, new ones, and those that are no longer needed."""
    type_, ports = group
    new = {_identity(e): e for e in endpoints}
    contents: list[list[Endpoint]] = []
    for slice_ in slices:
        stays = [e for old in slice_.endpoints if (e := new.pop(_identity(old), None)) is not None]
        contents.append(stays)
    rest = list(new.values())
    # Fill the fullest first, so that few slices change; a slice over the limit (a lowered limit) is cut.
    for i in sorted(range(len(contents)), key=lambda i: -len(contents[i])):
        over = contents[i][limit:]
        room = limit - len(contents[i])
        contents[i] = contents[i][:limit] + rest[: max(room, 0)]
        rest = rest[max(room, 0) :] + over
    fresh = [SliceContent(type_, ports, tuple(rest[i : i + limit])) for i in range(0, len(rest), limit)]
    pairs = list(zip(slices, contents, strict=True))
    unused = [s for s, c in pairs if not c]
    kept = [(s, SliceContent(type_, ports, tuple(c))) for s, c in pairs if c]
    if not kept and not fresh:
        # The placeholder of a Service without endpoints: the first slice, emptied, or a new one.
        empty = SliceContent(type_, ports, ())
        if unused:
            kept.append((unused.pop(0), empty))
        else:
            fresh.append(empty)
    return kept, fresh, unused


def _identity(endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
    return (endpoint.target_ref.uid if endpoint.target_ref else "", endpoint.addresses)


def _reuse(
    create: list[SliceContent],
    update: list[tuple[EndpointSlice, SliceContent]],
    spare: list[EndpointSlice],
) -> Plan:
    """A slice that would be deleted is rewritten in place of one that would be created: one write instead of two."""
    fresh = []
    for content in create:
        found = next((s for s in spare if s.address_type == content.address_type), None)
        if found is None:
            fresh.append(content)
        else:
            spare.remove(found)
            update.append((found, content))
    return Plan(tuple(fresh), tuple(update), tuple(spare))


def legacy_subsets(service: Service, pods: Iterable[Pod]) -> list[dict[str, object]]:
    """``subsets`` of the Endpoints object (core/v1): addresses by port set, of the Service's first family.

    At most 1,000 addresses, ready ones first, as kube-controller-manager writes it.
    """
    publish = service.spec.publish_not_ready_addresses
    first = address_types(service)[0]
    groups: dict[Ports, tuple[list[dict[str, object]], list[dict[str, object]]]] = {}
    chosen = [
        (p, a)
        for p in pods
        if belongs(p, terminating=publish)
        for a in p.addresses
        if family_name(a) == first and (service.spec.ports or service.is_headless)
    ]
    chosen.sort(key=lambda pair: (not (publish or pair[0].is_ready), ipaddress.ip_address(pair[1]).packed))
    for pod, address in chosen[:1000]:
        ready, not_ready = groups.setdefault(ports_of(service, pod), ([], []))
        (ready if publish or pod.is_ready else not_ready).append(_legacy_address(service, pod, address))
    return [
        {
            k: v
            for k, v in (
                ("addresses", groups[ports][0]),
                ("notReadyAddresses", groups[ports][1]),
                ("ports", [_legacy_port(p) for p in ports]),
            )
            if v
        }
        for ports in sorted(groups, key=lambda ports: [(p.name or "", p.port or 0) for p in ports])
    ]


def _legacy_address(service: Service, pod: Pod, address: str) -> dict[str, object]:
    named = pod.spec.hostname if pod.spec.subdomain == service.metadata.name else ""
    return {
        "ip": address,
        **({"hostname": named} if named else {}),
        **({"nodeName": pod.spec.node_name} if pod.spec.node_name else {}),
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.uid,
        },
    }


def _legacy_port(port: EndpointPort) -> dict[str, object]:
    values = {
        "name": port.name,
        "port": port.port,
        "protocol": port.protocol,
        "appProtocol": port.app_protocol,
    }
    return {k: v for k, v in values.items() if v}
