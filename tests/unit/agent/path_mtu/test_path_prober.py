"""When peers are asked, how many at a time, and what is told of it; the network is a table of what answers."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Self

import pytest

from netloom.agent.path_mtu.findings import Target, targets_of
from netloom.agent.path_mtu.prober import PathProber, observe
from netloom.errors import KernelError
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import Underlay, Way
from netloom.model.state import Delta, NetworkState, PeerRoute

OWN = Source("Node", "", "node-1", "uid-1")
FACTS = NodeFacts(name="node-1")


def peer(number: int, way: Way = Way.DIRECT, mtu: int = 1500) -> PeerRoute:
    cidr = ipaddress.ip_network(f"10.{number}.0.0/24")
    via = ipaddress.ip_address("192.0.2.0") + number
    return PeerRoute(cidr, via, f"node-{number}", OWN, way, "", mtu)


def routes(*peers: PeerRoute):
    return {p.destination: p for p in peers}


class Network:
    """What answers: by address, the largest packet. Stands where ``Asker`` does."""

    def __init__(self, carried) -> None:
        self.carried = carried
        self.asked = []
        self.at_once = self.most_at_once = 0

    def __call__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        """Nothing is open."""

    async def carries(self, target, size, **_) -> bool:
        self.asked.append((target, size))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return size <= self.carried.get(target, 0)

    async def largest(self, target, least, most) -> int:
        await self.carries(target, most)
        return min(self.carried.get(target, 0), most)


class Rig:
    def __init__(self, network: Network, *, fails: bool = False) -> None:
        self.said: list[str] = []
        self.narrowed: list[dict[str, int]] = []
        self.fails = fails
        self.prober = PathProber(
            node="node-1",
            own=lambda: OWN,
            asker=network,
            report=lambda findings: self.said.extend(map(str, findings)),
            narrow=self.narrow,
            again_s=5.0,
        )

    async def narrow(self, mtus) -> None:
        if self.fails:
            raise KernelError("route", 1, "refused")
        self.narrowed.append(dict(mtus))


def via(number: int):
    return ipaddress.ip_address("192.0.2.0") + number


async def test_so_many_are_asked_at_a_time_and_all_of_them():
    network = Network({via(n): 1500 for n in range(1, 101)})
    rig = Rig(network)
    rig.prober.start(NetworkState(routes=routes(*map(peer, range(1, 101)))), FACTS)
    await rig.prober.turn()
    assert len(rig.prober.reports().paths) == 100
    assert {r.fault for r in rig.prober.reports().paths} == {"none"}
    assert network.most_at_once == 16


async def test_only_what_is_new_or_wrong_is_asked_again():
    network = Network({via(1): 1500, via(2): 1400})
    rig = Rig(network)
    rig.prober.start(NetworkState(routes=routes(peer(1), peer(2))), FACTS)
    await rig.prober.turn()
    assert rig.narrowed == [{"node-2": 1400}]
    network.asked.clear()
    rig.prober.apply(Delta())
    await rig.prober.turn()
    assert {target for target, _ in network.asked} == {via(2)}
    network.asked.clear()
    network.carried[via(2)] = 1500
    rig.prober.apply(Delta(routes=routes(peer(3))))
    await rig.prober.turn()
    assert {target for target, _ in network.asked} == {via(2), via(3)}
    assert rig.narrowed == [{"node-2": 1400}, {}]
    assert len(rig.said) == 1


async def test_a_node_that_has_changed_asks_all():
    network = Network({via(1): 1500})
    rig = Rig(network)
    state = NetworkState(routes=routes(peer(1)))
    rig.prober.start(state, FACTS)
    await rig.prober.turn()
    rig.prober.start(state, FACTS)
    network.asked.clear()
    await rig.prober.turn()
    assert network.asked == []
    rig.prober.start(state, NodeFacts(name="node-1", underlay=Underlay(mtu=1400)))
    await rig.prober.turn()
    assert network.asked != []


async def test_a_peer_that_goes_is_forgotten_and_may_not_ask_us():
    network = Network({via(1): 1400})
    rig = Rig(network)
    rig.prober.start(NetworkState(routes=routes(peer(1))), FACTS)
    await rig.prober.turn()
    assert rig.prober.addresses == {via(1), ipaddress.ip_address("10.1.0.1")}
    rig.prober.apply(Delta(routes={peer(1).destination: None}))
    await rig.prober.turn()
    assert rig.prober.reports().paths == ()
    assert rig.prober.addresses == frozenset()
    assert rig.narrowed[-1] == {}


async def test_what_is_wrong_is_asked_again_after_a_while_and_nothing_else():
    network = Network({via(1): 1400})
    rig = Rig(network)
    rig.prober._again_s = 0.01
    rig.prober.start(NetworkState(routes=routes(peer(1))), FACTS)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.prober.run())
        for _ in range(3):
            async with rig.prober.turned:
                await rig.prober.turned.wait()
        task.cancel()
    assert len(rig.said) == 1
    assert len(network.asked) >= 3


async def test_routes_that_the_kernel_refuses_to_narrow_are_tried_again():
    network = Network({via(1): 1400})
    rig = Rig(network, fails=True)
    rig.prober.start(NetworkState(routes=routes(peer(1))), FACTS)
    await rig.prober.turn()
    rig.fails = False
    await rig.prober.turn()
    assert rig.narrowed == [{"node-1": 1400}]


@pytest.mark.parametrize(
    ("inner", "asked"),
    [(0, 2), (1450, 3)],
)
async def test_a_tunnel_is_asked_no_more_than_it_takes(inner: int, asked: int):
    (target,) = targets_of([peer(1, Way.VXLAN, 1450)]).values()
    assert isinstance(target, Target)
    network = Network({via(1): 1500, target.inner: inner})
    seen = await observe(network, target)  # type: ignore[arg-type]
    assert sum(address == target.inner for address, _ in network.asked) == asked
    assert seen.full == bool(inner)
