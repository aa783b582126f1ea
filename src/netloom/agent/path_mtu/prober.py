"""Asks each peer with packets of full size whenever something about it has changed, and tells what came of it.

In: routes as the engine puts them in force, answers. Out: reports, metrics, findings, what routes should be narrowed to; a switch of
the tunnel's checksums where those are at fault. Bounded: so many peers at a time, and each is asked again only while something is wrong
with it. Not here: packets (``questions``), what they mean (``findings``).
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

import msgspec

from netloom.agent.path_mtu.findings import (
    Fault,
    PathReport,
    Seen,
    Target,
    finding,
    judge,
    sizes,
    targets_of,
)
from netloom.agent.path_mtu.packets import LEAST
from netloom.agent.path_mtu.questions import Asker
from netloom.errors import KernelError
from netloom.linux import ethtool, netns
from netloom.linux.rtnl import Rtnl
from netloom.metrics import Sample, gauge
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source
from netloom.model.routes.ways import DEVICES, node_address_in
from netloom.model.state import Delta, NetworkState, PeerRoute
from netloom.units import Addr, Cidr

log = logging.getLogger(__name__)

_AT_ONCE = 16
_AGAIN_S = 30.0
_SMALL = LEAST + 48
_PARTS = 4

Key = tuple[str, Addr]


class Checksums(enum.Enum):
    """What to do about tunnels whose checksums the hardware spoils; the value is the word of the agent's configuration."""

    AUTO = "auto"
    """They are filled in by the kernel as soon as probes have shown the fault."""
    REPORT = "report"
    """Nothing but telling."""
    OFF = "off"
    """They are filled in by the kernel from the beginning."""


class PathsReport(msgspec.Struct, frozen=True):
    """What a node found of the ways to all others."""

    node: str
    paths: tuple[PathReport, ...] = ()


