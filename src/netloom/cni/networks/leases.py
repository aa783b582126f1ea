"""Addresses of cluster-wide pools for interfaces of this node: taken, and given back. In: a pool and an interface. Out: addresses.

An address is a NetworkLease whose name follows from it: the API server lets one create it, whichever node asks, so two never have the
same. The name is in the node's record before it is asked for, and until it has been given back: an agent that is killed in between
finds it there, and where the API server is away, giving back is tried until it is done. What a node that is dead cannot give back, the
controller does (``netloom/controller``). Not here: which address (``pools``), who asks (``ipam``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from netloom.api.networks import POOL_LABEL, LeaseHolder, NetworkLease, NetworkLeaseSpec, NetworkPool
from netloom.clock import Clock, rfc3339
from netloom.cni.ipam.store import Attachment
from netloom.cni.networks import pools
from netloom.cni.networks.lease_objects import is_held, kept, read_lease, taken
from netloom.cni.networks.pools import Pool, Segment
from netloom.cni.networks.record import LeaseEntry, NetworkRecord
from netloom.errors import AlreadyExists, InvalidObject, NetloomError, NotFound, Unavailable
from netloom.kube.resources import NETWORK_LEASES, Resource
from netloom.kube.status import Conflict
from netloom.units import Addr, ObjectKey, parse_addr

log = logging.getLogger(__name__)

_TRIES = 64
"""How often another node may be faster with the address that we chose before a runtime is told to try again."""
_AT_ONCE_S = 3.0
_LATER_S = 10.0
_RETRY_S = (0.5, 30.0)


class LeaseApi(Protocol):
    """What is asked of the API server (``kube.client.KubeClient``)."""

    async def get(self, resource: Resource, key: ObjectKey) -> dict[str, Any]:
        """One object."""

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """Objects."""

    async def create(self, resource: Resource, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object."""

    async def update(self, resource: Resource, body: Mapping[str, Any]) -> dict[str, Any]:
        """An object as it is to be."""

    async def delete(self, resource: Resource, key: ObjectKey, *, preconditions_uid: str = "") -> None:
        """An object less."""


class Asked(msgspec.Struct, frozen=True):
    """Who wants addresses. ``pod`` is namespace/name and may be empty, as may ``uid``; ``wanted``: these and no others."""

    attachment: Attachment
    pod: str = ""
    uid: str = ""
    wanted: tuple[Addr, ...] = ()


class Granted(msgspec.Struct, frozen=True):
    """An address that was taken."""

    address: Addr
    prefix: int
    gateway: Addr | None


