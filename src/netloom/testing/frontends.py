"""Short ways to write the model's frontends in tests of dataplanes, without objects of the API.

Comes in: the few words that a test is about. Goes out: values of ``model.services.frontends`` and ``model.state``.
Whoever starts from manifests uses ``builders`` and ``model.network``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from netloom.model.provenance import Source
from netloom.model.services.frontends import (
    Backend,
    Frontend,
    FrontendAction,
    FrontendKey,
    FrontendKind,
    Pool,
)
from netloom.model.state import LocalPod, NetworkState, PeerRoute
from netloom.units import Family, ObjectKey, Protocol, ServicePortKey, family_of

SERVICE = Source("Service", "shop", "cart", "uid", 1, "spec.ports[0]")


def backend(text: str) -> Backend:
    """``192.0.2.1:8080`` or ``[2001:db8::1]:8080``."""
    host, _, port = text.rpartition(":")
    source = Source(
        "EndpointSlice",
        "shop",
        f"cart-{host}",
    )
    return Backend(ipaddress.ip_address(host.strip("[]")), int(port), of=source)


def frontend(  # noqa: PLR0913 - each is what some test is about
    place: str,
    *backends: str,
    protocol: Protocol = Protocol.TCP,
    family: Family = Family.V4,
    masquerade: bool = False,
    node_local: bool = False,
    inside: Iterable[str] | None = None,
    affinity_s: int = 0,
    source_ranges: Iterable[str] | None = None,
    draining: Iterable[str] = (),
) -> Frontend:
    """A frontend at ``10.96.0.80:80``, or at ``*:30080`` a NodePort (of ``family``); without backends it rejects."""
    host, _, port = place.rpartition(":")
    address = None if host == "*" else ipaddress.ip_address(host.strip("[]"))
    action = FrontendAction.BALANCE if backends else FrontendAction.REJECT
    if inside is not None and not backends:
        action = FrontendAction.DROP
    return Frontend(
        key=FrontendKey(family if address is None else family_of(address), address, protocol, int(port)),
        kind=FrontendKind.NODE_PORT if address is None else FrontendKind.CLUSTER_IP,
        service_port=ServicePortKey(ObjectKey("shop", "cart"), "", protocol),
        action=FrontendAction.NODE_LOCAL if node_local else action,
        backends=_sorted(backends),
        masquerade=masquerade,
        source=SERVICE,
        inside=None if inside is None else Pool(FrontendAction.BALANCE, _sorted(inside)),
        affinity_s=affinity_s,
        source_ranges=None if source_ranges is None else tuple(map(ipaddress.ip_network, source_ranges)),
        draining=_sorted(draining),
    )


def _sorted(backends: Iterable[str]) -> tuple[Backend, ...]:
    return tuple(sorted(map(backend, backends), key=lambda one: one.sort_key))


def peer(cidr: str, via: str, node: str = "node-2") -> PeerRoute:
    """The pods of another node."""
    return PeerRoute(ipaddress.ip_network(cidr), ipaddress.ip_address(via), node, Source("Node", "", node))


def network_state(
    *frontends: Frontend, pods: Iterable[str] = (), peers: Iterable[PeerRoute] = ()
) -> NetworkState:
    """A network with these frontends, pods of this node at these addresses, and peers."""
    local = (
        LocalPod(ipaddress.ip_address(text), ObjectKey("shop", f"pod-{text}"), f"uid-{text}") for text in pods
    )
    return NetworkState(
        frontends={one.key: one for one in frontends},
        local_pods={pod.address: pod for pod in local},
        routes={one.destination: one for one in peers},
    )
