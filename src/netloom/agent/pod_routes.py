"""The node's routes to its own pods after the node has changed its address.

In: which attachment has which address, the node's addresses. Out: routes in the kernel. Each of them names the address that the node
itself speaks with, and the kernel drops an IPv4 route when that address goes (fib_sync_down_addr): the pod would be there and reached by
nobody. Not here: routes of new pods (``cni/attach``), and of other nodes' pods (``fabric``).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from netloom.cni.ipam.lease import Lease
from netloom.errors import NetloomError
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.program.names import POD_ROUTE_PROTOCOL, pod_link
from netloom.program.routes import Route, Scope
from netloom.units import Addr, Family, family_of

log = logging.getLogger(__name__)

RETRY_S = 1.0


class PodRoutes:
    """Keeps them.

    Args:
        leases: reads which attachment has which address; called on a thread that may block.
        netns_fd: the node's network namespace; None: this process is in it.
    """

    def __init__(self, *, leases: Callable[[], Iterable[Lease]], netns_fd: int | None = None) -> None:
        self._leases = leases
        self._netns_fd = netns_fd
        self._addresses: tuple[Addr, ...] = ()
        self._moved = asyncio.Event()

    def take(self, addresses: Sequence[Addr]) -> None:
        """The node has these addresses, the one that counts of each family."""
        if self._addresses and self._addresses != tuple(addresses):
            self._moved.set()
        self._addresses = tuple(addresses)

    async def run(self) -> None:
        """Until cancelled: after each change of an address."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                count = await netns.run_in_async(self._netns_fd, self.settle)
            except NetloomError as error:
                log.warning("routes to this node's pods: %s", error)
                await asyncio.sleep(RETRY_S)
                self._moved.set()
            else:
                log.info("the node has another address: %d routes to its pods were put back", count)

    def settle(self) -> int:
        """One turn of :meth:`run`, in the node's namespace; how many routes were not as they should be.

        Raises:
            KernelError: refused; a pod's interface may have gone meanwhile, and trying again helps.
            StorageError: the leases cannot be read.
        """
        leases = list(self._leases())
        with Rtnl() as rtnl:
            by_index = {link.index: link for link in rtnl.links()}
            # a port of a bridge is reached by way of the bridge
            devices = {
                link.name: by_index[link.master].name if link.master in by_index else link.name
                for link in by_index.values()
            }
            live = set(rtnl.routes(POD_ROUTE_PROTOCOL))
            wanted = routes_to(leases, devices.get, self._addresses)
            missing = [route for route in wanted if route not in live]
            rtnl.change_routes(replace=missing)
        return len(missing)


def routes_to(
    leases: Iterable[Lease], device_of: Callable[[str], str | None], node_addresses: Sequence[Addr]
) -> Iterator[Route]:
    """A route for each address of a pod whose interface is there. Pure; they are those that ``cni/attach`` makes."""
    own = {family_of(address): address for address in reversed(node_addresses)}
    for lease in leases:
        device = device_of(pod_link(lease.attachment.container, lease.attachment.interface))
        for address in lease.addresses if device is not None else ():
            family = family_of(address)
            yield Route(
                destination=ipaddress.ip_network(address),
                device=device or "",
                scope=Scope.LINK if family is Family.V4 else Scope.UNIVERSE,
                source=own.get(family),
                protocol=POD_ROUTE_PROTOCOL,
            )
