"""ServiceCIDR and IPAddress objects: what is known of Services' addresses, where everybody can read it.

Comes in: store events. Goes out: an IPAddress for each ClusterIP, which goes with it; the ServiceCIDR of the cluster's own ranges; condition
Ready and the finalizer of each ServiceCIDR, which stays while an address of it is in use that no other range has. Not here: which address a
Service gets (allocate.py), what such objects may say (validate_ranges.py). Source: networking.k8s.io/v1, KEP-1880.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
from collections.abc import Sequence
from typing import Any

from netloom.errors import StorageError
from netloom.local.apiserver import kinds
from netloom.local.apiserver.allocate import DEFAULT_RANGE, ServiceAddresses
from netloom.local.apiserver.history import Event, Record
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.queries import WriteOptions
from netloom.local.apiserver.status import ApiError
from netloom.units import Cidr, parse_addr, parse_cidr

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_LABEL = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
_OPTIONS = WriteOptions(manager="kube-apiserver", validation="Ignore")
_AGAIN_S = 5.0
_AT_ONCE = 20
"""Addresses that are seen to before anybody else has a turn."""
_LOG = logging.getLogger(__name__)


class ServiceRanges:
    """Keeps the objects of one store; `turn` does all that is due, `run` does that whenever something changes.

    Args:
        objects: where they are written.
        services: knows which Service has which address.
        cidrs: the cluster's own ranges, the default family first.
    """

    def __init__(self, *, objects: Objects, services: ServiceAddresses, cidrs: Sequence[Cidr]) -> None:
        self._objects = objects
        self._store = objects.store
        self._services = services
        self._cidrs = tuple(map(str, cidrs))
        self._addresses: dict[str, None] = {}
        self._wake = asyncio.Event()
        for record in self._store.scan(kinds.SERVICES):
            self._addresses.update(dict.fromkeys(_cluster_ips(record)))
        for record in self._store.scan(kinds.IP_ADDRESSES):
            self._addresses[record.name] = None
        self._store.listen(self._follow)

    async def run(self) -> None:
        """Keep them until cancelled; a store that cannot be written now is tried again."""
        while True:
            self._wake.clear()
            try:
                self.turn()
            except StorageError as error:
                _LOG.warning("addresses of Services are recorded later: %s", error)
                await asyncio.sleep(_AGAIN_S)
                continue
            if self._addresses:
                await asyncio.sleep(0)  # others are served in between
            else:
                await self._wake.wait()

    def turn(self) -> None:
        """What is due now; some of it where there is much, such as 10,000 Services of an older store.

        Raises:
            StorageError: the store cannot be written; what was not done stays due.
        """
        if self._store.get(kinds.SERVICE_CIDRS, "", DEFAULT_RANGE) is None:
            self._create(kinds.SERVICE_CIDRS, {"name": DEFAULT_RANGE}, {"cidrs": list(self._cidrs)})
        for text in list(itertools.islice(self._addresses, _AT_ONCE)):
            del self._addresses[text]
            try:
                self._settle(text)
            except StorageError:
                self._addresses[text] = None
                raise
        if not self._addresses:
            for record in list(self._store.scan(kinds.SERVICE_CIDRS)):
                self._look_after(record)

    def _follow(self, event: Event) -> None:
        kind = event.record.kind
        if kind is kinds.SERVICES:
            now = () if event.deleted else _cluster_ips(event.record)
            before = () if event.previous is None else _cluster_ips(event.previous)
            changed = set(now) ^ set(before)
            self._addresses.update(dict.fromkeys(sorted(changed)))
        elif kind is kinds.IP_ADDRESSES:
            changed = {event.record.name}
            self._addresses[event.record.name] = None
        else:
            changed = {event.record.name} if kind is kinds.SERVICE_CIDRS else set()
        if changed:
            self._wake.set()

    def _settle(self, text: str) -> None:
        """Make the IPAddress of one address true."""
        record = self._store.get(kinds.IP_ADDRESSES, "", text)
        holder = self._services.holder(text)
        if record is None and holder is not None:
            labels = {FAMILY_LABEL: "IPv6" if ":" in text else "IPv4", MANAGED_LABEL: MANAGER}
            parent = {"group": "", "resource": "services", "namespace": holder[0], "name": holder[1]}
            self._create(kinds.IP_ADDRESSES, {"name": text, "labels": labels}, {"parentRef": parent})
        elif record is not None and record.labels.get(MANAGED_LABEL) == MANAGER:
            parent = record.document()["spec"].get("parentRef") or {}
            if holder != (parent.get("namespace"), parent.get("name")):
                self._store.remove(kinds.IP_ADDRESSES, record.document())
                if holder is not None:
                    self._settle(text)

    def _create(self, kind: Kind, metadata: dict[str, Any], spec: dict[str, Any]) -> None:
        document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
        try:
            self._objects.create(kind, "", document, _OPTIONS)
        except ApiError as error:
            _LOG.warning("%s %s: %s", kind.kind, metadata["name"], error)

    def _look_after(self, record: Record) -> None:
        """The condition and the finalizer of one ServiceCIDR."""
        document = record.document()
        finalizers = list(document["metadata"].get("finalizers") or ())
        if record.deleting and FINALIZER in finalizers and not self._is_needed(record):
            finalizers.remove(FINALIZER)
        elif not record.deleting and FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        document["metadata"]["finalizers"] = finalizers
        self._tell(document, is_leaving=record.deleting)
        if document != record.document():
            self._objects.rewrite(record, document)

    def _tell(self, document: dict[str, Any], *, is_leaving: bool) -> None:
        wanted = "False" if is_leaving else "True"
        conditions = document.setdefault("status", {}).setdefault("conditions", [])
        if any(c.get("type") == "Ready" and c.get("status") == wanted for c in conditions):
            return
        why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
        ready = {
            "type": "Ready",
            "status": wanted,
            "reason": "Terminating" if is_leaving else "",
            "message": why if is_leaving else "Kubernetes Service CIDR is ready",
            "lastTransitionTime": self._objects.now(),
        }
        conditions[:] = [*(c for c in conditions if c.get("type") != "Ready"), ready]

    def _is_needed(self, record: Record) -> bool:
        """Whether an address in use lies in no other range."""
        own = _ranges(record)
        others = [
            cidr
            for other in self._store.scan(kinds.SERVICE_CIDRS)
            if other.name != record.name and not other.deleting
            for cidr in _ranges(other)
        ]
        used = (parse_addr(one.name) for one in self._store.scan(kinds.IP_ADDRESSES))
        return any(
            address is not None
            and any(_has(cidr, address) for cidr in own)
            and not any(_has(cidr, address) for cidr in others)
            for address in used
        )


def _has(cidr: Cidr, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return cidr.version == address.version and address in cidr


def _ranges(record: Record) -> list[Cidr]:
    texts = record.document()["spec"].get("cidrs") or ()
    return [cidr for text in texts if (cidr := parse_cidr(text)) is not None]


def _cluster_ips(service: Record) -> list[str]:
    """The addresses of a Service, each in its one text."""
    texts = service.document()["spec"].get("clusterIPs") or ()
    return [str(address) for text in texts if (address := parse_addr(text)) is not None]
