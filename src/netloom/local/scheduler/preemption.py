"""Which pods have to make room for a more important one. In: wants, the board, what spoke against each node; out: a node and its victims. Pure.

The victims are as few and as unimportant as can be, and disruption budgets are kept where that is possible: first the fewest broken budgets,
then the least important most important victim, then the least sum of importance, then the fewest victims, then those that began last.
Source: kube-scheduler's default preemption.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netloom.api.selectors import Selector
from netloom.local.controllers.replicas import seconds_of
from netloom.local.scheduler.board import Board, Place
from netloom.local.scheduler.filters import Check, is_helped_by_room
from netloom.local.scheduler.wants import Wants

_OFFSET = 1 << 31
"""Added to each priority, so that of two sums with victims below zero the one with fewer is less."""


class Budget(msgspec.Struct, frozen=True):
    """A PodDisruptionBudget, as far as it counts here."""

    namespace: str
    selector: Selector
    allowed: int
    """``status.disruptionsAllowed``."""
    disrupted: frozenset[str] = frozenset()
    """Pods that are counted already."""

    def covers(self, wants: Wants) -> bool:
        """The pod is one of its."""
        meta = wants.pod.metadata
        return (
            meta.namespace == self.namespace
            and meta.name not in self.disrupted
            and self.selector.matches(meta.labels)
        )


class Room(msgspec.Struct, frozen=True):
    """A node, and who has to leave it."""

    node: str
    victims: tuple[Wants, ...]
    broken: int
    """How many of them a budget speaks against."""


def make_room(
    wants: Wants, board: Board, objections: Mapping[str, str], budgets: Sequence[Budget]
) -> Room | None:
    """The best node that has room once less important pods have left it; None where none has, or the pod never preempts."""
    if wants.pod.spec.preemption_policy == "Never":
        return None
    found = []
    for place in board.places:
        if is_helped_by_room(objections.get(place.name, "")):
            room = _room_on(place, wants, board, budgets)
            if room is not None:
                found.append(room)
    return min(found, key=_rank, default=None)


def _room_on(place: Place, wants: Wants, board: Board, budgets: Sequence[Budget]) -> Room | None:
    lesser = [w for w in place.pods.values() if w.priority < wants.priority]
    if not lesser:
        return None
    for one in lesser:
        board.remove(one.pod.uid)
    victims: list[Wants] = []
    back: list[Wants] = list(lesser)
    try:
        if Check(wants, board).objection(place):
            return None
        protected, others = _by_budget(lesser, budgets)
        broken = 0
        for one in (*protected, *others):
            board.add(one, place.name)
            if Check(wants, board).objection(place):
                board.remove(one.pod.uid)
                victims.append(one)
                broken += one in protected
            else:
                back.remove(one)
    finally:
        for one in back:
            board.add(one, place.name)
    return Room(place.name, tuple(victims), broken) if victims else None


def _by_budget(pods: Iterable[Wants], budgets: Sequence[Budget]) -> tuple[list[Wants], list[Wants]]:
    """Those whose end breaks a budget, and the others; each the most important first, then the oldest."""
    left = [b.allowed for b in budgets]
    protected: list[Wants] = []
    others: list[Wants] = []
    for one in sorted(pods, key=lambda w: (-w.priority, _began(w), w.pod.metadata.name)):
        breaks = False
        for index, budget in enumerate(budgets):
            if budget.covers(one):
                left[index] -= 1
                breaks = breaks or left[index] < 0
        (protected if breaks else others).append(one)
    return protected, others


def _began(wants: Wants) -> float:
    return seconds_of(wants.pod.status.start_time or wants.pod.metadata.creation_timestamp)


def _rank(room: Room) -> tuple[int, int, int, int, float, str]:
    priorities = [w.priority for w in room.victims]
    highest = max(priorities)
    earliest = min(_began(w) for w in room.victims if w.priority == highest)
    total = sum(p + _OFFSET for p in priorities)
    return (room.broken, highest, total, len(priorities), -earliest, room.node)
