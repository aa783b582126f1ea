"""In which order the containers of a pod end (core/v1 Pod termination). In: containers that live; out: none that does.

All at once; sidecars, whose hooks run with those of the others, are told to end after all others, the last one first. Not
here: what each of them does (``container``), and what becomes of the sandbox (``lifecycle``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from netloom.local.runner.container import ContainerLife
from netloom.local.runner.grace import Grace


async def end_containers(lives: Sequence[ContainerLife], grace: Grace) -> None:
    """End them all within the grace period; ``lives`` are in the order of the pod's specification."""
    mains = [life for life in lives if not life.is_sidecar]
    sidecars = [life for life in lives if life.is_sidecar]
    async with asyncio.TaskGroup() as group:
        at_once = asyncio.Event()
        at_once.set()
        before = [group.create_task(life.end(grace, at_once)) for life in mains]
        for life in reversed(sidecars):
            turn = asyncio.Event()
            group.create_task(_after(tuple(before), turn), name="turn")
            before.append(group.create_task(life.end(grace, turn)))


async def _after(others: Sequence[asyncio.Task[None]], turn: asyncio.Event) -> None:
    if others:
        await asyncio.wait(others)
    turn.set()
