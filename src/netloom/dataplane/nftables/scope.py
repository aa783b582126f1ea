"""What an audit has to look at, from what others did to the table. Pure.

In: commits of others. Out: a :class:`Scope`. Not here: reading the commits (``linux/nft_events``), the audit itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netloom.dataplane.nftables.contents import Containers
from netloom.linux.nft_codec import decode_elements
from netloom.linux.nft_commits import Change, Commit, Event, Overrun
from netloom.program import names
from netloom.program.nft import Container, Key
from netloom.units import Family

_MOST_KEYS = 1024
"""Of more keys in one container the container is read as a whole."""

Place = tuple[Family, str]
"""A container of one family's table."""


class Scope(msgspec.Struct, frozen=True):
    """What has to be looked at."""

    cause: str = ""
    """Who made it necessary, in words."""
    everything: bool = False
    shapes: frozenset[Family] = frozenset()
    """Tables whose chains, rules and declarations may have changed."""
    whole: frozenset[Place] = frozenset()
    """Containers that must be read as a whole."""
    keys: Mapping[Place, frozenset[Key]] = {}
    """Elements that must be looked up."""

    @property
    def is_empty(self) -> bool:
        """True where nothing of ours was touched."""
        return not (self.everything or self.shapes or self.whole or self.keys)

    @property
    def needs_reading(self) -> bool:
        """True where containers must be read, which takes time; the rest is looked up at once."""
        return self.everything or bool(self.whole)


def scope_of(events: Iterable[Event], containers: Mapping[Family, Containers]) -> Scope:
    """What these commits of others may have spoiled; ``containers`` are those whose elements are ours."""
    shapes: set[Family] = set()
    whole: set[Place] = set()
    keys: dict[Place, set[Key]] = {}
    causes: dict[str, None] = {}
    for event in events:
        if isinstance(event, Overrun):
            return Scope(cause="notifications were lost", everything=True)
        touched = False
        for change in event.changes:
            ours = containers.get(change.family, {})
            if change.table != names.NFT_TABLE or (change.kind == "element" and change.name not in ours):
                continue
            touched = True
            if change.kind == "element":
                _take_elements(change, ours[change.name], whole, keys)
            else:
                shapes.add(change.family)
                _take_table(change, ours, whole)
        if touched:
            causes[_who(event)] = None
    return Scope(
        cause=", ".join(causes),
        shapes=frozenset(shapes),
        whole=frozenset(whole),
        keys={place: frozenset(found) for place, found in keys.items() if place not in whole},
    )


def _who(commit: Commit) -> str:
    # The number is of the initial pid namespace: on the machine itself it is the one that `ps` shows.
    return f"{commit.process or 'somebody'} (process {commit.pid})"


def _take_table(change: Change, ours: Containers, whole: set[Place]) -> None:
    """Of a table or map that was deleted, or made anew, the elements are gone and not told."""
    if change.kind == "table" and change.added:
        whole.update((change.family, name) for name in ours)
    elif change.kind == "map" and change.name in ours:
        whole.add((change.family, change.name))


def _take_elements(
    change: Change, container: Container, whole: set[Place], keys: dict[Place, set[Key]]
) -> None:
    place = (change.family, change.name)
    found = keys.setdefault(place, set())
    if change.bodies is None or container.is_interval:
        whole.add(place)
        return
    try:
        for body in change.bodies:
            found.update(key for key, _ in decode_elements(container, change.family, body))
    except ValueError:  # another map of this name
        whole.add(place)
    if len(found) > _MOST_KEYS:
        whole.add(place)
