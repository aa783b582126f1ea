"""Services of type LoadBalancer, pools, and a cluster in which what is decided is written down as the controller does it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from netloom.api.core import (
    LoadBalancerIngress,
    LoadBalancerStatus,
    Namespace,
    Node,
    Service,
    ServicePort,
    ServiceStatus,
)
from netloom.api.egress import EgressGateway
from netloom.api.load_balancers import LoadBalancerPool, LoadBalancerPoolSpec
from netloom.model.load_balancers.allocation import Allocator, Decision, Inputs
from netloom.testing import builders as b
from netloom.units import ObjectKey

Thing = Service | LoadBalancerPool | Namespace | Node | EgressGateway
Kind = Literal["services", "pools", "namespaces", "nodes", "egress"]
_KINDS: dict[type, Kind] = {
    LoadBalancerPool: "pools",
    Namespace: "namespaces",
    Node: "nodes",
    EgressGateway: "egress",
}
_CLUSTER_IPS = {"IPv4": "10.96.0.9", "IPv6": "fd00:96::9"}


def pool(name: str, *texts: str, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> LoadBalancerPool:  # noqa: ANN401 - fields of LoadBalancerPoolSpec
    """A pool of CIDRs and of ``first-last``."""
    cidrs = tuple(text for text in texts if "/" in text)
    ranges = tuple(text for text in texts if "/" not in text)
    return LoadBalancerPool(
        metadata=b.meta(name, created=created),
        spec=LoadBalancerPoolSpec(cidrs=cidrs, ranges=ranges, **spec),
    )


def balanced(
    name: str,
    *,
    families: Iterable[str] = ("IPv4",),
    ports: Iterable[int | ServicePort] = (80,),
    has: Iterable[str] = (),
    deleted: str | None = None,
    **more: Any,  # noqa: ANN401 - fields of ServiceSpec, and what builders.service takes
) -> Service:
    """A Service of type LoadBalancer, in namespace shop where none is said; ``has`` is what its status lists."""
    given_ports = [b.port(one) if isinstance(one, int) else one for one in ports]
    made = b.service(
        str(_key(name)),
        *(_CLUSTER_IPS[family] for family in families),
        ports=given_ports,
        ingress=has,
        type="LoadBalancer",
        ip_families=tuple(families),
        **more,
    )
    return msgspec.structs.replace(
        made, metadata=msgspec.structs.replace(made.metadata, deletion_timestamp=deleted)
    )


def given(service: Service, addresses: Iterable[str]) -> Service:
    """The Service with these addresses in its status."""
    ingress = tuple(LoadBalancerIngress(ip=address) for address in addresses)
    status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress))
    return msgspec.structs.replace(service, status=status)


class World:
    """Objects of a cluster, and an allocator that is told of each change."""

    def __init__(self, *things: Thing) -> None:
        self.allocator = Allocator()
        self.objects: dict[str, dict[ObjectKey, Any]] = {
            "services": {},
            "pools": {},
            "namespaces": {},
            "nodes": {},
            "egress": {},
        }
        self.put(*things)

    def put(self, *things: Thing) -> None:
        """Make objects, or change them; a Service keeps its status unless it comes with one."""
        for thing in things:
            if not isinstance(thing, Service):
                self.tell(_KINDS[type(thing)], thing.key, thing)
                continue
            before = self.objects["services"].get(thing.key)
            if before is not None and not thing.status.load_balancer.ingress:
                thing = msgspec.structs.replace(thing, status=before.status)  # noqa: PLW2901 - the same with a status
            self.tell("services", thing.key, thing)

    def drop(self, kind: Kind, name: str) -> None:
        """Delete an object."""
        self.tell(kind, _key(name) if kind == "services" else b.key_of(name), None)

    def tell(self, kind: Kind, key: ObjectKey, thing: Thing | None) -> None:
        """An object is now this, or None: gone."""
        if thing is None:
            self.objects[kind].pop(key, None)
        else:
            self.objects[kind][key] = thing
        self.allocator.update(Inputs(**{kind: {key: thing}}))  # type: ignore[arg-type] # one of its fields

    def write(self, *names: str) -> World:
        """Write what was decided (about these Services alone, if any are named), until there is nothing more to write."""
        only = {_key(name) for name in names}
        while (key := self._next(only)) is not None:
            addresses = map(str, self.allocator.decisions[key].addresses)
            self.tell("services", key, given(self.objects["services"][key], addresses))
        return self

    def _next(self, only: set[ObjectKey]) -> ObjectKey | None:
        for key, decision in sorted(self.allocator.decisions.items(), key=lambda item: item[0]):
            if (not only or key in only) and self._has(key) != list(map(str, decision.addresses)):
                return key
        return None

    def _has(self, key: ObjectKey) -> list[str]:
        return [one.ip for one in self.objects["services"][key].status.load_balancer.ingress]

    def has(self, name: str) -> list[str]:
        """Addresses in a Service's status."""
        return self._has(_key(name))

    def decision(self, name: str) -> Decision | None:
        """What is decided about a Service."""
        return self.allocator.decisions.get(_key(name))

    def lack(self, name: str) -> str:
        """Why a Service does not get the only family that it lacks."""
        decision = self.allocator.decisions[_key(name)]
        (lack,) = decision.lacks
        return str(lack.finding)

    def restarted(self) -> Allocator:
        """An allocator that knows nothing but the objects as they are."""
        again = Allocator()
        again.update(Inputs(**self.objects))
        return again


def _key(name: str) -> ObjectKey:
    return b.key_of(name if "/" in name else f"shop/{name}")
