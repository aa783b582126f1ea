"""Nodes' halves of address management over the real API server, in the test's own loop."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netloom.agent.blocks import BlockKeeper
from netloom.agent.pod_addresses import PodAddresses
from netloom.api.core import Namespace, Node, Pod
from netloom.api.pools import IPBlock, IPPool
from netloom.clock import SystemClock
from netloom.cni.ipam.lease import Attachment, Exhausted
from netloom.cni.ipam.store import AddressStore
from netloom.errors import Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import IP_BLOCKS, IP_POOLS, NAMESPACES, NODES, PODS
from netloom.kube.watch import Reflector
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store
from netloom.model.addresses.cluster import PoolCluster
from netloom.units import ObjectKey


class Time:
    """Both clocks of all nodes of a test."""

    def __init__(self):
        self.now = 1_000_000.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


class Half:
    """What an agent has of address management; ``add`` and ``delete`` are what CNI does."""

    def __init__(self, world, name, path):
        self.world, self.name, self.path = world, name, path
        self.store = AddressStore(path, clock=world.time, reuse_delay_s=60.0)
        self.cluster = PoolCluster(name, {ipaddress.ip_network("10.96.0.0/16"): "the range of Services"})
        self.keeper = BlockKeeper(
            client=world.client,
            node=name,
            store=self.store,
            cluster=self.cluster,
            clock=world.time,
            idle_s=60.0,
            patience_s=world.patience_s,
        )
        self.pods, self.namespaces = {}, {}
        self.events = EventRecorder(world.client, "netloom", clock=world.time)
        self.offers = PodAddresses(
            node=name,
            known=self._known,
            pod_now=lambda pod: self.pods.get(_key(pod)),
            namespaces=self.namespaces,
            cluster=self.cluster,
            keeper=self.keeper,
            reserved=(),
            events=self.events,
        )
        self.moved = asyncio.Event()
        self.reflectors = [
            self._follow(IP_POOLS, IPPool, self.cluster.pool_changed),
            self._follow(IP_BLOCKS, IPBlock, self.cluster.block_changed),
            self._follow(NODES, Node, self.cluster.node_changed),
            self._follow(NAMESPACES, Namespace, _kept_in(self.namespaces)),
            self._follow(PODS, Pod, _kept_in(self.pods)),
        ]
        self.tasks = []

    def _follow(self, resource, type_, changed):
        def on_change(key, value):
            changed(key, value)
            self.keeper.changed()
            self.moved.set()

        return Reflector(self.world.client, resource, type_, on_change=on_change)

    async def start(self, *, looks=True):
        for reflector in self.reflectors:
            self.tasks.append(self.world.group.create_task(reflector.run()))
        for reflector in self.reflectors:
            await reflector.synced.wait()
        await self.keeper.look()
        if looks:
            self.tasks.append(self.world.group.create_task(self.keeper.run()))

    def stop(self):
        for task in self.tasks:
            task.cancel()
        self.tasks = []

    async def _known(self, pod):
        return await self.until(lambda: self.pods.get(_key(pod)))

    async def until(self, state):
        async with asyncio.timeout(30):
            while not (found := state()):
                self.moved.clear()
                await self.moved.wait()
            return found

    async def add(self, pod, container="", interface="eth0"):
        """Addresses as texts, as ``cni.verbs`` reserves them."""
        attachment = Attachment(container or pod.replace("/", "-"), interface)
        try:
            offer = await self.offers.offer(pod, ())
            while True:
                try:
                    found = await asyncio.to_thread(
                        self.store.reserve,
                        attachment,
                        offer.ranges,
                        pod,
                        blocks=offer.blocks,
                        requested=offer.requested,
                        reserved=offer.reserved,
                        versions=offer.versions,
                        hurry=offer.hurry,
                    )
                    return [str(address) for address in found]
                except Exhausted as error:
                    offer = await self.offers.more(pod, offer, error)
        except Unavailable as error:
            self.offers.failed(pod, error)
            raise

    def delete(self, pod, container="", interface="eth0"):
        return self.store.release(Attachment(container or pod.replace("/", "-"), interface))

    def own(self):
        return [str(block.cidr) for block in self.keeper.own()]


class World:
    """An API server and nodes."""

    def __init__(self, client, group, directory):
        self.client, self.group, self.directory = client, group, directory
        self.time = Time()
        self.patience_s = 20.0
        self.halves = []

    async def node(self, name, *ranges, labels=None, looks=True):
        """A Node object, and its half of an agent."""
        body = {"metadata": {"name": name, "labels": labels or {}}, "spec": {"podCIDRs": list(ranges)}}
        await self.client.create(NODES, {"apiVersion": "v1", "kind": "Node", **body})
        return await self.half(name, looks=looks)

    async def half(self, name, *, looks=True):
        half = Half(self, name, self.directory / f"{name}.db")
        self.halves.append(half)
        await half.start(looks=looks)
        return half

    async def restarted(self, half):
        half.stop()
        half.store.close()
        self.halves.remove(half)
        return await self.half(half.name)

    async def pool(self, name, *cidrs, **spec):
        body = {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs), **spec}}
        made = await self.client.create(
            IP_POOLS, {"apiVersion": IP_POOLS.api_version, "kind": "IPPool", **body}
        )
        await self._seen(0, made)

    async def pod(self, name, node, *, labels=None, **annotations):
        namespace, _, own = name.partition("/")
        said = {f"netloom.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        metadata = {"name": own, "namespace": namespace, "labels": labels or {}, "annotations": said}
        spec = {"nodeName": node, "containers": [{"name": "a", "image": "example/a"}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        await self.client.create(PODS, body)

    async def namespace(self, name, *, labels=None, annotations=None):
        metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        await self._seen(3, await self.client.create(NAMESPACES, body))

    async def blocks(self):
        """Node by range, as the API server has it."""
        found, _ = await self.client.list(IP_BLOCKS)
        return {block["spec"]["cidr"]: block["spec"]["node"] for block in found}

    async def _seen(self, number, made):
        for half in self.halves:
            await half.reflectors[number].reached(int(made["metadata"]["resourceVersion"]))


def _key(pod):
    namespace, _, name = pod.partition("/")
    return ObjectKey(namespace, name)


def _kept_in(mapping):
    def changed(key, value):
        if value is None:
            mapping.pop(key, None)
        else:
            mapping[key] = value

    return changed


@pytest.fixture
async def world() -> AsyncIterator[World]:
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
            async with KubeClient(ClientConfig(server="http://localhost", unix_socket=str(path))) as client:
                made = World(client, group, Path(directory))
                await made.namespace("shop", labels={"team": "shop"})
                yield made
                for half in made.halves:
                    half.stop()
                    half.store.close()
            serving.cancel()
        store.close()
