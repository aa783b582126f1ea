"""Services of type LoadBalancer are given addresses: the decisions of ``model/load_balancers`` written to the API server.

In: Services, LoadBalancerPools, Namespaces, Nodes, EgressGateways. Out: ``status.loadBalancer`` and a condition of Services, ``status`` of pools, events.
Only who leads does it, with what it has read since it leads: nobody else's address is unknown to it. Each write names the
resourceVersion that it follows from, and what it wrote counts at once, though the watch may tell of older states still; after a write
whose end is not known the Service is read again before anything else is decided. Not here: who gets what.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from netloom.api.core import Namespace, Node, Service
from netloom.api.egress import EgressGateway
from netloom.api.load_balancers import LoadBalancerPool
from netloom.api.meta import KubeObject
from netloom.api.nulls import without_nulls
from netloom.clock import Clock, rfc3339
from netloom.errors import InvalidObject, NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.resources import EGRESS_GATEWAYS, LOAD_BALANCER_POOLS, NAMESPACES, NODES, SERVICES, Resource
from netloom.kube.status import Conflict
from netloom.kube.versions import reached
from netloom.kube.watch import Reflector
from netloom.model.load_balancers.allocation import Allocator, Inputs
from netloom.model.load_balancers.status import (
    Said,
    news_of,
    pool_status,
    service_status,
    text_of,
    warnings_of,
)
from netloom.model.load_balancers.wishes import WORDS
from netloom.model.provenance import Finding
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

K = TypeVar("K", bound=KubeObject)
_AT_ONCE = 8
"""Writes side by side."""
_BATCH = 64
"""Writes before the next look, if something else has changed meanwhile."""
RETRY_S = 1.0
POOLS_S = 1.0
"""Seconds between two writes of the pools' counts."""


