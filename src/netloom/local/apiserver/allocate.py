"""ClusterIPs and node ports of Services: given ones are kept or refused, missing ones are filled in.

Comes in: a Service document that is about to be stored, and the one it replaces. Goes out: the document completed, or
causes with field paths. What is taken follows the store's events, so a write that fails leaves nothing behind. Not here:
what an update leaves out (service_updates.py), which families (families.py), the other rules (validate.py). Source: core/v1
ServiceSpec; KEP-3070 and KEP-3668 for the static bands.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from netloom.local.apiserver import families, kinds
from netloom.local.apiserver.families import FAMILY_WORDS, invalid
from netloom.local.apiserver.history import Event, Record
from netloom.local.apiserver.service_updates import (
    kind_of,
    needs_cluster_ip,
    needs_health_port,
    needs_node_ports,
)
from netloom.local.apiserver.status import Cause
from netloom.local.apiserver.store import Store
from netloom.units import Addr, Cidr, family_of, parse_addr, parse_cidr

NODE_PORTS = (30000, 32767)
DEFAULT_RANGE = "kubernetes"
"""The ServiceCIDR of the ranges that the cluster was started with."""

Key = tuple[str, str]


class Pool:
    """Numbers from ``first`` to ``last``, each held by one Service; the first ``static`` of them are given only on request.

    The band for requests is used too once the rest is full (KEP-3070: dynamic allocation prefers the upper band).
    """

    def __init__(self, first: int, last: int, static: int) -> None:
        self._first = first
        self._last = last
        self._dynamic = min(first + static, last)
        self._holders: dict[int, Key] = {}
        self._cursor = self._dynamic

    def __contains__(self, number: int) -> bool:
        return self._first <= number <= self._last

    @property
    def text(self) -> str:
        """The range, for people."""
        return f"{self._first}-{self._last}"

    def holder(self, number: int) -> Key | None:
        """Who has this number."""
        return self._holders.get(number)

    def hold(self, number: int, key: Key) -> None:
        """Note that the number is taken."""
        self._holders[number] = key

    def resume(self) -> None:
        """Go on behind the highest number in use, so that a restart does not bring back what was just released."""
        self._cursor = max([self._dynamic - 1, *(n for n in self._holders if n in self)]) + 1

    def release(self, number: int, key: Key) -> None:
        """Note that the number is free, if this Service had it."""
        if self._holders.get(number) == key:
            del self._holders[number]

    def free(self, but: frozenset[int] = frozenset()) -> int | None:
        """A number that nobody has, or None where the pool is full. Numbers are reused as late as possible."""
        start = self._cursor if self._cursor <= self._last else self._dynamic
        for band in (
            range(start, self._last + 1),
            range(self._dynamic, start),
            range(self._first, self._dynamic),
        ):
            for number in band:
                if number not in self._holders and number not in but:
                    self._cursor = max(number + 1, self._dynamic)
                    return number
        return None


class _Range(msgspec.Struct, frozen=True):
    """One family's Service range."""

    cidr: Cidr
    pool: Pool

    @property
    def word(self) -> str:
        return FAMILY_WORDS[family_of(self.cidr)]


