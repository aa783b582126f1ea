"""Who gets in at the doors of Services, and how. Pure.

Comes in: surveyed estates. Goes out: for each door and each end that it leads to, the senders that get there. A client outside whose
connection comes in at another node than the endpoint's is seen there as that node (``externalTrafficPolicy`` Cluster): so there are
two ways, and a policy may let in what comes by the one and not by the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netloom.model.policy.state import PortRange
from netloom.observe.estate.scenes import Surveyed
from netloom.observe.estate.services import Door, DoorKey
from netloom.observe.reach.ends import End, EndKind
from netloom.observe.reach.portspace import each_bit

_INSIDE = (EndKind.POD, EndKind.HOST, EndKind.NODE)


class Way(msgspec.Struct, frozen=True):
    """Who gets from a door to one of its ends."""

    direct: int
    """Senders as they are: from inside, or where the connection comes in at the endpoint's own node."""
    relayed: int = 0
    """Senders outside whose connections come in at other nodes."""

    @property
    def senders(self) -> int:
        """By whichever way."""
        return self.direct | self.relayed


class Target(msgspec.Struct, frozen=True, cache_hash=True):
    """One class of endpoints of a door."""

    end: int
    ports: PortRange


class Ways:
    """All doors of one side."""

    def __init__(self, surveyed: Surveyed, side: int) -> None:
        self._reach = surveyed.reach
        self._side = side
        ends = surveyed.reach.all
        self._present = ends.present(side)
        self._inside = self._present & ends.where(lambda end: end.kind in _INSIDE)
        self._nodes = self._present & ends.where(lambda end: end.kind is EndKind.NODE)
        self._outside = ends.where(lambda end: end.kind is EndKind.OUTSIDE)
        self.doors = surveyed.doors[side]
        self.targets: Mapping[DoorKey, frozenset[Target]] = {
            key: frozenset(self._targets(door)) for key, door in self.doors.items()
        }
        self.leading_to: dict[int, list[tuple[int, DoorKey]]] = {}
        """By end: the ports at which doors lead to it, and the doors."""
        for key, targets in self.targets.items():
            for target in targets:
                ports = self._reach.ports.bits(target.ports)
                self.leading_to.setdefault(target.end, []).append((ports, key))

    def way(self, key: DoorKey, target: Target) -> Way:
        """Who gets in there."""
        door, end = self.doors[key], self._reach.ends[target.end]
        kin = self._reach.all.of_family[end.family]
        reached = self._reach.reaches(self._side, end, self._reach.ports.bits(target.ports))
        if end.kind in (EndKind.OUTSIDE, EndKind.NODE):
            reached |= (self._nodes | self._outside) & kin
        if not key.kind.is_outer:
            return Way(reached & self._inside & kin)
        domain = self._outside & kin & self._let_in(door)
        if door.is_local:
            return Way(reached & domain)
        return Way(reached & domain, domain if reached & self._nodes & kin else 0)

    def _let_in(self, door: Door) -> int:
        if door.ranges is None:
            return self._outside
        place = self._reach.looked.addresses.places[door.ranges]
        found = 0
        for index in each_bit(self._outside):
            outside = self._reach.ends[index].outside
            if outside is not None and outside.membership >> place & 1:
                found |= 1 << index
        return found

    def _targets(self, door: Door) -> Iterator[Target]:
        ends = self._reach.all
        for endpoint in door.endpoints:
            mask = 0
            if endpoint.pod is not None:
                mask = ends.of_pod[self._side].get(endpoint.pod, 0)
            elif endpoint.address is not None:
                place = ends.place_of[self._side].get(endpoint.address)
                outside: End | None = ends.outside_at(endpoint.address) if place is None else None
                mask = 1 << place if place is not None else outside.bit if outside is not None else 0
            for place in each_bit(mask):
                if ends.ends[place].family in door.families:
                    yield Target(place, endpoint.ports)
