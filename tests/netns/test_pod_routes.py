"""A node that changes its address: its pods are reached on."""

import ipaddress

import pytest

from netloom.agent.pod_routes import PodRoutes
from netloom.cni.ipam.lease import Attachment, Lease
from netloom.linux.netns import new_netns, run_in
from netloom.linux.rtnl import Rtnl
from netloom.program.names import POD_ROUTE_PROTOCOL, pod_link

pytestmark = pytest.mark.netns

OLD, NEW = ipaddress.ip_interface("192.0.2.1/24"), ipaddress.ip_interface("192.0.2.9/24")
V6 = ipaddress.ip_interface("2001:db8::1/64")


def lease(name, *addresses):
    return Lease(Attachment(name, "eth0"), tuple(map(ipaddress.ip_address, addresses)), f"shop/{name}")


@pytest.fixture
def node():
    """A node with two pods, one of them on a bridge."""
    netns = new_netns()
    with Rtnl(netns) as rtnl:
        rtnl.set_up("lo")
        rtnl.add_bridge("nl-bridge")
        rtnl.set_up("nl-bridge")
        for name in ("web", "db"):
            rtnl.add_veth(pod_link(name, "eth0"), peer=f"far-{name}")
            rtnl.set_up(pod_link(name, "eth0"))
        rtnl.set_master(pod_link("db", "eth0"), "nl-bridge")
        rtnl.add_veth("eth0", peer="far")
        rtnl.set_up("eth0")
        rtnl.add_address("eth0", OLD)
        rtnl.add_address("eth0", V6)
    return netns


def devices(netns):
    with Rtnl(netns) as rtnl:
        return {(str(r.destination), r.device, r.source) for r in rtnl.routes(POD_ROUTE_PROTOCOL)}


async def test_routes_that_went_with_the_nodes_address_come_back(node):
    leases = [lease("web", "10.0.1.2", "fd00::2"), lease("db", "10.0.1.3"), lease("gone", "10.0.1.4")]
    routes = PodRoutes(leases=lambda: leases, netns_fd=node)
    routes.take((OLD.ip, V6.ip))
    assert run_in(node, routes.settle) == 3
    web = pod_link("web", "eth0")
    before = {
        ("10.0.1.2/32", web, OLD.ip),
        ("fd00::2/128", web, V6.ip),
        ("10.0.1.3/32", "nl-bridge", OLD.ip),
    }
    assert devices(node) == before
    assert run_in(node, routes.settle) == 0  # what is right is not touched
    with Rtnl(node) as rtnl:
        rtnl.delete_address("eth0", OLD)
        rtnl.add_address("eth0", NEW)
    assert devices(node) == {("fd00::2/128", web, V6.ip)}, "this kernel keeps them: nothing to do any more"
    routes.take((NEW.ip, V6.ip))
    assert run_in(node, routes.settle) == 2
    assert devices(node) == {(d, device, NEW.ip if a == OLD.ip else a) for d, device, a in before}
