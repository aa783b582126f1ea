"""Which nodes will do for a pod, and what speaks against the others, in kube-scheduler's words. In: wants, the board; out: objections. Pure.

What concerns all nodes together (who is where by topology) is computed once for each pod, when the :class:`Check` is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from netloom.local.controllers.node_health import UNSCHEDULABLE
from netloom.local.controllers.placement import NO_EXECUTE, NO_SCHEDULE, Taint
from netloom.local.scheduler.board import Board, Place, class_of
from netloom.local.scheduler.wants import Spread, Term, Wants

AFFINITY = "node(s) didn't match Pod's node affinity/selector"
VOLUMES = "node(s) didn't match PersistentVolume's node affinity"
PORTS = "node(s) didn't have free ports for the requested pod ports"
TOO_MANY = "Too many pods"
SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = f"{SPREAD} (missing required label)"
NEAR = "node(s) didn't match pod affinity rules"
APART = "node(s) didn't match pod anti-affinity rules"
REPELLED = "node(s) didn't satisfy existing pods anti-affinity rules"
CORDONED = "node(s) were unschedulable"
_TAINTED = "node(s) had untolerated taint"
_HARD = frozenset({NO_SCHEDULE, NO_EXECUTE})


def is_helped_by_room(objection: str) -> bool:
    """Fewer pods on the node could take the objection away."""
    return not (
        objection in {AFFINITY, VOLUMES, CORDONED, SPREAD_LABEL, NEAR} or objection.startswith(_TAINTED)
    )


def untolerated(wants: Wants, taints: Iterable[Taint], effects: frozenset[str] = _HARD) -> Taint | None:
    """The first of these taints that the pod does not tolerate."""
    tolerations = wants.pod.spec.tolerations
    return next(
        (t for t in taints if t.effect in effects and not any(x.tolerates(t) for x in tolerations)), None
    )


class _Spreading(msgspec.Struct, frozen=True):
    """One hard constraint, with what there is."""

    spread: Spread
    counts: Counter[str]
    least: int
    own: int
    """1 where the pod itself counts."""


class Check:
    """What speaks against a node for one pod, as the board is now."""

    def __init__(self, wants: Wants, board: Board) -> None:
        self._wants = wants
        self._board = board
        hard = [s for s in wants.spread if s.is_hard]
        self._spreading = [spreading(wants, board, s, hard) for s in hard]
        self._forbidden = [(t.topology_key, board.by_value(t)) for t in wants.apart]
        self._repelling = list(self._repelled_from())
        self._near = self._near_values()
        self._is_topological = bool(self._spreading or self._forbidden or self._repelling or self._near)
        self._is_choosy = bool(wants.pod.spec.node_selector or wants.pod.spec.affinity)

    def objection(self, place: Place) -> str:
        """The first reason against a node; empty where it will do."""
        wants = self._wants
        if place.taints and (taint := untolerated(wants, place.taints)) is not None:
            return CORDONED if taint.key == UNSCHEDULABLE else f"{_TAINTED} {{{taint.key}: {taint.value}}}"
        if self._is_choosy and not wants.takes_node(place.name, place.labels):
            return AFFINITY
        if wants.volumes and not wants.reaches_volumes(place.name, place.labels):
            return VOLUMES
        if wants.ports and any(place.is_port_taken(p) for p in wants.ports):
            return PORTS
        if lack := _lack(wants, place):
            return lack
        return self._topology(place.labels) if self._is_topological else ""

    def _topology(self, labels: Mapping[str, str]) -> str:
        for one in self._spreading:
            value = labels.get(one.spread.topology_key)
            if value is None:
                return SPREAD_LABEL
            if one.counts[value] + one.own - one.least > one.spread.max_skew:
                return SPREAD
        if not all(_is_near(labels, key, values) for key, values in self._near):
            return NEAR
        if any(_has(labels, key, values) for key, values in self._forbidden):
            return APART
        if any(_has(labels, key, values) for key, values in self._repelling):
            return REPELLED
        return ""

    def _repelled_from(self) -> Iterable[tuple[str, Counter[str]]]:
        own = class_of(self._wants)
        for term, nodes in self._board.repelling.items():
            if self._board.hits(term, own):
                yield term.topology_key, self._board.values_of(term, nodes)

    def _near_values(self) -> list[tuple[str, Counter[str] | None]]:
        """Where the pods are that all affinities mean. The first pod of a group that wants to be together may be anywhere."""
        terms = self._wants.near
        if not terms:
            return []
        found = [(t.topology_key, self._board.by_values_of_all(t.topology_key, terms)) for t in terms]
        own = class_of(self._wants)
        if not any(values for _, values in found) and all(self._board.hits(t, own) for t in terms):
            return [(key, None) for key, _ in found]
        return list(found)


def _is_near(labels: Mapping[str, str], key: str, values: Counter[str] | None) -> bool:
    value = labels.get(key)
    return value is not None and (values is None or values[value] > 0)


def _has(labels: Mapping[str, str], key: str, values: Counter[str]) -> bool:
    value = labels.get(key)
    return value is not None and values[value] > 0


def _lack(wants: Wants, place: Place) -> str:
    """The first resource that is not left; a node that says nothing of what it has has room for all."""
    room = place.room
    if not room:
        return ""
    if len(place.pods) + 1 > room.get("pods", len(place.pods) + 1):
        return TOO_MANY
    for name, wanted in wants.requests.items():
        if wanted > room.get(name, 0) - place.used.get(name, 0):
            return f"Insufficient {name}"
    return ""


def spreading(wants: Wants, board: Board, spread: Spread, together: Iterable[Spread]) -> _Spreading:
    """A constraint with how many pods it means in each of its domains.

    Args:
        wants: of the pod.
        board: as it is.
        spread: the constraint.
        together: nodes that lack the label of one of these are in no domain.
    """
    keys = [s.topology_key for s in together]
    eligible = {
        place.name: place.labels[spread.topology_key]
        for place in board.places
        if spread.topology_key in place.labels
        and all(key in place.labels for key in keys)
        and (not spread.heeds_affinity or wants.takes_node(place.name, place.labels))
        and (not spread.heeds_taints or untolerated(wants, place.taints) is None)
    }
    term = term_of(wants, spread)
    counts = Counter(dict.fromkeys(eligible.values(), 0))
    for name, count in board.by_node(term).items():
        if name in eligible:
            counts[eligible[name]] += count
    least = min(counts.values(), default=0) if len(counts) >= spread.min_domains else 0
    return _Spreading(spread, counts, least, int(board.hits(term, class_of(wants))))


def term_of(wants: Wants, spread: Spread) -> Term:
    """Which pods a constraint counts: those of the pod's own namespace."""
    namespaces = frozenset((wants.pod.metadata.namespace,))
    return Term(spread.topology_key, spread.selector, namespaces, None)
