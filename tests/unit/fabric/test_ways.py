"""Peers go to the room of their way, and change it without a gap."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from netloom.fabric.ways import FabricOfWays
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute

FACTS = NodeFacts(name="node-1")
A, B = ip_network("10.244.1.0/24"), ip_network("10.244.2.0/24")


class Room:
    """A fabric that notes what it is asked, in a log that all rooms share."""

    def __init__(self, name, log):
        self.name, self.log, self.peers = name, log, {}

    async def start(self, routes, facts):
        assert facts is FACTS
        self.peers = dict(routes)
        self.log.append((self.name, "start", sorted(map(str, routes))))

    async def apply(self, changes):
        for cidr, route in changes.items():
            self.peers.pop(cidr, None)
            if route is not None:
                self.peers[cidr] = route
            self.log.append((self.name, "drop" if route is None else "add", str(cidr)))

    async def remove(self):
        self.peers = {}
        self.log.append((self.name, "remove", ""))


def peer(cidr, way):
    return PeerRoute(cidr, ip_address("192.0.2.12"), "node-2", Source("Node", "", "node-2"), way)


@pytest.fixture
def rooms():
    log = []
    old = Room("old", log)
    of_way = {way: Room(way.value, log) for way in (Way.DIRECT, Way.VXLAN)}
    return FabricOfWays(of_way, retired=(old,)), of_way, log


async def test_each_way_gets_its_peers_and_what_a_former_fabric_left_goes_last(rooms):
    fabric, of_way, log = rooms
    await fabric.start({A: peer(A, Way.DIRECT), B: peer(B, Way.VXLAN)}, FACTS)
    assert log == [("direct", "start", [str(A)]), ("vxlan", "start", [str(B)]), ("old", "remove", "")]
    assert of_way[Way.VXLAN].peers == {B: peer(B, Way.VXLAN)}


async def test_a_peer_is_in_its_new_way_before_it_leaves_the_old_one(rooms):
    fabric, of_way, log = rooms
    await fabric.start({A: peer(A, Way.DIRECT), B: peer(B, Way.DIRECT)}, FACTS)
    log.clear()
    await fabric.apply({A: peer(A, Way.VXLAN)})
    assert log == [("vxlan", "add", str(A)), ("direct", "drop", str(A))]
    log.clear()
    await fabric.apply({A: peer(A, Way.DIRECT)})
    assert log == [("direct", "add", str(A)), ("vxlan", "drop", str(A))]
    assert set(of_way[Way.DIRECT].peers) == {A, B}
    assert of_way[Way.VXLAN].peers == {}


async def test_a_peer_that_goes_leaves_its_way_and_others_are_not_touched(rooms):
    fabric, of_way, log = rooms
    await fabric.start({A: peer(A, Way.VXLAN), B: peer(B, Way.VXLAN)}, FACTS)
    log.clear()
    await fabric.apply({A: None})
    await fabric.apply({A: None})
    assert log == [("vxlan", "drop", str(A))]
    assert set(of_way[Way.VXLAN].peers) == {B}


async def test_removing_takes_all_of_it(rooms):
    fabric, of_way, _ = rooms
    await fabric.start({A: peer(A, Way.VXLAN)}, FACTS)
    await fabric.remove()
    assert all(not room.peers for room in of_way.values())
