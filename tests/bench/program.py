"""From the start of an agent to everything in force, for N Services x 5 endpoints over TLS; and its restart, where the kernel has it all.

*Cold* is the program, from exec; *warm* is forked from a process that has imported everything, as the embedded cluster does it. The
agent reads from the real API server, a Python program itself; once more from one that has its answers ready (``feed``), so that it is seen
what of the time is the server's. Beside it: the same table through ``nft -f``, which is what loading costs without list, decoding
and model. ``rootless`` is this same benchmark in a user namespace: the kernel gives no more there than to an ordinary user, above all
no larger send buffer.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import msgspec
from tests.bench import population, rig, rooms
from tests.bench.report import Row, median
from tests.bench.watching import TableWatch

from netloom.dataplane.nftables import compile as compiler
from netloom.dataplane.nftables.skeleton import layout
from netloom.linux import netns
from netloom.local.settings import cluster_facts
from netloom.model.facts import facts_of
from netloom.model.network import Network
from netloom.units import Family, ObjectKey

MOST_S = {10_000: 1.5, 30_000: 5.0}
MOST_MB = {10_000: 150.0}
RUNS = rooms.either({10_000: (3, 2), 30_000: (2, 0)}, {1_000: (2, 1), 2_000: (1, 0)})
"""By number of Services: how many starts cold, and warm."""
MORE = rooms.either(10_000, 1_000)
"""The size at which the rest is measured, too: restarts, ready-made answers, and what is beside ours."""
RESTARTS = rooms.either(2, 1)
_SETTLED_S = 3.0
_PHASES = (
    "interpreter and imports",
    "list, decoding, model, compiler",
    "encoding and kernel",
    "names, until ready for pods",
)


class Start(msgspec.Struct, frozen=True):
    """One start of an agent, up to where pods may come."""

    began: float
    phases: tuple[rig.Phase, ...]
    """The ends of ``_PHASES``."""

    @property
    def in_force_s(self) -> float:
        """Seconds until Services were in force."""
        return self.phases[2].at - self.began

    @property
    def ready_s(self) -> float:
        """Seconds until the agent took pods."""
        return self.phases[3].at - self.began

    @property
    def used(self) -> rig.Used:
        """When Services were in force."""
        return self.phases[2].used


def run() -> list[Row]:
    """The rows of this benchmark."""
    rows: list[Row] = []
    with rig.built() as node:
        for size, (cold, warm) in RUNS.items():
            rows += _size(node, size, cold, warm)
    return rows


def _size(node: rig.Rig, size: int, cold: int, warm: int) -> list[Row]:
    node.hold(size)
    name = f"{size:,} x {population.ENDPOINTS}"
    text = _text(node, size) if size == MORE else None
    rows = _starts(node, size, cold, text, cold=True)
    if warm:
        rows += _starts(node, size, warm, text, cold=False)
    if size == MORE:
        rows += _restarts(node, name)
        node.hold_ready(size)
        ready_made = _start(node, cold=True).in_force_s
        rows.append(
            _row(f"{name}: cold, from ready-made answers: start to Services in force", ready_made, "s")
        )
    return rows


def _starts(node: rig.Rig, size: int, count: int, text: Path | None, *, cold: bool) -> list[Row]:
    """The agent, and ``nft -f`` of this file, in turns."""
    name = f"{size:,} x {population.ENDPOINTS}: {'cold' if cold else 'warm'}"
    starts: list[Start] = []
    loads: list[float] = []
    server = rig.used(node.pid("apiserver")).cpu_s
    for turn in range(count):
        starts.append(_start(node, cold=cold))
        rooms.say(f"program: {name}: {starts[-1].in_force_s:.2f} s")
        if turn == count - 1:
            time.sleep(_SETTLED_S)
            later = rig.used(node.pid("agent"))
        node.end_agent()
        loads += _load(node, text) if text else []
    server = rig.used(node.pid("apiserver")).cpu_s - server
    rows = _rows(name, size, starts, later, loads)
    return [*rows, _row(f"{name}: CPU of the API server meanwhile", server / count, "s")]


def _rows(name: str, size: int, starts: list[Start], later: rig.Used, loads: list[float]) -> list[Row]:
    ours = median(start.in_force_s for start in starts)
    beside = median(loads) if loads else None
    most_mb = MOST_MB.get(size)
    rows = [
        Row(
            bench="program",
            what=f"{name}: start to Services in force",
            ours=ours,
            unit="s",
            beside=beside,
            beside_what="nft -f",
            ratio=ours / beside if beside else None,
            most=MOST_S.get(size),
        ),
        _row(f"{name}: to ready for pods (names answered too)", median(s.ready_s for s in starts), "s"),
        _row(f"{name}: RSS when in force", median(s.used.rss_mb for s in starts), "MB", most_mb),
        _row(f"{name}: RSS {_SETTLED_S:.0f} s after ready", later.rss_mb, "MB", most_mb),
        _row(f"{name}: CPU until in force", median(s.used.cpu_s for s in starts), "s"),
    ]
    for number, phase in enumerate(_PHASES):
        cpu = median(_of_phase(start, number)[0] for start in starts)
        elapsed = median(_of_phase(start, number)[1] for start in starts)
        rows.append(
            Row(
                bench="program",
                what=f"{name}: CPU of {phase}",
                ours=cpu,
                unit="s",
                beside=elapsed,
                beside_what="elapsed",
            )
        )
    return rows


def _of_phase(start: Start, number: int) -> tuple[float, float]:
    """CPU, and time elapsed, in seconds."""
    phase = start.phases[number]
    if not number:
        return phase.used.cpu_s, phase.at - start.began
    before = start.phases[number - 1]
    return phase.used.cpu_s - before.used.cpu_s, phase.at - before.at


def _row(what: str, ours: float, unit: str, most: float | None = None) -> Row:
    return Row(bench="program", what=what, ours=ours, unit=unit, most=most)


def _start(node: rig.Rig, *, cold: bool) -> Start:
    began = node.start_agent(cold=cold)
    hooked = node.wait_hooked()
    return Start(began=began, phases=(*hooked, node.wait_in_force()))


def _restarts(node: rig.Rig, name: str) -> list[Row]:
    """The agent ends and starts again, and the kernel has everything already."""
    node.start_agent()
    node.wait_in_force()
    rows: list[Row] = []
    commits = 0
    for cold in (True, False):
        took: list[float] = []
        used: list[rig.Used] = []
        for _ in range(RESTARTS):
            node.end_agent(wipe=False)
            table = TableWatch(node.node.netns)
            began = node.start_agent(cold=cold)
            turned = node.wait_turned()
            took.append(turned.at - began)
            used.append(turned.used)
            node.wait_in_force()
            table.services()
            commits += table.commits
            _is_told(node, table)
            table.close()
        what = f"{name}: restart, {'cold' if cold else 'warm'}"
        rooms.say(f"program: {what}: {median(took):.2f} s")
        rows += [
            _row(f"{what}: to in force", median(took), "s"),
            _row(f"{what}: CPU until in force", median(u.cpu_s for u in used), "s"),
            _row(f"{what}: RSS when in force", median(u.rss_mb for u in used), "MB"),
        ]
    rows.append(_row(f"{name}: restarts: transactions seen in the kernel", commits, "", 0))
    return rows


def _is_told(node: rig.Rig, table: TableWatch) -> None:
    """See that a transaction would have been seen."""
    before = table.commits
    words = ["nft", "add table ip seen; delete table ip seen"]
    netns.run_in(node.node.netns, lambda: subprocess.run(words, check=True))
    table.services()
    if table.commits == before:
        raise RuntimeError("the kernel does not tell of transactions")


def _text(node: rig.Rig, size: int) -> Path:
    """The whole table, in a file."""
    text = node.root / "table.nft"
    rooms.aside(lambda: text.write_bytes(rules(node, size)), int)
    return text


def _load(node: rig.Rig, text: Path) -> list[float]:
    """Seconds; none where the kernel refuses so large a transaction, as it does without root."""

    def load() -> tuple[float, str]:
        began = time.monotonic()
        done = subprocess.run(["nft", "-f", str(text)], capture_output=True, text=True, check=False)
        return time.monotonic() - began, done.stderr if done.returncode else ""

    took, refused = netns.run_in(node.node.netns, load)
    node.end_agent()  # takes the table out
    if refused and "Message too long" not in refused:
        raise RuntimeError(f"nft -f: {refused[:300]}")
    return [] if refused else [took]


def rules(node: rig.Rig, size: int) -> bytes:
    """The whole table of the node as text."""
    view = population.view(size)
    facts = facts_of(view.nodes[ObjectKey("", rig.NODE)], cluster_facts(node.settings))
    state = Network.compute(view, facts)
    table = compiler.table_state(state, Family.V4)
    return compiler.replacement(layout(facts, Family.V4), table).render().encode()
