"""Addresses of Services of type LoadBalancer, over the real API server: statuses, conditions, events, and two that would write."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from netloom.clock import SystemClock
from netloom.controller.lb_addresses import LoadBalancerAddresses
from netloom.errors import Unavailable
from netloom.kube.events import EventRecorder
from netloom.kube.resources import EVENTS, LOAD_BALANCER_POOLS, SERVICES
from netloom.model.load_balancers.status import CONDITION


@pytest.fixture
async def world(bare):
    """The API server, and the one loop that this is about."""
    return World(bare)


class World:
    def __init__(self, cluster):
        self.cluster = cluster
        self.may_write = True
        self.recorder = EventRecorder(cluster.client, "test", clock=SystemClock())

    def controller(self, client=None):
        return LoadBalancerAddresses(
            client or self.cluster.client,
            may_write=lambda: self.may_write,
            recorder=self.recorder,
            clock=SystemClock(),
            pools_s=0.02,
        )

    @asynccontextmanager
    async def running(self, *controllers):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run()) for one in controllers or (self.controller(),)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def pool(self, name, *ranges, **spec):
        await self.cluster.create(LOAD_BALANCER_POOLS, name, spec={"ranges": list(ranges)} | spec)

    async def service(self, name, *, annotations=None, port=80, **spec):
        metadata = {"name": name, "namespace": "shop", "annotations": annotations or {}}
        spec = {"type": "LoadBalancer", "ports": [{"port": port}], "selector": {"app": name}} | spec
        await self.cluster.create(SERVICES, name, metadata=metadata, spec=spec)

    async def status(self, name):
        return (await self.cluster.get(SERVICES, name))["status"]

    async def addresses(self, name):
        return [one["ip"] for one in (await self.status(name)).get("loadBalancer", {}).get("ingress", ())]

    async def eventually(self, condition):
        """What the awaited condition gives, when it gives something."""
        async with asyncio.timeout(20):
            while True:
                if found := await condition():
                    return found
                await asyncio.sleep(0.01)

    async def until(self, name, *addresses, reason=""):
        """Wait for the Service's addresses, and for the reason of its condition."""

        async def is_so():
            status = await self.status(name)
            told = [c["reason"] for c in status.get("conditions", ()) if c["type"] == CONDITION]
            is_told = not reason or told == [reason]
            return status if is_told and await self.addresses(name) == list(addresses) else None

        return await self.eventually(is_so)

    async def events(self):
        await self.recorder.flush()
        events = [*await self.cluster.list(EVENTS), *await self.cluster.list(EVENTS, "default")]
        return {
            (e["involvedObject"]["kind"], e["involvedObject"]["name"], e["reason"]): e["message"]
            for e in events
        }


async def test_statuses_conditions_and_events(world):
    await world.service("a")
    async with world.running():
        await world.until("a", reason="NoAddress")
        await world.pool("p", "203.0.113.7-203.0.113.7")
        status = await world.until("a", "203.0.113.7", reason="Assigned")
        assert status["loadBalancer"] == {"ingress": [{"ip": "203.0.113.7", "ipMode": "VIP"}]}
        (condition,) = status["conditions"]
        assert condition["status"] == "True"
        assert condition["message"] == "IPv4 203.0.113.7 of LoadBalancerPool p"
        await world.service("b", port=81)
        status = await world.until("b", reason="PoolDry")
        assert status["conditions"][0]["status"] == "False"
        events = await world.events()
        assert events["Service", "a", "AddressAssigned"] == "IPv4 203.0.113.7 of LoadBalancerPool p"
        assert "all IPv4 addresses of LoadBalancerPool p are in use" in events["Service", "b", "PoolDry"]
        assert (
            events["LoadBalancerPool", "p", "PoolDry"]
            == "no IPv4 address is left; Service shop/b waits for one"
        )
        await world.cluster.delete(SERVICES, "a")
        await world.until("b", "203.0.113.7", reason="Assigned")

        async def counted():
            pool = await world.cluster.get(LOAD_BALANCER_POOLS, "p")
            return pool if pool.get("status", {}).get("assigned") == {"ipv4": 1, "ipv6": 0} else None

        pool = await world.eventually(counted)
        assert pool["status"]["available"] == {"ipv4": 0, "ipv6": 0}
        assert pool["status"]["conditions"][0]["status"] == "True"


