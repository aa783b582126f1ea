"""A plan on a real HAProxy, on loopback, and samples sent to it.

Comes in: a plan, samples. Goes out: what came of each: an ``Observed``. Not here: what should come of it (``proof.py``). The plan is changed where a
proof could not be made: endpoints are stand-ins, clients on loopback are let in, nobody is limited.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from netloom.clock import SystemClock
from netloom.errors import Unavailable
from netloom.gateway.engine import Engine
from netloom.model.gateways.migrate.outcome import Sample
from netloom.model.gateways.plan import Door, Endpoint, Host, Listener, Plan, Pool, Rule, Transport
from netloom.observe.migration.stand_ins import HERE, Seen, backends

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
_ANSWER_S = 10.0
_AT_ONCE = 16
_START_S = 20.0


class Observed(msgspec.Struct, frozen=True):
    """What came of a request."""

    status: int
    location: str = ""
    seen: Seen | None = None
    """What a backend was asked; None: none was."""


def program() -> str:
    """Path of HAProxy; empty where there is none."""
    return shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or ""


async def ask(plan: Plan, samples: Sequence[Sample]) -> Mapping[Sample, Observed]:
    """Send every sample to this plan.

    Raises:
        Unavailable: HAProxy did not come up, or an answer never came.
    """
    names = {f"{pool.service}:{pool.port}" for pool in plan.pools.values()}
    async with backends(sorted(names)) as ports:
        there = _on_loopback(plan, ports)
        async with _engine(there):
            turn = asyncio.Semaphore(_AT_ONCE)
            doors = {door.transport: door for door in there.doors}

            async def one(sample: Sample) -> tuple[Sample, Observed]:
                door = doors.get(Transport.TLS if sample.scheme == "https" else Transport.HTTP)
                if door is None or door.node_port is None:
                    return sample, Observed(404)
                async with turn:
                    return sample, await _send(sample, door.node_port)

            return dict(await asyncio.gather(*map(one, samples)))


@contextlib.asynccontextmanager
async def _engine(plan: Plan) -> AsyncIterator[None]:
    directory = Path(tempfile.mkdtemp(prefix="netloom-proof-"))
    engine = Engine(directory, (ipaddress.ip_address(HERE),), SystemClock(), program=program())
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(engine.run(), name="proof-engine")
            try:
                async with asyncio.timeout(_START_S):
                    await engine.apply(plan)
                yield
            finally:
                running.cancel()
    except TimeoutError as error:
        raise Unavailable(
            "HAProxy did not take the plan in time", "try again, or prove by the model: --prove model"
        ) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _on_loopback(plan: Plan, ports: Mapping[str, int]) -> Plan:
    here = ipaddress.ip_address(HERE)
    pools = {
        key: _pool(pool, Endpoint(here, ports[f"{pool.service}:{pool.port}"]))
        for key, pool in plan.pools.items()
    }
    return Plan(
        tuple(_door(door) for door in plan.doors if door.transport in (Transport.HTTP, Transport.TLS)), pools
    )


def _pool(pool: Pool, endpoint: Endpoint) -> Pool:
    return replace(pool, endpoints=(endpoint,), outliers=None)


def _door(door: Door) -> Door:
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]
    return replace(door, node_port=port, listeners=tuple(map(_listener, door.listeners)))


def _listener(listener: Listener) -> Listener:
    return replace(
        listener, hosts=tuple(Host(host.name, tuple(map(_rule, host.rules))) for host in listener.hosts)
    )


def _rule(rule: Rule) -> Rule:
    traffic = rule.traffic
    allow = (*traffic.allow, _LOOPBACK) if traffic.allow else ()
    return replace(rule, mirrors=(), traffic=replace(traffic, allow=allow, rate=None, outliers=None))


async def _send(sample: Sample, port: int) -> Observed:
    query = f"?{sample.query}" if sample.query else ""
    head = [f"{sample.method} {sample.path}{query} HTTP/1.1", f"Host: {sample.host}", "Connection: close"]
    head += [f"{name}: {value}" for name, value in sample.headers]
    if sample.method not in ("GET", "HEAD", "OPTIONS"):
        head.append("Content-Length: 0")
    context = _trusting() if sample.scheme == "https" else None
    try:
        async with asyncio.timeout(_ANSWER_S):
            name = sample.host if context else None
            reader, writer = await asyncio.open_connection(HERE, port, ssl=context, server_hostname=name)
            writer.write("\r\n".join([*head, "", ""]).encode())
            answer = await reader.read(1 << 20)
            while not reader.at_eof():
                answer += await reader.read(1 << 20)
            writer.close()
    except (OSError, TimeoutError):
        return Observed(0)
    return _observed(answer)


def _observed(answer: bytes) -> Observed:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    status = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
    location = next(
        (line.partition(":")[2].strip() for line in lines if line.lower().startswith("location:")), ""
    )
    try:
        seen = msgspec.convert(json.loads(body), Seen) if status == 200 else None
    except (ValueError, msgspec.ValidationError):
        seen = None
    return Observed(status, location, seen)


def _trusting() -> ssl.SSLContext:
    """TLS with whoever answers: certificates here are stand-ins."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
