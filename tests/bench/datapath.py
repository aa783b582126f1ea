"""What a Service costs on the way, and what the table costs those who want none, in the same run, in turns.

Three lanes: no table at all, a table with one Service, and one with 10,000. Through the ClusterIP against the pod's own address: pinned, client
and server on one CPU, so that no wake-up of another CPU is measured; not pinned, as the scheduler likes it; for throughput each has
its own. Then the first packet of a connection with 10,000 Services against one, packets that are for no Service in all three
lanes, and the other ways to a Service. Ratios are taken turn by turn, and their median is told.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import msgspec
from tests.bench import lanes, rooms
from tests.bench.lanes import Port, Target
from tests.bench.report import Row, median

from netloom.testing.topologies import TwoPods

MANY = rooms.either(10_000, 100)
ROUNDS = rooms.either(30, 4)
WITHIN = 0.06
NOISE = 0.03
"""What is still no more: two lanes that were alike differed by 1.2 % in first packets."""
_SLICE_MS = 50
_STREAM_MS = 80


class Way(msgspec.Struct, frozen=True):
    """A kind of load, and where client and server of it run."""

    mode: str
    """Of ``load drive``."""
    what: str
    unit: str
    port: Port
    cpu: int
    """The client's; -1: any."""

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit != "us"

    def figures(self, done: Sequence[float]) -> list[float]:
        """In the unit of the row, from what was done in a second."""
        if self.is_rate:
            return [value * (8e-9 if self.unit == "Gb/s" else 1.0) for value in done]
        return [1e6 / value for value in done]


def ways() -> list[Way]:
    """All kinds of load."""
    allowed = sorted(os.sched_getaffinity(0))
    first, last = allowed[0], allowed[-1]
    modes = (
        ("connect", "connects", "/s", "accept"),
        ("pingpong", "TCP request latency", "us", "echo"),
        ("udp", "UDP request latency", "us", "udp"),
    )
    found = [
        Way(mode, f"{what}, {said}", unit, Port(first_port + i, server, cpu), cpu)
        for said, cpu, first_port in (("pinned", last, 7001), ("not pinned", -1, 7011))
        for i, (mode, what, unit, server) in enumerate(modes)
    ]
    return [*found, Way("stream", "throughput", "Gb/s", Port(7021, "sink", last), first)]


def run() -> list[Row]:
    """The rows of this benchmark."""
    kinds = ways()
    ports = [way.port for way in kinds]
    with contextlib.ExitStack() as stack:
        none, one, many = (stack.enter_context(lanes.lane(ports)) for _ in range(3))
        lanes.program(one, [lanes.cluster_ip(ports)], ports, 1)
        lanes.program(many, [lanes.cluster_ip(ports), *lanes.others(ports)], ports, MANY)
        rows = [row for way in kinds for row in _against_direct(way, one, many)]
        rows += _first_packet(kinds[0], one, many)
        for way in (
            msgspec.structs.replace(kinds[0], mode="first", what="first packet, p50", unit="us"),
            kinds[1],
        ):
            rows += _no_service(way, none, one, many)
        for way in kinds[:2]:
            rows += _other_ways(way, many)
    return rows


def _against_direct(way: Way, one: TwoPods, many: TwoPods) -> list[Row]:
    """Through the ClusterIP, with few and with many Services, against the pod's own address in the same lane."""
    targets = [t for net in (one, many) for t in (_to(net, lanes.SERVICE, way), _direct(net, way))]
    done = _drive(way, targets)
    rows = []
    for name, at in (("1 Service", 0), (f"{MANY:,} Services", 2)):
        row = _row(f"{name}: {way.what}", way, done[at], done[at + 1], "pod's own address")
        target = {"least": 1 - WITHIN} if way.is_rate else {"most": 1 + WITHIN}
        rows.append(msgspec.structs.replace(row, **target))
    return rows


def _first_packet(connects: Way, one: TwoPods, many: TwoPods) -> list[Row]:
    """From the SYN to the SYN-ACK through the ClusterIP, with many Services against one."""
    way = msgspec.structs.replace(connects, mode="first", unit="us")
    ours, beside = _drive(way, [_to(net, lanes.SERVICE, way) for net in (many, one)])
    row = _row(f"{MANY:,} Services: first packet through a ClusterIP, p50", way, ours, beside, "1 Service")
    return [msgspec.structs.replace(row, most=1 + NOISE)]


def _no_service(way: Way, none: TwoPods, one: TwoPods, many: TwoPods) -> list[Row]:
    """To a pod's own address: what it costs that there is a table, and that it is large."""
    large, small, nothing = _drive(way, [_direct(net, way) for net in (many, one, none)])
    what = f"to no Service: {way.what}"
    row = _row(f"{MANY:,} Services: {what}", way, large, small, "1 Service")
    return [
        msgspec.structs.replace(row, most=1 + NOISE),
        _row(f"{MANY:,} Services: {what}", way, large, nothing, "no table"),
        _row(f"1 Service: {what}", way, small, nothing, "no table"),
    ]


def _other_ways(way: Way, many: TwoPods) -> list[Row]:
    """NodePort, load balancer address and session affinity, for which there are no targets."""
    node = str(many.node.address)
    targets = {
        "NodePort": Target(many, node, way.port.number + lanes.NODE_PORT_OFFSET),
        "LoadBalancer address": _to(many, lanes.LOAD_BALANCER, way),
        "session affinity": _to(many, lanes.STICKY, way),
    }
    *found, direct = _drive(way, [*targets.values(), _direct(many, way)])
    return [
        _row(f"{name}: {way.what}", way, ours, direct, "pod's own address")
        for name, ours in zip(targets, found, strict=True)
    ]


def _to(net: TwoPods, address: str, way: Way) -> Target:
    return Target(net, address, way.port.number)


def _direct(net: TwoPods, way: Way) -> Target:
    return _to(net, str(net.b.address), way)


def _drive(way: Way, targets: Sequence[Target]) -> list[list[float]]:
    """Figures by target, turn by turn."""
    slice_ms = _STREAM_MS if way.mode == "stream" else _SLICE_MS
    done = lanes.drive(way.mode, targets, slice_ms=slice_ms, rounds=ROUNDS, cpu=way.cpu)
    return [way.figures(one) for one in done]


def _row(what: str, way: Way, ours: Sequence[float], beside: Sequence[float], beside_what: str) -> Row:
    ratio = median(a / b for a, b in zip(ours, beside, strict=True))
    rooms.say(f"clusterip: {what}: {ratio:.3f} of {beside_what}")
    return Row(
        bench="clusterip",
        what=what,
        ours=median(ours),
        unit=way.unit,
        beside=median(beside),
        beside_what=beside_what,
        ratio=ratio,
        on_ratio=True,
    )
