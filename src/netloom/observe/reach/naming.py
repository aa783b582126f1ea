"""Sets of ends as people call them: "all pods of shop but shop/db", "nodes", "internet but 203.0.113.0/24". Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.observe.reach.ends import EndKind, Ends
from netloom.observe.reach.outside import OutsideClass, span_text
from netloom.observe.reach.portspace import each_bit
from netloom.observe.reach.scene import WorkloadRef
from netloom.units import Family

_MOST_NAMED = 6
_MOST_PODS = 3


class EndName(msgspec.Struct, frozen=True, order=True):
    """One end as a program reads it: a workload, a node, a range outside, or the cluster's DNS."""

    kind: str
    name: str
    namespace: str = ""
    pods: tuple[str, ...] = ()
    """Where only some of a workload's pods are meant: examples."""


class Namer:
    """Names sets of ends, on one side.

    Args:
        ends: all of them.
        side: "all pods" are those that are there on this side.
    """

    def __init__(self, ends: Ends, side: int) -> None:
        self._ends = ends.ends
        self._side = side
        present = ends.present(side)
        self._of_family = ends.of_family
        self._pod_ends = ends.where(lambda end: end.kind is EndKind.POD)
        self._hosts = present & ends.where(lambda end: end.kind is EndKind.HOST)
        self._nodes = present & ends.where(lambda end: end.kind is EndKind.NODE)
        self._outside = ends.where(lambda end: end.outside is not None)
        self._all = present & ~ends.where(lambda end: end.kind is EndKind.DNS)
        self._dns = ends.where(lambda end: end.kind is EndKind.DNS)
        self._pods = _workloads(ends, present & self._pod_ends)
        self._pods_and_hosts = _workloads(ends, present & (self._pod_ends | self._hosts))
        self._texts: dict[int, str] = {}
        self._lists: dict[int, tuple[EndName, ...]] = {}
        kinds: dict[str, set[str]] = {}
        for end in self._ends:
            for workload in end.workloads:
                kinds.setdefault(str(workload), set()).add(workload.kind)
        self._ambiguous = {name for name, found in kinds.items() if len(found) > 1}

    def workload(self, workload: WorkloadRef) -> str:
        """``shop/web``, with its kind where two kinds have that name."""
        return workload.subject if str(workload) in self._ambiguous else str(workload)

    def names(self, mask: int) -> tuple[EndName, ...]:
        """Every end of a set."""
        if mask not in self._lists:
            self._lists[mask] = tuple(dict.fromkeys(self._each_name(mask)))
        return self._lists[mask]

    def _each_name(self, mask: int) -> Iterator[EndName]:
        kin = self._kin(mask)
        for workload, ends in self._pods_and_hosts:
            if ends & mask:
                yield EndName(
                    workload.kind, workload.name, workload.namespace, self._examples(ends & kin, mask)
                )
        for place in each_bit(mask & ~(self._pod_ends | self._hosts)):
            end = self._ends[place]
            if end.kind is EndKind.NODE:
                yield from (EndName("Node", name) for name in end.nodes)
            elif end.kind is EndKind.DNS:
                yield EndName("dns", "cluster DNS")
            elif end.outside is not None:
                yield EndName("outside", str(end.outside))

    def _kin(self, mask: int) -> int:
        """All ends of the families in a set."""
        kin = 0
        for ends in self._of_family.values():
            kin |= ends if ends & mask else 0
        return kin

    def text(self, mask: int) -> str:
        """A set in as few words as tell it exactly, but for long lists, which are cut."""
        if mask not in self._texts:
            self._texts[mask] = self._text(mask)
        return self._texts[mask]

    def _text(self, mask: int) -> str:
        kin = self._kin(mask)
        if not self._all & kin & ~mask:
            return "everybody"
        parts = [self._pods_text(mask & self._pod_ends, kin)] if mask & self._pod_ends else []
        parts += self._nodes_text(mask, kin)
        if outside := mask & self._outside:
            parts.append(self._outside_text(outside, kin))
        if mask & self._dns:
            parts.append("cluster DNS")
        return ", ".join(parts)

    def _nodes_text(self, mask: int, kin: int) -> list[str]:
        """Nodes, and pods in their network; all of both are just the nodes."""
        hosts, nodes = mask & self._hosts, mask & self._nodes
        is_all = nodes != 0 and nodes == self._nodes & kin
        if is_all and hosts == self._hosts & kin:
            return ["nodes"]
        named = [f"node {name}" for place in each_bit(nodes) for name in self._ends[place].nodes]
        named = ["nodes"] if is_all else named
        named += [self.workload(workload) for workload, ends in self._pods_and_hosts if ends & hosts]
        return [_listed(named, _MOST_NAMED)] if named else []

    def _pods_text(self, mask: int, kin: int) -> str:
        """Who is in it, or, where that is shorter, who is not."""
        here: dict[WorkloadRef, tuple[str, ...]] = {}
        missing: list[WorkloadRef] = []
        for workload, ends in self._pods:
            if ends & mask:
                here[workload] = self._examples(ends & kin, mask)
            elif ends & kin:
                missing.append(workload)
        is_partial = any(here.values())
        if not missing and not is_partial and len(here) > 1:
            return "all pods"
        said = self._within(here, missing)
        if is_partial or not missing or len(here) <= len(missing):
            return said
        negative = self._without(here, missing)
        return negative if len(negative) < len(said) else said

    def _within(self, here: Mapping[WorkloadRef, tuple[str, ...]], missing: list[WorkloadRef]) -> str:
        spaces, lacking = _by_namespace(here), _by_namespace(missing)
        partly = {workload.namespace for workload, examples in here.items() if examples}
        whole = [s for s in spaces if s not in lacking and s not in partly and len(spaces[s]) > 1]
        parts = [f"all pods of {_listed(whole, _MOST_NAMED)}"] if whole else []
        names: list[str] = []
        for space, workloads in spaces.items():
            left = lacking.get(space, [])
            if not left and space not in partly and len(workloads) > 1:
                continue
            if space not in partly and len(workloads) > 2 and len(left) < len(workloads):
                parts.append(f"all pods of {space} but {_listed([w.name for w in left], _MOST_NAMED)}")
            else:
                names += [self._named(workload, here[workload]) for workload in workloads]
        if names:
            parts.append(_listed(names, _MOST_NAMED))
        return _listed(parts, _MOST_NAMED)

    def _without(self, here: Iterable[WorkloadRef], missing: list[WorkloadRef]) -> str:
        spaces, lacking = _by_namespace(here), _by_namespace(missing)
        gone = [space for space in lacking if space not in spaces and len(lacking[space]) > 1]
        parts = [f"those of {_listed(gone, _MOST_NAMED)}"] if gone else []
        singles = [self.workload(workload) for workload in missing if workload.namespace not in gone]
        parts += [_listed(singles, _MOST_NAMED)] if singles else []
        return f"all pods but {', '.join(parts)}"

    def _named(self, workload: WorkloadRef, examples: tuple[str, ...]) -> str:
        return f"{self.workload(workload)} ({', '.join(examples)})" if examples else self.workload(workload)

    def _examples(self, whole: int, mask: int) -> tuple[str, ...]:
        """Some pods, where a set has only some of a workload's ends."""
        here = whole & mask
        if here == whole:
            return ()
        found = (self._ends[place].examples[self._side] for place in each_bit(here))
        return tuple(dict.fromkeys(one.key.name for one in found if one is not None))[:_MOST_PODS]

    def _outside_text(self, mask: int, kin: int) -> str:
        there = self._classes(mask)
        lacking = self._classes(self._outside & kin & ~mask)
        if not lacking:
            return "internet"
        if any(one.is_rest for one in there) and not any(one.is_rest for one in lacking):
            return f"internet but {_ranges(lacking)}"
        return _ranges(there)

    def _classes(self, mask: int) -> list[OutsideClass]:
        return [one for place in each_bit(mask) if (one := self._ends[place].outside) is not None]


def _ranges(classes: Iterable[OutsideClass]) -> str:
    """Several classes as ranges, each family for itself."""
    spans: dict[Family, list[tuple[int, int]]] = {}
    for one in classes:
        if one.is_rest:
            return str(one)
        spans.setdefault(one.family, []).extend(one.spans)
    return ", ".join(span_text(family, found) for family, found in spans.items())


def _workloads(ends: Ends, mask: int) -> list[tuple[WorkloadRef, int]]:
    """Workloads in order, with the ends that they are among these."""
    found: dict[WorkloadRef, int] = {}
    for place in each_bit(mask):
        for workload in ends.ends[place].workloads:
            found[workload] = found.get(workload, 0) | 1 << place
    return sorted(found.items())


def _listed(names: list[str], most: int) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _by_namespace(workloads: Iterable[WorkloadRef]) -> dict[str, list[WorkloadRef]]:
    found: dict[str, list[WorkloadRef]] = {}
    for workload in workloads:
        found.setdefault(workload.namespace, []).append(workload)
    return found
