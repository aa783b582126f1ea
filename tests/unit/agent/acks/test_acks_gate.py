"""Pods whose readiness waits until all nodes know them, at the real API server."""

import asyncio
from contextlib import asynccontextmanager

from netloom.agent.acks_follow import AckFollower
from netloom.agent.acks_gate import CONDITION, ReadinessGates
from netloom.agent.acks_wait import while_running
from netloom.api.core import Node, Pod
from netloom.clock import SystemClock
from netloom.kube.resources import NODES, PODS
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

ALL = ("node-1", "node-2", "node-3")
WEB = ObjectKey("shop", "web")


class Gates:
    """The gates of node-1 at work, fed as the agent feeds them."""

    def __init__(self, api):
        self.api = api
        self.nodes = Reflector(api.client, NODES, Node, on_change=lambda _, __: self.follower.nodes_changed())
        self.follower = AckFollower(api.client, nodes=self.nodes.items, own="node-1", linger_s=0)
        self.gates = ReadinessGates(
            client=api.client,
            node="node-1",
            node_version=lambda: self.nodes.items[ObjectKey("", "node-1")].metadata.resource_version,
            follower=self.follower,
            clock=SystemClock(),
        )
        self.changed = asyncio.Event()
        self.pods = Reflector(api.client, PODS, Pod, on_change=self.on_pod)

    def on_pod(self, key, pod):
        self.gates.pod_changed(key, pod)
        self.changed.set()

    @property
    def waiting(self):
        return next(s.value for s in self.gates.samples() if s.name == "netloom_gated_pods")

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def status(self, key=WEB):
        pod = self.pods.items.get(key)
        conditions = () if pod is None else pod.status.conditions
        return next((c.status for c in conditions if c.type == CONDITION), None)

    async def seen(self, written):
        await self.pods.reached(int(written["metadata"]["resourceVersion"]))


@asynccontextmanager
async def gates_of(api):
    gates = Gates(api)
    started, ended = asyncio.Event(), asyncio.Event()

    async def work():
        await gates.nodes.synced.wait()
        await gates.pods.synced.wait()
        started.set()
        await ended.wait()

    async with asyncio.TaskGroup() as group:
        others = (gates.nodes.run, gates.pods.run, gates.follower.run, gates.gates.run)
        group.create_task(while_running(others, work()))
        await started.wait()
        try:
            yield gates
        finally:
            ended.set()


async def gated_pod(api, name="web", node="node-1", gates=(CONDITION,)):
    spec = {
        "nodeName": node,
        "containers": [{"name": "c", "image": "example/web"}],
        "readinessGates": [{"conditionType": gate} for gate in gates],
    }
    await api.create(PODS, name, spec=spec)
    return await address(api, name, "10.1.0.7")


async def address(api, name, ip):
    return await api.status(PODS, name, podIP=ip, podIPs=[{"ip": ip}])


async def tell_all(api, nodes, **versions):
    for node in nodes:
        await api.tell(node, nodes=10_000, **versions)


async def test_the_gate_opens_when_the_last_node_has_the_pod(api):
    async with gates_of(api) as gates:
        written = await gated_pod(api)
        version = int(written["metadata"]["resourceVersion"])
        await gates.seen(written)
        await tell_all(api, ALL[:2], pods=version)
        await tell_all(api, ["node-3"], pods=version - 1)
        assert gates.status() is None
        assert gates.waiting == 1
        await tell_all(api, ["node-3"], pods=version)
        await gates.until(lambda: gates.status() == "True")
        pod = await api.client.get(PODS, WEB)
        assert [c["reason"] for c in pod["status"]["conditions"]] == ["InForceOnAllNodes"]
        await gates.follower.until(lambda: True)
        assert gates.waiting == 0


async def test_later_changes_of_the_pod_do_not_put_it_off(api):
    async with gates_of(api) as gates:
        written = await gated_pod(api)
        version = written["metadata"]["resourceVersion"]
        later = await api.status(PODS, "web", conditions=[{"type": "ContainersReady", "status": "True"}])
        await gates.seen(later)
        await tell_all(api, ALL, pods=version)
        await gates.until(lambda: gates.status() == "True")


async def test_the_way_to_the_node_must_be_known_too(api):
    async with gates_of(api) as gates:
        written = await gated_pod(api)
        await gates.seen(written)
        for node in ALL:
            await api.tell(node, pods=10_000, nodes=1)
        assert gates.status() is None
        await tell_all(api, ALL, pods=10_000)
        await gates.until(lambda: gates.status() == "True")


async def test_other_nodes_pods_and_other_gates_are_left_alone(api):
    async with gates_of(api) as gates:
        await gated_pod(api, "elsewhere", node="node-2")
        await gated_pod(api, "other", gates=("example.org/other",))
        await gates.seen(await gated_pod(api, "none", gates=()))
        assert gates.waiting == 0
        assert not gates.follower.is_watching


async def test_a_new_address_shuts_the_gate_until_it_is_known(api):
    async with gates_of(api) as gates:
        written = await gated_pod(api)
        await tell_all(api, ALL, pods=written["metadata"]["resourceVersion"])
        await gates.until(lambda: gates.status() == "True")
        moved = await address(api, "web", "10.1.0.9")
        await gates.until(lambda: gates.status() == "False")
        await tell_all(api, ALL, pods=moved["metadata"]["resourceVersion"])
        await gates.until(lambda: gates.status() == "True")


async def test_a_pod_that_goes_is_waited_for_no_longer(api):
    async with gates_of(api) as gates:
        await gates.seen(await gated_pod(api))
        assert gates.waiting == 1
        await api.client.delete(PODS, WEB, grace_s=0)
        await gates.until(lambda: gates.waiting == 0)


async def test_a_write_that_fails_is_repeated(api):
    async with gates_of(api) as gates:
        written = await gated_pod(api)
        await gates.seen(written)
        api.client.failing[PODS] = 2
        await tell_all(api, ALL, pods=written["metadata"]["resourceVersion"])
        await gates.until(lambda: gates.status() == "True")
        assert api.client.failing[PODS] == 0
