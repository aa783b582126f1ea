"""The bridge of a node's pods, to the kernel. In: what the node is. Out: ``nl-bridge`` with its gateways, or KernelError.

Implements ``fabric/face.py`` around the fabric that leads to pods of other nodes. Not here: what there should be (``compile``), and
what is on the bridge (``cni/attach``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from netloom.fabric.face import Fabric
from netloom.fabric.l2 import stations
from netloom.fabric.l2.compile import PodBridge, compile_bridge
from netloom.linux import netns, rtmsg, rtmsg_overlay, sysctl
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket, Request
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.state import PeerRoute
from netloom.program.links import BridgePort, Link
from netloom.program.names import BRIDGE_LINK, is_pod_link
from netloom.units import Cidr, Family

log = logging.getLogger(__name__)


class BridgeFabric:
    """A node whose pods are on a bridge. One owner: its methods must not run at the same time.

    Args:
        joined: what leads to pods of other nodes; None: nothing does.
        netns_fd: the node's network namespace; None for the caller's own.
    """

    def __init__(self, joined: Fabric | None = None, *, netns_fd: int | None = None) -> None:
        self._joined = joined
        self._netns_fd = netns_fd

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring the bridge to what it should be, without touching what is right, then do the same to the way to others."""
        wanted = compile_bridge(facts)
        if wanted is not None:
            await netns.run_in_async(None, lambda: _bring_up(wanted, self._netns_fd))
            await stations.ensure(self._netns_fd)
            await netns.run_in_async(None, lambda: stations.align(self._netns_fd))
        if self._joined is not None:
            await self._joined.start(routes, facts)

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Add, change or (None) take away peers, touching no others."""
        if self._joined is not None:
            await self._joined.apply(changes)

    async def remove(self) -> None:
        """Take the way to others and the bridge away; a bridge that still has pods goes with a later call, when they have gone."""
        if self._joined is not None:
            await self._joined.remove()
        if await netns.run_in_async(None, lambda: _remove(self._netns_fd)):
            await stations.remove(self._netns_fd)


def _bring_up(wanted: PodBridge, netns_fd: int | None) -> None:
    name = wanted.bridge.name
    with Rtnl(netns_fd) as rtnl:
        link = rtnl.find_link(name)
        if link is not None and link.kind != "bridge":
            rtnl.delete_link(name)
            link = None
        if link is None:
            rtnl.batch([rtmsg_overlay.new_bridge(wanted.bridge)])
        index = rtnl.index(name)
        requests: list[Request] = []
        if rtnl.find_bridge(name) != wanted.bridge:
            requests.append(rtmsg_overlay.set_bridge(index, wanted.bridge))
        if link is None or not link.up:
            requests.append(rtmsg.quieten_link(index, name))
            requests.append(rtmsg.set_link(index, f"set {name} up", up=True, alias=b"netloom bridge of pods"))
        present = {a.interface for a in rtnl.addresses(name)}
        missing = [a for a in wanted.gateways if a not in present]
        requests += [rtmsg.new_address(index, a, name, is_prefix_route=False) for a in missing]
        requests += [
            rtmsg.delete_address(index, a, name)
            for a in present
            if a not in wanted.gateways and not a.is_link_local
        ]
        requests.append(rtmsg_overlay.answer_for_others_at_once(index, Family.V4, name))
        requests += [_isolated(port) for port in _foreign_ports(rtnl, index)]
        with NetlinkSocket(NETLINK_ROUTE, netns_fd=netns_fd, groups=(rtmsg.RTNLGRP_IPV6_ROUTE,)) as notices:
            rtnl.batch_tolerating_gone(requests)
            rtnl.wait_local([a.ip for a in missing], notices)
    sysctl.write(wanted.settings, netns_fd)


def _foreign_ports(rtnl: Rtnl, bridge: int) -> list[Link]:
    """What others put on the bridge."""
    return [link for link in rtnl.links() if link.master == bridge and not is_pod_link(link.name)]


def _isolated(port: Link) -> Request:
    """Stations behind it speak with the node only, as pods do: whatever a pod says of its addresses never gets there."""
    return rtmsg_overlay.set_port(port.index, BridgePort(device=port.name, isolated=True))


def _remove(netns_fd: int | None) -> bool:
    """Whether the bridge is gone."""
    with Rtnl(netns_fd) as rtnl:
        link = rtnl.find_link(BRIDGE_LINK)
        if link is None:
            return True
        left = [port.name for port in rtnl.links() if port.master == link.index and is_pod_link(port.name)]
        if left:
            log.info("%s stays: %d pods are on it yet", BRIDGE_LINK, len(left))
            return False
        rtnl.delete_link(BRIDGE_LINK)
        return True
