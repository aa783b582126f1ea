"""The annotation ``network-status`` written into pods. In: a pod and a text. Out: a patch of the pod.

Tried at once, so that a pod's containers find it; where the API server does not answer, it is tried until it does or the pod is gone.
A pod's network never depends on it. Not here: the text (``status``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any, Protocol

from netloom.api.networks import STATUS_ANNOTATION
from netloom.errors import InvalidObject, NetloomError, NotFound
from netloom.kube.resources import PODS, Resource
from netloom.kube.status import Conflict
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_AT_ONCE_S = 2.0
_RETRY_S = (0.5, 30.0)
_WAITING = 1000


class PodPatcher(Protocol):
    """What is asked of the API server (``kube.client.KubeClient``)."""

    async def patch(
        self, resource: Resource, key: ObjectKey, body: object, *, subresource: str = ""
    ) -> dict[str, Any]:
        """A merge patch."""


class StatusPublisher:
    """Writes statuses; at most 1,000 wait, then the oldest are given up.

    Args:
        api: the API server.
    """

    def __init__(self, *, api: PodPatcher) -> None:
        self._api = api
        self._waiting: OrderedDict[ObjectKey, tuple[str, str]] = OrderedDict()
        self._some = asyncio.Event()

    async def publish(self, pod: ObjectKey, uid: str, text: str) -> None:
        """Write a pod's status now, or later. Never fails."""
        self._waiting.pop(pod, None)
        try:
            async with asyncio.timeout(_AT_ONCE_S):
                await self._write(pod, uid, text)
        except (NetloomError, TimeoutError) as error:
            log.warning(
                "Pod %s: %s cannot be written now, and will be later: %s", pod, STATUS_ANNOTATION, error
            )
            self._waiting[pod] = (uid, text)
            if len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)
            self._some.set()

    async def run(self) -> None:
        """Write, until cancelled, what could not be written at once."""
        failures = 0
        while True:
            await self._some.wait()
            if await self.turn():
                failures = 0
                continue
            first, longest = _RETRY_S
            await asyncio.sleep(min(longest, first * 2.0 ** min(failures, 10)))
            failures += 1

    async def turn(self) -> bool:
        """Try once to write everything that waits; True where nothing waits any more."""
        try:
            while self._waiting:
                pod, (uid, text) = next(iter(self._waiting.items()))
                await self._write(pod, uid, text)
                if self._waiting.get(pod) == (uid, text):
                    del self._waiting[pod]
        except NetloomError as error:
            log.debug("writing %s: %s", STATUS_ANNOTATION, error)
            return False
        self._some.clear()
        return True

    async def _write(self, pod: ObjectKey, uid: str, text: str) -> None:
        # the uid makes a patch of a namesake a Conflict
        body = {"metadata": {"uid": uid, "annotations": {STATUS_ANNOTATION: text}}}
        try:
            await self._api.patch(PODS, pod, body, subresource="status")
        except (NotFound, Conflict, InvalidObject) as error:
            log.info("Pod %s: %s is not written: %s", pod, STATUS_ANNOTATION, error)
