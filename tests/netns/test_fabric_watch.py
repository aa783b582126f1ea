"""What others take from the fabric comes back by itself, and what is none of it is none of our business."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator

import pytest

from netloom.agent.fabric_watch import FabricWatch, is_loss
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.l2.apply import BridgeFabric
from netloom.fabric.measured import MeasuredFabric
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.fabric.ways import FabricOfWays
from netloom.linux import rtmsg, rtmsg_overlay
from netloom.linux.netlink import Message
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Source
from netloom.model.routes.ways import FabricKind, Way
from netloom.model.state import NetworkState, PeerRoute
from netloom.program.names import vtep_link_local, vtep_mac
from netloom.program.neighbours import ForwardingEntry
from netloom.program.routes import Route
from netloom.testing.fabric_rig import FabricNode, Layout, fabric_net

pytestmark = pytest.mark.netns

VXLAN = Layout(is_routed=True, fabric=FabricKind.VXLAN)
L2 = Layout(fabric=FabricKind.L2, has_pods=False)


class Nothing:
    """A fabric without a kernel."""

    async def start(self, routes, facts) -> None:
        """Nothing to do."""

    async def apply(self, changes) -> None:
        """Nothing to do."""

    async def remove(self) -> None:
        """Nothing to do."""


class Owner:
    """Nobody else uses the fabric."""

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[NetworkState | None]:
        yield NetworkState()


@contextlib.asynccontextmanager
async def watched(node: FabricNode) -> AsyncIterator[FabricWatch]:
    fd = node.host.netns_fd
    ways = FabricOfWays({Way.DIRECT: HostGateway(netns_fd=fd), Way.VXLAN: VxlanFabric(netns_fd=fd)})
    fabric = MeasuredFabric(BridgeFabric(ways, netns_fd=fd))
    await fabric.start(node.peers, node.facts)
    watch = FabricWatch(fabric=fabric, owner=Owner, netns_fd=fd)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch.run())
        await asyncio.sleep(0)  # it listens
        yield watch
        task.cancel()


async def next_look(watch: FabricWatch) -> None:
    async with asyncio.timeout(10), watch.looked:
        await watch.looked.wait()


@pytest.mark.parametrize("damage", ["link", "down", "mtu", "route", "neighbour", "entry"])
async def test_what_is_taken_from_vxlan_comes_back(damage: str):
    with fabric_net(VXLAN) as net:
        node = net.nodes[0]
        async with watched(node) as watch:
            with Rtnl(node.host.netns_fd) as rtnl:

                def live() -> tuple[object, ...]:
                    return (
                        rtnl.find_vxlan("nl-vxlan"),
                        set(rtnl.routes(203)),
                        {n for n in rtnl.neighbours() if n.device == "nl-vxlan"},
                        set(rtnl.entries("nl-vxlan")),
                    )

                before = live()
                match damage:
                    case "link":
                        rtnl.delete_link("nl-vxlan")
                    case "down":
                        rtnl.set_down("nl-vxlan")
                    case "mtu":
                        rtnl.set_mtu("nl-vxlan", 1300)
                    case "route":
                        rtnl.delete_route(rtnl.routes(203)[0])
                    case "neighbour":
                        (one, *_) = (n for n in rtnl.neighbours() if n.device == "nl-vxlan")
                        rtnl.delete_neighbour("nl-vxlan", one.address)
                    case "entry":
                        (entry,) = rtnl.entries("nl-vxlan")
                        rtnl.batch([rtmsg_overlay.delete_entry(rtnl.index("nl-vxlan"), entry)])
                assert live() != before
                await next_look(watch)
                assert live() == before
                assert next(iter(watch.samples())).value >= 1


async def test_a_bridge_and_plain_routes_come_back_and_strangers_stay_as_they_are():
    with fabric_net(L2) as net:
        node = net.nodes[0]
        foreign = Route(
            destination=ipaddress.ip_network("10.99.0.0/16"), via=net.nodes[1].host.address, device="eth0"
        )
        async with watched(node) as watch:
            with Rtnl(node.host.netns_fd) as rtnl:
                routes = set(rtnl.routes(201))
                assert len(routes) == 2
                rtnl.replace_route(foreign)
                rtnl.delete_link("nl-bridge")
                rtnl.change_routes(delete=list(routes))
                await next_look(watch)
                assert rtnl.find_bridge("nl-bridge") is not None
                assert set(rtnl.routes(201)) == routes
                assert foreign in rtnl.routes()


async def test_routes_come_back_after_the_node_s_interface_was_down():
    """Those of IPv4: its IPv6 addresses the kernel takes, too, and they are not ours to give."""
    with fabric_net(L2) as net:
        node = net.nodes[0]
        async with watched(node) as watch:
            with Rtnl(node.host.netns_fd) as rtnl:
                (route,) = of_ipv4(rtnl)
                rtnl.set_down("eth0")
                assert of_ipv4(rtnl) == []
                rtnl.set_up("eth0")
                await next_look(watch)
                assert of_ipv4(rtnl) == [route]


def of_ipv4(rtnl: Rtnl) -> list[Route]:
    return [route for route in rtnl.routes(201) if route.destination.version == 4]


async def test_what_is_a_loss():
    peer = ipaddress.ip_network("10.244.2.0/24")
    none, fabric = MeasuredFabric(FabricOfWays({})), MeasuredFabric(Nothing())
    far = ipaddress.ip_address("192.0.2.2")
    await fabric.start(
        {peer: PeerRoute(peer, far, "node-2", Source("Node", "", "node-2"), Way.VXLAN)},
        NodeFacts(name="node-1"),
    )
    route = Route(destination=peer, via=ipaddress.ip_address("192.0.2.2"), device="eth0", protocol=201)
    gone = rtmsg.delete_route(2, route)
    assert is_loss(Message(gone.type, 0, 0, gone.body), fabric)
    assert not is_loss(Message(gone.type, 0, 0, gone.body), none)
    made = rtmsg.new_route(2, route)
    assert not is_loss(Message(made.type, 0, 0, made.body), fabric)
    for name, expected in (("nl-vxlan", True), ("eth0", False), ("nl0123456789abc", False)):
        link = rtmsg.delete_link(0, name)
        assert is_loss(Message(link.type, 0, 0, link.body), none) is expected
    assert not is_loss(Message(rtmsg.RTM_DELNEIGH, 0, 0, b""), fabric)
    entry = rtmsg_overlay.delete_entry(2, ForwardingEntry(device="nl-vxlan", mac=vtep_mac(far), remote=far))
    assert is_loss(Message(entry.type, 0, 0, entry.body), fabric)
    assert not is_loss(Message(entry.type, 0, 0, entry.body), none)
    for address, expected in ((far, True), (vtep_link_local(far), True), (far + 1, False)):
        neighbour = rtmsg.delete_neighbour(2, address, "nl-vxlan")
        assert is_loss(Message(neighbour.type, 0, 0, neighbour.body), fabric) is expected
