"""All control loops over the real API server, in the test's own loop; nodes are hollow."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netloom.clock import SystemClock
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import (
    CONFIG_MAPS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from netloom.kube.status import Denied
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store
from netloom.local.controllers.main import Loops
from netloom.testing.hollow_node import HollowNodes
from netloom.units import ObjectKey

HOLLOW_GRACE_S = 600.0
"""Hollow nodes renew no Lease."""
T = TypeVar("T")
_KINDS = (
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    REPLICA_SETS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    DAEMON_SETS,
    JOBS,
    CRON_JOBS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
)


class RefusingClient(KubeClient):
    """A client for which the server will not create some kinds, as an admission plugin would."""

    refused: frozenset[Resource] = frozenset()

    async def create(
        self, resource: Resource, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        if resource in self.refused and not subresource:
            raise Denied(f"create {resource.kind}: exceeded quota (HTTP 403)", "raise the quota")
        return await super().create(resource, body, subresource=subresource)


class Cluster:
    """What a test talks to."""

    def __init__(self, client: RefusingClient, nodes: HollowNodes) -> None:
        self.client = client
        self.nodes = nodes
        self.loops: Loops | None = None
        self.changed = asyncio.Event()

    async def create(
        self, resource: Resource, name: str, **body: dict[str, Any] | list[Any] | str
    ) -> dict[str, Any]:
        namespace = {"namespace": "shop"} if resource.namespaced else {}
        metadata = {"name": name} | namespace | body.pop("metadata", {})
        kind = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return await self.client.create(resource, kind | body)

    async def get(self, resource: Resource, name: str) -> dict[str, Any]:
        return await self.client.get(resource, self.key(resource, name))

    async def patch(self, resource: Resource, name: str, body: object, **options: str) -> dict[str, Any]:
        return await self.client.patch(resource, self.key(resource, name), body, **options)

    async def delete(self, resource: Resource, name: str, **options: str) -> None:
        await self.client.delete(resource, self.key(resource, name), **options)

    async def list(self, resource: Resource, namespace: str = "shop", **options: str) -> list[dict[str, Any]]:
        return (await self.client.list(resource, namespace if resource.namespaced else "", **options))[0]

    def key(self, resource: Resource, name: str) -> ObjectKey:
        return ObjectKey("shop" if resource.namespaced else "", name)

    async def until(self, condition: Callable[[], Awaitable[T]]) -> T:
        """Wait until the awaited condition holds; asked again after every change that the loops see."""
        try:
            async with asyncio.timeout(30):
                while True:
                    self.changed.clear()
                    if result := await condition():
                        return result
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError("does not come to hold") from None

    async def settled(self) -> None:
        """Wait until nobody has anything to do: all have seen the last write, and nothing was written since."""
        assert self.loops is not None
        async with asyncio.timeout(30):
            before = -1
            while (now := await self.version()) != before:
                before = now
                await self.loops.informers.reached(now)
                for queue, _ in self.loops.queues:
                    await queue.drained()
                await self.nodes.settled(now)

    async def version(self) -> int:
        """The server's newest resourceVersion, but for Events, which nobody waits for."""
        return int((await self.client.list(CONFIG_MAPS, "shop"))[1])

    @asynccontextmanager
    async def running(
        self, pod_cidrs: tuple[str, ...] = ("10.244.0.0/16",), *, node_grace_s: float = HOLLOW_GRACE_S
    ) -> AsyncIterator[Loops]:
        """The loops, from nothing: entering again is a restart."""
        self.loops = loops = Loops(self.client, pod_cidrs, ca_pem=b"CA", node_grace_s=node_grace_s)
        for resource in _KINDS:
            informer = loops.informers._by_resource.get(resource)
            if informer is not None:
                informer.on_change(lambda *_: self.changed.set())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(loops.run())
            try:
                yield loops
            finally:
                task.cancel()


@pytest.fixture
async def bare() -> AsyncIterator[Cluster]:
    """API server, client and three hollow nodes; no loops yet."""
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
            async with RefusingClient(
                ClientConfig(server="http://localhost", unix_socket=str(path))
            ) as client:
                nodes = HollowNodes(client, ("node-1", "node-2", "node-3"), SystemClock())
                await nodes.register()
                cluster = Cluster(client, nodes)
                await cluster.create(NAMESPACES, "shop")
                kubelets = group.create_task(nodes.run())
                yield cluster
                kubelets.cancel()
            serving.cancel()
        store.close()


@pytest.fixture
async def cluster(bare: Cluster) -> AsyncIterator[Cluster]:
    """The same with all loops running."""
    async with bare.running():
        yield bare
