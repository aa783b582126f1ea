"""One endpoint more or less: from the PATCH of its EndpointSlice to the kernel's word that it is in force on the node.

The whole way: TLS, API server, store, watch, agent, model, compiler, netlink. The kernel tells when a commit is active, so
nobody polls. Singly: the next PATCH when the last is in force. Bursts: the next PATCH as soon as the last is answered, in force or
not. Each change of a burst is of another Service, so each has its own element to wait for. Where the time goes is
measured besides on the same objects in this process, without API and watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import time
from collections.abc import Iterator

from tests.bench import population, rig, rooms
from tests.bench.report import Row, median, quantile
from tests.bench.watching import Patcher, TableWatch, wait

from netloom.dataplane.nftables import compile as compiler
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.kube.kubeconfig import load
from netloom.linux import netns
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.local.settings import cluster_facts
from netloom.model.facts import facts_of
from netloom.model.inputs import Changes
from netloom.model.network import Network
from netloom.program.routes import Route
from netloom.units import Family, ObjectKey

SIZES = (100, 1_000, 10_000)
SINGLY = 300
BURSTS, BURST = 6, 50
WARM_UP = 20
P99_MS = 10.0
_POD = "10.244.0.77"


class Bench:
    """Changes of Services, and their times."""

    def __init__(self, node: rig.Rig, watch: TableWatch, patcher: Patcher, size: int) -> None:
        self._node = node
        self._watch = watch
        self._patcher = patcher
        self._size = size
        self._larger = [False] * size
        self._turn = 0
        self.answered: list[float] = []
        """Milliseconds until the API server's answer, of single changes."""

    def _next(self) -> tuple[int, bytes, list[str]]:
        """Another Service, the element to wait for, and its endpoints from now on: one more, or the former ones again."""
        number = self._turn * 7919 % self._size
        self._turn += 1
        addresses = population.endpoints_of(number)
        self._larger[number] = not self._larger[number]
        if self._larger[number]:
            addresses.append(str(ipaddress.IPv4Address("10.244.8.0") + number % 4096))
        return number, ipaddress.IPv4Address(population.cluster_ip(number)).packed, addresses

    def _send(self, number: int, addresses: list[str]) -> float:
        path = (
            f"/apis/discovery.k8s.io/v1/namespaces/{population.NAMESPACE}/endpointslices/svc-{number}-abcde"
        )
        return self._patcher.send(path, {"endpoints": population.endpoints(number, addresses)})

    def singly(self, count: int) -> list[float]:
        """Milliseconds of each."""
        took = []
        for _ in range(count):
            number, element, addresses = self._next()
            began = self._send(number, addresses)
            answered = in_force = 0.0
            while not (answered and in_force):
                ready = wait(self._watch.socket, *(() if answered else (self._patcher.socket,)))
                now = time.monotonic()
                if self._watch.socket.fileno() in ready and any(element in m for m in self._watch.elements()):
                    in_force = in_force or now
                if not answered and self._patcher.socket.fileno() in ready:
                    self._patcher.answer()
                    answered = now
            took.append((in_force - began) * 1e3)
            self.answered.append((answered - began) * 1e3)
        return took

    def burst(self, count: int) -> list[float]:
        """Milliseconds of each of these changes, sent as fast as they are answered."""
        began: dict[bytes, float] = {}
        took: dict[bytes, float] = {}
        waiting = False
        while len(took) < count:
            if not waiting and len(began) < count:
                number, element, addresses = self._next()
                began[element] = self._send(number, addresses)
                waiting = True
            ready = wait(self._watch.socket, *((self._patcher.socket,) if waiting else ()))
            now = time.monotonic()
            if self._watch.socket.fileno() in ready:
                messages = self._watch.elements()
                for element, then in began.items():
                    if element not in took and any(element in m for m in messages):
                        took[element] = (now - then) * 1e3
            if waiting and self._patcher.socket.fileno() in ready:
                self._patcher.answer()
                waiting = False
        return list(took.values())

    def reaches_a_new_pod(self) -> float:
        """One Service gets a real pod as its only endpoint: milliseconds until a new connection from the node reaches it."""
        self._turn += 1
        number = self._turn * 7919 % self._size
        element = ipaddress.IPv4Address(population.cluster_ip(number)).packed
        with _pod(self._node) as listener:
            began = self._send(number, [_POD])
            self._patcher.answer()
            while not any(element in m for m in self._watch.elements()):
                wait(self._watch.socket)
            client = netns.open_socket(self._node.node.netns, socket.AF_INET, socket.SOCK_STREAM)
            with client:
                client.settimeout(2.0)
                client.connect((population.cluster_ip(number), population.PORT))
                reached, _ = listener.accept()
                reached.close()
            return (time.monotonic() - began) * 1e3


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
            rows += _size(node, size)
    return rows


