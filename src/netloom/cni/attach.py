"""A pod's interface: made, looked at, taken away. In: a namespace and addresses. Out: KernelError where the kernel refuses.

A veth pair per pod and no bridge: the pod has its addresses with full-length prefixes and sends everything to a next hop that
is nobody's; the node has one route for each address of a pod. Both sides know the other's MAC by permanent neighbour entries,
so no ARP and no NDP is ever sent on the pair. Each side is configured by one batch of messages, and the pod's own interface is
set up last. Where pods are on a bridge (``PodInterface.segments``), the node's side is a port of it, and pods ask for their
neighbours. Not here: which addresses (``ipam``), what a port is held to (``bridged``), what the runtime hears (``verbs``).

All functions block for about a millisecond and are to be called on a thread that dies (``netns.run_in_async(None, ...)``):
:func:`attach` and :func:`defects` leave it inside the pod.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import select
import socket
import threading
from collections.abc import Iterator

import msgspec

from netloom.cni import beside, bridged, link_notes
from netloom.cni.bandwidth import Bandwidth
from netloom.cni.limits import Limits, remove_relay
from netloom.errors import AlreadyExists, KernelError, NetloomError, Unavailable
from netloom.linux import netns, rtmsg, sysctl
from netloom.linux.netlink import NETLINK_ROUTE, Message, NetlinkSocket, Request
from netloom.linux.rtnl import Rtnl
from netloom.model.routes.ways import Segment
from netloom.program import names
from netloom.program.links import Interface, Link, Veth
from netloom.program.neighbours import Neighbour
from netloom.program.routes import Route, Scope
from netloom.program.sysctl import NODE_SETTINGS, POD_LINK_SETTINGS
from netloom.units import Addr, Cidr, Family, family_of

_DELETE_TIMEOUT_S = 10.0

_deletions = threading.BoundedSemaphore(64)
"""Threads that wait for the kernel's answer to a deletion; more of them would only queue up at the same barrier."""


