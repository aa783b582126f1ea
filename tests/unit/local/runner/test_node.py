from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest

from netloom.clock import SystemClock
from netloom.errors import AlreadyExists
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import NODES, Resource
from netloom.local.runner.addresses import NodeAddresses
from netloom.local.runner.config import RunnerConfig
from netloom.local.runner.node import NodeRegistration
from netloom.units import ObjectKey

ZONE = "topology.kubernetes.io/zone"


class Recorder(KubeClient):
    """A client for which the Node is there already, or not."""

    def __init__(self, *, exists: bool) -> None:
        super().__init__(ClientConfig(server="http://localhost"))
        self._exists = exists
        self.labels: dict[str, str] = {}
        self.statuses: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def create(self, resource: Resource, body: Any, *, subresource: str = "") -> dict[str, Any]:
        if self._exists:
            raise AlreadyExists("node node-1")
        return self._take(body)

    async def patch(self, resource: Resource, key: ObjectKey, body: Any, **options: Any) -> dict[str, Any]:
        if options.get("subresource") == "status":
            self.statuses.put_nowait(body["status"])
            return body
        return self._take(body) if resource is NODES else {}

    def _take(self, body: dict[str, Any]) -> dict[str, Any]:
        self.labels = body["metadata"]["labels"]
        return {"metadata": {"uid": "u-1"}}


CONFIG = RunnerConfig(
    node_name="node-1",
    node_addresses=("172.30.0.11",),
    kubeconfig="",
    state_dir="",
    cni_shim="",
    cni_socket="",
    runner_socket="",
    standin_socket="",
    labels={ZONE: "zone-a"},
)


@pytest.mark.parametrize("exists", [True, False])
async def test_a_zone_is_given_once_and_then_belongs_to_others(exists: bool):
    async def ready() -> bool:
        return True

    client = Recorder(exists=exists)
    registration = NodeRegistration(
        config=CONFIG,
        client=client,
        clock=SystemClock(),
        addresses=NodeAddresses(CONFIG.node_addresses),
        agent_ready=ready,
    )
    await registration.register()
    assert client.labels["kubernetes.io/hostname"] == "node-1"
    assert (ZONE in client.labels) is not exists


class Moving(NodeAddresses):
    """A node whose addresses a test changes."""

    def move(self, *texts: str) -> None:
        self._now = tuple(ipaddress.ip_address(text) for text in texts)
        for listener in self._listeners:
            listener()


async def test_a_change_of_address_is_said_at_once_and_in_place_of_what_was():
    client = Recorder(exists=False)
    addresses = Moving(("192.0.2.11", "2001:db8::11"))

    async def ready() -> bool:
        return True

    registration = NodeRegistration(
        config=CONFIG, client=client, clock=SystemClock(), addresses=addresses, agent_ready=ready
    )
    task = asyncio.get_running_loop().create_task(registration.run())
    try:
        first = await client.statuses.get()
        addresses.move("192.0.2.99", "2001:db8::11")
        second = await client.statuses.get()
    finally:
        task.cancel()
    internal = [
        [a["address"] for a in s["addresses"] if a.get("type") == "InternalIP"] for s in (first, second)
    ]
    assert internal == [["192.0.2.11", "2001:db8::11"], ["192.0.2.99", "2001:db8::11"]]
    assert {"$patch": "replace"} in second["addresses"]
