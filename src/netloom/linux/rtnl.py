"""Links, addresses, routes and neighbours of one network namespace. In: values of ``program``. Out: the same, or KernelError.

Synchronous: each call is some microseconds of kernel work. Many changes at once go through :meth:`Rtnl.batch`.
Not here: bytes (``rtmsg``), and what should be there.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence

from netloom.errors import KernelError
from netloom.linux import rtmsg, rtmsg_overlay, rtrule
from netloom.linux.libc import kernel_error
from netloom.linux.netlink import NETLINK_ROUTE, Message, NetlinkSocket, Request, u32
from netloom.linux.netlink_client import NetlinkClient
from netloom.program.links import Bridge, BridgePort, Interface, Link, LinkAddress, Veth, Vxlan
from netloom.program.neighbours import ForwardingEntry, Neighbour
from netloom.program.routes import MarkRule, Route
from netloom.units import Addr, Family

_DELETIONS = frozenset(
    {rtmsg.RTM_DELLINK, rtmsg.RTM_DELADDR, rtmsg.RTM_DELROUTE, rtmsg.RTM_DELNEIGH, rtrule.RTM_DELRULE}
)
_GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL})


class Rtnl(NetlinkClient):
    """The rtnetlink of one namespace. A context manager; not for two threads at once.

    Interfaces are named, as people name them; the numbers that the kernel wants are asked for where they are needed.
    Every method raises :class:`netloom.errors.KernelError` where the kernel refuses.

    Args:
        netns_fd: the namespace; None for the caller's own.
    """

    def __init__(self, netns_fd: int | None = None) -> None:
        super().__init__(NETLINK_ROUTE, netns_fd)

    def batch(self, requests: Sequence[Request]) -> None:
        """Several requests of ``rtmsg`` in one send; the error of the first that was refused."""
        self._netlink.batch(requests)

    def batch_tolerating_gone(self, requests: Sequence[Request]) -> None:
        """As :meth:`batch`; no error for deletions of what is gone."""
        for request, refused in zip(requests, self._netlink.try_batch(requests), strict=True):
            if refused is None or (request.type in _DELETIONS and refused.errno in _GONE):
                continue
            raise refused.error(request.operation)

    # --- links

    def links(self) -> list[Link]:
        """All interfaces."""
        return [rtmsg.read_link(m) for m in self._netlink.dump(rtmsg.dump_links())]

    def find_link(self, name: str) -> Link | None:
        """One interface, or None where there is none of that name."""
        message = self._find(name)
        return None if message is None else rtmsg.read_link(message)

    def find_vxlan(self, name: str) -> Vxlan | None:
        """A VXLAN interface; None where there is none of that name, or one that learns, floods or answers for others."""
        message = self._find(name)
        return None if message is None else rtmsg_overlay.read_vxlan(message)

    def find_bridge(self, name: str) -> Bridge | None:
        """A bridge; None where there is none of that name, or one with spanning tree or snooping."""
        message = self._find(name)
        return None if message is None else rtmsg_overlay.read_bridge(message)

    def find_port(self, name: str) -> BridgePort | None:
        """How its bridge treats an interface; None where there is none of that name, or it is no port."""
        message = self._find(name)
        return None if message is None else rtmsg_overlay.read_port(message)

    def entries(self, name: str) -> list[ForwardingEntry]:
        """The static forwarding entries of a VXLAN interface or of a bridge port; none where there is no such interface."""
        link = self.find_link(name)
        if link is None:
            return []
        messages = self._netlink.dump(rtmsg_overlay.dump_entries(link.index))
        found = (rtmsg_overlay.read_entry(m, {link.index: name}) for m in messages)
        return [entry for entry in found if entry is not None and entry.device == name]

    def port_entries(self, bridge: int) -> list[ForwardingEntry]:
        """The static forwarding entries of all ports of a bridge of this number."""
        devices = {link.index: link.name for link in self.links() if link.master == bridge}
        found = (
            rtmsg_overlay.read_entry(m, devices)
            for m in self._netlink.dump(rtmsg_overlay.dump_bridge(bridge))
        )
        return [entry for entry in found if entry is not None]

    def _find(self, name: str) -> Message | None:
        try:
            return self._netlink.request(rtmsg.get_link(name))[0]
        except KernelError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def wait_running(self, name: str, notices: NetlinkSocket) -> None:
        """Wait until packets pass an interface that has just been set up; until then the kernel drops them.

        Args:
            name: of the interface.
            notices: a socket of the same namespace that listens to ``RTNLGRP_LINK``, made before it was set up.

        Raises:
            Unavailable: it did not within the socket's timeout.
        """
        while (link := self.find_link(name)) is not None and not link.running:
            notices.receive()

    def index(self, name: str) -> int:
        """The number of an interface.

        Raises:
            KernelError: ENODEV: there is none of that name.
        """
        return rtmsg.read_link(self._netlink.request(rtmsg.get_link(name))[0]).index

    def add_veth(
        self,
        name: str,
        *,
        peer: str,
        peer_netns_fd: int | None = None,
        mac: str | None = None,
        peer_mac: str | None = None,
        mtu: int | None = None,
    ) -> None:
        """Make a pair of interfaces, the far end in ``peer_netns_fd`` where that is given; both are down."""
        veth = Veth(name=name, peer=peer, mac=mac or "", peer_mac=peer_mac or "", mtu=mtu or 0)
        self._netlink.request(rtmsg.new_veth(veth, peer_netns_fd))

    def add_bridge(self, name: str) -> None:
        """Make a bridge; it is down."""
        self._netlink.request(rtmsg.new_bridge(name))

    def set_master(self, name: str, bridge: str) -> None:
        """Make an interface a port of a bridge."""
        master = u32(self.index(bridge))
        self._netlink.request(rtmsg.set_link(self.index(name), f"{name} into {bridge}", master=master))

    def set_up(self, name: str) -> None:
        """Set an interface up."""
        self._netlink.request(rtmsg.set_link(self.index(name), f"set {name} up", up=True))

    def set_down(self, name: str) -> None:
        """Set an interface down; its routes go."""
        self._netlink.request(rtmsg.set_link(self.index(name), f"set {name} down", up=False))

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU of an interface, in bytes."""
        self._netlink.request(rtmsg.set_link(self.index(name), f"mtu {mtu} on {name}", mtu=u32(mtu)))

    def delete_link(self, name: str) -> None:
        """Delete an interface, and with a veth its peer; no error where it is gone. Waits until the kernel let go of it."""
        self._tolerate_gone(lambda: rtmsg.delete_link(0, name))

    # --- addresses

    def add_address(self, name: str, interface: Interface) -> None:
        """Put an address on an interface; no error where it is there."""
        self._netlink.request(rtmsg.new_address(self.index(name), interface, name))

    def wait_local(self, addresses: Iterable[Addr], notices: NetlinkSocket) -> None:
        """Wait until packets to IPv6 addresses that have just been added are taken, which the kernel sees to a little later.

        Args:
            addresses: added since ``notices`` was made, to interfaces that are up; those of IPv4 are passed over.
            notices: a socket of the same namespace that listens to ``RTNLGRP_IPV6_ROUTE``.

        Raises:
            Unavailable: it did not happen within the socket's timeout.
        """
        missing = {address for address in addresses if address.version == 6}
        while missing:
            missing -= {rtmsg.became_local(message) for message in notices.receive()}

    def delete_address(self, name: str, interface: Interface) -> None:
        """Take an address from an interface; no error where it is gone."""
        self._tolerate_gone(lambda: rtmsg.delete_address(self.index(name), interface, name))

    def addresses(self, name: str | None = None) -> list[LinkAddress]:
        """All addresses, or those of one interface."""
        devices = self._devices()
        found = [rtmsg.read_address(m, devices) for m in self._netlink.dump(rtmsg.dump_addresses())]
        return [a for a in found if name is None or a.device == name]

    # --- routes

    def replace_route(self, route: Route) -> None:
        """Put a route in force, in place of one with the same destination and metric."""
        self._netlink.request(rtmsg.new_route(self._index_for(route), route))

    def delete_route(self, route: Route) -> None:
        """Take a route away; no error where it is gone."""
        self._tolerate_gone(lambda: rtmsg.delete_route(self._index_for(route), route))

    def routes(self, protocol: int | None = None) -> list[Route]:
        """All plain routes of both families and all tables, or those that one protocol number marks."""
        devices = self._devices()
        found = []
        for family in Family:
            for message in self._netlink.dump(rtmsg.dump_routes(family, protocol or 0)):
                route = rtmsg.read_route(message, devices)
                if route is not None and protocol in {None, route.protocol}:
                    found.append(route)
        return found

    def change_routes(self, *, replace: Sequence[Route] = (), delete: Sequence[Route] = ()) -> None:
        """Put many routes in force, then take others away, in one send; no error for those that are gone."""
        index = {"": 0, **{link.name: link.index for link in self.links()}}
        gone = [r for r in delete if r.device not in index]
        requests = [rtmsg.new_route(_number(index, r), r) for r in replace]
        requests += [rtmsg.delete_route(index[r.device], r) for r in delete if r not in gone]
        self.batch_tolerating_gone(requests)

    def forget_path(self, address: Addr) -> None:
        """Forget the MTU that routers told of the way to an address; no error where they told none. IPv6 (RFC 8201)."""
        self._tolerate_gone(lambda: rtmsg.delete_path(address))

    def source_rules(self, family: Family) -> set[tuple[bytes, int]]:
        """Rules for the packets of one address: the address, packed, and the table that they ask."""
        found = map(rtrule.read_source_rule, self._netlink.dump(rtrule.dump_rules(family)))
        return {rule for rule in found if rule is not None}

    def mark_rules(self, family: Family) -> set[MarkRule]:
        """Rules for the packets with one mark."""
        found = map(rtrule.read_mark_rule, self._netlink.dump(rtrule.dump_rules(family)))
        return {rule for rule in found if rule is not None}

    def change_mark_rules(
        self, family: Family, *, add: Iterable[MarkRule] = (), delete: Iterable[MarkRule] = ()
    ) -> None:
        """Make rules, then take others away; no error for those that are gone."""
        requests = [rtrule.new_mark_rule(family, rule) for rule in add]
        self.batch_tolerating_gone([*requests, *(rtrule.delete_mark_rule(family, rule) for rule in delete)])

    # --- neighbours

    def replace_neighbour(self, name: str, address: Addr, mac: str) -> None:
        """Put a permanent neighbour entry in force, in place of one for the same address."""
        neighbour = Neighbour(device=name, address=address, mac=mac)
        self._netlink.request(rtmsg.new_neighbour(self.index(name), neighbour))

    def delete_neighbour(self, name: str, address: Addr) -> None:
        """Take a neighbour entry away; no error where it is gone."""
        self._tolerate_gone(lambda: rtmsg.delete_neighbour(self.index(name), address, name))

    def neighbours(self) -> list[Neighbour]:
        """All neighbour entries that have a MAC."""
        devices = self._devices()
        found = (rtmsg.read_neighbour(m, devices) for m in self._netlink.dump(rtmsg.dump_neighbours()))
        return [n for n in found if n is not None]

    def _index_for(self, route: Route) -> int:
        return self.index(route.device) if route.device else 0

    def _devices(self) -> dict[int, str]:
        return {link.index: link.name for link in self.links()}

    def _tolerate_gone(self, build: Callable[[], Request]) -> None:
        try:
            self._netlink.request(build())
        except KernelError as error:
            if error.errno not in _GONE:
                raise


def _number(index: Mapping[str, int], route: Route) -> int:
    if route.device not in index:
        raise kernel_error(f"route {route}", errno.ENODEV)
    return index[route.device]
