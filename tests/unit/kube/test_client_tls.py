"""The client over TLS, with certificates as the local cluster makes them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from netloom.errors import Unavailable, UsageError
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig, load
from netloom.kube.resources import CONFIG_MAPS
from netloom.local.certs import Authority, kubeconfig, server_context
from netloom.testing.scripted_api import obj
from netloom.units import ObjectKey

KEY = ObjectKey("shop", "cart")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test", now=time.time())


@pytest.fixture
async def port(authority: Authority, tmp_path: Path) -> AsyncIterator[int]:
    pair = authority.server("apiserver", ["127.0.0.1", "kubernetes"])
    for name, data in (
        ("ca.crt", authority.pem),
        ("apiserver.crt", pair.certificate),
        ("apiserver.key", pair.key),
    ):
        (tmp_path / name).write_bytes(data)

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.json_response(obj("cart", peer=bool(request.transport.get_extra_info("peercert"))))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(tmp_path)).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_a_kubeconfig_of_the_local_cluster(authority: Authority, port: int, tmp_path: Path):
    admin = authority.client("admin", ["system:masters"])
    path = tmp_path / "kubeconfig"
    path.write_bytes(
        kubeconfig(
            cluster="t", server=f"https://127.0.0.1:{port}", ca=authority.pem, user="admin", pair=admin
        )
    )
    async with KubeClient(load(str(path))) as client:
        assert (await client.get(CONFIG_MAPS, KEY))["data"] == {"peer": True}


async def test_a_server_name_other_than_the_address(authority: Authority, port: int):
    config = ClientConfig(server=f"https://127.0.0.1:{port}", ca_data=authority.pem, server_name="kubernetes")
    async with KubeClient(config) as client:
        assert (await client.get(CONFIG_MAPS, KEY))["data"] == {"peer": False}


async def test_another_authority_or_name_is_not_trusted(authority: Authority, port: int):
    other = Authority.create("other", now=time.time())
    server = f"https://127.0.0.1:{port}"
    for config in (
        ClientConfig(server=server, ca_data=other.pem),
        ClientConfig(server=server, ca_data=authority.pem, server_name="elsewhere"),
    ):
        async with KubeClient(config) as client:
            with pytest.raises(Unavailable, match="certificate"):
                await client.get(CONFIG_MAPS, KEY)


async def test_credentials_that_are_no_pem_are_named():
    config = ClientConfig(server="https://192.0.2.1", ca_data=b"nonsense")
    with pytest.raises(UsageError, match=r"credentials for https://192\.0\.2\.1"):
        async with KubeClient(config):
            pass


async def test_a_key_that_does_not_belong_to_the_certificate_is_named(authority: Authority):
    one, other = authority.client("a", []), authority.client("b", [])
    config = ClientConfig(
        server="https://192.0.2.1", ca_data=authority.pem, client_cert=one.certificate, client_key=other.key
    )
    with pytest.raises(UsageError, match="credentials"):
        async with KubeClient(config):
            pass
