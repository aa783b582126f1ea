"""Who has which address, as the API server has it, and who is promised one. One table, changed Service by Service.

An address counts as held as long as any Service lists it, also one that is about to lose it: nobody else gets it before that is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netloom.model.load_balancers.wishes import Wish
from netloom.units import Addr, ObjectKey

Place = tuple[int, int]
"""Version and number of an address: quicker to hash than the address."""


def place_of(address: Addr) -> Place:
    """The address as a key."""
    return address.version, int(address)


class Holders:
    """Wishes of all Services, and by address who holds it."""

    def __init__(self) -> None:
        self.wishes: dict[ObjectKey, Wish] = {}
        self._by_place: dict[Place, set[ObjectKey]] = {}
        self._by_key: dict[str, set[ObjectKey]] = {}

    def put(self, key: ObjectKey, wish: Wish | None) -> set[ObjectKey]:
        """A Service is now this; all whose addresses it touches, itself among them."""
        touched = {key}
        before = self.wishes.pop(key, None)
        if before is not None:
            for place in _places(before):
                holders = self._by_place[place]
                touched |= holders
                holders.discard(key)
                if not holders:
                    del self._by_place[place]
            _leave(self._by_key, before.sharing.key, key)
        if wish is not None:
            self.wishes[key] = wish
            for place in _places(wish):
                holders = self._by_place.setdefault(place, set())
                touched |= holders
                holders.add(key)
            if wish.sharing.key:
                self._by_key.setdefault(wish.sharing.key, set()).add(key)
        return touched

    def at(self, place: Place) -> list[Wish]:
        """All that list an address, the oldest first."""
        found = [self.wishes[key] for key in self._by_place.get(place, ())]
        return found if len(found) < 2 else sorted(found, key=lambda wish: wish.seniority)

    def is_held(self, place: Place) -> bool:
        """Whether anybody lists it."""
        return place in self._by_place

    def places(self) -> Mapping[Place, Iterable[ObjectKey]]:
        """All addresses that anybody lists."""
        return self._by_place

    def sharing(self, key: str) -> list[Wish]:
        """All Services with this sharing key, the oldest first."""
        found = (self.wishes[one] for one in self._by_key.get(key, ()))
        return sorted(found, key=lambda wish: wish.seniority)


def _places(wish: Wish) -> Iterator[Place]:
    return map(place_of, dict.fromkeys((*wish.has, *wish.beside)))


def _leave(table: dict[str, set[ObjectKey]], name: str, key: ObjectKey) -> None:
    if name:
        table[name].discard(key)
        if not table[name]:
            del table[name]
