"""Operations on elements: from one set of elements to another, in an order that the kernel takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netloom.dataplane.nftables.containers import OURS, SOURCE_RANGES, keyed
from netloom.program.diff import difference
from netloom.program.nft import AddElements, Container, DeleteElements, Element, Key, Op, Value

Elements = dict[str, dict[Key, Value]]
"""Contents of each container, by its name."""


def changes(desired: Elements, present: Elements) -> list[DeleteElements | AddElements]:
    """Deletions before additions, since a key is never overwritten; in sorted order."""
    deletions: list[DeleteElements | AddElements] = []
    additions: list[DeleteElements | AddElements] = []
    for container in OURS:
        change = difference(desired.get(container.name, {}), present.get(container.name, {}))
        if change.remove:
            deletions.append(DeleteElements(container, tuple(sorted(change.remove))))
        if change.add:
            additions.append(AddElements(container, tuple(sorted(change.add, key=_element_key))))
    return deletions + additions


def slices(found: tuple[Element, ...], most: int) -> Iterator[tuple[Element, ...]]:
    """In order, so many at once."""
    for start in range(0, len(found), most):
        yield found[start : start + most]


def _element_key(element: Element) -> Key:
    return element[0]


def by_frontend(
    given: Iterable[DeleteElements | AddElements],
) -> Iterator[list[DeleteElements | AddElements]]:
    """The same changes, those of one frontend together."""
    groups: dict[Key, list[DeleteElements | AddElements]] = {}
    for op in given:
        container = op.container
        if isinstance(op, DeleteElements):
            for key in op.keys:
                place = _frontend_part(container, key)
                groups.setdefault(place, []).append(DeleteElements(container, (key,)))
        else:
            for key, value in op.elements:
                place = _frontend_part(container, key)
                groups.setdefault(place, []).append(AddElements(container, ((key, value),)))
    yield from groups.values()


def _frontend_part(container: Container, key: Key) -> Key:
    if container is SOURCE_RANGES:
        return key[:-1]
    if container.is_interval:
        return (container.name.encode(),)  # ranges that go make room for others, so they are one piece
    group = keyed(container)
    return key if group is None else key[len(key) - len(group.key) :]


def joined(ops: Iterable[Op]) -> list[Op]:
    """Operations on the same container as one, deletions first."""
    deletions: dict[Container, list[Key]] = {}
    additions: dict[Container, list[Element]] = {}
    for op in ops:
        if isinstance(op, DeleteElements):
            deletions.setdefault(op.container, []).extend(op.keys)
        elif isinstance(op, AddElements):
            additions.setdefault(op.container, []).extend(op.elements)
    return [
        *(DeleteElements(container, tuple(keys)) for container, keys in deletions.items()),
        *(AddElements(container, tuple(found)) for container, found in additions.items()),
    ]