class PoolLeases:
    """The addresses of one node's interfaces in pools.

    Args:
        api: the API server.
        record: where it is written down.
        find_pool: a pool by its name, or None.
        node: this node's name.
        clock: the time.
    """

    def __init__(
        self,
        *,
        api: LeaseApi,
        record: NetworkRecord,
        find_pool: Callable[[str], Awaitable[NetworkPool | None]],
        node: str,
        clock: Clock,
    ) -> None:
        self._api = api
        self._record = record
        self._find_pool = find_pool
        self._node = node
        self._clock = clock
        self._turns: dict[str, asyncio.Lock] = {}
        self._some = asyncio.Event()

    async def pool(self, name: str) -> Pool:
        """A pool that can be used.

        Raises:
            InvalidObject: there is none of that name, or it cannot be used.
        """
        found = await self._find_pool(name)
        if found is None:
            raise InvalidObject(
                f"NetworkPool {name}",
                "",
                "there is no such pool",
                "make it, or correct `ipam.pool` of the network",
            )
        return pools.read(found)

    async def acquire(self, pool: Pool, asked: Asked) -> tuple[Granted, ...]:
        """One address of each family of the pool; the same ones where the interface has them already. All or none.

        Raises:
            Unavailable: all are taken, or the API server does not answer.
            AlreadyExists: an address that was asked for is another's.
            InvalidObject: an address that was asked for is none of the pool.
            StorageError: it could not be written down; nothing was taken.
        """
        for address in asked.wanted:
            if pool.segment_of(address) is None:
                raise InvalidObject(
                    f"NetworkPool {pool.name}", "spec.cidrs", f"{address} is none of its addresses"
                )
        async with self._turn_of(pool.name):
            known = await self._known(pool)
            try:
                granted = [
                    await self._take(pool, segment, asked, known)
                    for segment in pool.segments
                    if segment.size or asked.wanted
                ]
            except BaseException:
                await asyncio.shield(self._release(asked.attachment, pool.name))
                raise
        return tuple(granted)

    async def release(self, attachment: Attachment) -> None:
        """Give back what an interface has. Where the API server does not answer, that is done later.

        Raises:
            StorageError: it could not be written down.
        """
        for pool in sorted({entry.pool for entry in self._record.leases_of(attachment)}):
            async with self._turn_of(pool):
                await self._release(attachment, pool)

    async def check(self, attachment: Attachment) -> tuple[str, ...]:
        """What is wrong with an interface's addresses; nothing where all is well or the API server does not answer."""
        entries = [entry for entry in self._record.leases_of(attachment) if not entry.released]
        if not entries:
            return ("no address is recorded for it",)
        wrong = []
        for entry in entries:
            try:
                lease = await self._get(entry.name)
            except NetloomError:
                continue
            if lease is None or not is_held(lease, attachment):
                wrong.append(f"NetworkLease {entry.name} is not its own any more")
        return tuple(wrong)

    async def run(self) -> None:
        """Give back, until cancelled, what could not be given back at once: by this agent, or by one before it."""
        failures = 0
        while True:
            if await self.turn():
                failures = 0
                await self._some.wait()
            else:
                first, longest = _RETRY_S
                await asyncio.sleep(min(longest, first * 2.0 ** min(failures, 10)))
                failures += 1

    async def turn(self) -> bool:
        """Try once to give back everything; True where nothing is left to be given back."""
        self._some.clear()
        try:
            for entry in [entry for entry in self._record.leases() if entry.released]:
                async with self._turn_of(entry.pool), asyncio.timeout(_LATER_S):
                    # it may have been taken again meanwhile
                    if any(
                        now.released
                        for now in self._record.leases_of(entry.attachment)
                        if now.name == entry.name
                    ):
                        await self._give_back(entry)
        except (NetloomError, TimeoutError) as error:
            log.debug("giving back addresses: %s", error)
            return False
        return True

    def _turn_of(self, pool: str) -> asyncio.Lock:
        """One at a time for each pool: two would choose the same address, or give back what was just taken again."""
        return self._turns.setdefault(pool, asyncio.Lock())

    async def _release(self, attachment: Attachment, pool: str) -> None:
        for entry in self._record.leases_of(attachment):
            if entry.pool != pool:
                continue
            self._record.put_lease(msgspec.structs.replace(entry, released=True))
            try:
                async with asyncio.timeout(_AT_ONCE_S):
                    await self._give_back(entry)
            except (NetloomError, TimeoutError) as error:
                log.warning(
                    "NetworkLease %s cannot be given back now, and will be later: %s", entry.name, error
                )
                self._some.set()

    # --- taking

    async def _known(self, pool: Pool) -> dict[Addr, NetworkLease]:
        """All addresses of a pool that are taken or kept, and by whom."""
        items, _ = await self._api.list(NETWORK_LEASES, label_selector=f"{POOL_LABEL}={pool.name}")
        found = {}
        for item in items:
            lease = read_lease(item)
            address = parse_addr(lease.spec.address)
            if address is not None and lease.spec.pool == pool.name:
                found[address] = lease
        return found

    async def _take(
        self, pool: Pool, segment: Segment, asked: Asked, known: dict[Addr, NetworkLease]
    ) -> Granted:
        wanted = [a for a in asked.wanted if a.version == segment.version]
        own = [
            a
            for a, lease in known.items()
            if a.version == segment.version and is_held(lease, asked.attachment)
        ]
        if own and (not wanted or wanted[0] in own):
            address = wanted[0] if wanted else own[0]
            self._record.put_lease(_entry(pool, address, asked))
            return _granted(pool, segment, address)
        for address in wanted or self._kept(segment, asked, known):
            if await self._attempt(pool, address, asked, known):
                return _granted(pool, segment, address)
        if wanted:
            holder = known[wanted[0]].spec.holder
            raise AlreadyExists(
                f"NetworkPool {pool.name}: {wanted[0]}, which is asked for, is held by Pod {holder.pod or '?'}"
                f" on node {holder.node or '?'}",
                "ask for another, or delete that pod",
            )
        for _ in range(_TRIES):
            chosen = pools.choose(
                segment, known, seed=f"{asked.pod or asked.attachment}/{asked.attachment.interface}"
            )
            if chosen is None:
                raise Unavailable(
                    f"NetworkPool {pool.name}: all {segment.size} addresses of {', '.join(map(str, segment.cidrs))} are taken",
                    "delete pods that have them, or widen the pool",
                )
            if await self._attempt(pool, chosen, asked, known):
                return _granted(pool, segment, chosen)
        raise Unavailable(f"NetworkPool {pool.name}: other nodes were faster {_TRIES} times", "try again")

    @staticmethod
    def _kept(segment: Segment, asked: Asked, known: Mapping[Addr, NetworkLease]) -> list[Addr]:
        """Addresses that are kept for a pod of this name."""
        return [
            address
            for address, lease in known.items()
            if address.version == segment.version
            and asked.pod
            and not lease.spec.holder.container
            and (lease.spec.holder.pod, lease.spec.holder.interface)
            == (asked.pod, asked.attachment.interface)
        ]

    async def _attempt(
        self, pool: Pool, address: Addr, asked: Asked, known: dict[Addr, NetworkLease]
    ) -> bool:
        """Take an address that is free, or kept for this pod; False where somebody else has it, who is in ``known`` then."""
        entry = _entry(pool, address, asked)
        there = known.get(address)
        if there is not None and (there.spec.holder.container or there.spec.holder.pod != asked.pod):
            return False
        self._record.put_lease(entry)
        body = taken(pool.name, address, self._holder(asked))
        try:
            if there is None:
                await self._api.create(NETWORK_LEASES, body)
            else:
                body["metadata"]["resourceVersion"] = there.metadata.resource_version
                await self._api.update(NETWORK_LEASES, body)
        except (AlreadyExists, Conflict, NotFound):
            # what a lost answer to an earlier request made is ours all the same
            lease = await self._get(entry.name)
            if lease is not None and is_held(lease, asked.attachment):
                return True
            self._record.drop_lease(entry.name)
            known[address] = lease or NetworkLease(spec=NetworkLeaseSpec(holder=LeaseHolder(container="?")))
            return False
        return True

    def _holder(self, asked: Asked) -> LeaseHolder:
        at = asked.attachment
        return LeaseHolder(asked.pod, asked.uid, self._node, at.container, at.interface)

    # --- giving back

    async def _give_back(self, entry: LeaseEntry) -> None:
        lease = await self._get(entry.name)
        if lease is not None and is_held(lease, entry.attachment):
            try:
                if entry.keep_seconds and entry.keep_for:
                    await self._keep(entry, lease)
                else:
                    key = ObjectKey("", entry.name)
                    await self._api.delete(NETWORK_LEASES, key, preconditions_uid=lease.metadata.uid)
            except NotFound:
                pass
            except Conflict as error:
                raise Unavailable(f"NetworkLease {entry.name} changed meanwhile", "try again") from error
        self._record.drop_lease(entry.name)

    async def _keep(self, entry: LeaseEntry, lease: NetworkLease) -> None:
        until = rfc3339(self._clock.wall() + entry.keep_seconds)
        await self._api.update(NETWORK_LEASES, kept(lease, until))

    async def _get(self, name: str) -> NetworkLease | None:
        try:
            return read_lease(await self._api.get(NETWORK_LEASES, ObjectKey("", name)))
        except NotFound:
            return None


def wanted_addresses(texts: Sequence[str]) -> tuple[Addr, ...]:
    """Addresses that are asked for, with or without a prefix length; what is none is left out."""
    found = (parse_addr(str(text).partition("/")[0]) for text in texts)
    return tuple(address for address in found if address is not None)


def _entry(pool: Pool, address: Addr, asked: Asked) -> LeaseEntry:
    name = pools.lease_name(pool.name, address)
    return LeaseEntry(name, pool.name, str(address), asked.attachment, asked.pod, pool.keep_seconds)


def _granted(pool: Pool, segment: Segment, address: Addr) -> Granted:
    return Granted(address, pool.prefix_of(address), segment.gateway)
