"""From the start of an agent to everything in force, for N Services x 5 endpoints from a real API server over TLS.

Beside it: the same table as text through ``nft -f``, which is what loading costs without list, decoding and model.
"""

from __future__ import annotations

import subprocess
import time

from tests.bench import population, rig, rooms
from tests.bench.report import Row, median

from netloom.dataplane.nftables import compile as compiler
from netloom.dataplane.nftables.skeleton import layout
from netloom.linux import netns
from netloom.local.settings import cluster_facts
from netloom.model.facts import facts_of
from netloom.model.network import Network
from netloom.units import Family, ObjectKey

SIZES = (100, 1_000, 10_000)
WARM, COLD = 3, 2


def run() -> list[Row]:
    """The rows of this benchmark."""
    rows: list[Row] = []
    with rig.built() as node:
        for size in SIZES:
            rows += _size(node, size)
    return rows


def _size(node: rig.Rig, size: int) -> list[Row]:
    node.hold(size)
    text = rules(node, size)
    warm: list[tuple[float, float]] = []
    cold: list[tuple[float, float]] = []
    loads: list[float] = []
    used: list[rig.Used] = []
    for turn in range(WARM):
        warm.append(_start(node, cold=False))
        used.append(rig.used(node.pid("agent")))
        node.end_agent()
        loads.append(_load(node, text))
        if turn < COLD:
            cold.append(_start(node, cold=True))
            node.end_agent()
        rooms.say(f"program: {size:,} Services: {warm[-1][0]:.2f} s warm")
    name = f"{size:,} x {population.ENDPOINTS}"
    target = 2.0 if size == max(SIZES) else None
    ours = median(hooked for hooked, _ in warm)
    beside = median(loads)
    return [
        Row(
            bench="program",
            what=f"{name}: agent's start to Services in force",
            ours=ours,
            unit="s",
            beside=beside,
            beside_what="nft -f",
            ratio=ours / beside,
            most=target,
            note="forked from a warm process, as in the embedded cluster",
        ),
        _plain(f"{name}: to ready for pods (names answered too)", median(ready for _, ready in warm), "s"),
        _plain(
            f"{name}: started cold, to Services in force", median(hooked for hooked, _ in cold), "s", target
        ),
        _plain(f"{name}: CPU of the agent", median(u.cpu_s for u in used), "s"),
        _plain(f"{name}: RSS of the agent", median(u.rss_mb for u in used), "MB"),
    ]


def _plain(what: str, ours: float, unit: str, most: float | None = None) -> Row:
    return Row(bench="program", what=what, ours=ours, unit=unit, most=most)


def _start(node: rig.Rig, *, cold: bool) -> tuple[float, float]:
    """Seconds until Services are in force, and until the agent takes pods."""
    began = node.start_agent(cold=cold)
    hooked = node.wait_hooked() - began
    return hooked, node.wait_in_force() - began


def _load(node: rig.Rig, text: bytes) -> float:
    def load() -> float:
        began = time.monotonic()
        subprocess.run(["nft", "-f", "-"], input=text, check=True)
        return time.monotonic() - began

    took = netns.run_in(node.node.netns, load)
    node.end_agent()  # takes the table out
    return took


def rules(node: rig.Rig, size: int) -> bytes:
    """The whole table of the node as text."""
    view = population.view(size)
    facts = facts_of(view.nodes[ObjectKey("", rig.NODE)], cluster_facts(node.settings))
    state = Network.compute(view, facts)
    table = compiler.table_state(state, Family.V4)
    return compiler.replacement(layout(facts, Family.V4), table).render().encode()
