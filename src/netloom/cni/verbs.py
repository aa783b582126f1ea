"""The CNI verbs: what a runtime asks for is done. In: a call and the pod's namespace. Out: an :class:`Answer`.

Errors become CNI codes here and nowhere else. Everything that blocks runs on a thread that dies; two calls for one attachment
never run at once. The API server is not needed: neither for ADD, once the node's ranges are known, nor ever for DEL, CHECK, GC.
Not here: the socket (``server``), the kernel (``attach``), the record (``ipam``), what CHECK and GC look at (``verify``),
the rest of the agent (``seams``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from netloom.cni import attach, beside, result, verify
from netloom.cni.attach import PodInterface
from netloom.cni.bandwidth import Bandwidth
from netloom.cni.codes import CniError, Code, cni_error
from netloom.cni.ipam.lease import Attachment, Exhausted, Lease
from netloom.cni.ipam.offers import Offer, Offers
from netloom.cni.ipam.store import AddressStore
from netloom.cni.namespaces import netns_if_pods, pod_netns
from netloom.cni.request import CniRequest, parse, version_of
from netloom.cni.result import Answer
from netloom.cni.seams import MappedPorts, PodNetwork, SecondaryNetworks
from netloom.errors import NetloomError, Unavailable
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.units import Addr

__all__ = ["MappedPorts", "PodNetwork", "SecondaryNetworks", "Verbs"]

log = logging.getLogger(__name__)

_MAX_WORDS = 1000
"""Sentences that are remembered in order not to be logged again."""


class Verbs:
    """The verbs of one node.

    Args:
        store: the record of addresses.
        network: gives what is known now; None while the node's ranges are not known yet (then ADD says "try again").
        meet: called with a pod and its uid before anything else; returns when that very pod is known here, not one of before of the same
            name. None: nobody looks.
        offers: tells which addresses a pod may have; None: those of the node's ranges, and what it asks for.
        admit: called with a pod (namespace/name; empty where the runtime names none) and the addresses that it will have,
            before its interface is made; returns when its policies are in force, and raises NetloomError where they cannot be.
        released: called with the same, when that interface is gone (or was not made) and before others may get the addresses.
        secondary: gives pods their other interfaces; None: there are none.
        ports: opens ports of the node; None: they are only recorded.
        limited: says why what is there already may be cut off from parts of the network; empty where all is well.
        bandwidth: called with a pod and what the runtime says of its bandwidth; gives what counts. None: the runtime's word does.
    """

    def __init__(  # noqa: PLR0913 - the seams to the agent, by keyword
        self,
        *,
        store: AddressStore,
        network: Callable[[], PodNetwork | None],
        meet: Callable[[str, str], Awaitable[None]] | None = None,
        offers: Offers | None = None,
        admit: Callable[[str, tuple[Addr, ...]], Awaitable[None]] | None = None,
        released: Callable[[str, tuple[Addr, ...]], None] | None = None,
        secondary: SecondaryNetworks | None = None,
        ports: MappedPorts | None = None,
        limited: Callable[[], str] | None = None,
        bandwidth: Callable[[str, Bandwidth | None], Bandwidth | None] | None = None,
    ) -> None:
        self._store = store
        self._network = network
        self._meet = meet
        self._offers = offers
        self._admit = admit
        self._released = released
        self._secondary = secondary
        self._ports = ports
        self._limited = limited
        self._bandwidth = bandwidth
        self._turns: dict[Attachment, tuple[asyncio.Lock, int]] = {}
        self._mapping = threading.Lock()
        self._words: set[tuple[str, str]] = set()

    async def answer(self, variables: Mapping[str, str], config: bytes, netns_fd: int | None) -> Answer:
        """Do what a runtime asks. Never raises for what a runtime or the kernel did wrong; that is in the answer.

        Args:
            variables: CNI_COMMAND and its companions.
            config: the network configuration.
            netns_fd: CNI_NETNS, opened; None where there is none or it could not be opened. Stays the caller's.
        """
        try:
            return await self._do(parse(variables, config), netns_fd)
        except NetloomError as error:
            return result.failed(version_of(config), cni_error(error))

    async def _do(self, request: CniRequest, netns_fd: int | None) -> Answer:
        match request.command:
            case "VERSION":
                return result.versions(request.version)
            case "STATUS":
                await netns.run_in_async(None, self._status)
                return result.NOTHING
            case "GC":
                await self._collect(request)
                return result.NOTHING
        async with self._turn(request.attachment):
            if request.command == "DEL":
                await self._delete(request, netns_fd)
                return result.NOTHING
            fd = pod_netns(request, netns_fd)
            if request.command == "ADD":
                self._say(request)
                return result.added(request, await self._add(request, fd))
            await netns.run_in_async(None, lambda: self._check(request, fd))
            if self._secondary is not None:
                await self._secondary.check(request, fd)
            return result.NOTHING

    @contextlib.asynccontextmanager
    async def _turn(self, attachment: Attachment) -> AsyncIterator[None]:
        """A runtime that gave up waiting may ask again while we still work on its first call."""
        lock, waiting = self._turns.get(attachment, (asyncio.Lock(), 0))
        self._turns[attachment] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns.pop(attachment)
            if waiting > 1:
                self._turns[attachment] = (lock, waiting - 1)

    def _say(self, request: CniRequest) -> None:
        """What was passed over, once for each network."""
        for word in request.words:
            key = (request.network, word)
            if key not in self._words and len(self._words) < _MAX_WORDS:
                self._words.add(key)
                log.warning("network %s: passed over: %s", request.network, word)

    # --- ADD and DEL

    async def _add(self, request: CniRequest, netns_fd: int) -> PodInterface:
        """The address first, then what must be in force for it, then the interface, and what leads to it last."""
        was_used = False
        try:
            if self._meet is not None:
                await self._meet(request.pod, request.pod_uid)
            network, addresses = await self._reserve(request)
            if self._admit is not None:
                await self._admit(request.pod, addresses)
            wanted = self._interface(request, network, addresses)
            made = await netns.run_in_async(None, lambda: attach.attach(netns_fd, wanted))
            was_used = True
            if self._ports is not None and request.wishes.ports:
                await self._ports.opened(
                    Lease(request.attachment, addresses, request.pod, request.wishes.ports)
                )
            if self._secondary is not None:
                await self._secondary.add(request, netns_fd, made)
        except BaseException:
            await asyncio.shield(self._undo(request, netns_fd, was_used=was_used))
            raise
        return made

    async def _undo(self, request: CniRequest, netns_fd: int, *, was_used: bool) -> None:
        """After an ADD that failed nothing is left, also of an earlier one that this one repeated. The first error counts."""
        try:
            if was_used and self._secondary is not None:
                await self._secondary.delete(request, netns_fd)
            await self._take_away(request.attachment, was_used=was_used, netns_fd=netns_fd)
        except NetloomError as error:
            log.warning("attachment %s: left until DEL: %s", request.attachment, error)

    async def _delete(self, request: CniRequest, netns_fd: int | None) -> None:
        """All steps are tried; the first error is the answer, and the runtime tries again."""
        failed: list[NetloomError] = []
        netns_fd = netns_if_pods(request, netns_fd)
        try:
            if self._secondary is not None:
                await self._secondary.delete(request, netns_fd)
        except NetloomError as error:
            failed.append(error)
        await self._take_away(request.attachment, netns_fd=netns_fd)
        if failed:
            raise failed[0]

    async def _take_away(
        self, attachment: Attachment, *, was_used: bool = True, netns_fd: int | None = None
    ) -> None:
        # The address last: while the interface is there, nobody else may get it.
        lease = await netns.run_in_async(None, lambda: self._detach(attachment, netns_fd))
        if lease is None:
            return
        if self._ports is not None and lease.ports:
            self._ports.closed(lease)
        if self._released is not None:
            self._released(lease.pod, lease.addresses)
        await netns.run_in_async(None, lambda: self._store.release(attachment, was_used=was_used))

    async def _reserve(self, request: CniRequest) -> tuple[PodNetwork, tuple[Addr, ...]]:
        network, wished = self._known_network(), request.wishes.addresses
        if self._offers is None:
            offer = Offer(ranges=network.ranges, requested=wished)
            return network, await netns.run_in_async(None, lambda: self._reserve_now(request, offer))
        try:
            offer = await self._offers.offer(request.pod, wished)
            while True:
                reserve = functools.partial(self._reserve_now, request, offer)
                try:
                    return network, await netns.run_in_async(None, reserve)
                except Exhausted as error:
                    offer = await self._offers.more(request.pod, offer, error)
        except NetloomError as error:
            if not isinstance(error, CniError):
                self._offers.failed(request.pod, error)
            raise

    async def reclaim(self, lease: Lease) -> bool:
        """Release what nobody uses any more and no runtime will ask us to; False where that is not so now.

        Raises:
            KernelError, StorageError: it could not be; the lease stays.
        """
        if lease.attachment in self._turns:
            return False
        async with self._turn(lease.attachment):
            if await netns.run_in_async(None, lambda: self._is_left(lease)):
                await self._take_away(lease.attachment)
                return True
            return False

    # --- on a thread that dies

    def _is_left(self, lease: Lease) -> bool:
        with Rtnl() as rtnl:
            link = rtnl.find_link(names.pod_link(lease.attachment.container, lease.attachment.interface))
        return link is None and self._store.find(lease.attachment) == lease

    def _reserve_now(self, request: CniRequest, offer: Offer) -> tuple[Addr, ...]:
        if not request.wishes.ports:
            return self._reserve_in(request, offer)
        with self._mapping:  # nobody else may map the same port between the look and the record
            verify.check_ports(request, self._store.leases())
            return self._reserve_in(request, offer)

    def _reserve_in(self, request: CniRequest, offer: Offer) -> tuple[Addr, ...]:
        wishes = request.wishes
        instead = {chosen.network.version for chosen in wishes.ranges}
        blocks = [cidr for cidr in offer.blocks if cidr.version not in instead]
        return self._store.reserve(
            request.attachment,
            [cidr for cidr in offer.ranges if cidr.version not in instead],
            request.pod,
            blocks=[*blocks, *(cidr for chosen in wishes.ranges for cidr in chosen.blocks())],
            requested=offer.requested,
            reserved=offer.reserved,
            ports=wishes.ports,
            versions=offer.versions,
            hurry=offer.hurry,
        )

    def _detach(self, attachment: Attachment, netns_fd: int | None) -> Lease | None:
        attach.detach(names.pod_link(attachment.container, attachment.interface))
        lease = self._store.find(attachment)
        if lease is not None and netns_fd is not None:
            beside.forget(netns_fd, lease.addresses)  # last: it leaves the thread there
        return lease

    def _interface(
        self, request: CniRequest, network: PodNetwork, addresses: tuple[Addr, ...]
    ) -> PodInterface:
        said = request.wishes.bandwidth
        return PodInterface(
            container=request.attachment.container,
            interface=request.attachment.interface,
            addresses=addresses,
            mtu=request.mtu or network.mtu,
            node_addresses=network.node_addresses,
            pod=request.note,
            network=request.network,
            requested_mac=request.wishes.mac,
            bandwidth=said if self._bandwidth is None else self._bandwidth(request.pod, said),
            segments=network.segments,
        )

    def _check(self, request: CniRequest, netns_fd: int) -> None:
        lease = verify.recorded(request, self._store.find(request.attachment))
        wanted = self._interface(request, self._known_network(), lease.addresses)
        if self._secondary is not None:
            moved = self._secondary.moved_families(request.attachment)
            wanted = msgspec.structs.replace(wanted, moved_families=moved)
        verify.check(request, netns_fd, wanted)

    def _status(self) -> None:
        try:
            self._known_network()
            self._store.check_writable()
        except NetloomError as error:
            raise CniError(Code.NOT_AVAILABLE, error.problem, error.hint) from error
        why = self._limited() if self._limited is not None else ""
        if why:
            raise CniError(Code.LIMITED, why, "see the agent's log")

    def _known_network(self) -> PodNetwork:
        network = self._network()
        if network is None or (not network.ranges and self._offers is None):
            raise Unavailable("this node has no pod range yet (Node spec.podCIDRs)", "try again")
        return network

    # --- GC

    async def _collect(self, request: CniRequest) -> None:
        """Remove what the runtime does not know of this network. It promises not to ask for ADD meanwhile (section GC)."""
        valid, failed = request.valid_attachments, list[NetloomError]()
        if self._secondary is not None:
            try:
                await self._secondary.collect(request.network, valid)
            except NetloomError as error:
                failed.append(error)
        leases = await netns.run_in_async(None, self._store.leases)
        for attachment in sorted({lease.attachment for lease in leases} - valid):
            try:
                async with self._turn(attachment):
                    if await netns.run_in_async(
                        None, functools.partial(verify.is_of, request.network, attachment)
                    ):
                        await self._take_away(attachment)
            except NetloomError as error:
                failed.append(error)
        try:
            await netns.run_in_async(None, lambda: _delete_strays(request.network, valid, self._recorded()))
        except NetloomError as error:
            failed.append(error)
        if failed:
            raise failed[0]

    def _recorded(self) -> frozenset[Attachment]:
        return frozenset(lease.attachment for lease in self._store.leases())


def _delete_strays(network: str, valid: frozenset[Attachment], recorded: frozenset[Attachment]) -> None:
    """Interfaces of pods without a record."""
    for link in verify.strays(network, valid | recorded):
        attach.detach(link)
