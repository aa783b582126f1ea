"""A further interface in the cluster's own network: ``"type": "netloom"``, without a process.

In: a call as other plugins get it. Out: a veth pair as the first interface is, with an address of the node's pods of its own: in the
same record, under the pod's policies, guarded against spoofing, reached from every node. The pod's default route stays where it is;
what comes in here is answered here (packets from its address ask a table of their own), and a program that binds to its address or the
interface uses it. Not here: the first interface (``verbs``).
"""

from __future__ import annotations

import errno
import functools
import ipaddress
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from netloom.cni import attach
from netloom.cni.attach import PodInterface
from netloom.cni.codes import CniError, Code
from netloom.cni.delegate import Call, PodNetns
from netloom.cni.ipam.lease import Attachment, Exhausted
from netloom.cni.ipam.offers import Offer, Offers
from netloom.cni.ipam.store import AddressStore
from netloom.cni.networks import results
from netloom.cni.networks.configuration import Config
from netloom.cni.networks.leases import wanted_addresses
from netloom.cni.networks.results import Result
from netloom.cni.verbs import PodNetwork
from netloom.errors import InvalidObject, KernelError, Unavailable, Untrue
from netloom.linux import netns, rtrule
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.program.routes import Route
from netloom.units import Addr, Cidr, family_of, parse_cidr

_TABLES = 10_000
"""Table of an interface's own routes in a pod: this, and the interface's number."""
_on_thread = functools.partial(netns.run_in_async, None)


class SecondInterface(PodInterface, frozen=True, kw_only=True):
    """An interface that is not the pod's first: it leads to ``destinations`` only."""

    destinations: tuple[Cidr, ...] = ()

    def pod_routes(self) -> Iterator[Route]:
        """What leads through it."""
        for destination in self.destinations:
            if any(family_of(a) is family_of(destination) for a in self.addresses):
                yield self._through(destination)

    def own_routes(self, table: int) -> Iterator[Route]:
        """Everything, for what has its address."""
        for address in self.addresses:
            everything = ipaddress.ip_network("0.0.0.0/0" if address.version == 4 else "::/0")
            yield msgspec.structs.replace(self._through(everything), table=table)

    def _through(self, destination: Cidr) -> Route:
        return Route(
            destination=destination,
            device=self.interface,
            via=names.POD_GATEWAYS[family_of(destination)],
            onlink=True,
            protocol=names.POD_ROUTE_PROTOCOL,
        )


class _Own(msgspec.Struct):
    mtu: int | None = None
    ipam: dict[str, Any] = {}
    routes: tuple[dict[str, str], ...] = ()


class OwnNetwork:
    """The plugin; an ``InlinePlugin``.

    Args:
        store: the record of addresses.
        network: what is known of this node's pods; None: not yet.
        offers: which addresses a pod may have; None: those of the node.
        admit: called with a pod and all of its addresses before the interface is made, as by the verbs.
        released: called when the interface is gone.
    """

    def __init__(
        self,
        *,
        store: AddressStore,
        network: Callable[[], PodNetwork | None],
        offers: Offers | None = None,
        admit: Callable[[str, tuple[Addr, ...]], Awaitable[None]] | None = None,
        released: Callable[[str, tuple[Addr, ...]], None] | None = None,
    ) -> None:
        self._store = store
        self._network = network
        self._offers = offers
        self._admit = admit
        self._released = released

    async def call(self, command: str, call: Call, config: Config, inside: PodNetns) -> Result:
        """Do ADD, DEL or CHECK.

        Raises:
            NetloomError: it could not be done.
        """
        if command == "DEL":
            await self._delete(call.attachment)
            return {}
        own = _read(config, call)
        if inside.fd is None:
            raise CniError(
                Code.CONTAINER_UNKNOWN, f"attachment {call.attachment}: it has no network namespace"
            )
        if command == "CHECK":
            await self._check(call, own, inside.fd)
            return {}
        made = await self._add(call, own, inside.fd)
        return results.convert(_result(made, inside.path), call.network.version)

    async def _add(self, call: Call, own: _Own, fd: int) -> SecondInterface:
        pod, network = _pod(call), self._known()
        addresses = await self._reserve(call, pod, network)
        if self._admit is not None:
            leases = await _on_thread(self._store.leases)
            container = call.attachment.container
            others = [
                a for lease in leases if lease.attachment.container == container for a in lease.addresses
            ]
            await self._admit(pod, tuple(dict.fromkeys((*others, *addresses))))
        made = _interface(call, own, network, addresses)

        def make() -> None:
            attach.attach(fd, made)

        await _on_thread(make)
        await _on_thread(lambda: _answer_here(fd, made))
        return made

    async def _reserve(self, call: Call, pod: str, network: PodNetwork) -> tuple[Addr, ...]:
        wished = wanted_addresses(call.requested.capabilities.get("ips") or ())
        if self._offers is None:
            offer = Offer(ranges=network.ranges, requested=wished)
            return await _on_thread(functools.partial(self._reserve_now, call.attachment, pod, offer))
        offer = await self._offers.offer(pod, wished)
        while True:
            try:
                return await _on_thread(functools.partial(self._reserve_now, call.attachment, pod, offer))
            except Exhausted as error:
                offer = await self._offers.more(pod, offer, error)

    def _reserve_now(self, attachment: Attachment, pod: str, offer: Offer) -> tuple[Addr, ...]:
        return self._store.reserve(
            attachment,
            offer.ranges,
            pod,
            blocks=offer.blocks,
            requested=offer.requested,
            reserved=offer.reserved,
            versions=offer.versions,
            hurry=offer.hurry,
        )

    async def _delete(self, attachment: Attachment) -> None:
        link = names.pod_link(attachment.container, attachment.interface)
        await _on_thread(lambda: attach.detach(link))
        lease = await _on_thread(lambda: self._store.find(attachment))
        if lease is None:
            return
        if self._released is not None:
            self._released(lease.pod, lease.addresses)
        await _on_thread(lambda: self._store.release(attachment))

    async def _check(self, call: Call, own: _Own, fd: int) -> None:
        lease = await _on_thread(lambda: self._store.find(call.attachment))
        if lease is None:
            raise Untrue(f"attachment {call.attachment}: no address is recorded for it", "delete the pod")
        made = _interface(call, own, self._known(), lease.addresses)
        found = await _on_thread(lambda: attach.defects(fd, made))
        if found:
            raise Untrue(f"attachment {call.attachment}: {'; '.join(found)}", "delete the pod")

    def _known(self) -> PodNetwork:
        network = self._network()
        if network is None or not network.ranges:
            raise Unavailable("this node has no pod range yet (Node spec.podCIDRs)", "try again")
        return network


