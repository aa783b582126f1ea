"""An engine with a real HAProxy on loopback, stand-in backends that say what they were asked, and clients from outside.

Comes in: plans. Goes out: answers as curl got them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from netloom.clock import SystemClock
from netloom.gateway.engine import Engine
from netloom.gateway.haproxy.told import Settings
from netloom.model.gateways.plan import (
    Door,
    Endpoint,
    Host,
    Listener,
    Match,
    PathKind,
    Plan,
    Pool,
    PoolProtocol,
    Rule,
    Share,
    Transport,
)
from netloom.model.provenance import Source
from netloom.units import ObjectKey

HERE = ip_address("127.0.0.1")
GATEWAY = ObjectKey("shop", "edge")


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind((str(HERE), 0))
        port: int = one.getsockname()[1]
        return port


def source(kind: str = "HTTPRoute", name: str = "web", field: str = "") -> Source:
    return Source(kind, "shop", name, "", 1, field)


def pool(key: str, *ports: int, **also: Any) -> Pool:
    """A pool with endpoints at these ports."""
    return Pool(
        key=key,
        service=ObjectKey("shop", key.split("/")[1]),
        port=80,
        protocol=also.pop("protocol", PoolProtocol.HTTP),
        endpoints=tuple(Endpoint(HERE, port) for port in ports),
        source=source("Service", key.split("/")[1]),
        **also,
    )


def share(key: str = "shop/web/80", weight: int = 1, **also: Any) -> Share:
    return Share(key, weight, source(field="backendRefs"), **also)


def rule(path: str = "/", kind: PathKind = PathKind.PREFIX, *, to: str = "shop/web/80", **also: Any) -> Rule:
    """A rule of a path; ``match`` in its place, and all else that a rule has, by name."""
    match = also.pop("match", None) or Match(kind, path)
    also.setdefault("shares", (share(to),))
    also.setdefault("name", f"HTTPRoute shop/web {path}")
    also.setdefault("source", source(field=f"spec.rules[{path}]"))
    return Rule(match=match, **also)


def http_door(node_port: int, *hosts: Host, port: int = 80) -> Door:
    """A door for requests that are not encrypted."""
    listener = Listener("http", source("Gateway", "edge"), hosts=hosts)
    return Door(GATEWAY, source("Gateway", "edge"), port, Transport.HTTP, (listener,), node_port)


def plan(doors: Iterable[Door], *pools: Pool) -> Plan:
    return Plan(tuple(doors), {one.key: one for one in pools})


class Answer(msgspec.Struct):
    """What a client got."""

    status: int
    headers: dict[str, list[str]]
    body: str
    version: str = ""

    @property
    def said(self) -> dict[str, Any]:
        """What the backend was asked, as it says."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    def header(self, name: str) -> str | None:
        values = self.headers.get(name)
        return values[0] if values else None


async def run(*argv: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out, err


async def curl(url: str, *words: str) -> Answer:
    """What curl gets; status 0 where it gets nothing."""
    with tempfile.NamedTemporaryFile() as body:
        code, out, _ = await run(
            "curl", "-sk", "--max-time", "15", "-o", body.name, "-w", '{"s":%{http_code},"v":"%{http_version}","h":%{header_json}}',
            *words, url,
        )  # fmt: skip
        if code and not out:
            return Answer(0, {}, "")
        try:
            told = json.loads(out)
        except ValueError:
            told = {"s": 0, "h": {}, "v": ""}
        text = body.read().decode(errors="replace")
        return Answer(told["s"], told["h"], text, told["v"])


class Backend:
    """Answers every request with what it was asked, and remembers it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.asked: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        """Statuses of the next answers, before it is well again."""
        self.headers: Mapping[str, str] = {}
        self.delay: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        told = {
            "name": self.name,
            "method": request.method,
            "path": request.raw_path,
            "host": request.headers.get("Host", ""),
            "headers": {key.lower(): request.headers.getall(key) for key in request.headers},
            "body": body.decode(errors="replace"),
        }
        self.asked.append(told)
        if self.delay is not None:
            await self.delay.wait()
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._echo(request)
        status = self.statuses.pop(0) if self.statuses else 200
        return web.json_response(told, status=status, headers=self.headers)

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(f"{self.name}: {message.data}")
        return ws


@contextlib.asynccontextmanager
async def backend(name: str, ssl: Any = None) -> AsyncIterator[Backend]:
    made = Backend(name)
    server = web.Server(made.handle, keepalive_timeout=60)
    listening = await asyncio.get_running_loop().create_server(server, str(HERE), 0, ssl=ssl)
    made.port = listening.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        if made.delay is not None:
            made.delay.set()
        listening.close()
        await server.shutdown(0)


@contextlib.asynccontextmanager
async def engine(**settings: Any) -> AsyncIterator[Engine]:
    """An engine that runs."""
    directory = Path(tempfile.mkdtemp(prefix="nl-gw-"))
    settings.setdefault("threads", 1)
    settings.setdefault("spares", 2)
    made = Engine(directory, (HERE,), SystemClock(), settings=Settings(**settings))
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made.run())
            try:
                yield made
            finally:
                running.cancel()
    finally:
        shutil.rmtree(directory)
