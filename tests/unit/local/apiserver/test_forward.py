"""The ``proxy`` subresource: a real backend behind a runner that dials as the real one does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.local.apiserver.conftest import Api

from netloom.local.apiserver import forward
from netloom.local.apiserver.forward import read_path
from netloom.local.runner import http1
from netloom.local.runner.http1 import BadRequest
from netloom.local.runner.streams.dial import carry, serve_dial

HERE = "127.0.0.1"
READY = "192.0.2.7"
"""An address of an endpoint; it leads here."""


async def _echo(request: web.Request) -> web.StreamResponse:
    if request.path == "/moved":
        raise web.HTTPFound("/elsewhere?x=1")
    if request.headers.get("Upgrade") == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"heard {message.data}")
        return socket
    body = await request.text()
    seen = {name: request.headers.get(name) for name in ("Host", "X-Mine", "Authorization", "Content-Type")}
    return web.json_response(
        {"method": request.method, "path": request.raw_path, "body": body, **seen}, status=201
    )


async def _runner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(http1.END)
    request = http1.parse(head)
    try:
        match request.segments:
            case ("dial", address, port):
                if address in {HERE, READY}:
                    await carry(HERE, int(port), reader, writer)
                else:
                    await serve_dial(address, port, reader, writer)
            case _:
                writer.write(
                    http1.response_head(200, {"Content-Length": "8", "Connection": "keep-alive"})
                    + b"kubelet\n"
                )
    except BadRequest as error:
        writer.write(http1.response_head(error.status, {"Connection": "close"}) + error.problem.encode())
    writer.close()


@asynccontextmanager
async def backend(directory: Path) -> AsyncIterator[int]:
    """A port that echoes, and a runner of node-1."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _echo)
    running = web.AppRunner(app)
    await running.setup()
    site = web.TCPSite(running, HERE, 0)
    await site.start()
    server = await asyncio.start_unix_server(_runner, str(directory / "node-1.sock"))
    try:
        yield site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    finally:
        server.close()
        await running.cleanup()


def pod(port: int) -> dict[str, Any]:
    container = {"name": "main", "image": "x", "ports": [{"name": "web", "containerPort": port}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "cart"},
        "spec": {"nodeName": "node-1", "containers": [container]},
    }


async def a_pod(api: Api, port: int) -> None:
    await api.create("pods", pod(port))
    address = {"status": {"phase": "Running", "podIP": HERE, "podIPs": [{"ip": HERE}]}}
    (await api.patch("pods/cart/status", address)).ok()


async def test_method_path_query_headers_and_body_arrive(api: Api, short_dir: Path) -> None:
    async with backend(short_dir) as port:
        await a_pod(api, port)
        for target in ("cart", f"cart:{port}", "cart:web", "http:cart:web"):
            answer = await api(
                "PUT",
                f"pods/{target}/proxy/a%2Fb/c?q=1&q=2",
                b"hello",
                X_Mine="yes",
                Authorization="Basic YTpi",
                Content_Type="text/x",
            )
            assert answer.code == 201
            assert answer.json == {
                "method": "PUT",
                "path": "/a%2Fb/c?q=1&q=2",
                "body": "hello",
                "Host": f"{HERE}:{port}",
                "X-Mine": "yes",
                "Authorization": None,
                "Content-Type": "text/x",
            }
        for method in ("GET", "POST", "DELETE", "PATCH", "OPTIONS"):
            assert (await api(method, "pods/cart/proxy/")).json["method"] == method


async def test_redirects_stay_under_the_proxy(api: Api, short_dir: Path) -> None:
    async with backend(short_dir) as port:
        await a_pod(api, port)
        base = "/api/v1/namespaces/shop/pods/cart/proxy"
        async with api.session.get(api.url(f"{base}/moved"), allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, f"{base}/elsewhere?x=1")
        async with api.session.get(api.url(base), allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (301, f"{base}/")


async def test_an_upgrade_passes(api: Api, short_dir: Path) -> None:
    async with backend(short_dir) as port:
        await a_pod(api, port)
        async with api.session.ws_connect(api.url("pods/cart/proxy/socket")) as socket:
            await socket.send_str("one")
            assert await socket.receive_str(timeout=5) == "heard one"


async def test_a_service_leads_to_a_ready_endpoint(api: Api, short_dir: Path) -> None:
    async with backend(short_dir) as port:
        ports = [{"name": "web", "port": 80, "targetPort": port}, {"name": "other", "port": 81}]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "cart"},
            "spec": {"ports": ports},
        }
        await api.create("services", service)
        (await api("GET", "services/cart:web/proxy/")).refused(503, "ServiceUnavailable")
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "cart-1", "labels": {"kubernetes.io/service-name": "cart"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [READY], "nodeName": "node-1", "conditions": {"ready": True}},
                {"addresses": ["192.0.2.1"], "nodeName": "node-1", "conditions": {"ready": False}},
            ],
            "ports": [{"name": "web", "port": port, "protocol": "TCP"}],
        }
        await api.create("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", slice_)
        for target in ("cart:web", "cart:80", "http:cart:web"):
            assert (await api("GET", f"services/{target}/proxy/x")).json["path"] == "/x"
        (await api("GET", "services/cart:other/proxy/")).refused(503, "ServiceUnavailable")
        (await api("GET", "services/cart/proxy/")).refused(503, "ServiceUnavailable")
        (await api("GET", "services/gone:web/proxy/")).refused(404, "NotFound")


