"""Endpoints of pools, straight from EndpointSlices.

Comes in: what is wished of a pool, the Service, its slices. Goes out: a ``Pool`` and Findings. The rules: discovery/v1 (ready unless said otherwise,
``addresses[0]`` counts), KEP-1669 (where none is ready, those that terminate and still serve). Not here: which pools are wished.
"""

from __future__ import annotations

from collections.abc import Iterable

from netloom.api.core import Service, ServicePort
from netloom.api.discovery import EndpointSlice
from netloom.model.gateways.plan import Endpoint, Pool
from netloom.model.gateways.pools import PoolWish
from netloom.model.services.ports import is_port
from netloom.model.services.texts import read_address

_FAMILIES = ("IPv4", "IPv6")


def pool_of(wish: PoolWish, service: Service | None, slices: Iterable[EndpointSlice]) -> Pool:
    """The pool as it is now; without endpoints where nobody serves, whatever the order of slices."""
    port = None if service is None else _port_of(service, wish)
    ready: set[Endpoint] = set()
    draining: set[Endpoint] = set()
    if port is not None:
        for one in slices:
            if one.address_type in _FAMILIES:
                _take(one, port, ready, draining)
    use = wish.use
    return Pool(
        key=wish.key,
        service=wish.service,
        port=wish.port,
        protocol=use.protocol,
        endpoints=_one_each(ready or draining),
        source=wish.source,
        tls=use.tls,
        session_cookie=use.session_cookie,
        outliers=use.outliers,
    )


def _port_of(service: Service, wish: PoolWish) -> ServicePort | None:
    return next((p for p in service.spec.ports if p.port == wish.port and p.protocol == wish.transport), None)


def _take(one: EndpointSlice, port: ServicePort, ready: set[Endpoint], draining: set[Endpoint]) -> None:
    """What a slice has for this port: ports are joined by name and protocol (discovery/v1 EndpointPort)."""
    number = next(
        (
            p.port
            for p in one.ports or ()
            if (p.name or "") == port.name and (p.protocol or "TCP") == port.protocol
        ),
        None,
    )
    if number is None or not is_port(number):
        return
    for endpoint in one.endpoints:
        if not endpoint.addresses:
            continue
        is_ready = endpoint.is_ready
        if not is_ready and not (endpoint.is_serving and endpoint.is_terminating):
            continue
        address = read_address(endpoint.addresses[0])
        if isinstance(address, str):
            continue
        (ready if is_ready else draining).add(
            Endpoint(address[0], number, endpoint.node_name or "", not is_ready)
        )


def _one_each(endpoints: set[Endpoint]) -> tuple[Endpoint, ...]:
    """In order, each place once: a slice on its way to another may name it twice."""
    found: dict[tuple[int, int, int], Endpoint] = {}
    for one in endpoints:
        key = (one.address.version, int(one.address), one.port)
        known = found.get(key)
        if known is None or one.node > known.node:
            found[key] = one
    return tuple(found[key] for key in sorted(found))
