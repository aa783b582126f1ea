"""What only one of several controllers does: the works of the one that leads, side by side. Wiring only."""

from __future__ import annotations

import asyncio
import functools

from netloom.clock import Clock
from netloom.controller.gateways import GatewayController
from netloom.controller.lb_addresses import LoadBalancerAddresses
from netloom.controller.leader import Leader
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder

COMPONENT = "netloom-controller"
"""What events say they come from."""


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
    recorder = EventRecorder(client, COMPONENT, clock=clock)
    addresses = LoadBalancerAddresses(
        client, may_write=lambda: leader.is_leading, recorder=recorder, clock=clock
    )
    gateways = GatewayController(client, may_write=lambda: leader.is_leading, recorder=recorder, clock=clock)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run(), name="events")
        tasks.create_task(gateways.run(), name="gateways")
        tasks.create_task(addresses.run(), name="load-balancer-addresses")
