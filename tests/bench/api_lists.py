"""The API server with 10,000 Services and 50,000 endpoints: how long a whole list takes over TLS, and whether watches keep up with 500 changes a second.

The changes are made in the server's own process, at even distances: a PATCH for each would be what is measured. Each says when it was
committed, and three clients, of which each decodes what it gets as an agent does, say when they had it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from pathlib import Path
from typing import Any

from tests.bench import population, rooms
from tests.bench.report import Row, median, quantile

from netloom.api.core import Service
from netloom.api.discovery import EndpointSlice
from netloom.clock import SystemClock
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import load
from netloom.kube.resources import ENDPOINT_SLICES, IP_ADDRESSES, SERVICES
from netloom.kube.watch import Reflector
from netloom.local import certs
from netloom.local.apiserver import kinds
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store
from netloom.units import ObjectKey

SERVICES_WANTED = rooms.either(10_000, 200)
RATE, SECONDS, CLIENTS = 500, rooms.either(10, 1), 3
MOST_S = 2.0
_STAMP = "netloom.io/committed-at"
_BEGIN = "begin"
"""Name of the Service that is made by who wants changes."""
_TURNS = rooms.either(5, 1)


def run() -> list[Row]:
    """The rows of this benchmark."""
    with rooms.scratch() as place, socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        kubeconfig = _credentials(place, listener.getsockname()[1])
        server = rooms.fork(lambda: asyncio.run(_serve(place, listener)), log=place / "log")
        try:
            lists, typed, lags = asyncio.run(_measure(kubeconfig))
        finally:
            rooms.kill(server)
    each = RATE * CLIENTS
    first, last = lags[:each], lags[-each:]
    what = f"{SERVICES_WANTED} Services, {SERVICES_WANTED * population.ENDPOINTS} endpoints"
    common: dict[str, Any] = {"bench": "lists", "unit": "s"}
    return [
        Row(what=f"{what}: both lists whole, over TLS", ours=median(lists), most=MOST_S, **common),
        Row(what=f"{what}: both in pages, decoded", ours=median(typed), **common),
        Row(
            bench="lists",
            what=f"{RATE} changes/s, {CLIENTS} watches: p50",
            ours=median(lags) * 1e3,
            unit="ms",
        ),
        Row(bench="lists", what="p99", ours=quantile(lags, 0.99) * 1e3, unit="ms"),
        Row(
            bench="lists",
            what="median of the last second",
            ours=median(last) * 1e3,
            unit="ms",
            beside=median(first) * 1e3,
            beside_what="the first second",
            most=max(10.0, 3 * median(first) * 1e3),
            note="behind: it grows",
        ),
        Row(
            bench="lists",
            what="events that were missed",
            ours=float(RATE * SECONDS * CLIENTS - len(lags)),
            unit="events",
            most=0.0,
        ),
    ]


def _credentials(place: Path, port: int) -> str:
    authority = certs.Authority.create("bench", now=time.time())
    server = authority.server("kube-apiserver", ["127.0.0.1", "localhost"])
    certs.write_private(place / "ca.crt", authority.pem)
    certs.write_private(place / "apiserver.crt", server.certificate)
    certs.write_private(place / "apiserver.key", server.key)
    admin = authority.client("kubernetes-admin", ("system:masters",))
    url = f"https://127.0.0.1:{port}"
    text = certs.kubeconfig(cluster="bench", server=url, ca=authority.pem, user="admin", pair=admin)
    certs.write_private(place / "kubeconfig", text)
    return str(place / "kubeconfig")


async def _serve(place: Path, listener: socket.socket) -> None:
    population.fill(place / "store.db", SERVICES_WANTED)
    store = Store(place / "store.db")
    server = ApiServer(
        store=store,
        clock=SystemClock(),
        service_cidrs=[ipaddress.ip_network("10.96.0.0/16")],
        runner_socket=lambda _: None,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([Listener(listener, certs.server_context(place))]))
        await server.started.wait()
        begin = asyncio.Event()
        store.listen(lambda event: begin.set() if event.record.name == _BEGIN else None)
        await begin.wait()
        await _change(store)


async def _change(store: Store) -> None:
    turns = population.Turns(SERVICES_WANTED)
    began = time.monotonic()
    for turn in range(RATE * SECONDS):
        if (early := began + turn / RATE - time.monotonic()) > 0:
            await asyncio.sleep(early)
        else:
            await asyncio.sleep(0)  # late: whoever waits is served all the same
        number, addresses = turns.next()
        document = population.slice_(number)
        document["endpoints"] = population.endpoints(number, addresses)
        document["metadata"]["annotations"] = {_STAMP: repr(time.monotonic())}
        store.put(kinds.ENDPOINT_SLICES, document)


async def _measure(kubeconfig: str) -> tuple[list[float], list[float], list[float]]:
    lists: list[float] = []
    typed: list[float] = []
    async with KubeClient(load(kubeconfig)) as client:
        await _filled(client)
        for _ in range(_TURNS):
            began = time.monotonic()
            for resource in (SERVICES, ENDPOINT_SLICES):
                await client.raw("GET", resource.path(""))
            lists.append(time.monotonic() - began)
            began = time.monotonic()
            await Reflector(client, SERVICES, Service, on_change=_nothing).relist()
            await Reflector(client, ENDPOINT_SLICES, EndpointSlice, on_change=_nothing).relist()
            typed.append(time.monotonic() - began)
            rooms.say(f"lists: {lists[-1]:.2f} s, decoded {typed[-1]:.2f} s")
        return lists, typed, await _watch(client)


async def _filled(client: KubeClient) -> None:
    """Until the server has written down all that it does at its start."""
    async with asyncio.timeout(120):
        while True:
            items, _ = await client.list(IP_ADDRESSES)
            if len(items) > SERVICES_WANTED:
                return
            await asyncio.sleep(0.5)


async def _watch(client: KubeClient) -> list[float]:
    lags: list[float] = []
    wanted = RATE * SECONDS * CLIENTS
    done = asyncio.Event()

    def heard(_key: ObjectKey, item: EndpointSlice | None) -> None:
        stamp = "" if item is None else item.metadata.annotations.get(_STAMP, "")
        if stamp:
            lags.append(time.monotonic() - float(stamp))
            if len(lags) == wanted:
                done.set()

    async with asyncio.TaskGroup() as tasks:
        followers = [
            Reflector(client, ENDPOINT_SLICES, EndpointSlice, on_change=heard) for _ in range(CLIENTS)
        ]
        running = [tasks.create_task(one.run()) for one in followers]
        for one in followers:
            await one.synced.wait()
        body = population.service(0) | {"metadata": {"name": _BEGIN, "namespace": population.NAMESPACE}}
        body["spec"] = {"ports": [{"port": 80}]}
        await client.create(SERVICES, body)
        try:
            async with asyncio.timeout(6 * SECONDS + 30):
                await done.wait()
        except TimeoutError:
            rooms.say(f"lists: {len(lags)} of {wanted} events")
        for task in running:
            task.cancel()
    return lags


def _nothing(_key: ObjectKey, _item: object) -> None:
    """Who only wants to know how long it takes."""
