"""Who holds a key that several objects claim: the oldest; each other one gets a Finding.

Comes in: what each owner claims. Goes out: the holder of each key, and what changed. Two forms with one meaning:
``settle`` computes from nothing, ``Claims`` follows changes and touches only the keys of the owner that changed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import msgspec

from netloom.api.meta import ObjectMeta
from netloom.model.provenance import Finding

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Standing(enum.IntEnum):
    """With what right something is claimed; the least comes first, however young its owner is."""

    BY_RIGHT = 0
    GUEST = 1
    """Not theirs by right; or its owner is leaving."""
    HOST_PORT = 2
    """A port of the node, which a pod asks for: the Services of all nodes come before it."""
    LEAVING_HOST_PORT = 3
    """The same, of a pod that is being deleted."""
    MAPPED_PORT = 4
    """The same, of a container that is no pod of the cluster."""


class Seniority(msgspec.Struct, frozen=True, order=True, gc=False):
    """A total order among claims: by standing, which tells kinds apart, then older, then by namespace and name.

    ``metadata.creationTimestamp`` has whole seconds in UTC, so its text sorts as time does. An object without one is not
    in the cluster yet, hence younger than all that are.
    """

    standing: Standing
    is_planned: bool
    created: str
    namespace: str
    name: str


def seniority(meta: ObjectMeta, standing: Standing = Standing.BY_RIGHT) -> Seniority:
    """The place of an object among those that claim the same."""
    created = meta.creation_timestamp
    return Seniority(standing, created is None, created or "", meta.namespace, meta.name)


class Changed(Generic[K, V]):
    """Values before and after several steps; what a later step takes back was no change."""

    def __init__(self) -> None:
        self._before: dict[K, V | None] = {}
        self._after: dict[K, V | None] = {}

    def note(self, key: K, before: V | None, after: V | None) -> None:
        """One step; None where nothing is held."""
        self._before.setdefault(key, before)
        self._after[key] = after

    def items(self) -> Iterator[tuple[K, V | None, V | None]]:
        """Key, value before the first step, value after the last, where these differ."""
        for key, before in self._before.items():
            after = self._after[key]
            if before != after:
                yield key, before, after


def settle(
    claims: Iterable[tuple[Seniority, Mapping[K, V]]], dispute: Callable[[V, V], Finding]
) -> tuple[dict[K, V], tuple[Finding, ...]]:
    """The holder of each key, and ``dispute(holder, loser)`` for each claim that lost."""
    held: dict[K, V] = {}
    findings: list[Finding] = []
    for _, values in sorted(claims, key=lambda claim: claim[0]):
        for key, value in values.items():
            if key in held:
                findings.append(dispute(held[key], value))
            else:
                held[key] = value
    return held, tuple(findings)


class Claims(Generic[K, V]):
    """The same, kept up to date: ``held`` is what ``settle`` gives for all claims made so far."""

    def __init__(self, dispute: Callable[[V, V], Finding]) -> None:
        self._dispute = dispute
        self._rivals: dict[K, dict[Seniority, V]] = {}
        """Only keys that more than one owner claims."""
        self._claimed: dict[Hashable, tuple[Seniority, Mapping[K, V]]] = {}
        self.held: dict[K, V] = {}
        self._holder: dict[K, Seniority] = {}

    def replace(
        self, owner: Hashable, rank: Seniority, values: Mapping[K, V], changed: Changed[K, V]
    ) -> None:
        """All that this owner claims from now on; what that changes is noted in ``changed``."""
        before, old = self._claimed.get(owner, (rank, None))
        if old is None and not values:
            return
        if values:
            self._claimed[owner] = (rank, values)
        else:
            self._claimed.pop(owner, None)
        for key in values if old is None else {**old, **values}:
            if old is None and key not in self.held:
                self.held[key], self._holder[key] = values[key], rank
                changed.note(key, None, values[key])
                continue
            was = self.held.get(key)
            self._drop(key, before)
            if key in values:
                self._add(key, rank, values[key])
            changed.note(key, was, self.held.get(key))

    def release(self, owner: Hashable, changed: Changed[K, V]) -> None:
        """This owner is gone."""
        if owner in self._claimed:
            self.replace(owner, self._claimed[owner][0], {}, changed)

    def findings(self) -> Iterable[Finding]:
        """One for each claim that lost, in no particular order."""
        for key, rivals in self._rivals.items():
            for rank, value in rivals.items():
                if rank != self._holder[key]:
                    yield self._dispute(self.held[key], value)

    def _drop(self, key: K, rank: Seniority) -> None:
        rivals = self._rivals.get(key)
        if rivals is None:
            if self._holder.get(key) == rank:
                del self.held[key], self._holder[key]
            return
        rivals.pop(rank, None)
        self._settle(key, rivals)

    def _add(self, key: K, rank: Seniority, value: V) -> None:
        if key not in self.held:
            self.held[key], self._holder[key] = value, rank
            return
        rivals = self._rivals.setdefault(key, {self._holder[key]: self.held[key]})
        rivals[rank] = value
        self._settle(key, rivals)

    def _settle(self, key: K, rivals: dict[Seniority, V]) -> None:
        oldest = min(rivals)
        self.held[key], self._holder[key] = rivals[oldest], oldest
        if len(rivals) == 1:
            del self._rivals[key]
