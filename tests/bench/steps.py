"""The steps of one change in one process, without API and watch: model, compiler, and the whole plane (which compiles, too)."""

from __future__ import annotations

import asyncio
import time

from tests.bench import population, rig, rooms
from tests.bench.report import median

from netloom.dataplane.nftables import compile as compiler
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.local.settings import cluster_facts
from netloom.model.facts import facts_of
from netloom.model.inputs import Changes, NodeFacts
from netloom.model.network import Network
from netloom.units import Family, ObjectKey

TURNS = rooms.either(100, 20)


def medians(node: rig.Rig, size: int) -> dict[str, float]:
    """By step, in milliseconds."""
    took = asyncio.run(_timed(node, size))
    return {f"{name}, p50": median(found) * 1e3 for name, found in took.items()}


async def _timed(node: rig.Rig, size: int) -> dict[str, list[float]]:
    view = population.view(size)
    facts = facts_of(view.nodes[ObjectKey("", rig.NODE)], cluster_facts(node.settings))
    network = Network(facts)
    network.update(Changes(services=view.services, slices=view.slices, nodes=view.nodes))
    there = node.node.netns
    with Nft(netns_fd=there) as nft, Conntrack(netns_fd=there) as conntrack:
        # beside the changes, as in the agent: no change waits for a look at conntrack
        ender = FlowEnder(conntrack=conntrack, clock=node.clock)
        plane = NftablesPlane(nft=nft, ender=ender)
        await plane.start(network.state, facts)
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(ender.run(), name="ender")
            took = await _changes(network, plane, facts, size)
            ending.cancel()
        await plane.remove()
    return took


async def _changes(
    network: Network, plane: NftablesPlane, facts: NodeFacts, size: int
) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {
        "model alone": [],
        "compiler alone": [],
        "compiler, netlink and kernel": [],
    }
    turns = population.Turns(size)
    for _ in range(TURNS):
        number, addresses = turns.next()
        piece = population.typed_slice(number, addresses)
        t0 = time.perf_counter()
        delta = network.update(Changes(slices={piece.key: piece}))
        t1 = time.perf_counter()
        compiler.step(plane.tables[Family.V4], delta)
        t2 = time.perf_counter()
        await plane.apply(delta)
        t3 = time.perf_counter()
        for name, seconds in zip(took, (t1 - t0, t2 - t1, t3 - t2), strict=True):
            took[name].append(seconds)
        await asyncio.sleep(0)  # as between two turns of the engine, others may run
    return took
