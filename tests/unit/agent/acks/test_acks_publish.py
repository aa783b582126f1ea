"""A node's Lease, written to the real API server."""

import asyncio
from contextlib import asynccontextmanager

from netloom.agent import acks_lease
from netloom.agent.acks_publish import AckPublisher
from netloom.api.coordination import Lease
from netloom.clock import SystemClock, micro_time
from netloom.engine.acks import Acks
from netloom.engine.pending import Taken
from netloom.kube.resources import LEASES, NODES
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey


class Published:
    """A publisher at work, and its Lease as a watch sees it."""

    def __init__(self, api, nodes):
        self.api, self.uid, self.acks = api, "", Acks()
        self.publisher = AckPublisher(
            client=api.client,
            node="node-1",
            uid=lambda: self.uid,
            nodes=lambda: nodes,
            acks=self.acks,
            clock=SystemClock(),
        )
        self.changed = asyncio.Event()
        self.leases = Reflector(
            api.client,
            LEASES,
            Lease,
            on_change=lambda _, __: self.changed.set(),
            namespace="kube-system",
            label_selector=acks_lease.SELECTOR,
        )

    def in_force(self, **versions):
        self.acks.taken(Taken(versions={kind: str(v) for kind, v in versions.items()}))
        self.acks.applied(began=0.0, ended=0.0)

    async def until(self, **versions):
        wanted = {kind: str(v) for kind, v in versions.items()}
        async with asyncio.timeout(10):
            while self.told() != wanted:
                self.changed.clear()
                await self.changed.wait()

    def told(self):
        lease = self.leases.items.get(acks_lease.key_of("node-1"))
        return None if lease is None else acks_lease.versions_in(lease)

    @property
    def writes(self):
        return next(s.value for s in self.publisher.samples() if s.name == "netloom_acks_written_total")

    @property
    def failures(self):
        return next(s.value for s in self.publisher.samples() if s.name == "netloom_acks_failed_total")


@asynccontextmanager
async def publishing(api, nodes=3):
    published = Published(api, nodes)
    published.uid = (await api.client.get(NODES, ObjectKey("", "node-1")))["metadata"]["uid"]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(published.publisher.run()), group.create_task(published.leases.run())]
        try:
            yield published
        finally:
            for task in tasks:
                task.cancel()


async def test_what_is_in_force_is_told_and_belongs_to_the_node(api):
    async with publishing(api) as published:
        published.in_force(slices=7, services=5)
        await published.until(slices=7, services=5)
        lease = await api.lease("node-1")
        assert lease["metadata"]["ownerReferences"] == [
            {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": published.uid}
        ]
        assert lease["spec"]["holderIdentity"] == "node-1"
        published.in_force(slices=8)
        await published.until(slices=8, services=5)


async def test_it_goes_with_its_node(api):
    async with publishing(api) as published:
        published.in_force(slices=7)
        await published.until(slices=7)
        await api.client.delete(NODES, ObjectKey("", "node-1"))
        async with asyncio.timeout(10):
            while published.leases.items:
                published.changed.clear()
                await published.changed.wait()
        # a node that comes back has another uid, and its agent tells anew
        made = await api.create(NODES, "node-1")
        published.uid = made["metadata"]["uid"]
        published.publisher.look()
        await published.until(slices=7)


async def test_many_changes_are_few_writes(api):
    async with publishing(api) as published:
        for version in range(1, 200):
            published.in_force(slices=version)
        await published.until(slices=199)
        assert published.writes <= 2


async def test_nothing_new_is_not_written(api):
    async with publishing(api) as published:
        published.in_force(slices=7)
        await published.until(slices=7)
        assert not await published.publisher.turn()
        published.in_force(slices=7)
        assert not await published.publisher.turn()


async def test_a_write_that_fails_is_repeated(api):
    async with publishing(api) as published:
        api.client.failing[LEASES] = 2
        published.in_force(slices=7)
        await published.until(slices=7)
        assert published.failures == 2


async def test_a_lease_that_somebody_removed_comes_back_with_the_next_change(api):
    async with publishing(api) as published:
        published.in_force(slices=7)
        await published.until(slices=7)
        await api.client.delete(LEASES, acks_lease.key_of("node-1"))
        published.in_force(slices=9)
        await published.until(slices=9)


async def test_nothing_is_told_before_the_node_is_known(api):
    published = Published(api, 3)
    published.in_force(slices=7)
    assert not await published.publisher.turn()


def test_the_whole_cluster_writes_about_as_often_whatever_its_size():
    def pause_of(nodes):
        return Published(None_client, nodes).publisher.pause_s

    class None_client:  # noqa: N801 - stands where an instance is wanted; nothing is asked of it
        client = None

    assert pause_of(1) <= pause_of(3) <= 0.05
    assert 5000 / pause_of(5000) <= 100


def test_micro_time():
    assert micro_time(1.25) == "1970-01-01T00:00:01.250000Z"
    assert micro_time(1764000000.999999) == "2025-11-24T16:00:00.999999Z"
