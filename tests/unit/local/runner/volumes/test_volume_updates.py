"""Volumes that are kept up to date: what cannot be written now ends nothing."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace
from typing import Any, cast

import pytest

from netloom.clock import SystemClock
from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.podvolumes import PodVolumes, VolumeTools, _Made

_SPEC = """
volumes: [{name: v, configMap: {name: settings}}]
containers: [{name: app, volumeMounts: [{name: v, mountPath: /v}]}]
"""


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), TimeoutError(), MountFailed("no")])
async def test_files_that_cannot_be_written_are_tried_again(error: Exception, pod, tmp_path, monkeypatch):
    tools = SimpleNamespace(client=None, clock=SystemClock())
    volumes = PodVolumes(
        tools=cast(VolumeTools, tools), pod=lambda: pod(_SPEC), addresses=lambda: cast(Any, ((), ()))
    )
    volumes._made["v"] = _Made(tmp_path)
    tries = 0
    again = asyncio.Event()

    async def write(*_: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error
        again.set()

    monkeypatch.setattr(volumes, "_write", write)
    monkeypatch.setattr("netloom.local.runner.volumes.podvolumes._AGAIN_S", 0.0)
    volumes.mark()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(volumes.run())
        await again.wait()
        running.cancel()
    assert tries == 2
