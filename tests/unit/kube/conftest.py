from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.testing.scripted_api import ScriptedServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "api.sock")).start()
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def client(server: ScriptedServer, tmp_path: Path) -> AsyncIterator[KubeClient]:
    config = ClientConfig(server="http://localhost", unix_socket=str(tmp_path / "api.sock"))
    async with KubeClient(config) as opened:
        yield opened
