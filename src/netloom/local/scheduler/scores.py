"""Which of the nodes that will do is best. In: wants, the board, those nodes; out: one of them. Pure.

What somebody wrote down comes first: taints that a pod would rather avoid, preferred nodes, pods to be near to or far from, constraints of spread
that may be broken, with kube-scheduler's weights. Then what is merely sensible: pods of one owner spread over nodes and zones, then the node with
the most left, then with the fewest pods, then the first by name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from netloom.local.controllers.objects import ZONE
from netloom.local.controllers.placement import PREFER_NO_SCHEDULE, term_matches
from netloom.local.scheduler.board import Board, Place, class_of
from netloom.local.scheduler.filters import spreading
from netloom.local.scheduler.wants import Wants

_TAINTS, _OTHERS = 3, 2
"""Weights of TaintToleration, and of NodeAffinity, InterPodAffinity and PodTopologySpread."""
_FULL = 100.0
_USUAL = (("cpu", 100), ("memory", 200 << 20))
"""What a pod counts that requests nothing."""


def best(wants: Wants, board: Board, places: Sequence[Place]) -> Place:
    """The best of these nodes, of which there is at least one."""
    asked = _asked(wants, board, places)
    kin = wants.kin
    zones: Counter[str] = Counter()
    if kin[1]:
        for place in board.places:
            if zone := place.labels.get(ZONE):
                zones[zone] += place.kin[kin]

    most = max(asked, default=0.0)
    left = [place for place, points in zip(places, asked, strict=True) if points == most] or list(places)
    if kin[1]:
        left = _least(left, [place.kin[kin] for place in left])
        left = _least(left, [zones[place.labels.get(ZONE, "")] for place in left])
    return min(left, key=lambda place: (-_left(wants, place), len(place.pods), place.name))


def _least(places: list[Place], counts: list[int]) -> list[Place]:
    least = min(counts)
    return [place for place, count in zip(places, counts, strict=True) if count == least]


def _asked(wants: Wants, board: Board, places: Sequence[Place]) -> list[float]:
    """What somebody wrote down, in points."""
    found = [0.0] * len(places)
    for weight, points in (
        (_TAINTS, _few([float(_disliked(wants, p)) if p.taints else 0.0 for p in places])),
        (_OTHERS, _many([float(_liked(wants, p)) for p in places]) if wants.preferred_nodes else []),
        (_OTHERS, _company(wants, board, places)),
        (_OTHERS, _spread(wants, board, places)),
    ):
        for index, value in enumerate(points):
            found[index] += weight * value
    return [round(value, 6) for value in found]


def _disliked(wants: Wants, place: Place) -> int:
    tolerations = wants.pod.spec.tolerations
    return sum(
        t.effect == PREFER_NO_SCHEDULE and not any(x.tolerates(t) for x in tolerations) for t in place.taints
    )


def _liked(wants: Wants, place: Place) -> int:
    return sum(
        p.weight
        for p in wants.preferred_nodes
        if term_matches(p.preference, name=place.name, labels=place.labels)
    )


def _company(wants: Wants, board: Board, places: Sequence[Place]) -> list[float]:
    """Pods that it would like to be near to or far from, and pods that would like to be near to or far from it."""
    weighed = [(term.topology_key, weight, board.by_value(term)) for term, weight in wants.weighted]
    own = class_of(wants)
    for (term, weight), nodes in board.attracting.items():
        if board.hits(term, own):
            weighed.append((term.topology_key, weight, board.values_of(term, nodes)))
    if not weighed:
        return []
    points = [0.0] * len(places)
    for key, weight, values in weighed:
        for index, place in enumerate(places):
            value = place.labels.get(key)
            if value is not None:
                points[index] += weight * values[value]
    least, most = min(points), max(points)
    return [_FULL * (p - least) / (most - least) for p in points] if most > least else []


def _spread(wants: Wants, board: Board, places: Sequence[Place]) -> list[float]:
    soft = [s for s in wants.spread if not s.is_hard]
    if not soft:
        return []
    counts = [0.0] * len(places)
    known = [all(s.topology_key in place.labels for s in soft) for place in places]
    for constraint in soft:
        one = spreading(wants, board, constraint, soft)
        weight = math.log(len(one.counts) + 2)
        for index, place in enumerate(places):
            if known[index]:
                there = one.counts[place.labels[constraint.topology_key]]
                counts[index] += there * weight + constraint.max_skew - 1
    most = max((c for c, k in zip(counts, known, strict=True) if k), default=0.0)
    least = min((c for c, k in zip(counts, known, strict=True) if k), default=0.0)
    # a node in no domain is the last choice
    return [
        (_FULL * (most + least - c) / most if most else _FULL) if k else 0.0
        for c, k in zip(counts, known, strict=True)
    ]


def _few(counts: list[float]) -> list[float]:
    most = max(counts)
    return [_FULL * (most - c) / most for c in counts] if most else []


def _many(counts: list[float]) -> list[float]:
    most = max(counts)
    return [_FULL * c / most for c in counts] if most else []


def _left(wants: Wants, place: Place) -> int:
    """Of cpu and memory, in percent of each, once the pod is there."""
    points = 0
    for name, usual in _USUAL:
        room = place.room.get(name)
        if room:
            wanted = place.used.get(name, 0) + (wants.requests.get(name) or usual)
            points += 100 * (room - wanted) // room
    return points
