"""A watch over HTTP: one line of JSON for each event, as soon as it is committed.

Comes in: a request with its options. Goes out: a chunked answer that ends with the client, the server, or the time that
the client set. Not here: which events concern whom (watches.py), shapes (tables.py).
Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks", "Streaming lists".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import cast

from aiohttp import web

from netloom.clock import Clock
from netloom.local.apiserver.history import Event, EventType, Record, watch_line
from netloom.local.apiserver.queries import ListOptions
from netloom.local.apiserver.status import ApiError, too_large
from netloom.local.apiserver.store import Store
from netloom.local.apiserver.tables import Renderer
from netloom.local.apiserver.watches import Hub, Interest, Subscription

_LOG = logging.getLogger(__name__)
BOOKMARK_S = 60.0
LONGEST_S = 3000.0
"""A watch without ``timeoutSeconds`` ends after this time; clients resume."""
STUCK_S = 60.0
"""A client that reads nothing for so long is gone for all we know, and what waits for it is let go."""
_CHUNK = 256 << 10
_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}


class _Stuck(Exception):
    """The client reads nothing."""


class Watches:
    """Serves watches on one store.

    Args:
        bookmark_s: seconds between bookmarks, for clients that allow them.
        stuck_s: seconds after which a client that reads nothing is given up.
    """

    def __init__(
        self,
        *,
        store: Store,
        hub: Hub,
        clock: Clock,
        bookmark_s: float = BOOKMARK_S,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._store = store
        self._stuck_s = stuck_s
        self._hub = hub
        self._clock = clock
        self._bookmark_s = bookmark_s

    async def serve(
        self, request: web.Request, options: ListOptions, renderer: Renderer
    ) -> web.StreamResponse:
        """Answer with events until the watch ends.

        Raises:
            ApiError: 504, the client asks for a future revision.
        """
        interest = options.interest
        start = options.version or 0
        with_items = options.initial_events or (options.initial_events is None and not start)
        if start > self._store.revision:
            raise too_large(start, self._store.revision)
        since = start if start and not with_items else self._store.revision
        try:
            subscription = self._hub.subscribe(interest, since)
        except ApiError as gone:
            # told as an event, where watchers look for it
            return web.Response(body=watch_line("ERROR", gone.render()), headers=_HEADERS)
        try:
            items = self._items(interest) if with_items else []
            stream = _Stream(renderer, options, self._store)
            response = web.StreamResponse(headers=_HEADERS)
            await response.prepare(request)
            for chunk in _chunks(stream.added(items)):
                await self._write(response, chunk)
            del items
            if options.initial_events and options.bookmarks:
                await self._write(response, stream.bookmark(since, initial_done=True))
            await self._pump(subscription, stream, response)
            await response.write_eof()
        except _Stuck:
            _LOG.info("a watch of %s is ended: its client reads nothing", interest.kind.qualified)
            if request.transport is not None:
                cast("asyncio.WriteTransport", request.transport).abort()
        finally:
            self._hub.unsubscribe(subscription)
        return response

    async def _write(self, response: web.StreamResponse, chunk: bytes) -> None:
        """Write, and wait until the client has room again.

        Raises:
            _Stuck: it had none for too long.
        """
        try:
            async with asyncio.timeout(self._stuck_s):
                await response.write(chunk)
        except TimeoutError as error:
            raise _Stuck from error

    def _items(self, interest: Interest) -> list[Record]:
        return [r for r in self._store.scan(interest.kind, interest.namespace) if interest.covers(r)]

    async def _pump(self, subscription: Subscription, stream: _Stream, response: web.StreamResponse) -> None:
        end = self._clock.monotonic() + (stream.options.timeout_s or LONGEST_S)
        bookmark = self._clock.monotonic() + self._bookmark_s
        while True:
            batch = subscription.take()
            if batch:
                for chunk in _chunks(stream.lines(batch)):
                    await self._write(response, chunk)
                continue
            now = self._clock.monotonic()
            last = subscription.ended or now >= end
            if stream.options.bookmarks and (now >= bookmark or last) and not subscription.lagged:
                # nothing is queued: this client has seen all there is
                await self._write(response, stream.bookmark(self._store.revision))
                bookmark = now + self._bookmark_s
            if last:
                return
            try:
                async with asyncio.timeout(min(end, bookmark) - now):
                    await subscription.wait()
            except TimeoutError:
                continue


class _Stream:
    """Events as the lines of one client."""

    def __init__(self, renderer: Renderer, options: ListOptions, store: Store) -> None:
        self.options = options
        self._renderer = renderer
        self._store = store
        self._first = True

    def added(self, items: list[Record]) -> Iterator[bytes]:
        for record in items:
            yield self._line("ADDED", record.raw)

    def lines(self, batch: list[tuple[EventType, Event]]) -> Iterator[bytes]:
        plain = self._renderer.is_plain(self.options.interest.kind)
        for type_, event in batch:
            yield event.line(type_) if plain else self._line(type_, event.raw(type_))

    def _line(self, type_: EventType, raw: bytes) -> bytes:
        line = watch_line(type_, self._renderer.watched(self.options.interest.kind, raw, first=self._first))
        self._first = False
        return line

    def bookmark(self, revision: int, *, initial_done: bool = False) -> bytes:
        kind = self.options.interest.kind
        body = self._renderer.bookmark(kind, revision, initial_done=initial_done, first=self._first)
        self._first = False
        return watch_line("BOOKMARK", body)


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines joined to pieces that a socket takes well."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)
