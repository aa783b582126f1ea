"""A whole API server in the test's own loop, reached over a unix socket; time for people stands still unless told."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store

SERVICE_CIDR = ipaddress.ip_network("10.96.0.0/16")
NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


class HandClock:
    """Wall time moves by hand; monotonic time is the machine's."""

    def __init__(self) -> None:
        self.now = NOON

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return time.monotonic()


class Reply:
    """An answer: code, headers, and the document in it."""

    def __init__(self, code: int, headers: Json, text: str) -> None:
        self.code = code
        self.headers = headers
        self.text = text

    @property
    def json(self) -> Json:
        return json.loads(self.text)

    def ok(self) -> Json:
        """The document, of an answer that must be good."""
        assert self.code < 300, self.text
        return self.json

    def refused(self, code: int, reason: str) -> Json:
        """The Status, of an answer that must be this refusal."""
        status = self.json
        assert (self.code, status["reason"]) == (code, reason), self.text
        assert status["kind"] == "Status"
        assert status["code"] == code
        return status


class Api:
    """A client of the server under test. Paths are relative to the namespace ``shop`` where they do not begin with /."""

    def __init__(
        self, session: aiohttp.ClientSession, server: ApiServer, store: Store, clock: HandClock
    ) -> None:
        self.session = session
        self.server = server
        self.store = store
        self.clock = clock

    async def __call__(self, method: str, path: str, body: Json = None, **headers: str) -> Reply:
        data = (
            None
            if body is None
            else io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        )
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.url(path), data=data, headers=sent) as response:
            return Reply(response.status, response.headers, await response.text(errors="replace"))

    @staticmethod
    def url(path: str) -> str:
        return "http://api" + (path if path.startswith("/") else f"/api/v1/namespaces/shop/{path}")

    async def create(self, path: str, body: dict[str, Any]) -> Json:
        return (await self("POST", path, body)).ok()

    async def patch(self, path: str, body: Json, kind: str = "merge-patch+json") -> Reply:
        return await self("PATCH", path, body, Content_Type=f"application/{kind}")

    @asynccontextmanager
    async def watch(self, path: str, **headers: str) -> AsyncIterator[Callable[[], Any]]:
        """A function that awaits the next event of a watch."""
        async with self.session.get(self.url(path), headers=headers) as response:
            assert response.status == 200, await response.text()

            async def following() -> Json:
                async with asyncio.timeout(5):
                    line = await response.content.readline()
                return json.loads(line) if line else None

            yield following


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path leaves room for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="nl") as directory:
        yield Path(directory)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:", window=200)
    yield opened
    opened.close()


@pytest.fixture
async def api(short_dir: Path, store: Store, clock: HandClock) -> AsyncIterator[Api]:
    server = ApiServer(
        store=store,
        clock=clock,
        service_cidrs=[SERVICE_CIDR],
        runner_socket=lambda node: short_dir / f"{node}.sock",
        bookmark_s=0.02,
    )
    async with serving(server, [Listener(listening(short_dir / "api.sock"))]):
        connector = aiohttp.UnixConnector(str(short_dir / "api.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            client = Api(session, server, store, clock)
            await client.create("/api/v1/namespaces", namespace("shop"))
            yield client


@asynccontextmanager
async def serving(server: ApiServer, listeners: list[Listener]) -> AsyncIterator[None]:
    """The server runs inside; leaving ends it, in time."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.serve(listeners))
        started = group.create_task(server.started.wait())
        await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
        try:
            yield
        finally:
            started.cancel()
            task.cancel()
            async with asyncio.timeout(10):
                await asyncio.wait((task,))


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def service(name: str, **spec: Json) -> dict[str, Any]:
    spec = {"ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def pod(name: str, *, labels: dict[str, str] | None = None, **spec: Json) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "example.org/app"}], **spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
    }


def deployment(name: str, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "example.org/app"}]},
            },
        },
    }