class PodInterface(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod's interface is to be. ``mtu`` in bytes; ``pod`` is a note for people, shown by ``ip link``.

    ``node_addresses`` are those that the node itself takes when it speaks to the pod; at most one of each family counts.
    ``network`` is the name of the runtime's network configuration; GC of another one passes the interface over.
    """

    container: str
    interface: str
    addresses: tuple[Addr, ...]
    mtu: int
    node_addresses: tuple[Addr, ...] = ()
    pod: str = ""
    network: str = ""
    requested_mac: str = ""
    """Of the pod's side; empty: a function of its first address."""
    bandwidth: Bandwidth | None = None
    segments: tuple[Segment, ...] = ()
    """The bridge that it is a port of, and for each family the gateway with the segment's prefix; empty: a pair of its own."""
    moved_families: frozenset[Family] = frozenset()
    """Families whose default route goes through another interface of the pod."""

    @property
    def host_link(self) -> str:
        """Name of the node's side."""
        return names.pod_link(self.container, self.interface)

    @property
    def mac(self) -> str:
        """MAC of the pod's side."""
        return self.requested_mac or names.pod_mac(self.addresses[0])

    @property
    def node_device(self) -> str:
        """The interface by which the node itself reaches the pod."""
        return self.segments[0].device if self.segments else self.host_link

    def interfaces(self) -> Iterator[Interface]:
        """The pod's addresses: with full-length prefixes, on a segment with the segment's."""
        for address in self.addresses:
            segment = self._segment(family_of(address))
            network = segment.interface.network if segment is not None else ()
            prefix = segment.interface.network.prefixlen if segment is not None else 0
            yield ipaddress.ip_interface(f"{address}/{prefix}" if address in network else address)

    def host_routes(self) -> Iterator[Route]:
        """How the node reaches the pod."""
        own = {family_of(a): a for a in reversed(self.node_addresses)}
        for address in self.addresses:
            family = family_of(address)
            yield Route(
                destination=ipaddress.ip_network(address),
                device=self.node_device,
                scope=Scope.LINK if family is Family.V4 else Scope.UNIVERSE,
                source=own.get(family),
                protocol=names.POD_ROUTE_PROTOCOL,
            )

    def host_neighbours(self) -> Iterator[Neighbour]:
        """The pod, as the node knows it."""
        for address in self.addresses:
            yield Neighbour(device=self.node_device, address=address, mac=self.mac)

    def pod_routes(self) -> Iterator[Route]:
        """How the pod reaches everything."""
        return (route for route in self.ways_out() if route.family not in self.moved_families)

    def ways_out(self) -> Iterator[Route]:
        """How everything is reached through this interface."""
        for family in self._families():
            segment = self._segment(family)
            yield Route(
                destination=_everything(family),
                device=self.interface,
                via=names.POD_GATEWAYS[family] if segment is None else segment.interface.ip,
                onlink=True,
                protocol=names.POD_ROUTE_PROTOCOL,
            )

    def pod_neighbours(self) -> Iterator[Neighbour]:
        """The next hop, as the pod knows it; on a segment it asks."""
        for family in self._families():
            if self._segment(family) is None:
                yield Neighbour(
                    device=self.interface, address=names.POD_GATEWAYS[family], mac=names.HOST_SIDE_MAC
                )

    def _segment(self, family: Family) -> Segment | None:
        return next((s for s in self.segments if family_of(s.interface.ip) is family), None)

    def _families(self) -> Iterator[Family]:
        present = {family_of(a) for a in self.addresses}
        return (f for f in Family if f in present)


def prepare_node() -> None:
    """Set once what the node needs before its first pod: it forwards packets. For the caller's network namespace.

    Raises:
        KernelError: a setting cannot be written.
    """
    sysctl.write(NODE_SETTINGS)


def attach(pod_netns: int, wanted: PodInterface) -> PodInterface:
    """Give a pod its interface. All or nothing; the leftovers of an attempt that died are replaced.

    Returns:
        What it is: as wanted, but where another interface of the pod leads to everything already, that stays so.

    Raises:
        AlreadyExists: the pod has an interface of that name which is not ours.
        KernelError: refused by the kernel.
    """
    with contextlib.ExitStack() as resources, contextlib.ExitStack() as undo:
        host = resources.enter_context(Rtnl())
        links = (rtmsg.RTNLGRP_LINK,)
        notices = resources.enter_context(NetlinkSocket(NETLINK_ROUTE, groups=links))
        ports = resources.enter_context(bridged.Ports(host)) if wanted.segments else None
        if ports is not None:
            bridged.refuse_duplicates(host, wanted.node_device, wanted.addresses)
        limited = resources.enter_context(Limits()) if wanted.bandwidth is not None else None
        netns.enter(pod_netns)
        pod_notices = resources.enter_context(NetlinkSocket(NETLINK_ROUTE, groups=links))
        new_routes = resources.enter_context(NetlinkSocket(NETLINK_ROUTE, groups=(rtmsg.RTNLGRP_IPV6_ROUTE,)))
        pod = resources.enter_context(Rtnl())
        led = beside.led_elsewhere(pod, wanted.interface)
        wanted = msgspec.structs.replace(wanted, moved_families=wanted.moved_families | led)
        _add_pair(host, pod_netns, wanted)
        undo.callback(_take_back, host, wanted, ports)
        if limited is not None:
            # before it is set up, so that nothing passes by
            undo.callback(remove_relay, host, wanted.host_link)
            limited.put(wanted.host_link, wanted.bandwidth)
        _configure_host(host, wanted, ports)
        pod.batch(_pod_requests(wanted, pod.index(wanted.interface), pod.index("lo")))
        beside.answer_through(pod, led, wanted.ways_out(), wanted.addresses)
        # the first packets would be lost otherwise, and TCP tries again after a second
        for device in {wanted.host_link, wanted.node_device}:
            host.wait_running(device, notices)
        pod.wait_running(wanted.interface, pod_notices)
        _wait_local(wanted, new_routes)
        undo.pop_all()
    return wanted


def _wait_local(wanted: PodInterface, new_routes: NetlinkSocket) -> None:
    """Wait until the pod takes packets to its IPv6 addresses for its own, which the kernel sees to a little later."""
    missing = {address for address in wanted.addresses if family_of(address) is Family.V6}
    while missing:
        missing -= {rtmsg.became_local(message) for message in new_routes.receive()}


def _add_pair(host: Rtnl, pod_netns: int, wanted: PodInterface) -> None:
    veth = Veth(
        name=wanted.host_link,
        peer=wanted.interface,
        mac=names.HOST_SIDE_MAC,
        peer_mac=wanted.mac,
        mtu=wanted.mtu,
    )
    request = rtmsg.new_veth(veth, pod_netns)
    try:
        host.batch([request])
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
        # Ours of an earlier attempt goes, whatever state it is in; if the name in the pod was another's, it stays.
        host.delete_link(wanted.host_link)
        try:
            host.batch([request])
        except KernelError as again:
            if again.errno != errno.EEXIST:
                raise
            raise AlreadyExists(
                f"container {wanted.container}: its network namespace has an interface {wanted.interface} already",
                "give another CNI_IFNAME, or remove the interface",
            ) from again


def _configure_host(host: Rtnl, wanted: PodInterface, ports: bridged.Ports | None) -> None:
    index = host.index(wanted.host_link)
    if ports is None:
        host.batch(_host_requests(wanted, index, index))
        return
    bridge = bridged.bridge_index(host, wanted.node_device)
    requests = bridged.port_requests(wanted.host_link, index, bridge, wanted.mac)
    requests += _host_requests(wanted, index, bridge)
    ports.put(list(wanted.host_neighbours()), requests)


def _host_requests(wanted: PodInterface, index: int, device: int) -> list[Request]:
    """``device``: the number of that by which the node reaches the pod."""
    return [
        rtmsg.guard_link(index, wanted.host_link, POD_LINK_SETTINGS),
        # The kernel does not take the note for people when the interface is made, only afterwards.
        rtmsg.set_link(
            index, f"set {wanted.host_link} up", up=True, alias=link_notes.write(wanted.pod, wanted.network)
        ),
        *(rtmsg.new_neighbour(device, n) for n in wanted.host_neighbours()),
        *(rtmsg.new_route(device, r) for r in wanted.host_routes()),
    ]


def _take_back(host: Rtnl, wanted: PodInterface, ports: bridged.Ports | None) -> None:
    host.delete_link(wanted.host_link)
    if ports is not None:
        ports.clear_up()


def _pod_requests(wanted: PodInterface, index: int, loopback: int) -> list[Request]:
    return [
        rtmsg.set_link(loopback, "set lo up", up=True),
        rtmsg.quieten_link(index, wanted.interface),
        # On a segment an IPv6 pod sends everything to the gateway (RFC 5942: a prefix does not say who is on the link); an IPv4 pod
        # asks for its neighbours, and the node answers for them.
        *(
            rtmsg.new_address(
                index, i, wanted.interface, is_prefix_route=i.version == 4 or not wanted.segments
            )
            for i in wanted.interfaces()
        ),
        rtmsg.set_link(index, f"set {wanted.interface} up", up=True),
        *(rtmsg.new_neighbour(index, n) for n in wanted.pod_neighbours()),
        *(rtmsg.new_route(index, r) for r in wanted.pod_routes()),
    ]


def detach(host_link: str) -> None:
    """Take a pod's interface away, from the node's side; no error where it is gone. The pod's namespace is not needed.

    Returns as soon as the interface, its routes and its peer are gone from the kernel's lists. The kernel then waits for all
    readers of its memory (an RCU barrier, 15 to 20 ms) before it answers; a thread of its own listens to that.

    Raises:
        KernelError: refused.
    """
    with NetlinkSocket(NETLINK_ROUTE, groups=(rtmsg.RTNLGRP_LINK,)) as watch, Rtnl() as host:
        link = host.find_link(host_link)
        if link is None:
            bridged.clear_up(host)
            remove_relay(host, host_link)
            return
        refused: list[NetloomError] = []
        ours, theirs = socket.socketpair()
        with ours:
            _deletions.acquire()
            # `theirs` belongs to the thread, which closes it when the kernel has answered.
            threading.Thread(
                target=_delete, args=(link, refused, theirs), name="delete-link", daemon=True
            ).start()
            _wait_until_gone(watch, host, link, ours)
        bridged.clear_up(host)
        remove_relay(host, host_link)
        if refused:
            raise refused[0]


def _delete(link: Link, refused: list[NetloomError], answered: socket.socket) -> None:
    try:
        with answered, NetlinkSocket(NETLINK_ROUTE) as own:
            own.request(rtmsg.delete_link(link.index, link.name))
    except NetloomError as error:
        if not (isinstance(error, KernelError) and error.errno == errno.ENODEV):
            refused.append(error)
    finally:
        _deletions.release()


def _wait_until_gone(watch: NetlinkSocket, host: Rtnl, link: Link, answered: socket.socket) -> None:
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(answered, select.POLLIN)
    while True:
        ready = poll.poll(_DELETE_TIMEOUT_S * 1000)
        if not ready:
            raise Unavailable(f"delete {link.name}: the kernel did not answer in time", "try again")
        if answered.fileno() in {fd for fd, _ in ready}:
            return
        try:
            if any(_says_gone(message, link) for message in watch.receive(wait=False)):
                return
        except KernelError as error:
            if error.errno != errno.ENOBUFS:  # so many links changed that messages were lost: look instead
                raise
            now = host.find_link(link.name)
            if now is None or now.index != link.index:
                return


def _says_gone(message: Message, link: Link) -> bool:
    # A bridge announces with the same type that a port has left it; a kind is only in the message of the link itself.
    if message.type != rtmsg.RTM_DELLINK:
        return False
    gone = rtmsg.read_link(message)
    return gone.index == link.index and gone.kind == link.kind


def defects(pod_netns: int, wanted: PodInterface, *, smaller_mtu: bool = False) -> list[str]:
    """What in the kernel is not as :func:`attach` leaves it, one line each; empty where all is well.

    Args:
        pod_netns: the pod's namespace.
        wanted: what the interface is to be.
        smaller_mtu: whether the pod's side may have a smaller MTU.

    Raises:
        KernelError: the kernel cannot be asked.
    """
    with Rtnl() as host, Limits() as limits:
        netns.enter(pod_netns)
        with Rtnl() as pod:
            here, there = host.find_link(wanted.host_link), pod.find_link(wanted.interface)
            found = _side("node", wanted.host_link, here, names.HOST_SIDE_MAC)
            found += _side("pod", wanted.interface, there, wanted.mac)
            if here is None or there is None:
                return found
            if there.peer_index != here.index:
                found.append(f"pod: {wanted.interface} is no pair with {wanted.host_link} of the node")
            if there.mtu > wanted.mtu or (there.mtu < wanted.mtu and not smaller_mtu):
                found.append(f"pod: {wanted.interface} has MTU {there.mtu} instead of {wanted.mtu}")
            found += limits.defects(wanted.host_link, wanted.bandwidth)
            present = {a.interface for a in pod.addresses(wanted.interface)}
            if wanted.segments:
                found += bridged.port_defects(host, wanted.host_link, wanted.mac)
            found += [
                f"pod: no address {i} on {wanted.interface}" for i in wanted.interfaces() if i not in present
            ]
            for where, rtnl, routes, neighbours in (
                ("node", host, wanted.host_routes(), wanted.host_neighbours()),
                ("pod", pod, wanted.pod_routes(), wanted.pod_neighbours()),
            ):
                live = set(rtnl.routes(names.POD_ROUTE_PROTOCOL))
                known = set(rtnl.neighbours())
                found += [f"{where}: no route {r}" for r in routes if r not in live]
                found += [
                    f"{where}: no neighbour {n.address} on {n.device}" for n in neighbours if n not in known
                ]
            return found


def _side(where: str, name: str, link: Link | None, mac: str) -> list[str]:
    if link is None:
        return [f"{where}: no interface {name}"]
    found = []
    if not link.up:
        found.append(f"{where}: {name} is down")
    if link.mac != mac:
        found.append(f"{where}: {name} has MAC {link.mac} instead of {mac}")
    return found


def _everything(family: Family) -> Cidr:
    return ipaddress.ip_network("0.0.0.0/0" if family is Family.V4 else "::/0")
