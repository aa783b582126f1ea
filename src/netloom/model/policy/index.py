"""Which of thousands of selections may match a pod: found by one pair of labels that the pod must have."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

from netloom.api.selectors import Selector
from netloom.model.policy.state import PodPeers

T = TypeVar("T", bound=Hashable)

_POD, _NAMESPACE = 0, 1
Anchor = tuple[str | int, str, str | None]
"""Where a selection is kept: a namespace (or whose labels count where none is fixed), a label, and its value if one is asked for."""


class SelectionIndex(Generic[T]):
    """Things that are about the pods of a selection, found by a pod. What is found may match; what is not found does not."""

    def __init__(self) -> None:
        self._kept: dict[Anchor, dict[T, PodPeers]] = {}

    def add(self, thing: T, peers: PodPeers) -> None:
        """From now on this thing is about these pods."""
        for anchor in _anchors(peers):
            self._kept.setdefault(anchor, {})[thing] = peers

    def remove(self, thing: T, peers: PodPeers) -> None:
        """It is so no longer."""
        for anchor in _anchors(peers):
            kept = self._kept[anchor]
            del kept[thing]
            if not kept:
                del self._kept[anchor]

    def candidates(
        self, namespace: str, namespace_labels: Mapping[str, str], labels: Mapping[str, str]
    ) -> Iterator[tuple[T, PodPeers]]:
        """Each thing at most once."""
        kept = self._kept
        for anchor in _places(namespace, labels):
            if anchor in kept:
                yield from kept[anchor].items()
        for anchor in _places(_POD, labels):
            if anchor in kept:
                yield from kept[anchor].items()
        for anchor in _places(_NAMESPACE, namespace_labels):
            if anchor in kept:
                yield from kept[anchor].items()


def _places(scope: str | int, labels: Mapping[str, str]) -> Iterator[Anchor]:
    for key, value in labels.items():
        yield scope, key, value
        yield scope, key, None
    yield scope, "", None


def required_pairs(selector: Selector) -> list[tuple[str, str | None]]:
    """Pairs of which each object that the selector matches has exactly one; None: any value. Empty where it requires none."""
    best: list[tuple[str, str | None]] = []
    for requirement in selector.requirements:
        if requirement.operator == "In" and (not best or len(requirement.values) < len(best)):
            best = [(requirement.key, value) for value in requirement.values]
    if best:
        return best
    return next(([(r.key, None)] for r in selector.requirements if r.operator == "Exists"), [])


def _anchors(peers: PodPeers) -> list[Anchor]:
    pairs = required_pairs(peers.pods)
    if peers.namespace:
        return [(peers.namespace, key, value) for key, value in pairs] or [(peers.namespace, "", None)]
    if pairs:
        return [(_POD, key, value) for key, value in pairs]
    namespaces = required_pairs(peers.namespaces or Selector())
    return [(_NAMESPACE, key, value) for key, value in namespaces] or [(_NAMESPACE, "", None)]
