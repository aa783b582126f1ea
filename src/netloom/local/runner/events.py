"""Events about pods (core/v1 Event): what `kubectl describe` tells of failures, and of programs that start. In: a pod, a reason; out: API objects.

Sent in the background, repeats are counted and not repeated, and none of it may hold anything up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from netloom.clock import Clock, rfc3339
from netloom.errors import NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.resources import EVENTS
from netloom.local.runner.spec import Pod

log = logging.getLogger(__name__)

_QUEUE = 200
_REMEMBERED = 500
_REPEAT_S = 60.0


class Events:
    """The events of one runner."""

    def __init__(self, *, client: KubeClient, clock: Clock, node: str) -> None:
        self._client = client
        self._clock = clock
        self._node = node
        self._queue: asyncio.Queue[dict[str, object]] = asyncio.Queue(_QUEUE)
        self._last: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def warn(self, pod: Pod, reason: str, message: str, *, container: str = "") -> None:
        """Something went wrong with a pod, or with one of its containers. The same within a minute is not told again."""
        self._tell(pod, "Warning", (reason, message), container)

    def note(self, pod: Pod, reason: str, message: str, *, container: str) -> None:
        """Something went as it should. The same within a minute is not told again."""
        self._tell(pod, "Normal", (reason, message), container)

    def _tell(self, pod: Pod, kind: str, words: tuple[str, str], container: str) -> None:
        reason, message = words
        now = self._clock.wall()
        key = (pod.uid + container, reason, message)
        if now - self._last.get(key, 0.0) < _REPEAT_S or self._queue.full():
            return
        self._last[key] = now
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        event = self._event(pod, container, reason, message[:1000], rfc3339(now))
        self._queue.put_nowait(event | {"type": kind})

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            body = await self._queue.get()
            try:
                await self._client.create(EVENTS, body)
            except NetloomError as error:
                log.debug("event not sent: %s", error)

    def _event(self, pod: Pod, container: str, reason: str, message: str, now: str) -> dict[str, object]:
        meta = pod.metadata
        part = {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta.name[:50]}.", "namespace": meta.namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": meta.namespace,
                "name": meta.name,
                "uid": meta.uid,
                **part,
            },
            "reason": reason,
            "message": message,
            "source": {"component": "netloom-runner", "host": self._node},
            "reportingComponent": "netloom-runner",
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
