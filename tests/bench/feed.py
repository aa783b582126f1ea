"""An API server that has its answers ready and tells changes at the pace that it is told, so that the agent is what is measured.

In: a listening socket, and over a control socket how many changes at what rate. Out: lists and watches over TLS, as the agent asks for
them; resources that it does not know are empty. Not here: anything else that a real API server does. Whatever the agent
writes is taken and forgotten.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from tests.bench import population

from netloom.kube.client import PAGE
from netloom.kube.resources import ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES
from netloom.local.certs import server_context

_ENOUGH = 1 << 62
_SLICES = ENDPOINT_SLICES.path("")


class Order(msgspec.Struct, frozen=True):
    """Tell this many changes."""

    count: int
    rate: float
    """A second."""


class Told(msgspec.Struct, frozen=True):
    """They have been told."""

    latest_ms: float
    """By how much the latest of them was late."""


class Feed:
    """The server's state: what it lists, who watches, and what it changes next."""

    def __init__(self, services: int) -> None:
        self._services = services
        self._turns = population.Turns(services)
        self._version = 1
        self._watchers: dict[str, list[web.StreamResponse]] = defaultdict(list)
        for resource in (SERVICES, ENDPOINT_SLICES, NODES, NAMESPACES):
            self._pages(resource.path(""), PAGE)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        if request.method != "GET":
            return web.json_response({}, status=200 if request.method == "PATCH" else 201)
        if request.query.get("watch") == "true":
            response = web.StreamResponse()
            await response.prepare(request)
            self._watchers[request.path].append(response)
            await asyncio.Event().wait()  # until the client goes
        pages = self._pages(request.path, int(request.query.get("limit", _ENOUGH)))
        page = pages[int(request.query.get("continue", "0"))]
        return web.Response(body=page, content_type="application/json")

    @functools.cache  # noqa: B019 - there is one feed in its process
    def _pages(self, path: str, limit: int) -> list[bytes]:
        """A list, cut as the client wants it; a continue token is the number of a page."""
        items = self._items(path)
        pages = []
        for at in range(0, max(len(items), 1), limit):
            more = {"continue": str(at // limit + 1)} if at + limit < len(items) else {}
            metadata = {"resourceVersion": "1", **more}
            pages.append(msgspec.json.encode({"metadata": metadata, "items": items[at : at + limit]}))
        return pages

    def _items(self, path: str) -> list[dict[str, Any]]:
        numbers = range(self._services)
        found: list[dict[str, Any]] = []
        if path == SERVICES.path(""):
            found = [population.dns(), *map(population.service, numbers)]
        elif path == _SLICES:
            found = [population.slice_(number) for number in numbers]
        elif path == NODES.path(""):
            found = [population.node(*one) for one in population.NODES]
        elif path == NAMESPACES.path(""):
            found = [population.namespace()]
        for item in found:
            item["metadata"]["resourceVersion"] = "1"
        return found

    async def tell(self, order: Order) -> Told:
        """Tell changes, one after the other at even distances, to all who watch EndpointSlices."""
        lines = [self._line() for _ in range(order.count)]
        latest = 0.0
        began = time.monotonic()
        for number, line in enumerate(lines):
            late = time.monotonic() - began - number / order.rate
            if late < 0:
                await asyncio.sleep(-late)
            latest = max(latest, late)
            for watcher in self._watchers[_SLICES]:
                await watcher.write(line)
        return Told(latest * 1e3)

    def _line(self) -> bytes:
        number, addresses = self._turns.next()
        self._version += 1
        document = population.slice_(number)
        document["endpoints"] = population.endpoints(number, addresses)
        document["metadata"] |= {"resourceVersion": str(self._version), "generation": self._version}
        return msgspec.json.encode({"type": "MODIFIED", "object": document}) + b"\n"


def serve(listener: socket.socket, control: socket.socket, pki: Path, services: int) -> None:
    """Until the process is ended. On ``control``, a socket of packets, it says when all is ready; orders come in."""
    asyncio.run(_serve(listener, control, pki, services))


async def _serve(listener: socket.socket, control: socket.socket, pki: Path, services: int) -> None:
    feed = Feed(services)
    runner = web.ServerRunner(web.Server(feed.handle))
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=server_context(pki)).start()
    control.setblocking(False)
    control.send(b"ready")
    loop = asyncio.get_running_loop()
    while order := await loop.sock_recv(control, 1 << 16):
        told = await feed.tell(msgspec.json.decode(order, type=Order))
        control.send(msgspec.json.encode(told))
