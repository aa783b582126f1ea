"""The real API server, three Nodes, and Leases written as agents write them."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from netloom.agent import acks_lease
from netloom.clock import SystemClock
from netloom.errors import NotFound, Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import LEASES, NAMESPACES, NODES, Resource
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store
from netloom.units import ObjectKey

STRATEGIC = "application/strategic-merge-patch+json"


class FlakyClient(KubeClient):
    """A client whose next patches of a kind fail."""

    failing: dict[Resource, int]

    async def patch(self, resource, key, body, **options):
        if self.failing.get(resource):
            self.failing[resource] -= 1
            raise Unavailable(f"patch {resource.kind} {key}: on purpose")
        return await super().patch(resource, key, body, **options)


class Api:
    """What a test talks to."""

    def __init__(self, client: FlakyClient) -> None:
        self.client = client

    async def create(self, resource: Resource, name: str, **body: Any) -> dict[str, Any]:
        namespace = {"namespace": "shop"} if resource.namespaced else {}
        metadata = {"name": name} | namespace | body.pop("metadata", {})
        kind = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return await self.client.create(resource, kind | body)

    async def status(self, resource: Resource, name: str, **status: Any) -> dict[str, Any]:
        key = ObjectKey("shop" if resource.namespaced else "", name)
        return await self.client.patch(
            resource, key, {"status": status}, content_type=STRATEGIC, subresource="status"
        )

    async def ready(self, node: str, *, ready: bool = True) -> dict[str, Any]:
        status = "True" if ready else "False"
        return await self.status(NODES, node, conditions=[{"type": "Ready", "status": status}])

    async def tell(self, node: str, **versions: object) -> None:
        """Write a node's Lease as its agent would."""
        uid = (await self.client.get(NODES, ObjectKey("", node)))["metadata"]["uid"]
        texts = {kind: str(version) for kind, version in versions.items()}
        body = acks_lease.body(node, uid, texts, renewed="2026-01-01T00:00:00.000000Z")
        try:
            await self.client.patch(LEASES, acks_lease.key_of(node), body)
        except NotFound:
            await self.client.create(LEASES, body)

    async def lease(self, node: str) -> dict[str, Any]:
        return await self.client.get(LEASES, acks_lease.key_of(node))


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    with tempfile.TemporaryDirectory(prefix="nl") as directory:
        path = Path(directory) / "api.sock"
        store = Store(":memory:")
        server = ApiServer(
            store=store,
            clock=SystemClock(),
            service_cidrs=[ipaddress.ip_network("10.96.0.0/16")],
            runner_socket=lambda _node: None,
            bookmark_s=0.02,
        )
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve([Listener(sock)]))
            await server.started.wait()
            async with FlakyClient(ClientConfig(server="http://localhost", unix_socket=str(path))) as client:
                client.failing = {}
                api = Api(client)
                await api.create(NAMESPACES, "shop")
                for node in ("node-1", "node-2", "node-3"):
                    await api.create(NODES, node)
                    await api.ready(node)
                yield api
            serving.cancel()
        store.close()
