"""Nodes behind a router, a server outside that tells whom it sees, and what the model says of gateways in force on every node.

Comes in: objects. Goes out: real packets. The router leads each address to leave by to the node that has it, as the nodes' speakers would see
to. Addresses: nodes and pods as in ``fabric_rig``; the server is 198.51.100.7 and 2001:db8:c::7. Not here: what should be seen.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec

from netloom.api.core import Node, Pod
from netloom.api.egress import EgressGateway, EgressGatewaySpec
from netloom.api.meta import KubeObject, LabelSelector
from netloom.cni import attach
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import own_addresses
from netloom.fabric.egress.apply import EgressPaths
from netloom.fabric.face import Fabric
from netloom.linux import netns
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.model.announcing.gone import GoneNode
from netloom.model.network import Network
from netloom.model.routes.ways import FabricKind
from netloom.model.state import NetworkState, difference
from netloom.program.conntrack import Flow, FlowFilter
from netloom.program.routes import Route
from netloom.testing import builders
from netloom.testing.fabric_rig import FabricNet, FabricNode, Layout, fabric_net, node_object
from netloom.testing.hosts import Host
from netloom.units import Addr, Family, family_of

OUTSIDE: tuple[Addr, ...] = (ipaddress.ip_address("198.51.100.7"), ipaddress.ip_address("2001:db8:c::7"))
EXITS: dict[Family, Addr] = {
    Family.V4: ipaddress.ip_address("192.0.2.50"),
    Family.V6: ipaddress.ip_address("2001:db8:e::50"),
}
PORT = 9400
_LINKS = ("198.51.100.1/24", "2001:db8:c::1/64")
_INNER = ("172.30.0.1/24", "2001:db8:30::1/64")
_ALL = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def egress_gateway(
    name: str = "way-out",
    *addresses: str,
    created: str | None = "2026-01-01T00:00:00Z",
    app: str | None = "billing",
    nodes: str | None = "egress",
    **spec: Any,  # noqa: ANN401 - fields of EgressGatewaySpec, checked by its constructor
) -> EgressGateway:
    """A gateway for the pods of an app (None: all), on nodes with the label ``role`` (None: all); by default of both families."""
    given: dict[str, Any] = {
        "addresses": addresses or tuple(map(str, EXITS.values())),
        "pod_selector": None if app is None else LabelSelector({"app": app}),
        "node_selector": None if nodes is None else LabelSelector({"role": nodes}),
        **spec,
    }
    return EgressGateway(metadata=builders.meta(name, created=created), spec=EgressGatewaySpec(**given))


class EgressRig:
    """The nodes, numbered from 1; nodes 2 and on have the label ``role=egress``."""

    def __init__(
        self,
        *,
        layout: Layout,
        net: FabricNet,
        outside: Host,
        parts: Sequence[tuple[Fabric, EgressPaths, NftablesPlane]],
    ) -> None:
        self.layout = layout
        self.net = net
        self.outside = outside
        self.parts = parts
        self.states: list[NetworkState | None] = [None] * len(net.nodes)

    @property
    def nodes(self) -> Sequence[FabricNode]:
        """The nodes."""
        return self.net.nodes

    def node_objects(self) -> list[Node]:
        """Their Nodes."""
        found = []
        for number in range(1, len(self.nodes) + 1):
            node = node_object(self.layout, number)
            labels = {"role": "egress"} if number > 1 else {}
            found.append(
                msgspec.structs.replace(node, metadata=msgspec.structs.replace(node.metadata, labels=labels))
            )
        return found

    def pod_objects(self, app: str = "billing") -> list[Pod]:
        """The first pod of each node."""
        return [
            builders.pod(
                f"default/pod-{number}",
                *map(str, node.pod.addresses),
                node=f"node-{number}",
                labels={"app": app},
                created="2026-01-01T00:00:00Z",
            )
            for number, node in enumerate(self.nodes, 1)
        ]

    async def put(self, *objects: KubeObject, gone: Iterable[str] = (), but: Iterable[int] = ()) -> None:
        """Have in force what the model says of these objects, of all nodes and pods; the router follows.

        Args:
            objects: besides nodes and pods; a pod that is given takes the place of that of its name.
            gone: names of nodes that are held dead.
            but: numbers of nodes that hear nothing of it.
        """
        given: dict[Any, Any] = {
            (type(one).__name__, one.key): one
            for one in (*self.node_objects(), *self.pod_objects(), *objects)
        }
        view = builders.view(*given.values(), *map(GoneNode, gone))
        for number, (node, (fabric, exits, plane)) in enumerate(zip(self.nodes, self.parts, strict=True), 1):
            if number in but:
                continue
            before, after = self.states[number - 1], Network.compute(view, node.facts)
            if before is None:
                await fabric.start(after.routes, node.facts)
                await exits.start(after, node.facts)
                await plane.start(after, node.facts)
            else:
                delta = difference(before, after)
                await fabric.apply(delta.routes)
                await exits.apply(delta)
                await plane.apply(delta)
            self.states[number - 1] = after
        state = next(
            one for number, one in enumerate(self.states, 1) if number not in but and one is not None
        )
        self._announce(state)

    def _announce(self, state: NetworkState) -> None:
        """The router leads addresses to the nodes that have them."""
        with Rtnl(self.net.middle) as rtnl:
            for one in state.egress.exits.values():
                alone = ipaddress.ip_network(one.address)
                for node in self.nodes:
                    if node.facts.name == one.node:
                        via = node.host.address_of(family_of(one.address))
                        device = next(
                            r.device
                            for r in rtnl.routes()
                            if via in r.destination and r.destination.prefixlen
                        )
                        rtnl.replace_route(Route(destination=alone, via=via, device=device))

    def holder(self, family: Family = Family.V4) -> int:
        """The number of the node that has the address of a family, as the first node knows."""
        state = self.states[0]
        held = None if state is None else state.egress.exits.get(EXITS[family])
        return 0 if held is None or not held.node else int(held.node.removeprefix("node-"))

    def flows(self, number: int, family: Family = Family.V4) -> list[Flow]:
        """What a node's kernel tracks of connections to the server outside."""
        with Conntrack(netns_fd=self.nodes[number - 1].host.netns_fd) as conntrack:
            return conntrack.dump(FlowFilter(family, None, self.outside.address_of(family)))

    async def seen(self, pod: Host, family: Family, *, timeout_s: float = 3) -> Addr | None:
        """Whom the server outside sees when a pod asks it; None: no answer."""
        async with self.outside.serve(PORT, family=family):
            reply = await pod.ask(self.outside.address_of(family), PORT, timeout_s=timeout_s)
        return None if reply is None else reply.peer