def _read(config: Config, call: Call) -> _Own:
    subject = f"network {call.network.name}"
    try:
        own = msgspec.convert({k: v for k, v in config.items() if v is not None}, type=_Own)
    except msgspec.ValidationError as error:
        raise InvalidObject(subject, "config", str(error), "see docs/networks.md") from error
    if own.ipam.get("type", "netloom") not in {"netloom", "netloom-cni"}:
        raise InvalidObject(
            subject,
            "ipam.type",
            f"{own.ipam['type']!r}: an interface in the cluster's own network has an address of the cluster's own",
            "leave ipam out; IPPools say which pods get which addresses",
        )
    if own.mtu is not None and not 576 <= own.mtu <= 65535:
        raise InvalidObject(subject, "mtu", f"{own.mtu} is outside 576 to 65535")
    for number, route in enumerate(own.routes):
        if parse_cidr(route.get("dst", "")) is None:
            raise InvalidObject(subject, f"routes[{number}].dst", f"{route.get('dst')!r} is no CIDR")
    return own


def _interface(call: Call, own: _Own, network: PodNetwork, addresses: tuple[Addr, ...]) -> SecondInterface:
    found = (parse_cidr(route["dst"]) for route in own.routes)
    return SecondInterface(
        container=call.attachment.container,
        interface=call.attachment.interface,
        addresses=addresses,
        mtu=own.mtu or network.mtu,
        node_addresses=network.node_addresses,
        pod=_pod(call),
        # GC of the runtime's own network passes it over by this: a runtime knows of first interfaces only
        network=f"further/{call.network.name}",
        requested_mac=call.requested.capabilities.get("mac") or "",
        destinations=tuple(cidr for cidr in found if cidr is not None),
    )


def _answer_here(fd: int, made: SecondInterface) -> None:
    """What has the interface's address goes out through it."""
    with Rtnl(fd) as pod:
        table = _TABLES + pod.index(made.interface)
        for route in made.own_routes(table):
            pod.replace_route(route)
        for address in made.addresses:
            request = rtrule.new_rule(
                address, table, priority=names.POD_SOURCE_PRIORITY, protocol=names.POD_ROUTE_PROTOCOL
            )
            try:
                pod.batch([request])
            except KernelError as error:
                if error.errno != errno.EEXIST:
                    raise


def _result(made: SecondInterface, path: str) -> Result:
    return {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": made.host_link, "mac": names.HOST_SIDE_MAC, "mtu": made.mtu},
            {"name": made.interface, "mac": made.mac, "mtu": made.mtu, "sandbox": path},
        ],
        "ips": [{"interface": 1, "address": str(interface)} for interface in made.interfaces()],
        "routes": [{"dst": str(r.destination), "gw": str(r.via)} for r in made.pod_routes()],
        "dns": {},
    }


def _pod(call: Call) -> str:
    pairs = dict(pair.partition("=")[::2] for pair in call.arguments.split(";"))
    return f"{pairs.get('K8S_POD_NAMESPACE', '')}/{pairs.get('K8S_POD_NAME', '')}"
