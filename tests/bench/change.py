"""One endpoint more or less: from the event that tells of it to the kernel's word that it is in force on the node.

The event is the moment at which it can be read by any client of the API server on that node: the bench has a watch of its own
beside the agent's, and takes the kernel's time of arrival there. The kernel tells when a commit is active, too, so nobody polls.

Through the real API server, the whole way from the PATCH: TLS, store, watch, agent, model, compiler, netlink. Singly: the next PATCH
when the last is in force. Bursts: the next PATCH as soon as the last is answered, in force or not. From ready-made events
(``feed``), where no API server is at work on the same cores: singly, and at a rate that is kept up. Each change is of another
Service, so each has its own elements to wait for. Where the time goes is measured besides (``steps``).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import msgspec
from tests.bench import feed, population, rig, rooms, steps
from tests.bench.report import Row, quantile
from tests.bench.watching import EventWatch, Patcher, TableWatch, wait

from netloom.kube.kubeconfig import load
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.program.routes import Route

SIZES = rooms.either((100, 1_000, 10_000, 30_000), (100, 1_000))
SUSTAINED = rooms.either((10_000, 30_000), (1_000,))
"""Sizes at which a rate is kept up: of more Services than there are changes, so that each is of another."""
SINGLY = rooms.either(300, 30)
BURSTS, BURST = rooms.either((4, 50), (1, 20))
WARM_UP = 20
RATE, SECONDS = 500.0, rooms.either(10, 1)
SINGLY_RATE = 50.0
"""Ready-made events that are told singly: each is in force long before the next."""
P50_MS, P99_MS = 2.0, 10.0
CPU_PERCENT = 25.0
BACKLOG = RATE * P99_MS / 1e3
"""How much longer the queue may be at the end than at the beginning: what comes within the time that one change may take."""
_POD = "10.244.0.77"


class Change(msgspec.Struct):
    """Times of one change, on the monotonic clock; 0 is not yet."""

    sent: float = 0.0
    event: float = 0.0
    in_force: float = 0.0

    @property
    def patch_ms(self) -> float:
        """From the PATCH."""
        return (self.in_force - self.sent) * 1e3

    @property
    def event_ms(self) -> float:
        """From the event."""
        return (self.in_force - self.event) * 1e3


class Bench:
    """Follows changes of Services to where they are in force."""

    def __init__(self, node: rig.Rig) -> None:
        self.table = TableWatch(node.node.netns)
        self.events = EventWatch(load(str(node.files.kubeconfig)), node.node.netns, node.api)

    def close(self) -> None:
        """Stop following."""
        self.table.close()
        self.events.close()

    def follow(self, changes: dict[int, Change], *others: socket.socket) -> set[int]:
        """Wait for something to happen, and note what it means for these changes, by Service; gives who of others can be read."""
        ready = wait(self.table.socket, self.events.socket, *others)
        now = time.monotonic()
        if self.events.socket.fileno() in ready:
            for number, at in self.events.services().items():
                if (change := changes.get(number)) is not None and not change.event:
                    change.event = at
        if self.table.socket.fileno() in ready:
            for number in self.table.services():
                if (change := changes.get(number)) is not None and not change.in_force:
                    change.in_force = now
        return ready


class Patched(Bench):
    """Changes through the real API server."""

    def __init__(self, node: rig.Rig, size: int) -> None:
        super().__init__(node)
        self._node = node
        self._turns = population.Turns(size)
        self._patcher = Patcher(load(str(node.paths.kubeconfig)))
        self.answered: list[float] = []
        """Milliseconds until the API server's answer, of single changes."""

    def close(self) -> None:
        """Stop following, and hang up."""
        super().close()
        self._patcher.close()

    def _send(self, number: int, addresses: list[str]) -> float:
        path = (
            f"/apis/discovery.k8s.io/v1/namespaces/{population.NAMESPACE}/endpointslices/svc-{number}-abcde"
        )
        return self._patcher.send(path, {"endpoints": population.endpoints(number, addresses)})

    def singly(self, count: int) -> list[Change]:
        """One after the other."""
        done = []
        for _ in range(count):
            (change,) = self.burst(1)
            done.append(change)
        return done

    def burst(self, count: int) -> list[Change]:
        """As fast as they are answered."""
        changes: dict[int, Change] = {}
        waiting = False
        while waiting or len(changes) < count or not all(c.in_force and c.event for c in changes.values()):
            if not waiting and len(changes) < count:
                number, addresses = self._turns.next()
                changes[number] = Change(sent=self._send(number, addresses))
                waiting = True
            ready = self.follow(changes, *((self._patcher.socket,) if waiting else ()))
            if waiting and self._patcher.socket.fileno() in ready:
                self._patcher.answer()
                waiting = False
                if count == 1:
                    self.answered.append((time.monotonic() - changes[number].sent) * 1e3)
        return list(changes.values())

    def reaches_a_new_pod(self) -> float:
        """One Service gets a real pod as its only endpoint: milliseconds until a new connection from the node reaches it."""
        number, _ = self._turns.next()
        with _pod(self._node) as listener:
            changes = {number: Change(sent=self._send(number, [_POD]))}
            self._patcher.answer()
            while not changes[number].in_force:
                self.follow(changes)
            client = netns.open_socket(self._node.node.netns, socket.AF_INET, socket.SOCK_STREAM)
            with client:
                client.settimeout(2.0)
                client.connect((population.cluster_ip(number), population.PORT))
                reached, _ = listener.accept()
                reached.close()
            return (time.monotonic() - changes[number].sent) * 1e3


