"""Where packets go for measuring: client pod, node, server pod, with a whole table in force or none. In: Services; out: times.

Pods are attached as CNI does it. All lanes look alike and have the same addresses, each in namespaces of its own, so the load
(``load.c``) can go from one to the next, in turns. Not here: what is compared with what.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from tests.bench import population, rooms
from tests.bench.report import ROOT

from netloom.api.core import Service, ServicePort
from netloom.api.discovery import EndpointPort, EndpointSlice
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.model.inputs import ClusterView, NodeFacts
from netloom.model.network import Network
from netloom.testing.builders import endpoint, endpoint_slice, port, service
from netloom.testing.topologies import CLUSTER_CIDRS, TwoPods, pod_cidrs, two_pods_one_node
from netloom.units import Addr

SERVICE = "10.96.0.80"
LOAD_BALANCER = "203.0.113.80"
STICKY = "10.96.0.83"
NODE_PORT_OFFSET = 24_000
"""From a port to the NodePort that leads to it."""
_CREATED = "2024-01-01T00:00:00Z"


class Port(msgspec.Struct, frozen=True):
    """A port at which the server pod answers, in one way."""

    number: int
    mode: str
    """Of ``load serve``."""
    cpu: int
    """The server's; -1: any."""

    @property
    def name(self) -> str:
        """Of the Service's port."""
        return f"p{self.number}"

    @property
    def protocol(self) -> str:
        """As the API writes it."""
        return "UDP" if self.mode == "udp" else "TCP"


class Target(msgspec.Struct, frozen=True):
    """Where load goes: from the client pod of a lane to an address."""

    lane: TwoPods
    address: str
    port: int

    @property
    def words(self) -> list[str]:
        """For ``load drive``."""
        return [_path(self.lane.a.netns_fd), self.address, str(self.port)]


@contextlib.contextmanager
def lane(ports: Iterable[Port]) -> Iterator[TwoPods]:
    """A lane whose server pod answers at these ports; it has no table."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(two_pods_one_node())
        serve(stack, net.b.netns_fd, ports)
        yield net


def serve(stack: contextlib.ExitStack, netns_fd: int, ports: Iterable[Port]) -> None:
    """Answer at these ports in a namespace, as long as ``stack`` lives."""
    for one in ports:
        words = [str(tool()), "serve", _path(netns_fd), one.mode, str(one.number), str(one.cpu)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE)
        stack.callback(rooms.end, child)
        assert child.stdout is not None
        if child.stdout.readline() != b"serving\n":
            raise RuntimeError(f"{' '.join(words)} does not serve")


def tool() -> Path:
    """The compiled load tool, made anew where its source is newer."""
    source, target = Path(__file__).with_name("load.c"), ROOT / "build" / "bench-load"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-o", str(target), str(source)], check=True)
    return target


def cluster_ip(ports: Iterable[Port]) -> Service:
    """The Service that the server pod answers, at ``SERVICE``."""
    return service("bench/server", SERVICE, ports=_service_ports(ports), created=_CREATED)


def others(ports: Sequence[Port]) -> list[Service]:
    """The same once more by NodePorts of the node, at ``LOAD_BALANCER``, and with session affinity at ``STICKY``."""
    node_ports = [
        port(p.number, p.name, protocol=p.protocol, target=p.number, node_port=p.number + NODE_PORT_OFFSET)
        for p in ports
    ]
    plain = _service_ports(ports)
    return [
        service("bench/node-port", "10.96.0.81", ports=node_ports, created=_CREATED, type="NodePort"),
        service(
            "bench/balanced",
            "10.96.0.82",
            ports=plain,
            created=_CREATED,
            type="LoadBalancer",
            ingress=[LOAD_BALANCER],
        ),
        service("bench/sticky", STICKY, ports=plain, created=_CREATED, session_affinity="ClientIP"),
    ]


def _service_ports(ports: Iterable[Port]) -> list[ServicePort]:
    return [port(p.number, p.name, protocol=p.protocol, target=p.number) for p in ports]


def program(net: TwoPods, services: Sequence[Service], ports: Iterable[Port], size: int) -> None:
    """Put the table of ``size`` Services in force: these, which the server pod answers, and others."""
    rooms.say(f"clusterip: programming {size:,} Services")
    taken = list(ports)
    pieces = [_slice(one, net.b.address, taken) for one in services]
    rooms.aside(lambda: asyncio.run(_program(net, services, pieces, size)), type(None))


def _slice(of: Service, address: Addr, ports: Iterable[Port]) -> EndpointSlice:
    name = of.metadata.name
    entries = [EndpointPort(name=p.name, protocol=p.protocol, port=p.number) for p in ports]
    return endpoint_slice(f"bench/{name}-abcde", name, endpoint(str(address), node="node-1"), ports=entries)


def facts(net: TwoPods) -> NodeFacts:
    """What the node of a lane is."""
    return NodeFacts(
        name="node-1",
        addresses=net.node.addresses[:1],
        pod_cidrs=pod_cidrs(1)[:1],
        cluster_cidrs=CLUSTER_CIDRS[:1],
        service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
    )


async def _program(
    net: TwoPods, services: Sequence[Service], pieces: Sequence[EndpointSlice], size: int
) -> None:
    node = facts(net)
    crowd = population.view(size - len(services))
    view = ClusterView(
        services={**crowd.services, **{one.key: one for one in services}},
        slices={**crowd.slices, **{one.key: one for one in pieces}},
        nodes=crowd.nodes,
    )
    there = net.node.netns_fd
    with Nft(netns_fd=there) as nft, Conntrack(netns_fd=there) as conntrack:
        plane = NftablesPlane(nft=nft, ender=FlowEnder(conntrack=conntrack))
        await plane.start(Network.compute(view, node), node)


def drive(mode: str, targets: Sequence[Target], *, slice_ms: int, rounds: int, cpu: int) -> list[list[float]]:
    """By target, what was done in a second, turn by turn: connections, round trips, bytes, or first packets (one after the other)."""
    words = [str(tool()), "drive", mode, str(slice_ms), str(rounds), str(cpu)]
    words += [word for target in targets for word in target.words]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"load drive {mode}: {done.stderr.strip()}")
    found: list[list[float]] = [[] for _ in targets]
    for line in done.stdout.splitlines():
        which, count, nanoseconds = map(int, line.split())
        found[which].append(count / nanoseconds * 1e9)
    return found


def _path(netns_fd: int) -> str:
    return f"/proc/{os.getpid()}/fd/{netns_fd}"
