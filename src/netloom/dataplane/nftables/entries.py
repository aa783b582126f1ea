"""One frontend as the elements that the kernel has of it. Pure.

In: a frontend of the model, and the slots that it had. Out: an :class:`Entry`, and its elements. Not here: the table as a whole
(``compile``), the chains that use the elements (``skeleton``, ``classes``).
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from netloom.dataplane.nftables import labels
from netloom.dataplane.nftables.classes import remember_name
from netloom.dataplane.nftables.containers import NODE_PORT, SERVICE, SOURCE_RANGES, Keyed
from netloom.dataplane.nftables.slots import MOST_OUTSIDE, MOST_TARGETS, Target, assign, class_size
from netloom.model.services.frontends import Backend, Frontend, FrontendAction, FrontendKey, FrontendKind
from netloom.program.nft import Atom, Container, Key, Value, Verdict
from netloom.units import Cidr

Slots = tuple[Sequence[Target], Sequence[Target]]
"""Who stands where: in the pool of everybody (or of those inside), and in the pool of those outside."""
NO_SLOTS: Slots = ((), ())


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One frontend as the kernel has it."""

    label: int
    slots: tuple[Target, ...] = ()
    """Of the pool of everybody, or of those inside where there are two."""
    outside: tuple[Target, ...] = ()
    stages: tuple[tuple[int, int], ...] = ()
    """Labels of further stages."""
    affinity_s: int = 0
    source_ranges: tuple[Cidr, ...] = ()

    @property
    def is_plain(self) -> bool:
        """True where it is a label and its endpoints, as nearly all are."""
        return not (self.affinity_s or self.outside or self.stages or self.source_ranges)

    @property
    def held(self) -> Slots:
        """Who stands where."""
        return self.slots, self.outside


def entry_of(frontend: Frontend, previous: Slots) -> Entry:
    """The entry of a frontend; who was in ``previous`` keeps its slot where that can be."""
    if frontend.inside is None and frontend.source_ranges is None:
        label, slots = _pool(frontend.action, frontend.backends, previous[0], MOST_TARGETS)
        if slots and frontend.affinity_s:
            label |= labels.AFFINITY
        if slots and frontend.masquerade:
            label |= labels.FOREIGN
        if slots and frontend.kind is FrontendKind.HOST_PORT and frontend.key.address is not None:
            label |= labels.LOCAL
        return Entry(label, slots, affinity_s=frontend.affinity_s if slots else 0)
    return _staged(frontend, previous)


def _staged(frontend: Frontend, previous: Slots) -> Entry:
    """Where it matters who asks."""
    pool = frontend.inside if frontend.inside is not None else frontend
    label, slots = _pool(pool.action, pool.backends, previous[0], MOST_TARGETS)
    affinity = labels.AFFINITY if frontend.affinity_s else 0
    if slots:
        label |= affinity
    outside: tuple[Target, ...] = ()
    stages: list[tuple[int, int]] = []
    if frontend.inside is not None:
        other, outside = _pool(frontend.action, frontend.backends, previous[1], MOST_OUTSIDE)
        if outside:
            other |= affinity | labels.OUTSIDE
        stages += [(labels.INSIDE_STAGE, label), (labels.OUTSIDE_STAGE, other)]
        label = labels.BY_SOURCE
    elif slots and frontend.masquerade:
        label |= labels.FOREIGN
    if frontend.source_ranges is not None:
        stages.append((labels.ADMITTED_STAGE, label))
        label = labels.ADMISSION
    return Entry(
        label,
        slots,
        outside,
        tuple(stages),
        frontend.affinity_s if slots or outside else 0,
        _apart(frontend.source_ranges or ()),
    )


def _apart(ranges: tuple[Cidr, ...]) -> tuple[Cidr, ...]:
    """The same addresses in ranges that do not overlap: an interval set takes no others."""
    v4 = ipaddress.collapse_addresses(one for one in ranges if isinstance(one, ipaddress.IPv4Network))
    v6 = ipaddress.collapse_addresses(one for one in ranges if isinstance(one, ipaddress.IPv6Network))
    return (*v4, *v6)


