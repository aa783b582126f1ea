"""An API server that says what a test tells it, line by line: for the client's own tests, where a real server is too well-behaved.

In: objects, watch lines, status codes; out: an aiohttp handler, or a server. Not here: any behaviour of a real API server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def obj(name: str, version: int = 1, **data: object) -> dict[str, object]:
    """A ConfigMap of namespace ``shop``."""
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": str(version)}, "data": data}


class ScriptedServer:
    """Lists answer `objects`; watches get what is put into `lines` (None ends the stream)."""

    def __init__(self) -> None:
        self.objects: list[dict[str, object]] = []
        self.version = 1
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.requests: list[web.Request] = []
        self.watching = asyncio.Event()
        self.handler: Handler | None = None
        self.watch_status = 200
        self.refused = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Every request comes here; ``handler`` takes it over where it is set."""
        self.requests.append(request)
        if self.handler is not None:
            return await self.handler(request)
        if request.query.get("watch") == "true":
            return await self._watch(request)
        start = int(request.query.get("continue", "0"))
        end = start + int(request.query.get("limit", "500"))
        more = {"continue": str(end)} if end < len(self.objects) else {}
        return web.json_response(
            {"metadata": {"resourceVersion": str(self.version)} | more, "items": self.objects[start:end]}
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if self.watch_status != 200:
            self.refused.set()
            return web.json_response(
                {"kind": "Status", "code": self.watch_status, "message": "too old"}, status=self.watch_status
            )
        response = web.StreamResponse()
        await response.prepare(request)
        self.watching.set()
        while (line := await self.lines.get()) is not None:
            await response.write(line)
        self.watching.clear()
        return response

    def send(self, type_: str, object_: dict[str, object]) -> None:
        """One event for the next or current watch."""
        self.lines.put_nowait(json.dumps({"type": type_, "object": object_}).encode() + b"\n")


@asynccontextmanager
async def scripted_server(socket: Path) -> AsyncIterator[ScriptedServer]:
    """A server on a unix socket; its watch ends with it."""
    scripted = ScriptedServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    yield scripted
    scripted.lines.put_nowait(None)
    await runner.cleanup()
