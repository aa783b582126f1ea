"""The process of what a cluster needs once: signals, the loop, the exit code. Not here: what is done."""

from __future__ import annotations

import asyncio
import logging

from netloom.clock import SystemClock
from netloom.controller import led
from netloom.controller.leader import own_identity
from netloom.controller.network_leases import NetworkLeaseKeeper
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig, in_cluster, load
from netloom.linux.signals import serve_until_signal

log = logging.getLogger(__name__)


def run(kubeconfig: str, context: str | None) -> int:
    """Work until SIGTERM or SIGINT; the exit code.

    Raises:
        UsageError: the kubeconfig cannot be used.
    """
    config = load(kubeconfig, context) if kubeconfig else in_cluster()
    return serve_until_signal(_work(config))


async def _work(config: ClientConfig) -> None:
    clock = SystemClock()
    async with KubeClient(config, user_agent=led.COMPONENT) as client, asyncio.TaskGroup() as tasks:
        log.info("addresses of pods that are gone with their node are given back from now on")
        tasks.create_task(NetworkLeaseKeeper(client, clock=clock).run(), name="network-leases")
        tasks.create_task(led.run(client, identity=own_identity(), clock=clock), name="led")