@contextlib.asynccontextmanager
async def egress_rig(layout: Layout, fabric: type[Fabric]) -> AsyncIterator[EgressRig]:
    """Nodes as in ``layout`` with this fabric; nothing is in force before the first ``put``."""
    with fabric_net(layout) as net, contextlib.ExitStack() as stack:
        outside = _outside(net)
        if not layout.is_routed:
            _lead_out(net)
        parts = []
        for node in net.nodes:
            fd = node.host.netns_fd
            nft = stack.enter_context(Nft(netns_fd=fd))
            conntrack = stack.enter_context(Conntrack(netns_fd=fd))
            plane = NftablesPlane(
                nft=nft, conntrack=conntrack, addresses=functools.partial(own_addresses, fd)
            )
            made: Fabric = fabric(netns_fd=fd)  # type: ignore[call-arg]
            parts.append((made, EgressPaths(netns_fd=fd), plane))
        try:
            yield EgressRig(layout=layout, net=net, outside=outside, parts=parts)
        finally:
            for made, _, _ in parts:
                await made.remove()


def _outside(net: FabricNet) -> Host:
    fd = netns.new_netns()
    net.stack.callback(os.close, fd)
    netns.run_in(net.middle, attach.prepare_node)
    with Rtnl(net.middle) as router, Rtnl(fd) as host:
        host.set_up("lo")
        router.add_veth("outside", peer="eth0", peer_netns_fd=fd)
        router.set_up("outside")
        host.set_up("eth0")
        for address, link, everything in zip(OUTSIDE, _LINKS, _ALL, strict=True):
            gateway = ipaddress.ip_interface(link)
            router.add_address("outside", gateway)
            host.add_address("eth0", ipaddress.ip_interface(f"{address}/{gateway.network.prefixlen}"))
            host.replace_route(Route(destination=everything, via=gateway.ip, device="eth0"))
    return Host("outside", fd, OUTSIDE)


def _lead_out(net: FabricNet) -> None:
    """The switch is the nodes' router, too."""
    with Rtnl(net.middle) as rtnl:
        for gateway in map(ipaddress.ip_interface, _INNER):
            rtnl.add_address("underlay", gateway)
    for node in net.nodes:
        with Rtnl(node.host.netns_fd) as rtnl:
            for gateway, everything in zip(map(ipaddress.ip_interface, _INNER), _ALL, strict=True):
                rtnl.replace_route(Route(destination=everything, via=gateway.ip, device="eth0"))


LAYOUTS = {
    "hostgw": Layout(count=3),
    "vxlan": Layout(count=3, is_routed=True, fabric=FabricKind.VXLAN),
}
