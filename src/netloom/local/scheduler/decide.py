"""One decision: the node for a pod, or why there is none. In: a pod, the board; out: a name or :class:`Unschedulable`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from netloom.local.scheduler.board import Board
from netloom.local.scheduler.filters import Check, is_helped_by_room
from netloom.local.scheduler.scores import best
from netloom.local.scheduler.wants import Wants
from netloom.units import NodeName


class Unschedulable(msgspec.Struct, frozen=True):
    """No node will do; ``objections`` is what speaks against each first."""

    objections: Mapping[str, str]

    def __str__(self) -> str:
        return _sentence(self.objections.values(), len(self.objections))

    def after_preemption(self) -> str:
        """The same, and that nobody could make room either."""
        helped = ("No preemption victims found for incoming pod", "Preemption is not helpful for scheduling")
        words = (helped[not is_helped_by_room(o)] for o in self.objections.values())
        return f"{self} preemption: {_sentence(words, len(self.objections))}"


def decide(wants: Wants, board: Board, *, nominated: str = "") -> NodeName | Unschedulable:
    """The best node of those that will do.

    Args:
        wants: of the pod, which is nowhere on the board.
        board: nodes and pods.
        nominated: the node that was cleared for it; if that will do, it is taken.
    """
    check = Check(wants, board)
    objections: dict[str, str] = {}
    fitting = []
    for place in board.places:
        against = check.objection(place)
        if against:
            objections[place.name] = against
        elif place.name == nominated:
            return NodeName(place.name)
        else:
            fitting.append(place)
    if not fitting:
        return Unschedulable(objections)
    return NodeName(best(wants, board, fitting).name)


def _sentence(reasons: Iterable[str], nodes: int) -> str:
    counts = Counter(reasons)
    text = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    return f"0/{nodes} nodes are available{': ' + text if text else ''}."
