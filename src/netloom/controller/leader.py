"""One of several controllers leads: who it is stands in a Lease. In: a client, a name of one's own, work; out: the work done by one at a time.

Whoever holds the Lease writes into it again and again; who does not sees it change. It is given to another when it has not changed for
its whole duration by the other's own clock: clocks are never compared. Who leads stops in time: after ``deadline_s`` without a renewal,
which is well before anybody else may begin. Each write names the resourceVersion that it follows from, so that of two who try one
fails. Who ends gives the Lease back, and the next one need not wait. Not here: what a leader does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from netloom.api.coordination import Lease
from netloom.api.nulls import without_nulls
from netloom.clock import Clock, micro_time
from netloom.errors import AlreadyExists, NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import LEASES
from netloom.kube.status import Conflict
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

LEASE = ObjectKey("kube-system", "netloom-controller")
_RELEASE_S = 2.0


class Terms(msgspec.Struct, frozen=True):
    """Times of a Lease, seconds."""

    duration_s: int = 15
    """Without a change for so long it is anybody's."""
    deadline_s: float = 10.0
    """Who leads stops when it could not be renewed for so long. What is under way then has until ``duration_s`` to come in."""
    retry_s: float = 2.0
    """Between two renewals, and between two looks of who waits."""


def own_identity() -> str:
    """A name that no other process has: the host's, and something by chance."""
    return f"{os.uname().nodename}_{secrets.token_hex(4)}"


class Leader:
    """Leads, or waits for it.

    Args:
        client: an open client.
        identity: of this process, unlike that of any other that runs at the same time. Who has the identity that stands in the Lease
            goes on with it: it is the same process, or follows one that has ended.
        clock: the time.
        lease: which Lease.
        terms: its times.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        identity: str,
        clock: Clock,
        lease: ObjectKey = LEASE,
        terms: Terms = Terms(),  # noqa: B008 - a constant
    ) -> None:
        self._client = client
        self._identity = identity
        self._clock = clock
        self._key = lease
        self._terms = terms
        self._seen: tuple[str, float] = ("", 0.0)
        self._held: Lease | None = None
        self._until = float("-inf")
        self._said = ""
        """Why the Lease cannot be had, as it was told last."""

    @property
    def is_leading(self) -> bool:
        """Whether this process may write, at this moment. Ask right before each write."""
        return self._held is not None and self._clock.monotonic() < self._until

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work while this process leads, from its beginning each time; until cancelled.

        Raises:
            ExceptionGroup: the work failed.
        """
        try:
            while True:
                if not await self._tries():
                    await asyncio.sleep(self._terms.retry_s)
                    continue
                log.info("leads (%s): Lease %s", self._identity, self._key)
                await self._lead(work)
                log.warning("leads no more (%s): Lease %s", self._identity, self._key)
        finally:
            await self._release()

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        async def working() -> None:
            await work()

        async with asyncio.TaskGroup() as tasks:
            doing = tasks.create_task(working(), name="leading")
            await self._renew_until_lost()
            doing.cancel()

    async def _renew_until_lost(self) -> None:
        while (left := self._until - self._clock.monotonic()) > 0:
            await asyncio.sleep(min(left, self._terms.retry_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._until - self._clock.monotonic())):
                    if not await self._tries() and self._held is None:
                        return
        self._held = None

    async def _tries(self) -> bool:
        """Take the Lease, or renew it; False where somebody else has it, or it cannot be reached."""
        began = self._clock.monotonic()
        try:
            lease = self._held or await self._read()
            if lease is not None and not self._is_ours_to_take(lease):
                self._held = None
                self._tell("")
                return False
            self._held = await self._write(lease)
        except (Conflict, AlreadyExists) as error:
            log.debug("%s", error)
            return await self._look_again()
        except NotFound as error:  # it was deleted; or there can be none
            self._tell("" if self._held else str(error))
            return await self._look_again()
        except NetloomError as error:
            self._tell(str(error))
            return False
        self._tell("")
        self._until = began + self._terms.deadline_s
        return True

    def _tell(self, problem: str) -> None:
        """Each problem at its first time; that there is none, where there was one."""
        if problem and problem != self._said:
            log.warning("Lease %s can be neither taken nor renewed, tried again: %s", self._key, problem)
        elif self._said and not problem:
            log.info("Lease %s can be reached again", self._key)
        self._said = problem

    async def _look_again(self) -> bool:
        """Somebody else wrote; whether they took it from us is in what they wrote."""
        if self._held is None:
            return False
        try:
            lease = await self._read()
        except NetloomError as error:
            self._tell(str(error))
            return False
        still_ours = lease is not None and lease.spec.holder_identity == self._identity
        self._held = lease if still_ours else None
        return False

    def _is_ours_to_take(self, lease: Lease) -> bool:
        holder, now = lease.spec.holder_identity, self._clock.monotonic()
        if holder in ("", self._identity):
            return True
        if self._seen[0] != lease.metadata.resource_version:
            self._seen = (lease.metadata.resource_version, now)
        return now - self._seen[1] >= max(lease.spec.lease_duration_seconds, self._terms.duration_s)

    async def _read(self) -> Lease | None:
        try:
            return _decoded(await self._client.get(LEASES, self._key))
        except NotFound:
            return None

    async def _write(self, lease: Lease | None) -> Lease:
        now = micro_time(self._clock.wall())
        spec: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._terms.duration_s,
            "renewTime": now,
        }
        if lease is None or lease.spec.holder_identity != self._identity:
            before = -1 if lease is None else lease.spec.lease_transitions
            spec |= {"acquireTime": now, "leaseTransitions": before + 1}
        if lease is None:
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"namespace": self._key.namespace, "name": self._key.name},
                "spec": spec,
            }
            return _decoded(await self._client.create(LEASES, body))
        return _decoded(await self._client.patch(LEASES, self._key, _following(lease, spec)))

    async def _release(self) -> None:
        """Give it back, so that the next one need not wait for its end. What cannot be given back ends by itself."""
        lease, self._held = self._held, None
        if lease is None:
            return
        spec = {"holderIdentity": None, "leaseDurationSeconds": None, "acquireTime": None}
        with contextlib.suppress(NetloomError, TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._client.patch(LEASES, self._key, _following(lease, spec))


def _following(lease: Lease, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch that the server takes only if nobody has written since."""
    return {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": dict(spec)}


def _decoded(document: Mapping[str, Any]) -> Lease:
    return msgspec.convert(without_nulls(dict(document)), Lease)
