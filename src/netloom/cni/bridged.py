"""A pod's interface as a port of the node's bridge. In: the interface's numbers and what the pod is. Out: requests; KernelError.

What a port is held to, in the kernel and without a rule: frames come from the pod's own MAC only (``locked``, with one static entry),
reach the node and nobody else (``isolated``), and nothing that a pod says in ARP or NDP changes what the node knows, for the node's
neighbours on the bridge are permanent. What it sends has its own addresses as its source (``fabric/l2/stations``). No frame for everybody, for a group or for an unknown MAC goes to a pod.

Not here: the rest of the interface (``attach``), the bridge itself (``fabric/l2``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from netloom.errors import AlreadyExists, KernelError, Unavailable
from netloom.fabric.l2 import stations
from netloom.linux import link_probe, rtmsg, rtmsg_overlay
from netloom.linux.netlink import Request, u32
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.program.links import BridgePort
from netloom.program.neighbours import ForwardingEntry, Neighbour
from netloom.units import Addr

_ANSWER_S = 0.1
_QUESTIONS = 2


def port_of(host_link: str) -> BridgePort:
    """How a pod's port is treated."""
    return BridgePort(device=host_link, isolated=True, locked=True, learning=False, flood=False)


def entry_of(host_link: str, mac: str) -> ForwardingEntry:
    """The one MAC that a pod's port has."""
    return ForwardingEntry(device=host_link, mac=mac)


def port_requests(host_link: str, index: int, bridge: int, mac: str) -> list[Request]:
    """Make a pod's link, which is down, a port; nothing passes before all of it is in force."""
    return [
        rtmsg.set_link(index, f"{host_link} into {names.BRIDGE_LINK}", master=u32(bridge)),
        rtmsg_overlay.set_port(index, port_of(host_link)),
        rtmsg_overlay.new_entry(index, entry_of(host_link, mac)),
    ]


def bridge_index(host: Rtnl, bridge: str) -> int:
    """The number of the bridge.

    Raises:
        Unavailable: there is none (yet).
    """
    link = host.find_link(bridge)
    if link is None or link.kind != "bridge":
        raise Unavailable(f"bridge {bridge}: is not there", "the agent makes it when it starts; try again")
    return link.index


def refuse_duplicates(host: Rtnl, bridge: str, addresses: Iterable[Addr]) -> None:
    """Pass where no station that others put on the bridge has one of these addresses (RFC 5227, RFC 4862).

    Pods cannot have: their ports are held to what is theirs. So nobody is asked, and nobody waits, where only pods are there.

    Raises:
        AlreadyExists: one answered.
    """
    index = bridge_index(host, bridge)
    if all(names.is_pod_link(link.name) for link in host.links() if link.master == index):
        return
    for address in addresses:
        holder = link_probe.who_has(bridge, index, address, wait_s=_ANSWER_S, questions=_QUESTIONS)
        if holder:
            raise AlreadyExists(
                f"address {address}: is used on {bridge} by {holder}, which is no pod of this node",
                "take it out of the pool, or remove that station",
            )


class Ports:
    """What the node keeps about the pods of its bridge. A context manager, for the network namespace that it was made in.

    Args:
        host: links, routes and neighbours of that namespace.
    """

    def __init__(self, host: Rtnl) -> None:
        self._host = host
        self._nft = Nft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nft.close()

    def put(self, neighbours: Sequence[Neighbour], requests: Sequence[Request]) -> None:
        """Let a pod send from its addresses, then put its port, neighbours and routes in force.

        Raises:
            Unavailable: the node is not prepared for pods on a bridge (yet).
            KernelError: refused.
        """
        with stations.changing:
            stations.admit(self._nft, neighbours)
            try:
                self._host.batch(requests)
            except KernelError:
                stations.dismiss(self._nft, neighbours)
                raise

    def clear_up(self) -> None:
        """Take away the routes to pods and the neighbours on the bridge whose port is gone.

        They do not go with the port as they would with an interface of the pod's own.
        """
        host, bridge = self._host, self._host.find_link(names.BRIDGE_LINK)
        if bridge is None:
            return
        with stations.changing:
            neighbours = [n for n in host.neighbours() if n.device == names.BRIDGE_LINK and n.permanent]
            present = {entry.mac for entry in host.port_entries(bridge.index)}
            stale = [n for n in neighbours if n.mac not in present]
            kept = {n.address for n in neighbours if n.mac in present}
            requests = [
                rtmsg.delete_route(bridge.index, r)
                for r in host.routes(names.POD_ROUTE_PROTOCOL)
                if r.device == names.BRIDGE_LINK and r.destination.network_address not in kept
            ]
            requests += [rtmsg.delete_neighbour(bridge.index, n.address, n.device) for n in stale]
            stations.dismiss(self._nft, stale)
            host.batch_tolerating_gone(requests)


def clear_up(host: Rtnl) -> None:
    """As :meth:`Ports.clear_up`, for the caller's network namespace; nothing where there is no bridge."""
    if host.find_link(names.BRIDGE_LINK) is not None:
        with Ports(host) as ports:
            ports.clear_up()


def port_defects(host: Rtnl, host_link: str, mac: str) -> Iterator[str]:
    """What of a pod's port is not as it should be, one line each."""
    bridge, link = host.find_link(names.BRIDGE_LINK), host.find_link(host_link)
    if link is None or bridge is None or link.master != bridge.index:
        yield f"node: {host_link} is no port of {names.BRIDGE_LINK}"
        return
    if host.find_port(host_link) != port_of(host_link):
        yield f"node: port {host_link} of {names.BRIDGE_LINK} is not isolated and locked"
    if entry_of(host_link, mac) not in host.entries(host_link):
        yield f"node: no forwarding entry for {mac} at {host_link}"
