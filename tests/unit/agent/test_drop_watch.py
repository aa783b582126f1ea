"""Drops are kept, counted and told within bounds, and chosen and shown as asked."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import msgspec

from netloom.agent.drops import DropWatch
from netloom.cli.drops import line_of
from netloom.linux.nflog import LoggedPacket, Missed
from netloom.metrics import render
from netloom.model.provenance import Source
from netloom.observe.drops import Cluster, Drop, DropEnd, DropNamer, drops_of
from netloom.testing.check_world import ONLY_API, shop
from netloom.testing.policy_words import judge_of
from netloom.units import Family, parse_addr


class TickingClock:
    """Each look at it takes a while."""

    def __init__(self, tick_s: float = 0.0) -> None:
        self.now, self.tick_s = 100.0, tick_s

    def monotonic(self) -> float:
        self.now += self.tick_s
        return self.now

    def wall(self) -> float:
        return self.now


class ByPort:
    """A namer that finds as many policies as there are ports."""

    def name(self, number, headers, prefix, at):
        rule = Source("NetworkPolicy", "n", f"p{headers.destination_port}", field="spec.ingress[0]")
        ends = DropEnd(str(headers.source)), DropEnd(str(headers.destination), headers.destination_port)
        return Drop(number, 1.5, "node-1", *ends, "tcp", "ingress", "denied", rule)


def packet(source="10.244.1.2", destination="10.244.2.2", port=5432, prefix="netloom:0123456789ab"):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 44, 1, 0, 64, 6, 0)
    data = head + parse_addr(source).packed + parse_addr(destination).packed + struct.pack(">HH", 40000, port)
    return LoggedPacket(Family.V4, 2, prefix, 1, 2, 0, 1.5, data)


def test_the_last_thousand_are_kept_and_all_are_counted():
    watch = DropWatch(node="node-1", namer=ByPort())
    watch.take([packet(port=7)] * 1500 + [Missed(40), packet(prefix="others:1"), packet(port=8)])
    report = watch.report()
    assert (report.seen, report.missed, len(report.drops)) == (1501, 40, 1000)
    assert [drop.number for drop in report.drops] == list(range(502, 1502))
    page = render(watch.samples())
    assert 'netloom_policy_drops_total{direction="ingress",policy="NetworkPolicy n/p7"} 1500\n' in page
    assert "netloom_policy_drops_missed_total 40\n" in page


def test_metrics_know_so_many_policies():
    watch = DropWatch(node="node-1", namer=ByPort())
    watch.take(packet(port=port) for port in range(1, 501))
    lines = [
        line
        for line in render(watch.samples()).splitlines()
        if line.startswith("netloom_policy_drops_total{")
    ]
    assert len(lines) == 201
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 500
    assert any('policy="others"' in line for line in lines)


async def test_a_follower_who_does_not_read_loses_the_newest_and_holds_up_nobody():
    watch = DropWatch(node="node-1", namer=ByPort())
    async with contextlib.aclosing(watch.follow()) as told:
        assert (await anext(told)).drops == ()
        watch.take([packet()] * 3000)
        numbers = [(await anext(told)).drops[0].number for _ in range(1000)]
        assert numbers == list(range(1, 1001))
        watch.take([packet()])
        assert (await anext(told)).drops[0].number == 3001
    assert watch.report().seen == 3001
    assert asyncio.all_tasks() == {asyncio.current_task()}


def namer(clock):
    view = shop(ONLY_API)
    known = Cluster(judge_of(view)._cluster, view.pods)
    return DropNamer(node="node-2", cluster=lambda: known, tables=dict, clock=clock)


def test_names_take_a_part_of_each_second_only():
    clock = TickingClock(tick_s=0.15)
    watch = DropWatch(node="node-2", namer=namer(clock))
    watch.take([packet()] * 4)
    named = [bool(drop.why) for drop in watch.report().drops]
    assert named[0]
    assert not all(named)
    unnamed = watch.report().drops[named.index(False)]
    assert (unnamed.source.address, unnamed.source.pod) == ("10.244.1.2", "")
    assert "not named" in line_of(unnamed)
    clock.now += 1
    watch.take([packet()])
    assert watch.report().drops[-1].why


def test_a_packet_whose_rule_nobody_knows_is_judged_anew():
    watch = DropWatch(node="node-2", namer=namer(TickingClock()))
    watch.take([packet(), packet(source="10.244.1.3"), packet(source="192.0.2.7")])
    web, api, outside = watch.report().drops
    assert (web.direction, web.source.pod, web.destination.pod) == ("ingress", "shop/web", "shop/db")
    assert "role=api" in web.why
    assert api.why == "by policies that are not there any more"
    assert outside.source.pod == ""
    assert outside.direction == "ingress"


def test_drops_of_a_namespace_and_of_a_pod():
    def drop(source, destination):
        return Drop(
            1, 0.0, "node-1", DropEnd("10.0.0.1", 0, source), DropEnd("10.0.0.2", 80, destination), "tcp"
        )

    drops = [drop("shop/web", "shop/db"), drop("ops/web", "shop/db"), drop("", "ops/web")]
    assert list(drops_of(drops)) == drops
    assert list(drops_of(drops, namespace="ops")) == drops[1:]
    assert list(drops_of(drops, pod="web")) == drops
    assert list(drops_of(drops, pod="shop/web")) == drops[:1]
    assert list(drops_of(drops, namespace="sho")) == []
    assert "shop/web -> shop/db:80/tcp" in line_of(drops[0])
    v6 = msgspec.structs.replace(drops[0], destination=DropEnd("2001:db8::1", 80))
    assert "[2001:db8::1]:80/tcp" in line_of(v6)
