"""All stations of a walk against the kernels of their nodes, and in words. In: a traced cluster after its walk. Out: a report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from netloom.errors import NetloomError
from netloom.observe.check.verdicts import Result, Status
from netloom.observe.live.compare import Comparison, compare_frontend, compare_policy, compare_routes
from netloom.observe.live.kernel import NodeKernel
from netloom.observe.live.stations import (
    FrontendStation,
    PolicyStation,
    RouteStation,
    Station,
    TracedCluster,
)

_MOST_STATIONS = 200


class LiveReport(msgspec.Struct, frozen=True):
    """What the kernels have."""

    comparisons: tuple[Comparison, ...]
    unread: tuple[str, ...] = ()
    """Nodes whose kernel was not read, and why."""
    probe: Result | None = None
    """A real connection; None: none was asked for."""

    @property
    def is_good(self) -> bool:
        """No kernel differs, and the packets do what the model says."""
        differs = any(one.problem for one in self.comparisons)
        return not differs and (self.probe is None or self.probe.status is not Status.CONTRADICTS)


async def compare(cluster: TracedCluster, kernels: Mapping[str, NodeKernel]) -> LiveReport:
    """Each station of the walks that this cluster has seen; in the order of the way, a node at a time."""
    by_node: dict[str, list[Station]] = {}
    for station in cluster.stations[:_MOST_STATIONS]:
        by_node.setdefault(station.node, []).append(station)
    found = await asyncio.gather(
        *(_of_node(cluster, node, stations, kernels.get(node)) for node, stations in by_node.items())
    )
    return LiveReport(
        comparisons=tuple(one for some in found if not isinstance(some, str) for one in some),
        unread=tuple(one for one in found if isinstance(one, str)),
    )


async def _of_node(
    cluster: TracedCluster, node: str, stations: Sequence[Station], kernel: NodeKernel | None
) -> list[Comparison] | str:
    if kernel is None:
        return f"{node}: there is no agent to ask"
    try:
        found: list[Comparison] = []
        for station in stations:
            if isinstance(station, FrontendStation):
                found.append(await compare_frontend(kernel, station))
            elif isinstance(station, PolicyStation):
                state = cluster.plain_state(node).policy
                found.append(await compare_policy(kernel, station, state))
        found += await compare_routes(kernel, [s for s in stations if isinstance(s, RouteStation)])
        return [one for number, one in enumerate(found) if one not in found[:number]]
    except NetloomError as error:
        return f"{node}: {error}"


def render(report: LiveReport) -> str:
    """For people: one line a station, what differs behind it, the sum last."""
    lines = ["in the kernels of the nodes:", *_rows(report.comparisons)]
    lines += [f"  not compared: {one}" for one in report.unread]
    if not report.comparisons and not report.unread:
        lines.append("  it passes nothing that a kernel of a node decides")
    if report.probe is not None:
        lines += ["", *_probe(report.probe)]
    return "\n".join(lines) + "\n"


def _rows(comparisons: Iterable[Comparison]) -> Iterator[str]:
    rows = list(comparisons)
    where = max((len(one.node) for one in rows), default=0)
    stage = max((len(one.stage) for one in rows), default=0)
    for one in rows:
        mark = "DIFFERS" if one.problem else "same   "
        yield f"  {mark}  {one.node:{where}}  {one.stage:{stage}}  {one.text}"
        if one.problem:
            indent = " " * (13 + where + stage)
            yield from (f"{indent}  {problem}" for problem in one.problem.split("; "))
            yield from (f"{indent}  because of {source}" for source in one.sources[:3])


def _probe(result: Result) -> Iterator[str]:
    time = f" in {result.ms:.0f} ms" if result.ms else ""
    yield f"a real connection: {result.seen}{time}"
    if result.status is Status.CONTRADICTS:
        yield f"  CONTRADICTS the model: {result.why}"
    elif result.why and result.why != result.seen:
        yield f"  {result.why}"