def _range(cidr: Cidr) -> _Range:
    base, size = int(cidr.network_address), cidr.num_addresses
    last = base + size - (2 if cidr.version == 4 else 1)  # no broadcast address
    static = min(max(16, size // 16), 256)
    return _Range(cidr, Pool(base + 1, last, static))


class ServiceAddresses:
    """What Services hold in one cluster.

    Args:
        store: whose Services count; those that are there already are taken over.
        cidrs: Service ranges, the first one's family is the default; at most one of each family.
        node_ports: first and last port for NodePort Services.
    """

    def __init__(
        self, *, store: Store, cidrs: Sequence[Cidr], node_ports: tuple[int, int] = NODE_PORTS
    ) -> None:
        self._ranges = {r.word: r for r in map(_range, cidrs)}
        self._more: dict[str, tuple[_Range, ...]] = {}
        """Ranges of further ServiceCIDRs, by their names; what is on its way out gives nothing new."""
        self._leaving: frozenset[str] = frozenset()
        self._store = store
        first, last = node_ports
        self._ports = Pool(first, last, min(max(16, (last - first + 1) // 32), 128))
        for record in store.scan(kinds.SERVICE_CIDRS):
            self._more[record.name] = _further(record)
        for record in store.scan(kinds.SERVICES):
            self._take(record.key, record.document())
        for record in store.scan(kinds.IP_ADDRESSES):
            self._reserve(record)
        for pool in (self._ports, *(r.pool for r in self._ranges.values())):
            pool.resume()
        store.listen(self._follow)

    def holder(self, text: str) -> Key | None:
        """The Service that has this ClusterIP; None where none has it."""
        address = parse_addr(text)
        found = (r.pool.holder(int(address)) for r in self._at(address)) if address is not None else ()
        return next((key for key in found if key is not None and key[0]), None)

    def _at(self, address: Addr) -> list[_Range]:
        """The ranges that an address lies in."""
        every = (*self._ranges.values(), *(r for ranges in self._more.values() for r in ranges))
        return [r for r in every if r.cidr.version == address.version and address in r.cidr]

    def _of(self, word: str) -> list[_Range]:
        """The ranges of a family that addresses are given from."""
        more = [r for name, ranges in self._more.items() if name not in self._leaving for r in ranges]
        return [*filter(None, [self._ranges.get(word)]), *(r for r in more if r.word == word)]

    def _reserve(self, record: Record) -> None:
        """An IPAddress that is no Service's keeps its address from all of them."""
        parent = record.document()["spec"].get("parentRef") or {}
        address = parse_addr(record.name)
        if address is not None and parent.get("resource") != "services":
            for range_ in self._at(address):
                if range_.pool.holder(int(address)) is None:
                    range_.pool.hold(int(address), ("", record.name))

    def _follow_ranges(self, event: Event) -> None:
        name = event.record.name
        if event.deleted:
            self._more.pop(name, None)
        elif name not in self._more:
            self._more[name] = _further(event.record)
            for record in self._store.scan(kinds.SERVICES):
                self._take(record.key, record.document())
            for record in self._store.scan(kinds.IP_ADDRESSES):
                self._reserve(record)
        leaving = self._leaving - {name}
        self._leaving = leaving | {name} if event.record.deleting and not event.deleted else leaving

    def _follow(self, event: Event) -> None:
        kind = event.record.kind
        if kind is kinds.SERVICE_CIDRS and event.record.name != DEFAULT_RANGE:
            self._follow_ranges(event)
        elif kind is kinds.IP_ADDRESSES and (address := parse_addr(event.record.name)) is not None:
            for range_ in self._at(address):
                range_.pool.release(int(address), ("", event.record.name))
            if not event.deleted:
                self._reserve(event.record)
        if kind is not kinds.SERVICES:
            return
        if event.previous is not None:
            self._give_back(event.previous.key, event.previous.document())
        if not event.deleted:
            self._take(event.record.key, event.record.document())

    def _take(self, key: Key, service: Mapping[str, Any]) -> None:
        for range_, number in self._addresses(service):
            range_.pool.hold(number, key)
        for port in _node_ports(service):
            self._ports.hold(port, key)

    def _give_back(self, key: Key, service: Mapping[str, Any]) -> None:
        for range_, number in self._addresses(service):
            range_.pool.release(number, key)
        for port in _node_ports(service):
            self._ports.release(port, key)

    def _addresses(self, service: Mapping[str, Any]) -> list[tuple[_Range, int]]:
        found = []
        for text in service["spec"].get("clusterIPs") or ():
            if (address := parse_addr(text)) is not None:
                found += [(range_, int(address)) for range_ in self._at(address)]
        return found

    def complete(self, service: dict[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
        """Fill in addresses, families and node ports of a Service whose shape has been validated.

        Returns what is wrong; the document is then not to be stored.
        """
        key = (service["metadata"]["namespace"], service["metadata"]["name"])
        spec = service["spec"]
        old_spec: Mapping[str, Any] = old["spec"] if old is not None else {}
        causes = self._complete_addresses(key, spec, old_spec)
        return causes or self._complete_ports(key, spec) or self._complete_health_port(key, spec, old_spec)

    def _complete_addresses(self, key: Key, spec: dict[str, Any], old: Mapping[str, Any]) -> list[Cause]:
        if not needs_cluster_ip(spec):
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(field, None)
            return []
        wanted = [ip for ip in spec.get("clusterIPs") or () if ip]
        first = spec.get("clusterIP") or ""
        if wanted and first and wanted[0] != first:
            return [invalid("spec.clusterIPs", wanted, "first value must match `clusterIP`")]
        if first and not wanted:
            wanted = [first]
        if old.get("clusterIP") and needs_cluster_ip(old):
            before = list(old.get("clusterIPs") or [old["clusterIP"]])
            for index, (now, then) in enumerate(zip(wanted, before, strict=False)):
                if now != then:
                    return [invalid(f"spec.clusterIPs[{index}]", wanted, "may not change once set")]
            if not wanted:
                return [invalid("spec.clusterIPs[0]", wanted, "may not change once set")]
        if wanted:
            spec["clusterIPs"] = wanted
            spec["clusterIP"] = wanted[0]
        causes = families.settle(spec, old, tuple(self._ranges))
        wanted = list(spec.get("clusterIPs") or ())
        if not causes and wanted != ["None"]:
            causes = self._allocate(key, spec["ipFamilies"], wanted)
        if not causes:
            spec["clusterIPs"] = wanted
            spec["clusterIP"] = wanted[0]
        return causes

    def _allocate(self, key: Key, words: Sequence[str], wanted: list[str]) -> list[Cause]:
        """Check the addresses that are wanted and append those that are missing."""
        for index, word in enumerate(words):
            ranges = self._of(word)
            if index < len(wanted):
                problem = _refusal(ranges, word, wanted[index], key)
                if problem:
                    return [invalid("spec.clusterIPs", wanted, problem)]
                continue
            number = next((n for r in ranges if (n := self._free(r)) is not None), None)
            if number is None:
                what = ", ".join(str(r.cidr) for r in ranges) or word
                return [invalid("spec.clusterIPs", wanted, f"failed to allocate an address: {what} is full")]
            wanted.append(str(ipaddress.ip_address(number)))
        return []

    def _free(self, range_: _Range) -> int | None:
        """A number of this range that nobody has, also in no other range that it lies in."""
        taken: set[int] = set()
        while (number := range_.pool.free(frozenset(taken))) is not None:
            others = self._at(ipaddress.ip_address(number))
            if all(r.pool.holder(number) is None for r in others):
                return number
            taken.add(number)
        return None

    def _complete_ports(self, key: Key, spec: dict[str, Any]) -> list[Cause]:
        if kind_of(spec) not in {"NodePort", "LoadBalancer"}:
            return []
        ports: list[dict[str, Any]] = spec.get("ports") or []
        own: dict[int, set[str]] = {}
        for index, port in enumerate(ports):
            if number := port.get("nodePort"):
                if problem := self._port_refusal(number, key):
                    return [invalid(f"spec.ports[{index}].nodePort", number, problem)]
                own.setdefault(number, set()).add(port.get("protocol", "TCP"))
        if not needs_node_ports(spec):
            return []
        for index, port in enumerate(ports):
            if not port.get("nodePort"):
                chosen = self._node_port_for(ports, port, own)
                if chosen is None:
                    return [self._full(f"spec.ports[{index}].nodePort")]
                port["nodePort"] = chosen
                own.setdefault(chosen, set()).add(port.get("protocol", "TCP"))
        return []

    def _complete_health_port(self, key: Key, spec: dict[str, Any], old: Mapping[str, Any]) -> list[Cause]:
        field = "spec.healthCheckNodePort"
        if not needs_health_port(spec):
            spec.pop("healthCheckNodePort", None)
            return []
        own = {int(p["nodePort"]) for p in spec.get("ports") or () if p.get("nodePort")}
        wanted, before = spec.get("healthCheckNodePort"), old.get("healthCheckNodePort")
        if not wanted:
            chosen = self._ports.free(frozenset(own))
            if chosen is None:
                return [self._full(field)]
            spec["healthCheckNodePort"] = chosen
            return []
        if before and needs_health_port(old) and wanted != before:
            return [invalid(field, wanted, "field is immutable")]
        problem = self._port_refusal(wanted, key)
        if wanted in own or (not problem and wanted != before and self._ports.holder(wanted) == key):
            problem = "provided port is already allocated"
        return [invalid(field, wanted, problem)] if problem else []

    def _port_refusal(self, number: int, key: Key) -> str:
        """Why a Service cannot have a port of the nodes; empty where it can."""
        if number not in self._ports:
            return f"provided port is not in the valid range. The range of valid ports is {self._ports.text}"
        holder = self._ports.holder(number)
        return "provided port is already allocated" if holder is not None and holder != key else ""

    def _full(self, field: str) -> Cause:
        why = f"failed to allocate a port: {self._ports.text} is full"
        return Cause("FieldValueInvalid", why, field)

    def _node_port_for(
        self, ports: Sequence[dict[str, Any]], port: dict[str, Any], own: Mapping[int, set[str]]
    ) -> int | None:
        """A node port: that of the same port under another protocol (DNS over TCP and UDP), else a free one."""
        protocol = port.get("protocol", "TCP")
        for twin in ports:
            number = twin.get("nodePort")
            if number and twin.get("port") == port.get("port") and protocol not in own.get(number, ()):
                return int(number)
        return self._ports.free(frozenset(own))


def _refusal(ranges: Sequence[_Range], word: str, text: str, key: Key) -> str:
    address = parse_addr(text)
    if address is None:
        return "must be a valid IP address"
    if not ranges:
        return f"{word} is not configured on this cluster"
    found = [r for r in ranges if r.cidr.version == address.version and int(address) in r.pool]
    if not found:
        return (
            f"failed to allocate IP {text}: the provided IP ({text}) is not in the valid range. "
            f"The range of valid IPs is {', '.join(str(r.cidr) for r in ranges)}"
        )
    if any(r.pool.holder(int(address)) not in {None, key} for r in found):
        return f"failed to allocate IP {text}: provided IP is already allocated"
    return ""


def _further(record: Record) -> tuple[_Range, ...]:
    """The ranges of a ServiceCIDR other than the cluster's first one."""
    if record.name == DEFAULT_RANGE:
        return ()
    texts = record.document()["spec"].get("cidrs") or ()
    return tuple(_range(cidr) for text in texts if (cidr := parse_cidr(text)) is not None)


def _node_ports(service: Mapping[str, Any]) -> list[int]:
    spec = service["spec"]
    ports = [p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")]
    health = spec.get("healthCheckNodePort")
    return [*ports, health] if health else ports
