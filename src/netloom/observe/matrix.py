"""Who reaches whom, as a table: ``netloom matrix``. Pure.

Comes in: an estate. Goes out: groups of ends (workloads, or whole namespaces where there are many) and a cell for each pair. Not here:
how it is drawn (``matrix_text.py``, ``matrix_pages.py``).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence

import msgspec

from netloom.errors import NotFound, UsageError
from netloom.model.inputs import ClusterFacts
from netloom.model.policy.state import PortRange
from netloom.observe.estate.estate import Estate
from netloom.observe.estate.scenes import survey
from netloom.observe.reach.ends import End, EndKind, Ends
from netloom.observe.reach.judged import Partition
from netloom.observe.reach.naming import Namer
from netloom.observe.reach.portspace import each_bit
from netloom.observe.reach.scene import WorkloadRef
from netloom.observe.reachability import Reachability
from netloom.units import Protocol

MOST_WORKLOADS = 100
"""Shown one by one; where there are more, namespaces are."""
_MOST_RANGES = 8
"""Outside, likewise."""
_PORT = re.compile(r"(?P<port>[0-9]{1,5})(/(?P<protocol>tcp|udp|sctp))?", re.IGNORECASE)


class Extent(enum.Enum):
    """How much of a pair's traffic passes."""

    ALL = "all"
    PORTS = "ports"
    SOME = "some"
    """Some of the pairs of a group, or more for some than for others."""
    NONE = "none"
    UNASKED = "unasked"
    """No workload is at either end."""


class Cell(msgspec.Struct, frozen=True):
    """What a sender may send to a receiver."""

    sender: int
    receiver: int
    """Places in ``Matrix.groups``."""
    extent: Extent
    ports: str = ""
    """In words, where it is not all and not none."""


class Matrix(msgspec.Struct, frozen=True):
    """The whole table, row after row."""

    groups: tuple[str, ...]
    cells: tuple[Cell, ...]
    by_namespace: bool
    """Groups are namespaces, at least those that were not asked for."""
    port: str = ""
    """Only this port is looked at; empty: all."""
    notes: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, tuple[Cell, ...]]]:
        """Each that sends at all, and its cells in order of the receivers."""
        size = len(self.groups)
        for place, name in enumerate(self.groups):
            cells = self.cells[place * size : (place + 1) * size]
            if any(cell.extent is not Extent.UNASKED for cell in cells):
                yield name, cells


class _Group(msgspec.Struct, frozen=True):
    name: str
    ends: int


def matrix(
    estate: Estate,
    facts: ClusterFacts | None = None,
    *,
    namespace: str = "",
    port: tuple[Protocol, int] | None = None,
) -> Matrix:
    """Everybody's reachability.

    Args:
        estate: what is there.
        facts: the cluster's settings, where they are known.
        namespace: show its workloads one by one, and all other namespaces as one each.
        port: look at this port only.

    Raises:
        NotFound: no workload is in the namespace.
    """
    surveyed = survey((estate,), facts, ports=() if port is None else (PortRange(port[0], port[1], port[1]),))
    reach = surveyed.reach
    groups, is_folded = _groups(reach.all, namespace)
    asked = reach.ports.everything if port is None else reach.ports.bits(PortRange(port[0], port[1], port[1]))
    cells = _cells(reach, groups, asked)
    return Matrix(
        groups=tuple(group.name for group in groups),
        cells=tuple(cells),
        by_namespace=is_folded,
        port="" if port is None else f"{port[1]}/{port[0].word}",
        notes=surveyed.notes,
    )


def read_port(text: str) -> tuple[Protocol, int]:
    """``5432``, ``53/udp``.

    Raises:
        UsageError: it is no port.
    """
    match = _PORT.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise UsageError(f"--port {text}: is no port", "write a number from 1 to 65535, or such as 53/udp")
    return Protocol((match["protocol"] or "tcp").upper()), int(match["port"])


def _groups(ends: Ends, namespace: str) -> tuple[list[_Group], bool]:
    """Workloads or namespaces, then nodes, the outside and the DNS server."""
    namer = Namer(ends, 0)
    workloads: dict[WorkloadRef, int] = {}
    for end in ends.ends:
        for workload in end.workloads:
            workloads[workload] = workloads.get(workload, 0) | end.bit
    if namespace and not any(workload.namespace == namespace for workload in workloads):
        raise NotFound(f"namespace {namespace}: no workload is in it", "see kubectl get pods -A")
    is_folded = bool(namespace) or len(workloads) > MOST_WORKLOADS
    found: dict[str, int] = {}
    for workload in sorted(workloads, key=lambda w: (w.namespace != namespace, w)):
        is_single = workload.namespace == namespace if namespace else not is_folded
        name = namer.workload(workload) if is_single else f"{workload.namespace}/*"
        found[name] = found.get(name, 0) | workloads[workload]
    ranges = {str(end.outside) for end in ends.ends if end.outside is not None}
    for end in ends.ends:
        name = _other_name(end, is_many=len(ranges) > _MOST_RANGES)
        if name:
            found[name] = found.get(name, 0) | end.bit
    return [_Group(name, mask) for name, mask in found.items()], is_folded


def _other_name(end: End, *, is_many: bool) -> str:
    match end.kind:
        case EndKind.NODE:
            return "nodes"
        case EndKind.DNS:
            return "cluster DNS"
        case EndKind.OUTSIDE if end.outside is not None:
            return str(end.outside) if end.outside.is_rest or not is_many else "ranges in rules"
        case _:
            return ""


def _cells(reach: Reachability, groups: Sequence[_Group], asked: int) -> list[Cell]:
    size = len(groups)
    cells: list[Cell | None] = [None] * (size * size)
    for column, receivers in enumerate(groups):
        found = [_Sum(reach.ports.everything) for _ in groups]
        for place in each_bit(receivers.ends):
            end = reach.ends[place]
            domain = reach.domain(0, end)
            partition = reach.table(0)[place]
            for row, senders in enumerate(groups):
                found[row].add(senders.ends & domain, partition)
        for row, total in enumerate(found):
            extent, ports = total.extent(asked)
            words = reach.ports.text(ports) if extent in (Extent.PORTS, Extent.SOME) else ""
            cells[row * size + column] = Cell(row, column, extent, words)
    return [cell for cell in cells if cell is not None]


class _Sum:
    """What all pairs of two groups have in common, and what any of them has."""

    def __init__(self, everything: int) -> None:
        self._common = everything
        self._any = 0
        self._is_asked = False
        self._everything = everything

    def add(self, senders: int, partition: Partition) -> None:
        """One receiver's senders out of a group."""
        if not senders:
            return
        self._is_asked = True
        left = senders
        for bits, mask in partition.items():
            if mask & senders:
                self._any |= bits
                self._common &= bits
                left &= ~mask
        if left:
            self._common = 0

    def extent(self, asked: int) -> tuple[Extent, int]:
        """Of the ports that are asked about, with those that pass."""
        if not self._is_asked:
            return Extent.UNASKED, 0
        some, common = self._any & asked, self._common & asked
        if not some:
            return Extent.NONE, 0
        if some != common:
            return Extent.SOME, some
        return (Extent.ALL if some == asked else Extent.PORTS), some
