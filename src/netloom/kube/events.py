"""Kubernetes Events about objects: what `kubectl describe` shows. In: emit(); out: core/v1 Events, repeats counted.

Emitting never waits and never fails: Events are a courtesy. They are sent a little later, together, so that they do not
stand in the way of the work that they tell about. An Event's name follows from what it says: who tells the same again, after a
restart or from another node, counts one more and adds none. Not here: logs.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict, deque
from typing import Any

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.errors import AlreadyExists, NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import EVENTS, Resource
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_LINGER_S = 0.5
_WAITING = 2000
_REMEMBERED = 4000
_LONGEST_NAME = 220
_LONGEST_MESSAGE = 1024
"""Bytes; events.k8s.io/v1 refuses longer notes, and nobody reads them."""


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
        self._known: OrderedDict[_Fact, int] = OrderedDict()

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
        said = message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore")
        fact = _Fact(resource, key, uid, "Warning" if warning else "Normal", reason, said)
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
        if (count := self._known.get(fact)) is not None:
            try:
                await self._count(fact, wall, count)
            except NotFound:
                pass  # Events expire; then this is a new one.
            else:
                return
        try:
            await self._client.create(EVENTS, self._body(fact, wall))
            self._remember(fact, 1)
        except AlreadyExists:
            told = await self._client.get(EVENTS, _key_of(fact))
            await self._count(fact, wall, int(told.get("count") or 1))

    async def _count(self, fact: _Fact, wall: float, count: int) -> None:
        """Told once more."""
        again = {"count": count + 1, "lastTimestamp": rfc3339(wall)}
        await self._client.patch(EVENTS, _key_of(fact), again)
        self._remember(fact, count + 1)

    def _remember(self, fact: _Fact, count: int) -> None:
        self._known[fact] = count
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _body(self, fact: _Fact, wall: float) -> dict[str, Any]:
        key = _key_of(fact)
        at = rfc3339(wall)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": key.namespace, "name": key.name},
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


def _key_of(fact: _Fact) -> ObjectKey:
    """Events of objects without a namespace are in ``default``, where clients look for them."""
    said = (fact.resource.kind, fact.uid, fact.type, fact.reason, fact.message)
    digest = hashlib.sha256("\0".join(said).encode()).hexdigest()[:16]
    return ObjectKey(
        fact.key.namespace or "default", f"{fact.key.name[:_LONGEST_NAME].rstrip('.-')}.{digest}"
    )
