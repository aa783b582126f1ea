"""What a cluster needs once for gateways, against the real API server: Services, slices, statuses, and what others wrote stays."""

import asyncio
import ipaddress
import socket
import tempfile
from pathlib import Path

import pytest

from netloom.clock import SystemClock
from netloom.controller.gateways import GatewayController
from netloom.errors import AlreadyExists, NotFound
from netloom.gateway import in_force
from netloom.gateway.in_force import Problem, Told
from netloom.gateway.pending import KINDS
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import (
    ENDPOINT_SLICES,
    GATEWAYS,
    HTTP_ROUTES,
    LEASES,
    NAMESPACES,
    NODES,
    SERVICES,
)
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store
from netloom.units import ObjectKey

WEB, SERVICE, ROUTE = (ObjectKey("shop", name) for name in ("web", "web-netloom", "cart"))


class World:
    """An API server with nodes, and a controller that may be stopped and started."""

    def __init__(self, client, changed):
        self.client, self.changed = client, changed
        self.running = None
        self.leads = True

    def start(self):
        recorder = EventRecorder(self.client, "test", clock=SystemClock())
        controller = GatewayController(
            self.client, may_write=lambda: self.leads, recorder=recorder, clock=SystemClock()
        )
        self.running = asyncio.ensure_future(controller.run())

    async def stop(self):
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
            self.running = None

    async def create(self, resource, name, **body):
        metadata = {"name": name} | ({"namespace": "shop"} if resource.namespaced else {})
        kind = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return await self.client.create(resource, kind | body)

    async def ready(self, node, ready="True", address=None):
        status = {"conditions": [{"type": "Ready", "status": ready}]}
        if address:
            status["addresses"] = [{"type": "InternalIP", "address": address}]
        await self.client.patch(NODES, ObjectKey("", node), {"status": status}, subresource="status")

    async def tell(self, node, told):
        body = in_force.body(node, "uid", told, kinds=KINDS, renewed="2026-01-01T00:00:00.000000Z")
        uid = (await self.client.get(NODES, ObjectKey("", node)))["metadata"]["uid"]
        body["metadata"]["ownerReferences"][0]["uid"] = uid
        try:
            await self.client.create(LEASES, in_force.without_nulls(body))
        except AlreadyExists:
            await self.client.patch(LEASES, in_force.key_of(node), body)

    async def get(self, resource, key):
        try:
            return await self.client.get(resource, key)
        except NotFound:
            return None

    async def until(self, ask):
        """The first answer that is something; asked again after every write to the store."""
        try:
            async with asyncio.timeout(20):
                while True:
                    self.changed.clear()
                    if found := await ask():
                        return found
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError("does not come to hold") from None

    async def service(self):
        return await self.until(lambda: self.get(SERVICES, SERVICE))

    async def give_address(self):
        status = {"loadBalancer": {"ingress": [{"ip": "198.51.100.7", "ipMode": "VIP"}]}}
        await self.client.patch(SERVICES, SERVICE, {"status": status}, subresource="status")

    async def condition(self, type_, wanted):
        async def look():
            gateway = await self.get(GATEWAYS, WEB)
            found = (gateway or {}).get("status", {}).get("conditions", [])
            return next((c for c in found if c["type"] == type_ and c["status"] == wanted), None)

        return await self.until(look)

    async def endpoints(self, wanted):
        """By node, whether it takes requests; as soon as it is so."""

        async def look():
            found, _ = await self.client.list(ENDPOINT_SLICES, "shop")
            ends = {e["nodeName"]: e["conditions"]["ready"] for s in found for e in s["endpoints"] or ()}
            return ends == wanted

        await self.until(look)


@pytest.fixture
async def world():
    with tempfile.TemporaryDirectory(prefix="nl") as directory:
        path, store, changed = Path(directory) / "api.sock", Store(":memory:"), asyncio.Event()
        store.listen(lambda _: changed.set())
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
                made = World(client, changed)
                await made.create(NAMESPACES, "shop")
                for number, node in enumerate(("node-1", "node-2"), 1):
                    await made.create(NODES, node)
                    await made.ready(node, address=f"192.0.2.{number}")
                made.start()
                yield made
                await made.stop()
            serving.cancel()
        store.close()


async def gateway(world, **spec):
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    return await world.create(
        GATEWAYS, "web", spec={"gatewayClassName": "netloom", "listeners": listeners, **spec}
    )


