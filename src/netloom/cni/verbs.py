"""The CNI verbs: what a runtime asks for is done. In: a call and the pod's namespace. Out: an :class:`Answer`.

Errors become CNI codes here and nowhere else. Everything that blocks runs on a thread that dies; two calls for one attachment
never run at once. The API server is not needed: neither for ADD, once the node's ranges are known, nor ever for DEL, CHECK, GC.
Not here: the socket (``server``), the kernel (``attach``), the record (``ipam``).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from netloom.cni import attach, result
from netloom.cni.attach import PodInterface
from netloom.cni.codes import CniError, Code, cni_error
from netloom.cni.ipam.store import AddressStore, Attachment, Lease
from netloom.cni.request import VERSIONS, CniRequest, parse
from netloom.cni.result import Answer
from netloom.errors import NetloomError, Unavailable, Untrue
from netloom.linux import netns
from netloom.linux.libc import CLONE_NEWNET
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.units import Addr, Cidr

_NS_GET_NSTYPE = 0xB703


class PodNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows about its node's pods: Node ``spec.podCIDRs``, the node's own addresses, the MTU in bytes."""

    ranges: tuple[Cidr, ...]
    node_addresses: tuple[Addr, ...] = ()
    mtu: int = 1500


class Verbs:
    """The verbs of one node.

    Args:
        store: the record of addresses.
        network: gives what is known now; None while the node's ranges are not known yet (then ADD says "try again").
        admit: called with a pod (namespace/name; empty where the runtime names none) and the addresses that it will have,
            before its interface is made; returns when its policies are in force, and raises NetloomError where they cannot be.
        released: called with the same, when that interface is gone (or was not made) and before others may get the addresses.
    """

    def __init__(
        self,
        *,
        store: AddressStore,
        network: Callable[[], PodNetwork | None],
        admit: Callable[[str, tuple[Addr, ...]], Awaitable[None]] | None = None,
        released: Callable[[str, tuple[Addr, ...]], None] | None = None,
    ) -> None:
        self._store = store
        self._network = network
        self._admit = admit
        self._released = released
        self._turns: dict[Attachment, tuple[asyncio.Lock, int]] = {}

    async def answer(self, variables: Mapping[str, str], config: bytes, netns_fd: int | None) -> Answer:
        """Do what a runtime asks. Never raises for what a runtime or the kernel did wrong; that is in the answer.

        Args:
            variables: CNI_COMMAND and its companions.
            config: the network configuration.
            netns_fd: CNI_NETNS, opened; None where there is none or it could not be opened. Stays the caller's.
        """
        version = VERSIONS[-1]
        try:
            request = parse(variables, config)
            version = request.version
            return await self._do(request, netns_fd)
        except NetloomError as error:
            return result.failed(version, cni_error(error))

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
                await self._delete(request.attachment)
                return result.NOTHING
            fd = _pod_netns(request, netns_fd)
            if request.command == "ADD":
                made = await self._add(request, fd)
                return result.added(request.version, made, request.netns_path)
            await netns.run_in_async(None, lambda: self._check(request, fd))
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

    async def _add(self, request: CniRequest, netns_fd: int) -> PodInterface:
        """The address first, then what must be in force for it, and the interface last."""
        network, addresses = await netns.run_in_async(None, lambda: self._reserve(request))
        try:
            if self._admit is not None:
                await self._admit(request.pod, addresses)
            made = _interface(request, network, addresses)
            await netns.run_in_async(None, lambda: attach.attach(netns_fd, made))
        except BaseException:
            self._tell(Lease(request.attachment, addresses, request.pod))
            await asyncio.shield(netns.run_in_async(None, lambda: self._store.release(request.attachment)))
            raise
        return made

    async def _delete(self, attachment: Attachment) -> None:
        # The address last: while the interface is there, nobody else may get it.
        lease = await netns.run_in_async(None, lambda: self._detach(attachment))
        if lease is not None:
            self._tell(lease)
            await netns.run_in_async(None, lambda: self._store.release(attachment))

    def _tell(self, lease: Lease) -> None:
        if self._released is not None:
            self._released(lease.pod, lease.addresses)

    # --- on a thread that dies

    def _reserve(self, request: CniRequest) -> tuple[PodNetwork, tuple[Addr, ...]]:
        network = self._known_network()
        return network, self._store.reserve(request.attachment, network.ranges, request.pod)

    def _detach(self, attachment: Attachment) -> Lease | None:
        attach.detach(names.pod_link(attachment.container, attachment.interface))
        return self._store.find(attachment)

    def _check(self, request: CniRequest, netns_fd: int) -> None:
        lease = self._store.find(request.attachment)
        if lease is None:
            raise Untrue(f"attachment {request.attachment}: no address is recorded for it", "delete the pod")
        _compare_with_previous(request, lease)
        wanted = _interface(request, self._known_network(), lease.addresses)
        found = attach.defects(netns_fd, wanted)
        if found:
            raise Untrue(f"attachment {request.attachment}: {'; '.join(found)}", "delete the pod")

    def _status(self) -> None:
        try:
            self._known_network()
            self._store.check_writable()
        except NetloomError as error:
            raise CniError(Code.NOT_AVAILABLE, error.problem, error.hint) from error

    def _known_network(self) -> PodNetwork:
        network = self._network()
        if network is None or not network.ranges:
            raise Unavailable("this node has no pod range yet (Node spec.podCIDRs)", "try again")
        return network

    # --- GC

    async def _collect(self, request: CniRequest) -> None:
        """Remove what the runtime does not know. It promises not to ask for ADD meanwhile (specification, section GC)."""
        valid = {Attachment(a.container, a.interface) for a in request.config.valid_attachments or ()}
        leases = await netns.run_in_async(None, self._store.leases)
        failed: list[NetloomError] = []
        for attachment in sorted({lease.attachment for lease in leases} - valid):
            try:
                async with self._turn(attachment):
                    await self._delete(attachment)
            except NetloomError as error:
                failed.append(error)
        keep = frozenset(names.pod_link(a.container, a.interface) for a in valid)
        try:
            await netns.run_in_async(None, lambda: _delete_strays(keep))
        except NetloomError as error:
            failed.append(error)
        if failed:
            raise failed[0]