def _size(node: rig.Rig, size: int) -> list[Row]:
    node.hold(size)
    node.start_agent()
    node.wait_in_force()
    watch = TableWatch(node.node.netns)
    with rooms.scratch() as directory:
        patcher = Patcher(load(str(node.paths.kubeconfig)), directory)
    bench = Bench(node, watch, patcher, size)
    try:
        first = bench.singly(WARM_UP)
        bench.answered.clear()
        before = rig.used(node.pid("agent"))
        singles = bench.singly(SINGLY)
        bursts = [took for _ in range(BURSTS) for took in bench.burst(BURST)]
        after = rig.used(node.pid("agent"))
        reached = bench.reaches_a_new_pod()
    finally:
        patcher.close()
        watch.close()
    rooms.say(
        f"change: {size:,} Services: p50 {quantile(singles, 0.5):.1f} ms, p99 {quantile(singles, 0.99):.1f} ms"
    )
    node.end()
    split = asyncio.run(_split(node, size))
    name = f"{size:,} x {population.ENDPOINTS}"
    rows = []
    for what, found in (("singly", singles), (f"bursts of {BURST}", bursts)):
        for share, label, target in ((0.5, "p50", None), (0.99, "p99", P99_MS)):
            ours = quantile(found, share)
            rows.append(
                Row(bench="change", what=f"{name}: {what}, {label}", ours=ours, unit="ms", most=target)
            )
    more = {
        "the slowest of the first 20": max(first),
        "a real connection reaches a new pod": reached,
        "API server's answer, p50": quantile(bench.answered, 0.5),
        "CPU of the agent for each": (after.cpu_s - before.cpu_s) * 1e3 / (SINGLY + BURSTS * BURST),
        **split,
    }
    rows += [Row(bench="change", what=f"{name}: {what}", ours=ours, unit="ms") for what, ours in more.items()]
    rows.append(
        Row(bench="change", what=f"{name}: RSS of the agent after these", ours=after.rss_mb, unit="MB")
    )
    return rows


async def _split(node: rig.Rig, size: int) -> dict[str, float]:
    """Medians of model, compiler, and the whole plane (which compiles, too), in milliseconds."""
    view = population.view(size)
    facts = facts_of(view.nodes[ObjectKey("", rig.NODE)], cluster_facts(node.settings))
    network = Network(facts)
    network.update(Changes(services=view.services, slices=view.slices, nodes=view.nodes))
    took: dict[str, list[float]] = {
        "model alone": [],
        "compiler alone": [],
        "compiler, netlink and kernel": [],
    }
    there = node.node.netns
    with Nft(netns_fd=there) as nft, Conntrack(netns_fd=there) as conntrack:
        plane = NftablesPlane(nft=nft, conntrack=conntrack)
        await plane.start(network.state, facts)
        for turn in range(100):
            number = turn * 7919 % size
            addresses = [*population.endpoints_of(number), "10.244.8.1"]
            piece = population.typed_slice(number, addresses[: 6 if turn % 2 else 4])
            t0 = time.perf_counter()
            delta = network.update(Changes(slices={piece.key: piece}))
            t1 = time.perf_counter()
            compiler.step(plane.tables[Family.V4], delta)
            t2 = time.perf_counter()
            await plane.apply(delta)
            t3 = time.perf_counter()
            for name, seconds in zip(took, (t1 - t0, t2 - t1, t3 - t2), strict=True):
                took[name].append(seconds * 1e3)
        await plane.remove()
    return {f"{name}, p50": median(found) for name, found in took.items()}