class ReadyMade(Bench):
    """Changes from ready-made events."""

    def __init__(self, node: rig.Rig, control: socket.socket) -> None:
        super().__init__(node)
        self._control = control

    def told(self, count: int, rate: float) -> tuple[list[Change], float]:
        """This many at this rate, in the order in which they came; and by how many milliseconds the latest was told late."""
        changes: dict[int, Change] = _Anything()
        self._control.send(msgspec.json.encode(feed.Order(count, rate)))
        late: float | None = None
        while (
            late is None or len(changes) < count or not all(c.in_force and c.event for c in changes.values())
        ):
            if self._control.fileno() in self.follow(changes, self._control):
                late = msgspec.json.decode(self._control.recv(1 << 16), type=feed.Told).latest_ms
        return sorted(changes.values(), key=lambda change: change.event), late


class _Anything(dict[int, Change]):
    """Changes that are not known beforehand: whatever is asked for is one."""

    def get(self, number: int, default: object = None) -> Change:
        return self.setdefault(number, Change())


@contextlib.contextmanager
def _pod(node: rig.Rig) -> Iterator[socket.socket]:
    """A namespace behind the node that answers at the new endpoint's address."""
    fd = netns.new_netns()
    here = node.node.netns
    with Rtnl(here) as rtnl:
        rtnl.add_veth("bench", peer="eth0", peer_netns_fd=fd)
        rtnl.set_up("bench")
        rtnl.replace_route(Route(destination=ipaddress.ip_network(_POD), device="bench"))
    with Rtnl(fd) as rtnl:
        rtnl.add_address("eth0", ipaddress.ip_interface(f"{_POD}/32"))
        rtnl.set_up("eth0")
        rtnl.replace_route(Route(destination=ipaddress.ip_network("0.0.0.0/0"), device="eth0"))
    listener = netns.open_socket(fd, socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.settimeout(2.0)
        listener.bind((_POD, population.TARGET_PORT))
        listener.listen()
        yield listener
    finally:
        listener.close()
        os.close(fd)
        with Rtnl(here) as rtnl:
            rtnl.delete_link("bench")


def run() -> list[Row]:
    """The rows of this benchmark."""
    rows: list[Row] = []
    with rig.built() as node:
        for size in SIZES:
            name = f"{size:,} x {population.ENDPOINTS}"
            rows += [*_patched(node, size, name), *_ready_made(node, size, name)]
    return rows


def _patched(node: rig.Rig, size: int, name: str) -> list[Row]:
    node.hold(size)
    node.start_agent()
    node.wait_in_force()
    with contextlib.closing(Patched(node, size)) as bench:
        first = bench.singly(WARM_UP)
        bench.answered.clear()
        before = rig.used(node.pid("agent"))
        singles = bench.singly(SINGLY)
        bursts = [change for _ in range(BURSTS) for change in bench.burst(BURST)]
        after = rig.used(node.pid("agent"))
        reached = bench.reaches_a_new_pod()
    node.end()
    rows = _latencies(f"{name}: event to in force", singles, targets=True)
    rows += _latencies(f"{name}: event to in force, bursts of {BURST}", bursts)
    patched = [change.patch_ms for change in singles]
    more = {
        "PATCH to in force, p50": quantile(patched, 0.5),
        "PATCH to in force, p99": quantile(patched, 0.99),
        f"PATCH to in force, the slowest of the first {WARM_UP}": max(change.patch_ms for change in first),
        "a real connection reaches a new pod": reached,
        "API server's answer, p50": quantile(bench.answered, 0.5),
        "CPU of the agent for each": (after.cpu_s - before.cpu_s) * 1e3 / (SINGLY + BURSTS * BURST),
        **rooms.aside(lambda: steps.medians(node, size), dict[str, float]),
    }
    return [*rows, *(_row(f"{name}: {what}", ours, "ms") for what, ours in more.items())]


def _ready_made(node: rig.Rig, size: int, name: str) -> list[Row]:
    control = node.hold_ready(size)
    node.start_agent()
    node.wait_in_force()
    rows: list[Row] = []
    with contextlib.closing(ReadyMade(node, control)) as bench:
        bench.told(WARM_UP, SINGLY_RATE)
        # no more than there are Services: each is changed once
        singles, _ = bench.told(min(SINGLY, size - WARM_UP), SINGLY_RATE)
        rows += _latencies(f"{name}: ready-made event to in force", singles, targets=True)
        if size in SUSTAINED:
            count = min(int(RATE * SECONDS), size - WARM_UP - len(singles))
            before = rig.used(node.pid("agent"))
            changes, late = bench.told(count, RATE)
            after = rig.used(node.pid("agent"))
            rows += _sustained(f"{name}: {RATE:.0f} changes/s", changes, after.cpu_s - before.cpu_s, late)
    rows.append(_row(f"{name}: RSS of the agent after these", rig.used(node.pid("agent")).rss_mb, "MB"))
    node.end()
    return rows


def _sustained(name: str, changes: Sequence[Change], cpu_s: float, late_ms: float) -> list[Row]:
    events = [change.event for change in changes]
    lasted = events[-1] - events[0]
    backlogs = _backlogs(changes)
    second = min(int(RATE), len(changes) // 2)
    beginning, end = (sum(some) / second for some in (backlogs[:second], backlogs[-second:]))
    return [
        _row(f"{name}: changes that came", (len(events) - 1) / lasted, "/s", least=0.98 * RATE),
        *_latencies(f"{name}: event to in force", changes),
        Row(
            bench="change",
            what=f"{name}: waiting in the last second",
            ours=end,
            unit="changes",
            beside=beginning,
            beside_what="in the first",
            most=beginning + BACKLOG,
        ),
        _row(f"{name}: the most that waited", max(backlogs), "changes"),
        _row(f"{name}: CPU of the agent, of one core", 100 * cpu_s / lasted, "%", most=CPU_PERCENT),
        _row(f"{name}: by how much an event was told late at most", late_ms, "ms"),
    ]


def _backlogs(changes: Sequence[Change]) -> list[int]:
    """For each event: how many had come, this one included, and were not in force yet."""
    in_force = sorted(change.in_force for change in changes)
    return [n - bisect_right(in_force, change.event) for n, change in enumerate(changes, 1)]


def _latencies(what: str, changes: Sequence[Change], *, targets: bool = False) -> list[Row]:
    found = [change.event_ms for change in changes]
    p50, p99 = quantile(found, 0.5), quantile(found, 0.99)
    rooms.say(f"change: {what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return [
        _row(f"{what}, p50", p50, "ms", most=P50_MS if targets else None),
        _row(f"{what}, p99", p99, "ms", most=P99_MS if targets else None),
    ]


def _row(what: str, ours: float, unit: str, *, most: float | None = None, least: float | None = None) -> Row:
    return Row(bench="change", what=what, ours=ours, unit=unit, most=most, least=least)
