"""Writes statuses of gateways' objects. In: our part of each status as it should be, and the objects as they are; out: patches.

What is there already is not written; what is written names the resourceVersion that it follows from, so that nobody's part is lost: who
comes second looks again when the watch has told. A burst of changes of one object is one write. Not here: what is said (the model), and
how it goes among what others say (``status_parts.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from netloom.api.meta import KubeObject
from netloom.clock import Clock, rfc3339
from netloom.controller import status_parts
from netloom.controller.bursts import Bursts
from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import Resource
from netloom.kube.status import Conflict, Denied
from netloom.model.gateways.build import StatusKey

log = logging.getLogger(__name__)

_AT_ONCE = 4


class StatusWriter(Bursts):
    """Keeps statuses as they should be.

    Args:
        client: an open client.
        resources: by kind.
        live: gives an object as the API server has it; None where it is gone.
        may_write: asked before each write.
        clock: for times of conditions.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        resources: Mapping[str, Resource],
        live: Callable[[StatusKey], KubeObject | None],
        may_write: Callable[[], bool],
        clock: Clock,
    ) -> None:
        super().__init__()
        self._client = client
        self._resources = resources
        self._live = live
        self._may_write = may_write
        self._clock = clock
        self._wanted: dict[StatusKey, Mapping[str, Any]] = {}
        self._dirty: dict[StatusKey, None] = {}
        self.writes = 0
        self.failures = 0

    def want(self, statuses: Mapping[StatusKey, Mapping[str, Any]]) -> None:
        """Our parts of all statuses, from now on."""
        before, self._wanted = self._wanted, dict(statuses)
        for key, wanted in statuses.items():
            known = before.get(key)
            if known is not wanted and known != wanted:
                self.touch(key)
        for key in before.keys() - statuses.keys():
            self.touch(key)

    def touch(self, key: StatusKey) -> None:
        """This object may have changed."""
        if key.kind in self._resources:
            self._dirty[key] = None
            self._some.set()

    async def turn(self) -> bool:
        """Write what differs; whether nothing failed. What failed is still to be written."""
        self._some.clear()
        due, self._dirty = list(self._dirty), {}
        failed: list[StatusKey] = []
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(key: StatusKey) -> None:
            async with gate:
                if not await self._settle(key):
                    failed.append(key)

        async with asyncio.TaskGroup() as tasks:
            for key in due:
                tasks.create_task(one(key), name="status")
        self._dirty.update(dict.fromkeys(failed))
        return not failed

    async def _settle(self, key: StatusKey) -> bool:
        obj = self._live(key)
        if obj is None or not self._may_write():
            return True
        live = status_of(obj)
        wanted = self._wanted.get(key)
        if wanted is None:
            # nothing of ours is to be said any more, as of a route that has left our gateways
            wanted = {field: () for field in status_parts.SHARED if field in live}
        fields = status_parts.changes(live, wanted, now=rfc3339(self._clock.wall()))
        if not fields:
            return True
        resource = self._resources[key.kind]
        body = {"metadata": {"resourceVersion": obj.metadata.resource_version}, "status": fields}
        try:
            await self._client.patch(resource, key.key, body, subresource="status")
        except (Conflict, NotFound) as error:
            # the watch tells of what came in between, and that touches it again
            log.debug("%s", error)
            return True
        except Denied as error:
            log.warning("status of %s %s: %s", key.kind, key.key, error)
            return True
        except NetloomError as error:
            self.failures += 1
            log.warning("status of %s %s: %s", key.kind, key.key, error)
            return False
        self.writes += 1
        return True


def status_of(obj: KubeObject) -> dict[str, Any]:
    """The status of an object, as JSON has it; empty where there is none, or it is no object."""
    status = msgspec.to_builtins(getattr(obj, "status", None))
    return status if isinstance(status, dict) else {}