async def test_a_node_answers_as_its_kubelet_or_at_its_port(api: Api, short_dir: Path) -> None:
    async with backend(short_dir) as port:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
        node["status"] = {"addresses": [{"type": "InternalIP", "address": HERE}]}  # type: ignore[assignment]
        await api.create("/api/v1/nodes", node)
        assert (await api("GET", "/api/v1/nodes/node-1/proxy/healthz")).text == "kubelet\n"
        assert (await api("GET", f"/api/v1/nodes/node-1:{port}/proxy/x")).json["path"] == "/x"
        (await api("GET", "/api/v1/nodes/node-1:none/proxy/x")).refused(400, "BadRequest")


async def test_what_cannot_be_reached_is_told(api: Api, short_dir: Path) -> None:
    async with backend(short_dir):
        await a_pod(api, 1)  # nobody listens there
        refused = (await api("GET", "pods/cart/proxy/")).refused(503, "ServiceUnavailable")
        assert "connection refused" in refused["message"]
        (await api("GET", "pods/cart:0/proxy/")).refused(400, "BadRequest")
        (await api("GET", "pods/gone/proxy/")).refused(404, "NotFound")
        (await api("GET", "pods/ftp:cart:1/proxy/")).refused(400, "BadRequest")


@pytest.mark.parametrize(
    ("header", "passes"), [(b"impersonate-user", False), (b"impersonate-extra-a", False), (b"authorization", False), (b"x-mine", True)]
)  # fmt: skip
def test_who_asks_is_not_passed_on(header: bytes, passes: bool) -> None:
    assert forward._passes(header) is passes


@asynccontextmanager
async def target(
    directory: Path, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[int]:
    """A port that speaks as told, once the request's head is read, and a runner of node-1."""

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(http1.END)
        with contextlib.suppress(OSError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(begin, HERE, 0)
    runner = await asyncio.start_unix_server(_runner, str(directory / "node-1.sock"))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        runner.close()
        server.close()


BIG = b"x" * (64 << 20)


async def test_a_target_that_has_heard_enough_is_understood(api: Api, short_dir: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1 << 20)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
        await writer.drain()

    async with asyncio.timeout(20), target(short_dir, serve) as port:
        await a_pod(api, port)
        answer = await api("POST", "pods/cart/proxy/", BIG)
        assert (answer.code, answer.text) == (413, "much")


async def test_a_target_may_answer_while_it_reads(api: Api, short_dir: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
        left = len(BIG)
        while left:
            piece = await reader.read(1 << 16)
            left -= len(piece)
            writer.write(piece)
            await writer.drain()

    async with asyncio.timeout(20), target(short_dir, serve) as port:
        await a_pod(api, port)
        assert len((await api("POST", "pods/cart/proxy/", BIG)).text) == len(BIG)


async def test_a_target_may_think_and_a_client_may_leave(
    api: Api, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ANSWER_S", 0.2)
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.6):
                await reader.read()
                left.set()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nwell")

    async with asyncio.timeout(20), target(short_dir, serve) as port:
        await a_pod(api, port)
        assert (await api("GET", "pods/cart/proxy/")).text == "well"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await api("GET", "pods/cart/proxy/")
        await left.wait()


@pytest.mark.parametrize(
    "address", ["127.0.0.2", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:127.0.0.1"]
)  # fmt: skip
async def test_addresses_of_the_node_alone_are_refused(address: str) -> None:
    with pytest.raises(BadRequest, match="address not allowed") as refused:
        await serve_dial(address, "80", None, None)  # type: ignore[arg-type]
    assert refused.value.status == 400


async def test_a_pod_with_such_an_address_is_a_bad_request(api: Api, short_dir: Path) -> None:
    async with backend(short_dir):
        await api.create("pods", pod(80))
        await api.patch(
            "pods/cart/status", {"status": {"podIP": "127.0.0.2", "podIPs": [{"ip": "127.0.0.2"}]}}
        )
        assert "loopback" in (await api("GET", "pods/cart/proxy/")).refused(400, "BadRequest")["message"]


@pytest.mark.parametrize("path", ["/api/v1/pods/x/proxy", "/apis/apps/v1/namespaces/a/deployments/x/proxy"])
def test_other_paths_are_no_proxies(path: str) -> None:
    assert read_path(path, path.strip("/").split("/")) is None
