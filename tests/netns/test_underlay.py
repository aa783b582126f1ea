"""How a node is connected, as its kernel says, and the news of changes."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

import pytest

from netloom.agent.underlay import UnderlayWatch, look
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.routes.ways import Segment, Underlay
from netloom.testing.topologies import two_nodes

pytestmark = pytest.mark.netns


def test_networks_of_the_node_are_told_and_those_of_pods_are_not():
    with two_nodes(routed=True) as net:
        at = net.node_1.addresses
        found = netns.run_in(net.node_1.netns_fd, lambda: look(at))
        assert {str(s.interface.ip) for s in found.segments} == set(map(str, at))
        assert {s.device for s in found.segments} == {"eth0"}
        with Rtnl(net.node_1.netns_fd) as rtnl:
            rtnl.set_mtu("eth0", 1400)
        assert netns.run_in(net.node_1.netns_fd, lambda: look(at)).mtu == 1400
        assert netns.run_in(net.node_1.netns_fd, lambda: look(())) == Underlay(found.segments, 1500)


def test_a_node_without_interfaces_has_no_networks():
    assert netns.run_in(netns.new_netns(), lambda: look(())) == Underlay()


async def test_changes_are_told_but_for_those_of_pods():
    told = asyncio.Queue()
    with two_nodes(routed=True) as net, Rtnl(net.node_1.netns_fd) as rtnl:
        here = net.node_1.netns_fd

        def note():
            told.put_nowait(netns.run_in(here, lambda: look(())))

        async def until(wanted):
            while not wanted(await told.get()):
                pass

        watch = asyncio.create_task(UnderlayWatch(note, netns_fd=here).run())
        try:
            before = await told.get()
            rtnl.add_veth("nl0123456789abc", peer="nl0123456789abd")
            more = Segment("up0", ipaddress.ip_interface("198.51.100.1/24"))
            rtnl.add_veth("up0", peer="up1")
            rtnl.add_address("up0", more.interface)
            await until(lambda now: more in now.segments)
            rtnl.delete_address("up0", more.interface)
            await until(lambda now: now.segments == before.segments)
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


async def test_pods_come_and_go_without_another_look():
    looks = asyncio.Queue()
    with two_nodes(routed=True) as net, Rtnl(net.node_1.netns_fd) as rtnl:
        watch = asyncio.create_task(
            UnderlayWatch(lambda: looks.put_nowait(None), netns_fd=net.node_1.netns_fd).run()
        )
        try:
            await looks.get()
            for _ in range(5):
                rtnl.add_veth("nl0123456789abc", peer="nl0123456789abd")
                rtnl.delete_link("nl0123456789abc")
            rtnl.add_veth("up0", peer="up1")
            await looks.get()
            assert looks.empty()
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
