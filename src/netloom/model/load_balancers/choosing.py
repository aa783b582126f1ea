"""Which free address a Service gets: the one it asks for, one that it can share, or the first free one of the first pool for it.

Comes in: pools, who holds what. Goes out: an address, or why there is none. What was chosen in this look counts as taken for whoever
comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from netloom.model.load_balancers.holders import Holders, Place, place_of
from netloom.model.load_balancers.pools import Pool
from netloom.model.load_balancers.spans import address_of
from netloom.model.load_balancers.wishes import POOL_FIELD, WORDS, Wish
from netloom.model.provenance import Finding
from netloom.units import Addr, ObjectKey

_MOST_TOLD = 3


class Lack(msgspec.Struct, frozen=True):
    """An address of one family that a Service does not get."""

    version: int
    finding: Finding
    dry: tuple[str, ...] = ()
    """Pools that would have given one, but are all in use."""
    is_asked_for: bool = False
    """It asks for a certain address or pool: even with PreferDualStack its absence is a lack."""


class Chooser:
    """One look at all that lack something; to be asked in order of age.

    Args:
        pools: by name.
        home: the pool of an address.
        labels: of namespaces, by name.
        holders: who lists which address.
        stays: whether a Service goes on having an address that it lists.
    """

    def __init__(
        self,
        pools: Mapping[str, Pool],
        home: Callable[[Addr], Pool | None],
        labels: Mapping[str, Mapping[str, str]],
        holders: Holders,
        stays: Callable[[ObjectKey, Addr], bool],
    ) -> None:
        self._pools = pools
        self._home = home
        self._labels = labels
        self._holders = holders
        self._stays = stays
        self._promised: dict[Place, list[Wish]] = {}
        self._promised_to: dict[ObjectKey, list[Addr]] = {}
        self._next: dict[tuple[str, int], Iterator[Addr]] = {}

    def choose(self, wish: Wish, version: int) -> Addr | Lack:
        """An address of this family (4 or 6), which is then taken."""
        request = wish.request(version)
        if request is not None:
            chosen = self._requested(wish, *request)
        else:
            candidates, closed = self._candidates(wish, version)
            chosen = (
                self._shared(wish, version, candidates)
                or self._free(version, candidates)
                or _none_left(wish, version, candidates, closed)
            )
        if not isinstance(chosen, Lack):
            self._promised.setdefault(place_of(chosen), []).append(wish)
            self._promised_to.setdefault(wish.key, []).append(chosen)
        return chosen

    # --- a certain address

    def _requested(self, wish: Wish, address: Addr, field: str) -> Addr | Lack:
        home = self._home(address)
        problem, hint = "", "ask for another, or for none"
        if home is None:
            problem = f"{address} is of no LoadBalancerPool"
            hint = "see kubectl get loadbalancerpools, or ask for none"
        elif wish.pools is not None and home.name not in wish.pools:
            problem = f"{address} is of LoadBalancerPool {home.name}, which {POOL_FIELD} does not name"
        elif why := wish.excluded_by(home, self._labels_of(wish)):
            problem = f"{address} is of LoadBalancerPool {home.name}: {why}"
        elif not home.gives(address):
            problem = (
                f"{address} of LoadBalancerPool {home.name} is reserved, or a node or an EgressGateway has it"
            )
        else:
            for other in self._others_at(place_of(address), wish):
                if why := wish.sharing.clash(other.sharing):
                    problem = f"{address} is in use by {other.subject.subject}: {why}"
                    hint = "ask for another; it gets this one as soon as it is free"
                    break
        if not problem:
            return address
        return Lack(address.version, Finding(wish.subject.at(field), problem, hint), is_asked_for=True)

    # --- any address

    def _candidates(self, wish: Wish, version: int) -> tuple[list[Pool], list[str]]:
        """Pools that have such addresses and are for this Service, in order; and of others why not."""
        closed: list[str] = []
        found: list[Pool] = []
        if wish.pools is not None:
            pools = [self._pools[name] for name in wish.pools if name in self._pools]
            closed += [
                f"there is no LoadBalancerPool {name}" for name in wish.pools if name not in self._pools
            ]
        else:
            pools = sorted(self._pools.values(), key=lambda pool: (pool.rank, pool.name))
        for pool in pools:
            if version not in pool.versions:
                why = f"has no {WORDS[version]} addresses"
            elif wish.pools is None and not pool.is_automatic:
                why = "spec.autoAssign is false"
            else:
                why = wish.excluded_by(pool, self._labels_of(wish))
            if why:
                closed.append(f"LoadBalancerPool {pool.name}: {why}")
            else:
                found.append(pool)
        return found, closed

    def _shared(self, wish: Wish, version: int, candidates: list[Pool]) -> Addr | None:
        """An address that it can share, of the oldest Service that has such a one."""
        if not wish.sharing.key:
            return None
        address: Addr
        for fellow in self._holders.sharing(wish.sharing.key):
            if fellow.key == wish.key or not fellow.is_ours:
                continue
            stays = [address for address in fellow.has if self._stays(fellow.key, address)]
            for address in (*stays, *self._promised_to.get(fellow.key, ())):
                if address.version == version and self._can_share(wish, address, candidates):
                    return address
        return None

    def _can_share(self, wish: Wish, address: Addr, candidates: list[Pool]) -> bool:
        home = self._home(address)
        if home is None or home not in candidates or not home.gives(address):
            return False
        others = self._others_at(place_of(address), wish)
        return not any(wish.sharing.clash(other.sharing) for other in others)

    def _free(self, version: int, candidates: list[Pool]) -> Addr | None:
        for pool in candidates:
            # nothing comes free within one look: the search goes on where it was
            search = self._next.setdefault((pool.name, version), _all_of(pool, version))
            for address in search:
                place = place_of(address)
                if not self._holders.is_held(place) and place not in self._promised:
                    return address
        return None

    # --- others

    def _labels_of(self, wish: Wish) -> Mapping[str, str]:
        return self._labels.get(wish.subject.namespace, {})

    def _others_at(self, place: Place, wish: Wish) -> Iterator[Wish]:
        for other in (*self._holders.at(place), *self._promised.get(place, ())):
            if other.key != wish.key:
                yield other


def _all_of(pool: Pool, version: int) -> Iterator[Addr]:
    for span in pool.free:
        if span.version == version:
            for number in range(span.first, span.last + 1):
                yield address_of(version, number)


def _none_left(wish: Wish, version: int, candidates: list[Pool], closed: list[str]) -> Lack:
    word = WORDS[version]
    field = "spec.type" if wish.pools is None else POOL_FIELD
    if candidates:
        names = ", ".join(pool.name for pool in candidates)
        problem = f"all {word} addresses of LoadBalancerPool {names} are in use"
        hint = "widen the pool, or make another; it gets one as soon as one is free"
    else:
        problem = f"no LoadBalancerPool gives it an {word} address"
        if closed:
            more = f"; and {len(closed) - _MOST_TOLD} more" if len(closed) > _MOST_TOLD else ""
            problem += f" ({'; '.join(closed[:_MOST_TOLD])}{more})"
        hint = "make one (docs/load-balancers.md), or change one"
    finding = Finding(wish.subject.at(field), problem, hint)
    return Lack(version, finding, tuple(pool.name for pool in candidates), wish.pools is not None)
