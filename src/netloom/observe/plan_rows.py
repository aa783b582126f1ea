"""What a change does between the addresses of both ends, in few rows. Pure."""

from __future__ import annotations

import msgspec

from netloom.observe.plan_sides import GAINED, LOST, Sides, side_of
from netloom.observe.reach.naming import EndName
from netloom.observe.reach.portspace import Stretch, each_bit
from netloom.observe.reach.reasons import Reason
from netloom.observe.reach.rows import Rectangle, rectangles
from netloom.units import Family

_MOST_THROUGH = 5


class Row(msgspec.Struct, frozen=True):
    """Each of the senders gains, or loses, these ports of each of the receivers."""

    effect: str
    """``gained`` or ``lost``."""
    sender: str
    receiver: str
    ports: str
    family: str
    """``IPv4`` or ``IPv6`` where it is so in that family only; empty: in all that there are."""
    senders: tuple[EndName, ...]
    receivers: tuple[EndName, ...]
    stretches: tuple[Stretch, ...]
    before: tuple[Reason, ...]
    """For one pair of the row."""
    after: tuple[Reason, ...]
    services: tuple[str, ...] = ()
    """Services that lead to the receivers at these ports."""
    connections: int = 0
    """Pairs of workloads, nodes and ranges that it is about."""


class Rows:
    """Two sides, compared."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._reach = sides.reach
        self._families = {end.family for end in self._reach.ends}

    def all(self) -> list[Row]:
        """Direct reachability, families with the same rows together."""
        found: dict[tuple[str, tuple[EndName, ...], tuple[EndName, ...], int], list[Rectangle]] = {}
        for one in rectangles(self._reach.differences()):
            namer = self._sides.namers[0 if one.is_lost else 1]
            effect = LOST if one.is_lost else GAINED
            key = effect, namer.names(one.senders), namer.names(one.receivers), one.ports
            found.setdefault(key, []).append(one)
        return [self._row(key, same) for key, same in found.items()]

    def _row(
        self, key: tuple[str, tuple[EndName, ...], tuple[EndName, ...], int], same: list[Rectangle]
    ) -> Row:
        effect, senders, receivers, ports = key
        side = side_of(effect)
        namer = self._sides.namers[side]
        first = same[0]
        sender, receiver = self._sides.pair(first.senders, first.receivers)
        protocol, port = self._sides.port(ports, receiver, side)
        return Row(
            effect=effect,
            sender=namer.text(first.senders),
            receiver=namer.text(first.receivers),
            ports=self._reach.ports.text(ports),
            family=self._family_text({self._reach.ends[next(each_bit(one.senders))].family for one in same}),
            senders=senders,
            receivers=receivers,
            stretches=tuple(self._reach.ports.joined(ports)),
            before=self._sides.reasons[0].of(sender, receiver, protocol, port),
            after=self._sides.reasons[1].of(sender, receiver, protocol, port),
            services=tuple(self._services_to(side, first.receivers, ports)),
            connections=len(senders) * len(receivers),
        )

    def _family_text(self, families: set[Family]) -> str:
        return "" if families == self._families else next(iter(families)).address_type

    def _services_to(self, side: int, receivers: int, ports: int) -> list[str]:
        leading = self._sides.ways[side].leading_to
        found = dict.fromkeys(
            str(door)
            for place in each_bit(receivers)
            for bits, door in leading.get(place, ())
            if bits & ports and not door.kind.is_outer
        )
        names = list(found)
        if len(names) > _MOST_THROUGH:
            return [*names[:_MOST_THROUGH], f"{len(names) - _MOST_THROUGH} more Services"]
        return names