async def test_a_pool_of_which_a_part_is_anothers_says_so(world):
    await world.pool("p", "203.0.113.0-203.0.113.9")
    async with world.running():
        await world.service("a")
        await world.until("a", "203.0.113.0")
        await world.pool("q", "203.0.113.9-203.0.113.12")

        async def told():
            pool = await world.cluster.get(LOAD_BALANCER_POOLS, "q")
            return pool.get("status")

        status = await world.eventually(told)
        assert status["available"] == {"ipv4": 3, "ipv6": 0}
        (ready,) = status["conditions"]
        assert (ready["status"], ready["reason"]) == ("False", "Faults")
        assert ready["message"].startswith(
            "spec.ranges[0]: 203.0.113.9-203.0.113.12 overlaps with LoadBalancerPool p"
        )
        events = await world.events()
        assert events["LoadBalancerPool", "q", "PoolNotRead"] == ready["message"]


async def test_another_type_gives_back_and_says_nothing_more(world):
    await world.pool("p", "203.0.113.7-203.0.113.7")
    await world.service("a")
    async with world.running():
        await world.until("a", "203.0.113.7")
        other = {
            "type": "Example",
            "status": "True",
            "reason": "R",
            "message": "",
            "lastTransitionTime": None,
        }
        other["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        mine = (await world.status("a"))["conditions"]
        await world.cluster.patch(
            SERVICES, "a", {"status": {"conditions": [other, *mine]}}, subresource="status"
        )
        await world.cluster.patch(SERVICES, "a", {"spec": {"type": "ClusterIP"}})

        async def is_quiet():
            return [c["type"] for c in (await world.status("a"))["conditions"]] == ["Example"]

        await world.eventually(is_quiet)
        await world.service("b")
        await world.until("b", "203.0.113.7")


async def test_who_does_not_lead_writes_nothing(world):
    world.may_write = False
    await world.pool("p", "203.0.113.0-203.0.113.9")
    await world.service("a")
    async with world.running():
        await asyncio.sleep(0.3)
        assert "conditions" not in await world.status("a")
        world.may_write = True
        await world.until("a", "203.0.113.0")


async def test_two_that_both_think_they_lead_come_to_one_result(world):
    """A Lease does not let it come so far; if it does, no Service is left with another's address."""
    await world.pool("p", "203.0.113.0-203.0.113.255")
    async with world.running(world.controller(), world.controller()):
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(world.service(f"s{number}"))

        async def all_differ():
            services = await world.cluster.list(SERVICES)
            found = [
                one["ip"] for s in services for one in s["status"].get("loadBalancer", {}).get("ingress", ())
            ]
            return len(found) == len(set(found)) == 40

        await world.eventually(all_differ)


class Uncertain:
    """A client whose writes arrive, but whose answers are lost now and then."""

    def __init__(self, client):
        self.client = client
        self.config = client.config
        self.lost = 0

    def __getattr__(self, name):
        return getattr(self.client, name)

    async def patch(self, resource, key, body, **options):
        answer = await self.client.patch(resource, key, body, **options)
        if resource is SERVICES:
            self.lost += 1
            if self.lost % 2:
                raise Unavailable("the answer was lost")
        return answer


async def test_answers_that_are_lost(world):
    client = Uncertain(world.cluster.client)
    await world.pool("p", "203.0.113.0-203.0.113.9")
    async with world.running(world.controller(client)):
        for number in range(10):
            await world.service(f"s{number}")

        async def all_have_one():
            return [a for n in range(10) for a in await world.addresses(f"s{n}")][9:]

        await world.eventually(all_have_one)
        found = [a for n in range(10) for a in await world.addresses(f"s{n}")]
        assert sorted(found) == [f"203.0.113.{n}" for n in range(10)]


async def test_a_service_that_cannot_be_read_keeps_its_address(world):
    await world.pool("p", "203.0.113.0-203.0.113.1")
    await world.service("a")
    controller = world.controller()
    async with world.running(controller):
        await world.until("a", "203.0.113.0", reason="Assigned")
        reflector = controller._reflectors[0]
        document = await world.cluster.get(SERVICES, "a")
        document["spec"]["ports"] = "none"
        document["metadata"]["resourceVersion"] = str(reflector.version + 1)
        event = {"type": "MODIFIED", "object": document}
        reflector.take(msgspec.json.encode(event))
        await world.service("b")
        await world.until("b", "203.0.113.1")
        await world.service("c")
        await world.until("c", reason="PoolDry")


async def test_a_restart_changes_nothing(world):
    await world.pool("p", "203.0.113.0-203.0.113.9")
    for name in "abc":
        await world.service(name)
    async with world.running():
        for name, last in zip("abc", "012", strict=True):
            await world.until(name, f"203.0.113.{last}", reason="Assigned")
    await world.cluster.delete(SERVICES, "a")
    before = await world.cluster.get(SERVICES, "b")
    async with world.running():
        await world.service("d")
        await world.until("d", "203.0.113.0")
        assert (await world.cluster.get(SERVICES, "b"))["metadata"]["resourceVersion"] == before["metadata"][
            "resourceVersion"
        ]
