"""Which Service of type LoadBalancer has which addresses. Pure.

Comes in: Services with what they have (``status.loadBalancer``), LoadBalancerPools, Namespaces, Nodes, EgressGateways. Goes out: for each Service that
is ours a :class:`Decision`. The status at the API server is the only store, so a restart changes nothing. The rules:

- What a Service has stays, whatever becomes of its pool, until its own type, families, ports or requests say otherwise.
- Of two that have one address and may not share it, the older keeps it.
- Who lacks an address is served in order of age, from the pools it names, else from those for it, the most specific first.
- An address is free when no Service lists it and nobody was promised it in the same look.

``Allocator().update(everything)`` is the definition; an update with less looks only at those that it concerns and comes to the same.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.api.core import Namespace, Node, Service
from netloom.api.egress import EgressGateway
from netloom.api.load_balancers import AddressCount, LoadBalancerPool
from netloom.model.load_balancers.choosing import Chooser, Lack
from netloom.model.load_balancers.holders import Holders, place_of
from netloom.model.load_balancers.occupied import Occupied, occupied_by
from netloom.model.load_balancers.pools import Pool, read_pools
from netloom.model.load_balancers.wishes import WORDS, Wish, read_wish
from netloom.model.provenance import Finding
from netloom.units import Addr, ObjectKey

MOST_COUNTED = (1 << 53) - 1


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What changed: per kind, key to the new object, or None where it is gone. To begin with, everything."""

    services: Mapping[ObjectKey, Service | None] = {}
    pools: Mapping[ObjectKey, LoadBalancerPool | None] = {}
    namespaces: Mapping[ObjectKey, Namespace | None] = {}
    nodes: Mapping[ObjectKey, Node | None] = {}
    egress: Mapping[ObjectKey, EgressGateway | None] = {}


class Decision(msgspec.Struct, frozen=True):
    """What one Service is to have."""

    addresses: tuple[Addr, ...]
    """In the order of its families."""
    pools: tuple[str, ...]
    """Of each address the pool that it is of; empty for one that is of none."""
    lacks: tuple[Lack, ...] = ()
    """Families that wait, and why."""
    findings: tuple[Finding, ...] = ()
    """What else is to be said: requests that cannot be read, addresses that were kept although their pool has them no more."""
    is_complete: bool = True
    """It has all that it needs, as it wants it."""


class PoolCount(msgspec.Struct, frozen=True):
    """How much of a pool is in use."""

    assigned: AddressCount
    available: AddressCount


class _Kept(msgspec.Struct, frozen=True):
    """One address that a Service goes on having."""

    address: Addr
    is_wanted: bool
    """As it asks for it; else it is kept until there is another."""
    finding: Finding | None = None


