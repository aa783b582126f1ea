"""Kubernetes Events about objects: what `kubectl describe` shows. In: emit(); out: core/v1 Events, repeats counted.

Emitting never waits and never fails: Events are a courtesy. They are sent a little later, together, so that they do not
stand in the way of the work that they tell about. Not here: logs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import EVENTS, Resource
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_LINGER_S = 0.5
_WAITING = 2000
_REMEMBERED = 4000


class _Fact(msgspec.Struct, frozen=True):
    resource: Resource
    key: ObjectKey
    uid: str
    type: str
    reason: str
    message: str


class EventRecorder:
    """Sends Events of one component; at most 2,000 wait, then the oldest are dropped."""

    def __init__(self, client: KubeClient, component: str, *, clock: Clock) -> None:
        self._client = client
        self._component = component
        self._clock = clock
        self._waiting: deque[tuple[_Fact, float]] = deque(maxlen=_WAITING)
        self._some = asyncio.Event()
        self._known: OrderedDict[_Fact, tuple[ObjectKey, int]] = OrderedDict()

    def emit(
        self,
        resource: Resource,
        key: ObjectKey,
        uid: str,
        *,
        reason: str,
        message: str,
        warning: bool = False,
    ) -> None:
        """Tell about an object; ``reason`` is one word in camel case, ``message`` a sentence."""
        fact = _Fact(resource, key, uid, "Warning" if warning else "Normal", reason, message)
        self._waiting.append((fact, self._clock.wall()))
        self._some.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(_LINGER_S)
            self._some.clear()
            await self.flush()

    async def flush(self) -> None:
        """Send everything that waits; what cannot be sent is dropped."""
        while self._waiting:
            fact, wall = self._waiting.popleft()
            try:
                await self._send(fact, wall)
            except NetloomError as error:
                log.debug("event %s of %s %s: %s", fact.reason, fact.resource.kind, fact.key, error)

    async def _send(self, fact: _Fact, wall: float) -> None:
        known = self._known.get(fact)
        if known is not None:
            name, count = known
            try:
                await self._client.patch(EVENTS, name, {"count": count + 1, "lastTimestamp": rfc3339(wall)})
            except NotFound:
                pass  # Events expire; then this is a new one.
            else:
                self._known[fact] = (name, count + 1)
                return
        created = await self._client.create(EVENTS, self._body(fact, wall))
        metadata: Mapping[str, Any] = created["metadata"]
        self._known[fact] = (ObjectKey(metadata["namespace"], metadata["name"]), 1)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _body(self, fact: _Fact, wall: float) -> dict[str, Any]:
        namespace = fact.key.namespace or "default"
        at = rfc3339(wall)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "generateName": f"{fact.key.name}."},
            "involvedObject": {
                "apiVersion": fact.resource.api_version,
                "kind": fact.resource.kind,
                "namespace": fact.key.namespace,
                "name": fact.key.name,
                "uid": fact.uid,
            },
            "type": fact.type,
            "reason": fact.reason,
            "message": fact.message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
