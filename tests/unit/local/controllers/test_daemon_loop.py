"""DaemonSets and ReplicationControllers against the real API server."""

from __future__ import annotations

from collections import Counter
from typing import Any

from netloom.kube.resources import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    NODES,
    PODS,
    REPLICATION_CONTROLLERS,
)


def daemon(image: str = "example.org/log:1", **spec: object) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "log"}},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }
    return {"selector": {"matchLabels": {"app": "log"}}, "template": template, **spec}


async def rolled_out(cluster, nodes: int = 3) -> dict[str, Any]:
    """What `kubectl rollout status` asks."""

    async def done():
        ds = await cluster.get(DAEMON_SETS, "log")
        status = ds.get("status", {})
        is_done = status.get("observedGeneration", 0) >= ds["metadata"]["generation"] and (
            nodes
            == status["desiredNumberScheduled"]
            == status["updatedNumberScheduled"]
            == status["numberAvailable"]
        )
        return ds if is_done else None

    return await cluster.until(done)


async def pods_of(cluster) -> list[dict[str, Any]]:
    return [p for p in await cluster.list(PODS) if "deletionTimestamp" not in p["metadata"]]


async def test_each_node_has_one_pod_and_nodes_with_a_taint_none(cluster):
    taint = {"key": "example.org/own", "effect": "NoSchedule", "value": ""}
    await cluster.patch(NODES, "node-3", {"spec": {"taints": [taint]}})
    await cluster.create(DAEMON_SETS, "log", spec=daemon())
    ds = await rolled_out(cluster, 2)
    assert ds["status"]["numberMisscheduled"] == 0
    await cluster.settled()
    nodes = Counter(p["spec"]["nodeName"] for p in await pods_of(cluster))
    assert nodes == {"node-1": 1, "node-2": 1}
    await cluster.patch(NODES, "node-3", {"spec": {"taints": []}})
    await rolled_out(cluster, 3)
    # cordoned nodes are borne, those that another selector leaves out are not
    await cluster.patch(NODES, "node-2", {"spec": {"unschedulable": True}})
    await cluster.patch(
        DAEMON_SETS,
        "log",
        {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-2"}}}}},
    )
    await rolled_out(cluster, 1)
    assert [p["spec"]["nodeName"] for p in await pods_of(cluster)] == ["node-2"]


async def test_a_rolling_update_takes_one_node_after_the_other(cluster):
    await cluster.create(DAEMON_SETS, "log", spec=daemon())
    await rolled_out(cluster)
    cluster.nodes.unready = {"log-"}
    await cluster.patch(DAEMON_SETS, "log", {"spec": daemon("example.org/log:2")})

    async def images():
        return Counter(p["spec"]["containers"][0]["image"][-1] for p in await pods_of(cluster))

    async def one_is_new():
        return await images() == {"1": 2, "2": 1}

    await cluster.until(one_is_new)
    await cluster.settled()
    assert await one_is_new()
    cluster.nodes.unready = set()
    cluster.nodes.look()
    await rolled_out(cluster)
    assert await images() == {"2": 3}
    revisions = await cluster.list(CONTROLLER_REVISIONS)
    assert sorted(r["revision"] for r in revisions) == [1, 2]


async def test_with_surge_the_new_pod_is_there_before_the_old_one_goes(cluster):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await cluster.create(DAEMON_SETS, "log", spec=daemon(updateStrategy=rolling))
    await rolled_out(cluster)
    cluster.nodes.unready = {"log-"}
    await cluster.patch(DAEMON_SETS, "log", {"spec": daemon("example.org/log:2", updateStrategy=rolling)})

    async def four():
        return len(await pods_of(cluster)) == 4

    await cluster.until(four)
    await cluster.settled()
    assert await four()
    cluster.nodes.unready = set()
    cluster.nodes.look()
    await rolled_out(cluster)

    async def three():
        return len(await cluster.list(PODS)) == 3

    await cluster.until(three)


async def test_a_pod_that_failed_is_replaced(cluster):
    await cluster.create(DAEMON_SETS, "log", spec=daemon())
    await rolled_out(cluster)
    one = (await pods_of(cluster))[0]["metadata"]
    await cluster.patch(PODS, one["name"], {"status": {"phase": "Failed"}}, subresource="status")

    async def replaced():
        pods = await pods_of(cluster)
        return len(pods) == 3 and one["uid"] not in {p["metadata"]["uid"] for p in pods}

    await cluster.until(replaced)


async def test_a_replication_controller_keeps_its_number(cluster):
    spec = {
        "replicas": 2,
        "selector": {"app": "old"},
        "template": {
            "metadata": {"labels": {"app": "old"}},
            "spec": {"containers": [{"name": "main", "image": "example.org/old:1"}]},
        },
    }
    await cluster.create(REPLICATION_CONTROLLERS, "old", spec=spec)

    async def has(count: int):
        rc = await cluster.get(REPLICATION_CONTROLLERS, "old")
        return rc.get("status", {}).get("availableReplicas", 0) == count

    await cluster.until(lambda: has(2))
    pods = await pods_of(cluster)
    assert {p["metadata"]["ownerReferences"][0]["kind"] for p in pods} == {"ReplicationController"}
    await cluster.patch(REPLICATION_CONTROLLERS, "old", {"spec": {"replicas": 0}})
    await cluster.until(lambda: has(0))