class Allocator:
    """See ``decisions``, ``pools``, ``pool_findings`` and ``counts``."""

    def __init__(self) -> None:
        self.decisions: dict[ObjectKey, Decision] = {}
        """Of all Services that are ours."""
        self.pools: dict[str, Pool] = {}
        self.pool_findings: tuple[Finding, ...] = ()
        self._holders = Holders()
        self._pool_objects: dict[ObjectKey, LoadBalancerPool] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        self._occupied: dict[tuple[str, ObjectKey], Occupied] = {}
        self._kept: dict[ObjectKey, tuple[_Kept, ...]] = {}
        self._lacking: set[ObjectKey] = set()
        self._homes: dict[Addr, Pool | None] = {}

    def update(self, inputs: Inputs) -> frozenset[ObjectKey]:
        """Take changes in; the Services about which something else is decided now than before."""
        affected: set[ObjectKey] = set()
        for key, service in inputs.services.items():
            affected |= self._holders.put(key, None if service is None else read_wish(service))
        if self._take_surroundings(inputs):
            affected |= self._holders.wishes.keys()
        before = {key: self.decisions.get(key) for key in affected | self._lacking}
        for key in affected:
            self._look_at(key)
        self._give()
        return frozenset(key for key, decision in before.items() if self.decisions.get(key) != decision)

    # --- what is around the Services

    def _take_surroundings(self, inputs: Inputs) -> bool:
        """Pools, labels of namespaces, addresses of nodes; whether any of it is another now."""
        changed = False
        for key, namespace in inputs.namespaces.items():
            labels = {} if namespace is None else namespace.metadata.labels
            changed |= self._labels.get(key.name, {}) != labels
            self._labels[key.name] = labels
        is_other = bool(inputs.pools)
        for key, pool in inputs.pools.items():
            _put(self._pool_objects, key, pool)
        for kind, things in (("Node", inputs.nodes), ("EgressGateway", inputs.egress)):
            for key, thing in things.items():
                has = occupied_by(thing)
                is_other |= self._occupied.get((kind, key), {}) != has
                self._occupied[kind, key] = has
        if is_other:
            every = sorted(self._occupied.items(), key=lambda item: item[0])
            occupied = {span: who for _, has in every for span, who in has.items()}
            self.pools, self.pool_findings = read_pools(self._pool_objects.values(), occupied)
            self._homes.clear()
        return changed or is_other

    def _home(self, address: Addr) -> Pool | None:
        """The pool that an address is of."""
        if address not in self._homes:
            self._homes[address] = next((pool for pool in self.pools.values() if pool.has(address)), None)
        return self._homes[address]

    # --- what a Service has

    def _look_at(self, key: ObjectKey) -> None:
        """Decide what a Service keeps, and whether it lacks anything."""
        self._lacking.discard(key)
        self._kept.pop(key, None)
        self.decisions.pop(key, None)
        wish = self._holders.wishes.get(key)
        if wish is None or not wish.is_ours:
            return
        kept = self._kept[key] = tuple(self._keeps(wish))
        wanted = {one.address.version for one in kept if one.is_wanted}
        self._lacking.discard(key)
        if not wish.is_leaving and not wish.findings and not wanted.issuperset(wish.versions):
            self._lacking.add(key)
        else:
            self.decisions[key] = self._decision(wish, {one.address.version: one.address for one in kept}, ())

    def _keeps(self, wish: Wish) -> Iterable[_Kept]:
        seen: set[int] = set()
        for address in wish.has:
            if address.version in seen or address.version not in wish.versions:
                continue
            if not self._may_keep(wish, address):
                continue
            seen.add(address.version)
            home = self._home(address)
            request = wish.request(address.version)
            is_wanted = request is None or request[0] == address
            if is_wanted and wish.pools is not None and home is not None:
                is_wanted = home.name in wish.pools or wish.is_leaving
            yield _Kept(address, is_wanted, self._kept_although(wish, address, home))

    def _may_keep(self, wish: Wish, address: Addr) -> bool:
        """Whether no older Service has the address that it cannot share it with."""
        accepted: list[Wish] = []
        for holder in self._holders.at(place_of(address)):
            fits = all(not holder.sharing.clash(other.sharing) for other in accepted)
            if holder.key == wish.key:
                return fits
            if fits and (address in holder.has):
                accepted.append(holder)
        return True

    def _kept_although(self, wish: Wish, address: Addr, home: Pool | None) -> Finding | None:
        field = f"status.loadBalancer.ingress[{wish.has.index(address)}]"
        if home is None:
            problem = f"{address} is of no LoadBalancerPool any more: kept, and given to nobody else"
            hint = "give the pool its range back, or make the Service anew to get another address"
        elif why := wish.excluded_by(home, self._labels.get(wish.subject.namespace, {})):
            if home.is_disabled:
                return None
            problem = f"{address} is of LoadBalancerPool {home.name}, {why}: kept"
            hint = "mend the selector, or make the Service anew to get another address"
        elif not home.gives(address):
            problem = f"{address} of LoadBalancerPool {home.name} is reserved, or somebody else's: kept"
            hint = "make the Service anew to get another address"
        else:
            return None
        return Finding(wish.subject.at(field), problem, hint)

    # --- what it gets

    def _give(self) -> None:
        """Serve those that lack something, the oldest first."""
        chooser = Chooser(self.pools, self._home, self._labels, self._holders, self._stays)
        wishes = sorted((self._holders.wishes[key] for key in self._lacking), key=lambda w: w.seniority)
        for wish in wishes:
            kept: dict[int, _Kept] = {one.address.version: one for one in self._kept[wish.key]}
            found: dict[int, Addr] = {version: one.address for version, one in kept.items()}
            lacks: list[Lack] = []
            for version in wish.versions:
                if version in kept and kept[version].is_wanted:
                    continue
                chosen = chooser.choose(wish, version)
                if isinstance(chosen, Lack):
                    lacks.append(chosen)
                else:
                    found[version] = chosen
            self.decisions[wish.key] = self._decision(wish, found, tuple(lacks))

    def _stays(self, key: ObjectKey, address: Addr) -> bool:
        """Whether a Service goes on having an address that it has."""
        return any(one.address == address for one in self._kept.get(key, ()))

    def _decision(self, wish: Wish, found: Mapping[int, Addr], lacks: tuple[Lack, ...]) -> Decision:
        addresses = tuple(found[version] for version in wish.versions if version in found)
        homes = [self._home(address) for address in addresses]
        kept = {one.address: one.finding for one in self._kept[wish.key]}
        return Decision(
            addresses=addresses,
            pools=tuple("" if home is None else home.name for home in homes),
            lacks=lacks,
            findings=(*wish.findings, *(f for a in addresses if (f := kept.get(a)) is not None)),
            is_complete=not wish.findings
            and bool(addresses)
            and not any(wish.needs_all or lack.is_asked_for for lack in lacks),
        )

    # --- how much there is

    def waiting(self) -> Iterator[tuple[ObjectKey, Decision]]:
        """Services that lack something, the oldest first, and what is decided about them."""
        for key in sorted(self._lacking, key=lambda key: self._holders.wishes[key].seniority):
            yield key, self.decisions[key]

    def counts(self) -> dict[str, PoolCount]:
        """By pool, how many addresses are in use, and how many can be given still."""
        assigned = {name: {4: 0, 6: 0} for name in self.pools}
        busy = {name: {4: 0, 6: 0} for name in self.pools}
        for place in self._holders.places():
            address = (ipaddress.IPv4Address if place[0] == 4 else ipaddress.IPv6Address)(place[1])
            home = self._home(address)
            if home is None:
                continue
            if any(address in wish.has for wish in self._holders.at(place)):
                assigned[home.name][place[0]] += 1
            busy[home.name][place[0]] += home.gives(address)
        return {
            name: PoolCount(
                AddressCount(assigned[name][4], assigned[name][6]),
                AddressCount(
                    *(min(MOST_COUNTED, pool.size(version) - busy[name][version]) for version in (4, 6))
                ),
            )
            for name, pool in self.pools.items()
        }


def words_of(decision: Decision) -> str:
    """What a Service has, for people."""
    parts = [
        f"{WORDS[address.version]} {address} of {f'LoadBalancerPool {pool}' if pool else 'no pool'}"
        for address, pool in zip(decision.addresses, decision.pools, strict=True)
    ]
    return ", ".join(parts)


def _put(table: dict[ObjectKey, LoadBalancerPool], key: ObjectKey, pool: LoadBalancerPool | None) -> None:
    if pool is None:
        table.pop(key, None)
    else:
        table[key] = pool
