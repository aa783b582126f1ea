"""What only one of several controllers does: the works of the one that leads, side by side. Wiring only."""

from __future__ import annotations

import asyncio
import functools

from netloom.clock import Clock
from netloom.controller.leader import Leader
from netloom.kube.client import KubeClient


async def run(client: KubeClient, *, identity: str, clock: Clock) -> None:
    """Lead or wait for it, until cancelled.

    Args:
        client: an open client.
        identity: of this process among those that could lead.
        clock: the time.
    """
    leader = Leader(client, identity=identity, clock=clock)
    await leader.run(functools.partial(_work, client, leader, clock))


async def _work(client: KubeClient, leader: Leader, clock: Clock) -> None:
    """Everything from its beginning: what a former leader wrote is read anew."""
    async with asyncio.TaskGroup():
        del client, leader, clock
