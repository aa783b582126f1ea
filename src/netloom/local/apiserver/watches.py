"""Who watches what: each event goes to every subscription it concerns, at once and in order.

Comes in: store events. Goes out: bounded queues of (type, event) that the HTTP side drains. Not here: HTTP, encoding.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping

import msgspec

from netloom.api.selectors import Selector
from netloom.local.apiserver.fields import FieldSelector
from netloom.local.apiserver.history import Event, EventType, Record
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.status import too_large
from netloom.local.apiserver.store import Store

QUEUE_LIMIT = 20_000
"""Events that one client may lag behind; then its stream ends and it resumes from its last resourceVersion."""
QUEUE_BYTES = 64 << 20
"""Bytes of objects that one client may lag behind, likewise: 20,000 objects of 3 MB each would be all of the memory."""


class Interest(msgspec.Struct, frozen=True):
    """Which objects of a kind a list or a watch is about."""

    kind: Kind
    namespace: str = ""
    labels: Selector = Selector()
    fields: FieldSelector = FieldSelector()

    def covers(self, record: Record) -> bool:
        """This object is selected."""
        if self.namespace and record.namespace != self.namespace:
            return False
        if self.fields.terms and not self.fields.matches(record.values):
            return False
        return not self.labels.requirements or self.labels.matches(record.labels)

    def type_of(self, event: Event) -> EventType | None:
        """What the event is in the eyes of this selector: an object may enter or leave it. None: of no concern."""
        now = not event.deleted and self.covers(event.record)
        before = event.previous is not None and self.covers(event.previous)
        if now:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else None


class Subscription:
    """One client's queue."""

    def __init__(self, interest: Interest, start: list[tuple[EventType, Event]], limit: int) -> None:
        self.interest = interest
        self._queue: deque[tuple[EventType, Event]] = deque(start)
        self._limit = max(limit, len(start))
        self._bytes = 0
        self._wake = asyncio.Event()
        self.ended = False
        """Nothing more comes: the server stops, or the client lagged too far behind."""
        self.lagged = False
        """Events were lost to this client: it must resume from the last one that it got."""

    def offer(self, event: Event) -> None:
        """Queue the event if it concerns this client."""
        type_ = self.interest.type_of(event)
        if type_ is None or self.ended:
            return
        self._bytes += len(event.record.raw)
        if len(self._queue) >= self._limit or self._bytes > QUEUE_BYTES:
            self.lagged = True
            self.end()
            return
        self._queue.append((type_, event))
        self._wake.set()

    def end(self) -> None:
        """Let the client read what is queued, and nothing after it."""
        self.ended = True
        self._wake.set()

    def take(self) -> list[tuple[EventType, Event]]:
        """All that is queued, oldest first."""
        self._wake.clear()
        batch = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        return batch

    async def wait(self) -> None:
        """Until something is queued or the subscription ended."""
        if not self._queue and not self.ended:
            await self._wake.wait()


class Hub:
    """All subscriptions to one store."""

    def __init__(self, store: Store, *, queue_limit: int = QUEUE_LIMIT) -> None:
        self._store = store
        self._limit = queue_limit
        self._by_kind: dict[str, set[Subscription]] = {}
        self._closed = False
        store.listen(self._publish)

    def subscribe(self, interest: Interest, since: int) -> Subscription:
        """Events of these objects after the revision ``since``, past ones first.

        Raises:
            ApiError: 410 where the history does not reach back that far, 504 where ``since`` is in the future.
        """
        if since > self._store.revision:
            raise too_large(since, self._store.revision)
        start = list(_concerning(interest, self._store.history(interest.kind).since(since)))
        subscription = Subscription(interest, start, self._limit)
        if self._closed:
            subscription.end()
        self._by_kind.setdefault(interest.kind.qualified, set()).add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget this client."""
        self._by_kind[subscription.interest.kind.qualified].discard(subscription)

    def end(self, kind: Kind) -> None:
        """End the streams of one kind: its definition changed, or went."""
        for subscription in self._by_kind.get(kind.qualified, ()):
            subscription.end()

    def close(self) -> None:
        """End every stream, and those that are still to come."""
        self._closed = True
        for subscriptions in self._by_kind.values():
            for subscription in subscriptions:
                subscription.end()

    def counts(self) -> Mapping[str, int]:
        """How many clients watch each kind."""
        return {kind: len(subscriptions) for kind, subscriptions in self._by_kind.items() if subscriptions}

    def _publish(self, event: Event) -> None:
        for subscription in self._by_kind.get(event.record.kind.qualified, ()):
            subscription.offer(event)


def _concerning(interest: Interest, events: list[Event]) -> Iterator[tuple[EventType, Event]]:
    for event in events:
        type_ = interest.type_of(event)
        if type_ is not None:
            yield type_, event
