"""The cables of a local cluster: its segments, a router where there are several, and a network namespace for each node.

Comes in: settings, and being inside the cluster's own network namespace. Goes out: descriptors of the nodes'
namespaces; nothing else holds them, so they vanish with the process. Pods are not here (the runner makes them), and neither
is who has which address (``segments.py``).

The cluster's namespace has a bridge for each segment and the router's addresses on it. It knows the nodes and nothing of pods:
packets for pods that come to it as they are find no way on, as on a real network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from netloom.linux import rtmsg, sysctl
from netloom.linux.netns import new_netns
from netloom.linux.rtnl import Rtnl
from netloom.local.segments import Interface, Place, Segment
from netloom.local.settings import ClusterSettings
from netloom.model.routes.ways import FabricKind
from netloom.program.routes import Route
from netloom.program.sysctl import Setting
from netloom.units import Addr, Cidr

BRIDGE = "underlay"
NODE_DEVICE = "eth0"
OUTSIDE = "client"
"""The client's end in the cluster's namespace."""

_ROUTER_SETTINGS = (
    Setting("net/ipv4/ip_forward", "1"),
    Setting("net/ipv6/conf/all/forwarding", "1", optional=True),
    # Of several ways to an address each connection takes one, as switches do it.
    Setting("net/ipv4/fib_multipath_hash_policy", "1", optional=True),
    Setting("net/ipv6/fib_multipath_hash_policy", "1", optional=True),
)
_EVERYTHING: dict[int, Cidr] = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}
_LINK_LOCAL = ipaddress.IPv6Network("fe80::/64")


class NodeRoom(msgspec.Struct, frozen=True):
    """A node's network namespace and where it is on the underlay."""

    name: str
    netns: int
    """File descriptor of the namespace."""
    place: Place


def lay(settings: ClusterSettings) -> tuple[NodeRoom, ...]:
    """Make the segments, with the router's addresses on them, and all nodes.

    Raises:
        KernelError: the kernel refused a link, an address or a route.
    """
    with Rtnl() as cluster:
        cluster.set_up("lo")
        for segment in settings.underlay:
            _segment(cluster, settings, segment)
        if settings.segments > 1 or settings.fabric is FabricKind.BGP:
            sysctl.write(_ROUTER_SETTINGS)
        return tuple(_node(cluster, settings, index, name) for index, name in enumerate(settings.node_names))


def plug(settings: ClusterSettings, name: str) -> NodeRoom:
    """Make one node whose namespace and cable are gone anew.

    Raises:
        KernelError: the kernel refused a link, an address or a route.
    """
    with Rtnl() as cluster:
        return _node(cluster, settings, settings.node_names.index(name), name)


def lay_outside(settings: ClusterSettings) -> int:
    """Make the client outside of the cluster, on the segment or behind the router; the descriptor of its namespace.

    Raises:
        KernelError: the kernel refused a link, an address or a route.
    """
    netns, outside = new_netns(), settings.outside
    with Rtnl() as cluster:
        cluster.add_veth(OUTSIDE, peer=NODE_DEVICE, peer_netns_fd=netns, mtu=settings.underlay_mtu)
        if outside.is_behind:
            _give(cluster, OUTSIDE, outside.segment.router_interfaces)
        else:
            cluster.set_master(OUTSIDE, bridge_of(settings, outside.segment))
            cluster.set_up(OUTSIDE)
    with Rtnl(netns) as client:
        client.set_up("lo")
        _give(client, NODE_DEVICE, outside.interfaces)
        for gateway in outside.gateways:
            client.replace_route(_default(gateway))
    return netns


def bridge_of(settings: ClusterSettings, segment: Segment) -> str:
    """Name of a segment's bridge in the cluster's namespace: ``underlay``, or ``underlay-1`` and on where there are several."""
    return BRIDGE if settings.segments == 1 else f"{BRIDGE}-{segment.index + 1}"


def _segment(cluster: Rtnl, settings: ClusterSettings, segment: Segment) -> None:
    bridge = bridge_of(settings, segment)
    cluster.add_bridge(bridge)
    # Said once, it stays: else the bridge follows its ports. Packets within the segment are bound by the ports' own MTU.
    cluster.set_mtu(bridge, settings.router_mtu or settings.underlay_mtu)
    _give(cluster, bridge, segment.router_interfaces)


def _node(cluster: Rtnl, settings: ClusterSettings, index: int, name: str) -> NodeRoom:
    netns, place = new_netns(), settings.place(index)
    cluster.add_veth(name, peer=NODE_DEVICE, peer_netns_fd=netns, mtu=settings.underlay_mtu)
    cluster.set_master(name, bridge_of(settings, place.segment))
    cluster.set_up(name)
    with Rtnl(netns) as node:
        node.set_up("lo")
        _give(node, NODE_DEVICE, place.interfaces)
        for gateway in place.segment.gateways:
            node.replace_route(_default(gateway))
    return NodeRoom(name, netns, place)


def _give(rtnl: Rtnl, device: str, interfaces: Iterable[Interface]) -> None:
    """Set a device up with these addresses, all of which can be used at once."""
    ours = tuple(interfaces)
    of_ipv6 = next((i for i in ours if i.version == 6), None)
    if of_ipv6 is not None:
        # A link-local address of ours in place of the kernel's own, which would be tried for a second before it is used: until
        # then no neighbour is asked for, and packets wait.
        rtnl.batch([rtmsg.quieten_link(rtnl.index(device), device)])
    rtnl.set_up(device)
    if of_ipv6 is not None:
        host = int(of_ipv6.ip) - int(of_ipv6.network.network_address)
        rtnl.add_address(device, ipaddress.ip_interface(f"{_LINK_LOCAL.network_address + host}/64"))
    for interface in ours:
        rtnl.add_address(device, interface)


def _default(gateway: Addr) -> Route:
    return Route(destination=_EVERYTHING[gateway.version], via=gateway, device=NODE_DEVICE)
