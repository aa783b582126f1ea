"""Sets of ends as people call them: "all pods of shop but shop/db", "nodes", "internet but 203.0.113.0/24". Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netloom.observe.reach.ends import EndKind, Ends
from netloom.observe.reach.portspace import each_bit
from netloom.observe.reach.scene import WorkloadRef

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
        self._pods = self._workloads(present & self._pod_ends)
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
        found: dict[EndName, None] = {}
        pods = self._workloads(mask)
        for workload, places in sorted(pods.items(), key=lambda item: item[0]):
            found[
                EndName(workload.kind, workload.name, workload.namespace, self._examples(workload, places))
            ] = None
        for place in each_bit(mask):
            end = self._ends[place]
            match end.kind:
                case EndKind.NODE:
                    found.update((EndName("Node", name), None) for name in end.nodes)
                case EndKind.OUTSIDE:
                    found[EndName("outside", str(end.outside))] = None
                case EndKind.DNS:
                    found[EndName("dns", "cluster DNS")] = None
                case _:
                    pass
        return tuple(found)

    def text(self, mask: int) -> str:
        """A set in as few words as tell it exactly, but for long lists, which are cut."""
        kin = 0
        for ends in self._of_family.values():
            kin |= ends if ends & mask else 0
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
        named += [self.workload(workload) for workload in sorted(self._workloads(hosts))]
        return [_listed(named, _MOST_NAMED)] if named else []

    def _pods_text(self, mask: int, kin: int) -> str:
        """Who is in it, or, where that is shorter, who is not."""
        here = self._workloads(mask)
        there = {
            workload: kept
            for workload, places in self._pods.items()
            if (kept := [place for place in places if kin >> place & 1])
        }
        partial = {w for w, places in here.items() if set(places) != set(there.get(w, ()))}
        missing = sorted(there.keys() - here.keys())
        if not missing and not partial and len(there) > 1:
            return "all pods"
        said = self._within(here, missing, partial)
        if partial or not missing or len(here) <= len(missing):
            return said
        negative = self._without(here, missing)
        return negative if len(negative) < len(said) else said

    def _within(
        self, here: Mapping[WorkloadRef, list[int]], missing: list[WorkloadRef], partial: set[WorkloadRef]
    ) -> str:
        spaces, lacking = _by_namespace(sorted(here)), _by_namespace(missing)
        partly = {workload.namespace for workload in partial}
        whole = [s for s in spaces if s not in lacking and s not in partly and len(spaces[s]) > 1]
        parts = [f"all pods of {_listed(whole, _MOST_NAMED)}"] if whole else []
        names: list[str] = []
        for space, workloads in spaces.items():
            left = lacking.get(space, [])
            if space in whole:
                continue
            if space not in partly and len(workloads) > 2 and len(left) < len(workloads):
                parts.append(f"all pods of {space} but {_listed([w.name for w in left], _MOST_NAMED)}")
            else:
                names += [self._named(workload, here[workload]) for workload in workloads]
        if names:
            parts.append(_listed(names, _MOST_NAMED))
        return _listed(parts, _MOST_NAMED)

    def _without(self, here: Mapping[WorkloadRef, list[int]], missing: list[WorkloadRef]) -> str:
        spaces, lacking = _by_namespace(here), _by_namespace(missing)
        gone = [space for space in lacking if space not in spaces and len(lacking[space]) > 1]
        parts = [f"those of {_listed(gone, _MOST_NAMED)}"] if gone else []
        singles = [self.workload(workload) for workload in missing if workload.namespace not in gone]
        parts += [_listed(singles, _MOST_NAMED)] if singles else []
        return f"all pods but {', '.join(parts)}"

    def _named(self, workload: WorkloadRef, places: Iterable[int]) -> str:
        examples = self._examples(workload, places)
        return f"{self.workload(workload)} ({', '.join(examples)})" if examples else self.workload(workload)

    def _examples(self, workload: WorkloadRef, places: Iterable[int]) -> tuple[str, ...]:
        """Some pods, where a set has only some of a workload's."""
        here = set(places)
        families = {self._ends[place].family for place in here}
        whole = {p for p in self._pods.get(workload, ()) if self._ends[p].family in families}
        if not whole or whole <= here:
            return ()
        found = (self._ends[place].examples[self._side] for place in sorted(here))
        return tuple(dict.fromkeys(e.key.name for e in found if e is not None))[:_MOST_PODS]

    def _outside_text(self, mask: int, kin: int) -> str:
        present = list(each_bit(self._outside & kin))
        there = [place for place in present if mask >> place & 1]
        if len(there) == len(present):
            return "internet"
        lacking = [place for place in present if place not in there]
        has_rest = [o for p in there if (o := self._ends[p].outside) is not None and o.is_rest]
        if has_rest and len(lacking) <= len(there) + 2:
            without = dict.fromkeys(str(self._ends[place].outside) for place in lacking)
            return f"internet but {_listed(list(without), _MOST_NAMED)}"
        return _listed(list(dict.fromkeys(str(self._ends[p].outside) for p in there)), _MOST_NAMED)

    def _workloads(self, mask: int) -> dict[WorkloadRef, list[int]]:
        found: dict[WorkloadRef, list[int]] = {}
        for place in each_bit(mask):
            for workload in self._ends[place].workloads:
                found.setdefault(workload, []).append(place)
        return found


def _listed(names: list[str], most: int) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _by_namespace(workloads: Iterable[WorkloadRef]) -> dict[str, list[WorkloadRef]]:
    found: dict[str, list[WorkloadRef]] = {}
    for workload in workloads:
        found.setdefault(workload.namespace, []).append(workload)
    return found