class LoadBalancerAddresses:
    """Gives addresses, until cancelled; to be made anew for each time of leading.

    Args:
        client: an open client.
        may_write: whether this process leads, asked before each write.
        recorder: of events.
        clock: the time.
        pools_s: seconds between two writes of the pools' counts.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        may_write: Callable[[], bool],
        recorder: EventRecorder,
        clock: Clock,
        pools_s: float = POOLS_S,
    ) -> None:
        self._client = client
        self._may_write = may_write
        self._recorder = recorder
        self._clock = clock
        self._pools_s = pools_s
        self._allocator = Allocator()
        self._changes: dict[str, dict[ObjectKey, Any]] = {}
        self._some = asyncio.Event()
        self._due: set[ObjectKey] = set()
        self._pools_due = asyncio.Event()
        self._services: dict[ObjectKey, Service] = {}
        """As the server has them, as far as is known: what was written counts before the watch tells of it."""
        self._unread: set[ObjectKey] = set()
        """Services that cannot be decoded."""
        self._warned: dict[ObjectKey, tuple[Said, ...]] = {}
        self._dry: set[tuple[str, int]] = set()
        self._faults: dict[ObjectKey, tuple[str, ...]] = {}
        self._reflectors: tuple[Reflector[Any], ...] = (
            Reflector(
                client, SERVICES, Service, on_change=self._service_changed, on_bad=self._service_unread
            ),
            Reflector(client, LOAD_BALANCER_POOLS, LoadBalancerPool, on_change=self._noting("pools")),
            Reflector(client, NAMESPACES, Namespace, on_change=self._noting("namespaces")),
            Reflector(client, NODES, Node, on_change=self._noting("nodes")),
            Reflector(client, EGRESS_GATEWAYS, EgressGateway, on_change=self._noting("egress")),
        )

    async def run(self) -> None:
        """Nothing is decided before everything was read once."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors:
                tasks.create_task(reflector.run(), name="load-balancers-watch")
            for reflector in self._reflectors:
                await reflector.synced.wait()
            tasks.create_task(self._write_pools(), name="load-balancers-pools")
            while True:
                await self.turn()
                if self._changes:
                    continue  # what was written may have set something free
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S if self._due else None):
                        await self._some.wait()

    async def turn(self) -> None:
        """Take in what has changed, decide, and write some of it."""
        self._some.clear()
        changes, self._changes = self._changes, {}
        services = changes.get("services", {})
        self._due |= self._allocator.update(Inputs(**changes)) | services.keys()
        for key in services:
            self._tell_warnings(key)
        due = sorted(self._due, key=self._age)
        for begin in range(0, len(due), _AT_ONCE):
            if begin >= _BATCH and self._some.is_set():
                break
            async with asyncio.TaskGroup() as tasks:
                for key in due[begin : begin + _AT_ONCE]:
                    tasks.create_task(self._write(key), name="load-balancers-write")
        self._tell_dry_pools()
        self._pools_due.set()

    # --- following

    def _service_changed(self, key: ObjectKey, service: Service | None) -> None:
        """The watch tells of a Service."""
        if service is None and key in self._unread:
            return  # it is there: what it had is nobody else's
        self._unread.discard(key)
        known = self._services.get(key)
        if service is not None and known is not None:
            version = known.metadata.resource_version
            if service.metadata.resource_version == version or not reached(
                service.metadata.resource_version, version
            ):
                return  # what we wrote, or older
        self._note_service(key, service)
        self._some.set()

    def _service_unread(self, key: ObjectKey, error: InvalidObject) -> None:
        log.warning("addresses of %s stay as they were: %s", key, error)
        self._unread.add(key)

    def _note_service(self, key: ObjectKey, service: Service | None) -> None:
        if service is None:
            self._services.pop(key, None)
        else:
            self._services[key] = service
        self._changes.setdefault("services", {})[key] = service

    def _noting(self, kind: str) -> Callable[[ObjectKey, Any], None]:
        def note(key: ObjectKey, item: KubeObject | None) -> None:
            self._changes.setdefault(kind, {})[key] = item
            self._some.set()

        return note

    def _age(self, key: ObjectKey) -> tuple[str, ObjectKey]:
        service = self._services.get(key)
        return ((service.metadata.creation_timestamp if service is not None else None) or "", key)

    # --- writing

    async def _write(self, key: ObjectKey) -> None:
        service = self._services.get(key)
        decision = self._allocator.decisions.get(key)
        status = None
        if service is not None:
            status = service_status(service, decision, rfc3339(self._clock.wall()))
        if service is None or status is None:
            self._due.discard(key)
            self._tell_warnings(key)
            return
        if not self._may_write():
            return
        body = {"metadata": {"resourceVersion": service.metadata.resource_version}, "status": status}
        try:
            document = await self._client.patch(SERVICES, key, body, subresource="status")
        except (Conflict, NotFound) as error:
            log.debug("%s", error)  # the watch tells
            return
        except NetloomError as error:
            log.warning("addresses of Service %s: %s", key, error)
            await self._read_again(key)
            return
        self._due.discard(key)
        self._note_service(key, _decoded(document, Service))
        if decision is not None:
            before = [ingress.ip for ingress in service.status.load_balancer.ingress]
            self._tell(SERVICES, service, news_of(before, decision))
            if "loadBalancer" in status:
                log.info("Service %s: %s", key, ", ".join(map(str, decision.addresses)) or "no address")
        self._tell_warnings(key)

    async def _read_again(self, key: ObjectKey) -> None:
        """Whether the write was made is not known: what the server has is, before anybody else may be given the address."""
        while True:
            try:
                self._service_changed(key, _decoded(await self._client.get(SERVICES, key), Service))
            except NotFound:
                return  # the watch tells
            except NetloomError as error:
                log.debug("%s", error)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _write_pools(self) -> None:
        while True:
            await self._pools_due.wait()
            self._pools_due.clear()
            pools: Mapping[ObjectKey, LoadBalancerPool] = self._reflectors[1].items
            counts = self._allocator.counts()
            for key, pool in sorted(pools.items(), key=lambda item: item[0]):
                count = counts.get(key.name)
                if count is None:
                    continue
                findings = [f for f in self._allocator.pool_findings if f.source.name == key.name]
                self._tell_faults(key, pool, findings)
                status = pool_status(pool, count, findings, rfc3339(self._clock.wall()))
                if status is not None and self._may_write():
                    await self._write_pool(key, pool, status)
            await asyncio.sleep(self._pools_s)

    async def _write_pool(self, key: ObjectKey, pool: LoadBalancerPool, status: Mapping[str, Any]) -> None:
        body = {"metadata": {"resourceVersion": pool.metadata.resource_version}, "status": status}
        try:
            await self._client.patch(LOAD_BALANCER_POOLS, key, body, subresource="status")
        except (Conflict, NotFound) as error:
            log.debug("%s", error)  # the watch tells, and then it is looked at again
        except NetloomError as error:
            log.warning("status of LoadBalancerPool %s: %s", key, error)
            self._pools_due.set()

    # --- telling

    def _tell_warnings(self, key: ObjectKey) -> None:
        """Once, as long as they stay the same."""
        decision, service = self._allocator.decisions.get(key), self._services.get(key)
        said = warnings_of(decision) if decision is not None else ()
        before = self._warned.get(key, ())
        if said:
            self._warned[key] = said
        else:
            self._warned.pop(key, None)
        if service is not None:
            self._tell(SERVICES, service, (one for one in said if one not in before))

    def _tell_dry_pools(self) -> None:
        """Each pool that ran dry, with one Service that waits for it."""
        dry: dict[tuple[str, int], ObjectKey] = {}
        for key, decision in self._allocator.waiting():
            for lack in decision.lacks:
                for name in lack.dry:
                    dry.setdefault((name, lack.version), key)
        for (name, version), key in dry.items():
            pool = self._reflectors[1].items.get(ObjectKey("", name))
            if pool is not None and (name, version) not in self._dry:
                message = f"no {WORDS[version]} address is left; Service {key} waits for one"
                self._tell(LOAD_BALANCER_POOLS, pool, (Said("PoolDry", message, is_warning=True),))
        self._dry = set(dry)

    def _tell_faults(self, key: ObjectKey, pool: LoadBalancerPool, findings: Sequence[Finding]) -> None:
        """What of a pool cannot be used, once as long as it stays the same."""
        texts = tuple(map(text_of, findings))
        if self._faults.get(key, ()) != texts:
            self._faults[key] = texts
            said = (Said("PoolNotRead", text, is_warning=True) for text in texts)
            self._tell(LOAD_BALANCER_POOLS, pool, said)

    def _tell(self, resource: Resource, about: KubeObject, said: Iterable[Said]) -> None:
        for one in said:
            self._recorder.emit(
                resource,
                about.key,
                about.metadata.uid,
                reason=one.reason,
                message=one.message,
                warning=one.is_warning,
            )


def _decoded(document: Mapping[str, Any], kind: type[K]) -> K:
    return msgspec.convert(without_nulls(dict(document)), kind)
