"""Where values come from: ConfigMaps and Secrets that are followed by name, and tokens that are renewed in time."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.local.runner.spec import Pod
from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.spec import TokenSource
from netloom.local.runner.volumes.tokens import Tokens
from netloom.local.runner.volumes.watched import Watched
from netloom.testing.scripted_api import ScriptedServer, obj, scripted_server
from netloom.units import ObjectKey

CONF, SECRET = ("ConfigMap", ObjectKey("shop", "conf")), ("Secret", ObjectKey("shop", "pw"))
POD = msgspec.yaml.decode(
    "{metadata: {name: web-1, namespace: shop, uid: u-1}, spec: {serviceAccountName: seller}}", type=Pod
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    async with scripted_server(tmp_path / "api.sock") as scripted:
        yield scripted


@pytest.fixture
async def client(server: ScriptedServer, tmp_path: Path) -> AsyncIterator[KubeClient]:
    async with KubeClient(ClientConfig(server="", unix_socket=str(tmp_path / "api.sock"))) as opened:
        yield opened


@asynccontextmanager
async def following(client: KubeClient, hear: Callable[[str], None] = print) -> AsyncIterator[Watched]:
    watched = Watched(client=client, on_change=hear)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watched.run())
        await asyncio.sleep(0)
        yield watched
        running.cancel()


async def test_an_object_is_asked_for_by_its_name_once_for_all(server: ScriptedServer, client: KubeClient):
    server.objects = [obj("conf", a="1")]
    async with following(client) as watched:
        watched.want("u-1", [CONF])
        watched.want("u-2", [CONF])
        found = await watched.data([CONF])
        assert found == {CONF: {"a": b"1"}}
        await server.watching.wait()
    lists = [r for r in server.requests if r.query.get("watch") != "true"]
    assert [(r.path, r.query["fieldSelector"]) for r in lists] == [
        ("/api/v1/namespaces/shop/configmaps", "metadata.name=conf")
    ]


async def test_what_is_not_there_is_left_out(server: ScriptedServer, client: KubeClient):
    async with following(client) as watched:
        assert await watched.data([CONF]) == {}


async def test_binary_data_and_secrets_are_decoded(server: ScriptedServer, client: KubeClient):
    word = base64.b64encode(b"\xff\x00").decode()
    server.objects = [{"metadata": {"name": "pw", "namespace": "shop"}, "data": {"word": word, "bad": "!"}}]
    async with following(client) as watched:
        assert await watched.data([SECRET]) == {SECRET: {"word": b"\xff\x00", "bad": b""}}


async def test_who_wants_it_hears_of_changes_and_nobody_else(server: ScriptedServer, client: KubeClient):
    heard: asyncio.Queue[str] = asyncio.Queue()
    server.objects = [obj("conf", a="1")]
    async with following(client, heard.put_nowait) as watched:
        watched.want("u-1", [CONF])
        watched.want("u-2", [CONF])
        await watched.data([CONF])
        watched.want("u-2", [])
        await server.watching.wait()
        server.send("MODIFIED", obj("conf", 2, a="2"))
        async with asyncio.timeout(20):
            assert await heard.get() == "u-1"
        assert await watched.data([CONF]) == {CONF: {"a": b"2"}}
    assert heard.empty()


class Hands:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


async def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over(
    server: ScriptedServer, client: KubeClient
):
    clock, asked = Hands(), []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, await request.json()))
        ends = dt.datetime.fromtimestamp(clock.now + 1000, dt.UTC).isoformat()
        return web.json_response(
            {"status": {"token": f"t{len(asked)}", "expirationTimestamp": ends}}, status=201
        )

    server.handler = answer
    tokens, source = Tokens(client=client, clock=clock), TokenSource("token", "vault", 1000)
    assert tokens.renew_s is None
    assert await tokens.get(POD, source) == "t1"
    clock.now += 799
    assert (await tokens.get(POD, source), tokens.renew_s) == ("t1", pytest.approx(1, abs=0.01))
    clock.now += 2
    assert await tokens.get(POD, source) == "t2"
    path, body = asked[0]
    assert path == "/api/v1/namespaces/shop/serviceaccounts/seller/token"
    assert body["spec"] == {
        "audiences": ["vault"],
        "expirationSeconds": 1000,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": "u-1"},
    }


async def test_a_token_that_is_refused_is_told_without_the_request(
    server: ScriptedServer, client: KubeClient
):
    async def refuse(request: web.Request) -> web.Response:
        status = {"kind": "Status", "code": 404, "reason": "NotFound", "message": "no such account"}
        return web.json_response(status, status=404)

    server.handler = refuse
    with pytest.raises(MountFailed, match=r"failed to fetch token: .*no such account"):
        await Tokens(client=client, clock=Hands()).get(POD, TokenSource("token"))