class PathProber:
    """One node's. Told by the engine (``start``, ``apply``) what is in force; ``run()`` until cancelled.

    Args:
        node: this node's name.
        own: gives this node's Node, where findings belong.
        asker: makes what asks.
        checksums: what to do about a tunnel that spoils them.
        report: takes findings that are new.
        narrow: takes what routes should be narrowed to: nodes, and bytes of a pod's packet.
        netns_fd: where the tunnel's interface is; None: the process's own namespace.
        again_s: seconds until what is wrong is asked again.
    """

    def __init__(  # noqa: PLR0913 - the seams to the agent, by keyword
        self,
        *,
        node: str,
        own: Callable[[], Source],
        asker: Callable[[], Asker],
        checksums: Checksums = Checksums.AUTO,
        report: Callable[[Iterable[Finding]], None],
        narrow: Callable[[Mapping[str, int]], Awaitable[None]] | None = None,
        netns_fd: int | None = None,
        again_s: float = _AGAIN_S,
    ) -> None:
        self._node = node
        self._own = own
        self._asker = asker
        self._checksums = checksums
        self._report = report
        self._narrow = narrow
        self._netns_fd = netns_fd
        self._again_s = again_s
        self._port = 0
        self._facts: NodeFacts | None = None
        self._routes: dict[Cidr, PeerRoute] = {}
        self._addresses: frozenset[Addr] = frozenset()
        self._news = asyncio.Event()
        self._epoch = 0
        """Grows with each change of the node itself: answers of before count no more."""
        self._asked: dict[Key, tuple[Target, int]] = {}
        self._results: dict[Key, PathReport] = {}
        self._told: dict[Key, Finding] = {}
        self._narrowed: dict[str, int] = {}
        self._switched: set[str] = set()
        self.turned = asyncio.Condition()
        """Notified after each round of questions."""

    # --- what the engine says

    def start(self, state: NetworkState, facts: NodeFacts) -> None:
        """All of this is in force; where the node itself has changed, every peer is asked again."""
        before = self._facts
        if before is None or (facts.underlay, facts.addresses) != (before.underlay, before.addresses):
            self._epoch += 1
        self._facts = facts
        self._port = facts.tunnel_port
        self._take(dict(state.routes))

    def apply(self, delta: Delta) -> None:
        """This has changed; only what it is about is asked again."""
        if not delta.routes:
            return
        routes = dict(self._routes)
        for cidr, route in delta.routes.items():
            if route is None:
                routes.pop(cidr, None)
            else:
                routes[cidr] = route
        self._take(routes)

    def _take(self, routes: dict[Cidr, PeerRoute]) -> None:
        self._routes = routes
        self._addresses = frozenset(
            address
            for route in routes.values()
            for address in (route.via, node_address_in(route.destination))
        )
        self._news.set()

    # --- what others ask

    @property
    def addresses(self) -> frozenset[Addr]:
        """Where probes of other nodes may come from."""
        return self._addresses

    def reports(self) -> PathsReport:
        """What was found, by node."""
        return PathsReport(self._node, tuple(self._results[key] for key in sorted(self._results, key=str)))

    def samples(self) -> Iterator[Sample]:
        """For the page of metrics."""
        for report in self.reports().paths:
            labels = {"peer": report.node, "way": report.way, "address": report.via}
            yield gauge(
                "netloom_path_mtu_bytes",
                "What a packet of a pod may measure on the way to another node, as probes found it; 0: no answer.",
                report.carried,
                **labels,
            )
            yield gauge(
                "netloom_path_mtu_expected_bytes",
                "What a packet of a pod may measure on the way to another node by both nodes' interfaces.",
                report.expected,
                **labels,
            )
            if report.fault != Fault.NONE.value:
                yield gauge(
                    "netloom_path_fault",
                    "1 for each way to another node with which something is wrong.",
                    1,
                    **labels,
                    fault=report.fault,
                )

    # --- asking

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._again_s if self._is_wrong() else None):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            await self.turn()

    def _is_wrong(self) -> bool:
        return any(report.fault != Fault.NONE.value for report in self._results.values())

    async def turn(self) -> None:
        """Ask all that have changed or with which something was wrong, and tell."""
        targets = targets_of(self._routes.values())
        for key in [key for key in self._results if key not in targets]:
            del self._results[key]
        self._asked = {key: asked for key, asked in self._asked.items() if key in targets}
        self._told = {key: told for key, told in self._told.items() if key in targets}
        due = [
            (key, target)
            for key, target in targets.items()
            if self._asked.get(key) != (target, self._epoch) or self._results[key].fault != Fault.NONE.value
        ]
        gate = asyncio.Semaphore(_AT_ONCE)
        with self._asker() as asker:
            await asyncio.gather(*(self._ask(asker, key, target, gate) for key, target in due))
        await self._narrow_routes()
        async with self.turned:
            self.turned.notify_all()

    async def _ask(self, asker: Asker, key: Key, target: Target, gate: asyncio.Semaphore) -> None:
        async with gate:
            epoch = self._epoch
            remedy = self._switch_off(target) if self._checksums is Checksums.OFF else ""
            fault, carried = judge(target, await observe(asker, target))
            if fault is Fault.TUNNEL_NARROW and target.via.version == 6:
                # the kernel has heard of a narrower path before, and would cut by that for ten minutes (RFC 8201)
                await netns.run_in_async(None, functools.partial(self._forget_path, target.via))
                fault, carried = judge(target, await observe(asker, target))
            first = fault
            if fault in (Fault.CHECKSUM, Fault.SEGMENTATION) and self._checksums is Checksums.AUTO:
                remedy = self._switch_off(target)
                if remedy:
                    fault, carried = judge(target, await observe(asker, target))
        device = DEVICES.get(target.way, "")
        if device in self._switched:
            remedy = remedy or f"checksums of {device} are filled in before it"
        said = finding(target, fault, carried, self._own(), self._port)
        self._asked[key] = (target, epoch)
        self._results[key] = PathReport(
            node=target.node,
            via=str(target.via),
            way=target.way.value,
            expected=target.mtu,
            carried=carried,
            fault=fault.value,
            remedy=remedy,
            problem="" if said is None else f"{said.problem}; {said.hint}",
        )
        self._tell(key, target, first if fault is Fault.NONE else fault, carried)

    def _tell(self, key: Key, target: Target, fault: Fault, carried: int) -> None:
        said = finding(target, fault, carried, self._own(), self._port)
        if said is None:
            if self._told.pop(key, None) is not None and fault is Fault.NONE:
                log.info("the way to node %s at %s carries %d bytes again", target.node, target.via, carried)
            return
        if self._told.get(key) != said:
            self._told[key] = said
            self._report([said])

    def _switch_off(self, target: Target) -> str:
        """Have the kernel fill in the tunnel's checksums; words about it, empty where it is so already or cannot be."""
        device = DEVICES.get(target.way, "")
        if not device:
            return ""
        try:
            if not ethtool.has_tx_checksums(device, self._netns_fd):
                return ""
            ethtool.set_tx_checksums(device, is_on=False, netns_fd=self._netns_fd)
        except KernelError as error:
            log.warning("checksums of %s: %s", device, error)
            return ""
        self._switched.add(device)
        log.warning("checksums of %s are filled in by the kernel from now on, and packets cut by it", device)
        return f"checksums of {device} are filled in before it"

    def _forget_path(self, via: Addr) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            rtnl.forget_path(via)

    async def _narrow_routes(self) -> None:
        narrowed: dict[str, int] = {}
        for report in self._results.values():
            if report.fault == Fault.NARROW.value:
                narrowed[report.node] = min(report.carried, narrowed.get(report.node, report.carried))
        if narrowed != self._narrowed and self._narrow is not None:
            try:
                await self._narrow(narrowed)
            except KernelError as error:
                log.warning("routes are not narrowed to what was measured: %s", error)
                return
        self._narrowed = narrowed


async def observe(asker: Asker, target: Target) -> Seen:
    """Ask one peer with one packet of each kind, and with more where one is not answered."""
    least, most = sizes(target.outer, target.via.version == 6)
    carried = await asker.largest(target.via, least, most)
    if target.inner is None or not carried:
        return Seen(carried=carried)
    inside = functools.partial(asker.carries, target.inner, in_tunnel=True)
    if not await inside(_SMALL):
        return Seen(carried=carried, unchecked=await inside(_SMALL, is_checked=False))
    if carried < target.outer:
        return Seen(carried=carried, plain=True)
    full = await inside(target.mtu)
    return Seen(carried=carried, plain=True, full=full, cut=full and await inside(target.mtu, parts=_PARTS))
