"""Which pools are wanted: whoever writes a rule asks here for the key of a Service's port, and the pool is in the plan.

Comes in: Services, and what is asked for. Goes out: keys, and what is wrong with a Service. Not here: endpoints (``endpoints.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.api.core import Service, ServicePort
from netloom.model.gateways.plan import BackendTls, Outliers, PoolProtocol
from netloom.model.provenance import Source, source_of
from netloom.units import ObjectKey


class PoolUse(msgspec.Struct, frozen=True, gc=False):
    """How a pool is talked to: what makes it another than the plain one of its port."""

    protocol: PoolProtocol = PoolProtocol.HTTP
    tls: BackendTls | None = None
    session_cookie: str = ""
    outliers: Outliers | None = None

    @property
    def words(self) -> str:
        """For keys; empty for plain HTTP."""
        return "".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.protocol is not PoolProtocol.HTTP:
            yield f"/{self.protocol.name.lower()}"
        if self.tls is not None:
            source = self.tls.source
            yield f"/tls:{self.tls.hostname}" + (f":{source.name}" if source is not None else "")
        if self.session_cookie:
            yield f"/cookie:{self.session_cookie}"
        if self.outliers is not None:
            yield f"/outliers:{self.outliers.errors}:{self.outliers.ejected_s}"


class PoolWish(msgspec.Struct, frozen=True, gc=False):
    """A pool that some rule uses: everything of it but its endpoints."""

    key: str
    service: ObjectKey
    port: int
    source: Source
    """The Service's port."""
    use: PoolUse = PoolUse()

    @property
    def transport(self) -> str:
        """Protocol of the Service's port."""
        return "UDP" if self.use.protocol is PoolProtocol.UDP else "TCP"


_PLAIN = PoolUse()


class PoolRefs:
    """Gives keys of pools and collects which are used. Keys are the same for the same meaning, in whatever order they are asked for."""

    def __init__(self, services: Mapping[ObjectKey, Service]) -> None:
        self._services = services
        self._wishes: dict[str, PoolWish] = {}
        self.asked: set[ObjectKey] = set()
        """Every Service that was asked for, there or not: when one of them changes, whoever asked must ask again."""

    @property
    def wishes(self) -> Mapping[str, PoolWish]:
        """What was asked for, by key."""
        return self._wishes

    def port_of(self, service: ObjectKey, port: int | str, protocol: str = "TCP") -> ServicePort | str:
        """The port of this number or name, or what is wrong, in words (no such Service, no such port, ExternalName)."""
        self.asked.add(service)
        found = self._services.get(service)
        if found is None:
            return f"Service {service} is not there"
        if found.spec.type == "ExternalName":
            return f"Service {service} is an ExternalName: it has no endpoints of its own"
        for one in found.spec.ports:
            if (one.port if isinstance(port, int) else one.name) == port and one.protocol == protocol:
                return one
        return f"Service {service} has no {protocol} port {port}"

    def key(self, service: ObjectKey, port: int, use: PoolUse = _PLAIN) -> str:
        """Key of the pool of this port in this use; it will be in the plan. ``port_of`` says whether there is such a port."""
        self.asked.add(service)
        key = f"{service.namespace}/{service.name}/{port}{use.words}"
        if key not in self._wishes:
            protocol = "UDP" if use.protocol is PoolProtocol.UDP else "TCP"
            self._wishes[key] = PoolWish(key, service, port, self._source(service, port, protocol), use)
        return key

    def take(self, wishes: Iterable[Mapping[str, PoolWish]]) -> None:
        """What others asked for is asked for here, too."""
        for one in wishes:
            self._wishes.update(one)

    def _source(self, service: ObjectKey, port: int, protocol: str) -> Source:
        found = self._services.get(service)
        if found is None:
            return Source("Service", service.namespace, service.name)
        wanted = (port, protocol)
        index = next((i for i, p in enumerate(found.spec.ports) if (p.port, p.protocol) == wanted), None)
        field = "spec.ports" if index is None else f"spec.ports[{index}]"
        return source_of("Service", found.metadata, field)