def _delete_strays(keep: frozenset[str]) -> None:
    """Interfaces of pods without a record: ours by their name and kind."""
    with Rtnl() as rtnl:
        links = rtnl.links()
    for link in links:
        if link.kind == "veth" and names.is_pod_link(link.name) and link.name not in keep:
            attach.detach(link.name)


def _interface(request: CniRequest, network: PodNetwork, addresses: tuple[Addr, ...]) -> PodInterface:
    return PodInterface(
        container=request.attachment.container,
        interface=request.attachment.interface,
        addresses=addresses,
        mtu=request.config.mtu or network.mtu,
        node_addresses=network.node_addresses,
        pod=request.pod,
    )


def _compare_with_previous(request: CniRequest, lease: Lease) -> None:
    previous = request.config.previous
    said = {result.address_of(ip.address) for ip in previous.ips} if previous else set()
    missing = [str(a) for a in lease.addresses if a not in said]
    if missing:
        raise Untrue(
            f"attachment {request.attachment}: prevResult.ips lacks {', '.join(missing)}, which is recorded for it",
            "delete the pod",
        )


def _pod_netns(request: CniRequest, fd: int | None) -> int:
    """The pod's namespace, seen to be a network namespace and not the node's own."""
    if fd is None:
        raise CniError(
            Code.CONTAINER_UNKNOWN,
            f"CNI_NETNS {request.netns_path!r} cannot be opened",
            "is the container still running?",
        )
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != CLONE_NEWNET:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS {request.netns_path!r} is no network namespace")
    if os.path.samestat(os.fstat(fd), os.stat("/proc/thread-self/ns/net")):
        raise CniError(
            Code.INVALID_ENVIRONMENT, f"CNI_NETNS {request.netns_path!r} is the node's own namespace"
        )
    return fd
