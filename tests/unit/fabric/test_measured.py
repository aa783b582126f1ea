"""Routes follow what was measured, and only those that it is about; what was put in force can be put in force again."""

from __future__ import annotations

import ipaddress

from netloom.fabric.measured import MeasuredFabric
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute
from netloom.program.names import vtep_link_local

FACTS = NodeFacts(name="node-1")


class Kernel:
    """Takes note."""

    def __init__(self) -> None:
        self.mtus: dict[str, int] = {}
        self.calls: list[object] = []

    async def start(self, routes, facts) -> None:
        """All of it."""
        self.calls.append(facts)
        self.mtus = {str(cidr): route.mtu for cidr, route in routes.items()}

    async def apply(self, changes) -> None:
        """Some of it."""
        self.calls.append(sorted(map(str, changes)))
        for cidr, route in changes.items():
            if route is None:
                self.mtus.pop(str(cidr))
            else:
                self.mtus[str(cidr)] = route.mtu

    async def remove(self) -> None:
        """None of it."""
        self.mtus = {}


def peer(number: int, node: str, mtu: int = 1500) -> PeerRoute:
    cidr = ipaddress.ip_network(f"10.{number}.0.0/24")
    via = ipaddress.ip_address("192.0.2.0") + number
    return PeerRoute(cidr, via, node, Source("Node", "", node), Way.VXLAN, "", mtu)


def routes(*peers: PeerRoute):
    return {p.destination: p for p in peers}


async def test_only_the_routes_to_the_node_that_was_measured_change():
    kernel = Kernel()
    fabric = MeasuredFabric(kernel)
    await fabric.start(routes(peer(1, "a"), peer(2, "a"), peer(3, "b")), FACTS)
    await fabric.measured({"a": 1400})
    assert kernel.mtus == {"10.1.0.0/24": 1400, "10.2.0.0/24": 1400, "10.3.0.0/24": 1500}
    assert kernel.calls[-1] == ["10.1.0.0/24", "10.2.0.0/24"]
    await fabric.measured({"a": 1400, "b": 1300})
    assert kernel.calls[-1] == ["10.3.0.0/24"]
    await fabric.measured({})
    assert set(kernel.mtus.values()) == {1500}


async def test_what_was_measured_counts_for_what_comes_later_and_never_widens():
    kernel = Kernel()
    fabric = MeasuredFabric(kernel)
    await fabric.start(routes(peer(1, "a")), FACTS)
    await fabric.measured({"a": 1400})
    await fabric.apply(routes(peer(2, "a"), peer(3, "a", mtu=1300)))
    assert kernel.mtus == {"10.1.0.0/24": 1400, "10.2.0.0/24": 1400, "10.3.0.0/24": 1300}
    await fabric.start(routes(peer(1, "a")), FACTS)
    assert kernel.mtus == {"10.1.0.0/24": 1400}


async def test_it_can_be_put_in_force_again_until_it_is_removed():
    kernel = Kernel()
    fabric = MeasuredFabric(kernel)
    await fabric.again()
    assert kernel.calls == []
    await fabric.start(routes(peer(1, "a"), peer(2, "b")), FACTS)
    await fabric.apply({peer(2, "b").destination: None})
    kernel.mtus = {}
    await fabric.again()
    assert kernel.mtus == {"10.1.0.0/24": 1500}
    assert list(fabric.destinations) == [peer(1, "a").destination]
    assert fabric.is_next_hop(peer(1, "a").via)
    assert fabric.is_next_hop(vtep_link_local(peer(1, "a").via))
    assert not fabric.is_next_hop(peer(2, "b").via)
    await fabric.remove()
    await fabric.again()
    assert kernel.mtus == {}
