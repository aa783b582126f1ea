from __future__ import annotations

from typing import Any

import pytest

from netloom.clock import SystemClock
from netloom.errors import AlreadyExists
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import Resource
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

    async def create(self, resource: Resource, body: Any, *, subresource: str = "") -> dict[str, Any]:
        if self._exists:
            raise AlreadyExists("node node-1")
        return self._take(body)

    async def patch(self, resource: Resource, key: ObjectKey, body: Any, **options: Any) -> dict[str, Any]:
        return self._take(body)

    def _take(self, body: dict[str, Any]) -> dict[str, Any]:
        self.labels = body["metadata"]["labels"]
        return {"metadata": {"uid": "u-1"}}


@pytest.mark.parametrize("exists", [True, False])
async def test_a_zone_is_given_once_and_then_belongs_to_others(exists: bool):
    config = RunnerConfig(
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

    async def ready() -> bool:
        return True

    client = Recorder(exists=exists)
    registration = NodeRegistration(
        config=config,
        client=client,
        clock=SystemClock(),
        addresses=NodeAddresses(config.node_addresses),
        agent_ready=ready,
    )
    await registration.register()
    assert client.labels["kubernetes.io/hostname"] == "node-1"
    assert (ZONE in client.labels) is not exists
