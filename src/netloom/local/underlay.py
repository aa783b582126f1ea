"""The cables of a local cluster: one segment, and a network namespace for each node on it.

Comes in: settings, and being inside the cluster's own network namespace. Goes out: descriptors of the nodes'
namespaces; nothing else holds them, so they vanish with the process. Pods are not here (the runner makes them).
"""

from __future__ import annotations

import ipaddress

import msgspec

from netloom.linux.netns import new_netns
from netloom.linux.rtnl import Rtnl
from netloom.local.settings import ClusterSettings
from netloom.program.routes import Route

BRIDGE = "underlay"
NODE_DEVICE = "eth0"


class NodeRoom(msgspec.Struct, frozen=True):
    """A node's network namespace and its address on the underlay."""

    name: str
    netns: int
    """File descriptor of the namespace."""
    address: ipaddress.IPv4Address


def lay(settings: ClusterSettings) -> tuple[NodeRoom, ...]:
    """Make the segment, with the gateway's address on it, and all nodes.

    Raises:
        KernelError: the kernel refused a link, an address or a route.
    """
    prefix = settings.underlay.prefixlen
    with Rtnl() as cluster:
        cluster.set_up("lo")
        cluster.add_bridge(BRIDGE)
        cluster.add_address(BRIDGE, ipaddress.ip_interface(f"{settings.gateway}/{prefix}"))
        cluster.set_up(BRIDGE)
        return tuple(_node(cluster, settings, index, name) for index, name in enumerate(settings.node_names))


def _node(cluster: Rtnl, settings: ClusterSettings, index: int, name: str) -> NodeRoom:
    netns = new_netns()
    address = settings.node_address(index)
    cluster.add_veth(name, peer=NODE_DEVICE, peer_netns_fd=netns)
    cluster.set_master(name, BRIDGE)
    cluster.set_up(name)
    with Rtnl(netns) as node:
        node.set_up("lo")
        node.add_address(NODE_DEVICE, ipaddress.ip_interface(f"{address}/{settings.underlay.prefixlen}"))
        node.set_up(NODE_DEVICE)
        default = Route(
            destination=ipaddress.IPv4Network("0.0.0.0/0"), via=settings.gateway, device=NODE_DEVICE
        )
        node.replace_route(default)
    return NodeRoom(name, netns, address)