def _pool(
    action: FrontendAction, backends: tuple[Backend, ...], previous: Sequence[Target], most: int
) -> tuple[int, tuple[Target, ...]]:
    """The label of a pool without flags, and its slots."""
    if action is FrontendAction.NODE_LOCAL:
        return labels.UNTRANSLATED, ()
    if action is FrontendAction.DROP:
        return labels.DROP, ()
    if action is FrontendAction.REJECT or not backends:
        return labels.REFUSE, ()
    slots = assign(previous, [(backend.address.packed, backend.port) for backend in backends[:most]])
    return class_size(len(slots)), slots


def group_of(key: FrontendKey) -> Keyed:
    """The containers that hold a frontend."""
    return NODE_PORT if key.address is None else SERVICE


def tail_of(key: FrontendKey) -> Key:
    """The frontend as the part of a key."""
    if key.address is None:
        return (key.protocol.number, key.port)
    return (key.address.packed, key.protocol.number, key.port)


def elements_of(key: FrontendKey, entry: Entry) -> Iterator[tuple[Container, Key, Value]]:
    """Every element that a frontend has."""
    group, tail = group_of(key), tail_of(key)
    yield group.labels, tail, (entry.label,)
    if entry.affinity_s:
        yield group.holds, tail, Verdict("jump", remember_name(group, entry.affinity_s))
        yield from _drawn(group, tail, entry.slots, 0)
    else:
        for slot, target in enumerate(entry.slots):
            yield group.endpoints, (slot, *tail), target
    if entry.outside:
        yield from _drawn(group, tail, entry.outside, labels.OUTSIDE_SLOTS)
    for stage, label in entry.stages:
        yield group.stages, (stage, *tail), (label,)
    for cidr in entry.source_ranges:
        yield SOURCE_RANGES, (*tail, cidr[0].packed + cidr[-1].packed), None


def _drawn(
    group: Keyed, tail: Key, slots: tuple[Target, ...], first: int
) -> Iterator[tuple[Container, Key, Value]]:
    numbers = numbers_of(slots, salt=first)
    for slot, target in enumerate(slots, first):
        yield group.draws, (slot, *tail), (numbers[target],)
        yield group.targets, (numbers[target], *tail), target


def numbers_of(targets: Collection[Target], *, salt: int) -> dict[Target, int]:
    """A number for each backend of a pool, the same whenever it is asked: clients that were sent to it hold it.

    A digest of the backend; of two with the same (one in 100,000 Services of 200 backends) the later in order takes the next.
    """
    taken: set[int] = set()
    found: dict[Target, int] = {}
    for target in sorted(targets):
        address, port = target
        number = zlib.crc32(address + port.to_bytes(2, "big"), salt) | labels.BACKEND
        while number in taken:
            number = (number + 1) | labels.BACKEND
        taken.add(number)
        found[target] = number
    return found


def slots_in(present: Mapping[str, Mapping[Key, Value]], key: FrontendKey) -> Slots:
    """The slots that a frontend has in elements read from the kernel, up to the first that is missing."""
    group, tail = group_of(key), tail_of(key)
    return _read(present, group, tail, 0), _read(present, group, tail, labels.OUTSIDE_SLOTS)


def _read(
    present: Mapping[str, Mapping[Key, Value]], group: Keyed, tail: Key, first: int
) -> Sequence[Target]:
    endpoints = present.get(group.endpoints.name, {})
    draws, targets = present.get(group.draws.name, {}), present.get(group.targets.name, {})
    slots: list[Target] = []
    while True:
        place = (first + len(slots), *tail)
        target = endpoints.get(place)
        if target is None and isinstance(number := draws.get(place), tuple):
            target = targets.get((*number, *tail))
        if not isinstance(target, tuple):
            return slots
        slots.append(_target(target))


def _target(value: tuple[Atom, ...]) -> Target:
    address, port = value
    if isinstance(address, bytes) and isinstance(port, int):
        return address, port
    return b"", 0