async def told_by_all(world, *nodes):
    """These nodes have the Gateway in force; its node port."""
    version = (await world.client.get(GATEWAYS, WEB))["metadata"]["resourceVersion"]
    port = (await world.service())["spec"]["ports"][0]["nodePort"]
    for node in nodes:
        await world.tell(node, Told({"gateways": version}, frozenset({port})))
    return port


async def test_from_a_gateway_to_programmed_and_back_to_nothing(world):
    made = await gateway(world)
    service = await world.service()
    assert service["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    await world.give_address()
    waits = await world.condition("Programmed", "False")
    await told_by_all(world, "node-1")
    await world.endpoints({"node-1": True})
    assert "node-2" in (await world.condition("Programmed", "False"))["message"]
    await told_by_all(world, "node-2")
    await world.endpoints({"node-1": True, "node-2": True})
    done = await world.condition("Programmed", "True")
    assert done["observedGeneration"] == made["metadata"]["generation"]
    assert done["lastTransitionTime"] >= waits["lastTransitionTime"]
    assert (await world.client.get(GATEWAYS, WEB))["status"]["addresses"] == [
        {"type": "IPAddress", "value": "198.51.100.7"}
    ]
    await world.client.delete(GATEWAYS, WEB)

    async def nothing():
        left = [
            *(await world.client.list(ENDPOINT_SLICES, "shop"))[0],
            *(await world.client.list(SERVICES, "shop"))[0],
        ]
        return not left

    await world.until(nothing)


async def test_nodes_that_are_not_ready_or_gone_leave_the_slices(world):
    await gateway(world)
    await told_by_all(world, "node-1", "node-2")
    await world.endpoints({"node-1": True, "node-2": True})
    await world.ready("node-2", "False")
    await world.endpoints({"node-1": True})
    await world.ready("node-2", "True")
    await world.endpoints({"node-1": True, "node-2": True})
    await world.client.delete(NODES, ObjectKey("", "node-2"))
    await world.endpoints({"node-1": True})


async def test_a_problem_of_a_node_is_in_the_message(world):
    await gateway(world)
    await told_by_all(world, "node-1")
    await world.give_address()
    await world.tell("node-2", Told(problems=(Problem("cannot execute haproxy; install it"),)))

    async def look():
        found = await world.condition("Programmed", "False")
        return "node-2: cannot execute haproxy; install it" in found["message"]

    await world.until(look)


async def test_what_others_wrote_in_a_status_stays_and_so_do_times(world):
    await gateway(world)
    theirs = {
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "other"},
        "controllerName": "example.org/x",
        "conditions": [{"type": "Accepted", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }  # fmt: skip
    spec = {"parentRefs": [{"name": "web"}, {"name": "other"}]}
    await world.create(HTTP_ROUTES, "cart", spec=spec)

    async def parents(count):
        route = await world.get(HTTP_ROUTES, ROUTE)
        found = (route or {}).get("status", {}).get("parents") or []
        return found if len(found) == count else None

    (ours,) = await world.until(lambda: parents(1))
    await world.client.patch(
        HTTP_ROUTES, ROUTE, {"status": {"parents": [theirs, ours]}}, subresource="status"
    )
    assert await world.until(lambda: parents(2)) == [theirs, ours]
    # another controller begins with the cluster as it is
    await world.stop()
    world.start()
    await world.client.patch(HTTP_ROUTES, ROUTE, {"spec": {"parentRefs": [{"name": "other"}]}})
    assert await world.until(lambda: parents(1)) == [theirs]


async def test_who_does_not_lead_writes_nothing(world):
    world.leads = False
    await gateway(world)
    await asyncio.sleep(0.3)
    assert await world.get(SERVICES, SERVICE) is None
    (pending,) = (await world.client.get(GATEWAYS, WEB)).get("status", {}).get("conditions", [{}])[:1]
    assert pending.get("reason", "Pending") == "Pending", "as the API server made it"


async def test_a_service_in_the_way_is_left_alone(world):
    theirs = await world.create(SERVICES, SERVICE.name, spec={"ports": [{"port": 8080}]})
    await gateway(world)
    await world.condition("Programmed", "False")
    now = await world.client.get(SERVICES, SERVICE)
    assert now["spec"]["ports"] == theirs["spec"]["ports"]
    await world.client.delete(SERVICES, SERVICE)

    async def ours():
        found = await world.get(SERVICES, SERVICE)
        return found is not None and found["spec"]["ports"][0]["port"] == 80

    await world.until(ours)
