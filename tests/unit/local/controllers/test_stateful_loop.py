"""StatefulSets against the real API server."""

from __future__ import annotations

from typing import Any

from netloom.errors import NotFound
from netloom.kube.resources import (
    CONTROLLER_REVISIONS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
    STORAGE_CLASSES,
)
from netloom.local.bootstrap import storage_class

HASH = "controller-revision-hash"


def stateful(
    replicas: int = 3, image: str = "example.org/db:1", mounts: list[Any] | None = None, **spec: object
) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "db"}, "creationTimestamp": None},
        "spec": {"containers": [{"name": "main", "image": image, "volumeMounts": mounts or []}]},
    }
    return {
        "replicas": replicas,
        "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}},
        "template": template,
        **spec,
    }


def claim(name: str = "data") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


async def rolled_out(cluster, name: str = "db") -> dict[str, Any]:
    """What `kubectl rollout status` asks."""

    async def done():
        s = await cluster.get(STATEFUL_SETS, name)
        status, wish = s.get("status", {}), s["spec"]["replicas"]
        is_done = (
            status.get("observedGeneration", 0) >= s["metadata"]["generation"]
            and status.get("readyReplicas", 0) == wish == status.get("replicas", 0)
            and status.get("updateRevision") == status.get("currentRevision")
        )
        return s if is_done else None

    return await cluster.until(done)


async def pods_of(cluster) -> dict[str, dict[str, Any]]:
    return {p["metadata"]["name"]: p for p in await cluster.list(PODS)}


async def test_pods_come_one_after_the_other_with_names_and_claims_of_their_own(cluster):
    await cluster.client.create(STORAGE_CLASSES, storage_class())
    cluster.nodes.unready = {"db-1"}
    await cluster.create(
        STATEFUL_SETS,
        "db",
        spec=stateful(mounts=[{"name": "data", "mountPath": "/data"}], volumeClaimTemplates=[claim()]),
    )

    async def second():
        return "db-1" in await pods_of(cluster)

    await cluster.until(second)
    await cluster.settled()
    assert sorted(await pods_of(cluster)) == ["db-0", "db-1"]
    cluster.nodes.unready = set()
    cluster.nodes.look()
    s = await rolled_out(cluster)
    pods = await pods_of(cluster)
    assert sorted(pods) == ["db-0", "db-1", "db-2"]
    labels = pods["db-2"]["metadata"]["labels"]
    assert labels["statefulset.kubernetes.io/pod-name"] == "db-2"
    assert labels["apps.kubernetes.io/pod-index"] == "2"
    assert labels[HASH] == s["status"]["currentRevision"]
    spec = pods["db-2"]["spec"]
    assert (spec["hostname"], spec["subdomain"]) == ("db-2", "db")
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-2"}} in spec["volumes"]
    claims = [c["metadata"]["name"] for c in await cluster.list(PERSISTENT_VOLUME_CLAIMS)]
    assert sorted(claims) == ["data-db-0", "data-db-1", "data-db-2"]
    assert s["status"]["currentReplicas"] == s["status"]["availableReplicas"] == 3


async def test_a_rolling_update_goes_from_the_last_one_down_to_the_partition(cluster):
    await cluster.create(STATEFUL_SETS, "db", spec=stateful())
    first = (await rolled_out(cluster))["status"]["currentRevision"]
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    await cluster.patch(
        STATEFUL_SETS, "db", {"spec": stateful(image="example.org/db:2", updateStrategy=rolling)}
    )

    async def images():
        pods = await pods_of(cluster)
        return [pods[n]["spec"]["containers"][0]["image"][-1] for n in sorted(pods)]

    async def last_is_new():
        s = await cluster.get(STATEFUL_SETS, "db")
        return await images() == ["1", "1", "2"] and s["status"]["updatedReplicas"] == 1

    await cluster.until(last_is_new)
    await cluster.settled()
    s = await cluster.get(STATEFUL_SETS, "db")
    assert await images() == ["1", "1", "2"]
    assert s["status"]["currentRevision"] == first != s["status"]["updateRevision"]
    await cluster.delete(PODS, "db-0")

    async def is_back():
        pods = await pods_of(cluster)
        return "db-0" in pods and "deletionTimestamp" not in pods["db-0"]["metadata"]

    await cluster.until(is_back)
    await cluster.settled()
    assert await images() == ["1", "1", "2"]  # below the partition the current revision comes back
    await cluster.patch(
        STATEFUL_SETS, "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}
    )
    await rolled_out(cluster)
    assert await images() == ["2", "2", "2"]
    # and back: the old revision is found again, with a new number
    await cluster.patch(STATEFUL_SETS, "db", {"spec": stateful()})
    s = await rolled_out(cluster)
    assert s["status"]["currentRevision"] == first
    revisions = {r["metadata"]["name"]: r["revision"] for r in await cluster.list(CONTROLLER_REVISIONS)}
    assert len(revisions) == 2
    assert revisions[first] == 3


async def test_scaling_down_goes_from_the_last_one_and_keeps_claims_unless_told_otherwise(cluster):
    await cluster.client.create(STORAGE_CLASSES, storage_class())
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    templates = {"volumeClaimTemplates": [claim()], "podManagementPolicy": "Parallel"}
    await cluster.create(
        STATEFUL_SETS, "db", spec=stateful(**templates, persistentVolumeClaimRetentionPolicy=policy)
    )
    await rolled_out(cluster)
    await cluster.patch(STATEFUL_SETS, "db", {"spec": {"replicas": 1}})

    async def claims_left():
        found = await cluster.list(PERSISTENT_VOLUME_CLAIMS)
        return [c["metadata"]["name"] for c in found] == ["data-db-0"]

    await cluster.until(claims_left)
    assert sorted(await pods_of(cluster)) == ["db-0"]
    await cluster.delete(STATEFUL_SETS, "db")

    async def gone():
        return not await pods_of(cluster)

    await cluster.until(gone)
    assert await claims_left()


async def test_a_pod_that_has_finished_is_made_anew(cluster):
    await cluster.create(STATEFUL_SETS, "db", spec=stateful(1))
    await rolled_out(cluster)
    before = (await cluster.get(PODS, "db-0"))["metadata"]["uid"]
    await cluster.patch(PODS, "db-0", {"status": {"phase": "Failed"}}, subresource="status")

    async def is_another():
        try:
            return (await cluster.get(PODS, "db-0"))["metadata"]["uid"] != before
        except NotFound:
            return False

    await cluster.until(is_another)
