"""Nodes that fall silent or are tainted, and pods that have to make room: over the real API server, with hollow nodes."""

from __future__ import annotations

from typing import Any

from netloom.clock import SystemClock, rfc3339
from netloom.errors import NotFound
from netloom.kube.resources import LEASES, NODES, POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES
from netloom.local.controllers.node_lifecycle import NAMESPACE
from netloom.units import ObjectKey

_STATUS = {"content_type": "application/strategic-merge-patch+json", "subresource": "status"}
_TAINT = {"key": "example.org/broken", "effect": "NoExecute"}


def spec(node: str = "", cpu: str = "", **more: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c", "image": "example.org/a:1"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    return {"containers": [container], **({"nodeName": node} if node else {}), **more}


async def condition(cluster, resource, name, type_):
    body = await cluster.get(resource, name)
    found = body["status"].get("conditions") or []
    return next((c for c in found if c["type"] == type_), {})


def until_ready(cluster, *names, status="True"):
    async def ready():
        return all([(await condition(cluster, PODS, n, "Ready")).get("status") == status for n in names])

    return cluster.until(ready)


def until_gone(cluster, name):
    async def gone():
        try:
            await cluster.get(PODS, name)
        except NotFound:
            return True
        return False

    return cluster.until(gone)


async def test_a_taint_lets_pods_go_that_do_not_tolerate_it_at_once_and_others_later(cluster):
    tolerates = {"key": _TAINT["key"], "operator": "Exists"}
    await cluster.create(PODS, "stays", spec=spec("node-1", tolerations=[tolerates]))
    await cluster.create(PODS, "leaves", spec=spec("node-1"))
    later = spec("node-1", tolerations=[{**tolerates, "effect": "NoExecute", "tolerationSeconds": 1}])
    await cluster.create(PODS, "later", spec=later)
    await cluster.create(PODS, "elsewhere", spec=spec("node-2"))
    await until_ready(cluster, "stays", "leaves", "later", "elsewhere")
    await cluster.patch(NODES, "node-1", {"spec": {"taints": [_TAINT]}})
    await until_gone(cluster, "leaves")
    await until_gone(cluster, "later")
    assert {p["metadata"]["name"] for p in await cluster.list(PODS)} == {"stays", "elsewhere"}


async def test_a_node_that_falls_silent_is_unknown_and_its_pods_are_not_ready(bare):
    async def renew():
        spec = {"renewTime": rfc3339(SystemClock().wall()).removesuffix("Z") + ".000001Z"}
        await bare.client.patch(LEASES, ObjectKey(NAMESPACE, "node-2"), {"spec": spec})

    # nodes without a Lease have much longer
    lease = {"metadata": {"name": "node-2", "namespace": NAMESPACE}, "spec": {"holderIdentity": "node-2"}}
    await bare.client.create(LEASES, {"apiVersion": LEASES.api_version, "kind": "Lease", **lease})
    async with bare.running(node_grace_s=3):
        tolerates = [{"operator": "Exists"}]
        await bare.create(PODS, "far", spec=spec("node-2", tolerations=tolerates))
        await until_ready(bare, "far")

        async def unknown():
            return (await condition(bare, NODES, "node-2", "Ready")).get("status") == "Unknown"

        await bare.until(unknown)
        assert (await condition(bare, NODES, "node-2", "Ready"))["reason"] == "NodeStatusUnknown"

        async def tainted():
            taints = (await bare.get(NODES, "node-2"))["spec"].get("taints") or []
            return sorted(t["effect"] for t in taints if t["key"] == "node.kubernetes.io/unreachable")

        assert await bare.until(tainted) == ["NoExecute", "NoSchedule"]

        await renew()
        await bare.nodes.set_ready("node-2", ready=True)

        async def clean():
            return not (await bare.get(NODES, "node-2"))["spec"].get("taints")

        await bare.until(clean)


async def test_a_pod_is_let_go_when_its_node_is_out_of_service(cluster):
    cluster.nodes.holding.add("held")
    await cluster.create(PODS, "held", spec=spec("node-3"))
    await until_ready(cluster, "held")
    await cluster.delete(PODS, "held")
    assert (await cluster.get(PODS, "held"))["metadata"]["deletionTimestamp"]
    await cluster.nodes.set_ready("node-3", ready=False)
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoSchedule", "value": "nodeshutdown"}
    await cluster.patch(NODES, "node-3", {"spec": {"taints": [taint]}})
    await until_gone(cluster, "held")


async def test_a_more_important_pod_takes_the_place_of_others(cluster):
    for name in cluster.nodes.names:
        room = {"status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}}
        await cluster.patch(NODES, name, room, **_STATUS)
    for number in range(3):
        await cluster.create(PODS, f"low-{number}", spec=spec(cpu="800m"))
    await until_ready(cluster, "low-0", "low-1", "low-2")
    await cluster.create(PODS, "same", spec=spec(cpu="500m"))

    async def waits():
        return (await condition(cluster, PODS, "same", "PodScheduled")).get("message", "")

    assert "3 Insufficient cpu" in await cluster.until(waits)
    await cluster.create(PRIORITY_CLASSES, "vip", value=10)
    await cluster.create(PODS, "vip", spec=spec(cpu="500m", priorityClassName="vip"))
    await until_ready(cluster, "vip")
    names = {p["metadata"]["name"] for p in await cluster.list(PODS)}
    assert len(names & {"low-0", "low-1", "low-2"}) == 2
    assert "same" in names


async def test_a_budget_is_counted_as_pods_come_and_go(cluster):
    cluster.nodes.holding.add("db-1")
    labels = {"labels": {"app": "db"}}
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}}
    await cluster.create(POD_DISRUPTION_BUDGETS, "db", spec=budget)
    for number in (1, 2):
        await cluster.create(PODS, f"db-{number}", metadata=labels, spec=spec("node-1"))

    async def allowed():
        status = (await cluster.get(POD_DISRUPTION_BUDGETS, "db"))["status"]
        return status.get("currentHealthy"), status.get("disruptionsAllowed")

    async def two():
        return await allowed() == (2, 1)

    async def one():
        return await allowed() == (1, 0)

    await cluster.until(two)
    await cluster.delete(PODS, "db-1")
    await cluster.until(one)
