from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.testing.scripted_api import ScriptedServer, scripted_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    async with scripted_server(tmp_path / "api.sock") as scripted:
        yield scripted


@pytest.fixture
async def client(server: ScriptedServer, tmp_path: Path) -> AsyncIterator[KubeClient]:
    config = ClientConfig(server="http://localhost", unix_socket=str(tmp_path / "api.sock"))
    async with KubeClient(config) as opened:
        yield opened
