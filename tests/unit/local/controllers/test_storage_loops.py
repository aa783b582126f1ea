"""Claims and volumes against the real API server."""

from __future__ import annotations

from typing import Any

import pytest

from netloom.errors import NotFound
from netloom.kube.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from netloom.local.bootstrap import storage_class


def claim(size: str = "1Gi", **spec: object) -> dict[str, Any]:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}


def volume(size: str, **spec: object) -> dict[str, Any]:
    return {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "hostPath": {"path": "/data/one"},
        "storageClassName": "manual",
        **spec,
    }


async def bound(cluster, name: str = "data") -> dict[str, Any]:
    async def is_bound():
        found = await cluster.get(PERSISTENT_VOLUME_CLAIMS, name)
        return found if found.get("status", {}).get("phase") == "Bound" else None

    return await cluster.until(is_bound)


async def phase(cluster, name: str) -> str:
    try:
        found = await cluster.get(PERSISTENT_VOLUMES, name)
    except NotFound:
        return "gone"
    return found.get("status", {}).get("phase", "")


@pytest.fixture
async def standard(cluster):
    await cluster.client.create(STORAGE_CLASSES, storage_class())
    return cluster


async def test_a_claim_without_a_class_gets_a_directory_of_the_default_one(standard):
    await standard.create(PERSISTENT_VOLUME_CLAIMS, "data", spec=claim())
    found = await bound(standard)
    assert found["spec"]["storageClassName"] == "standard"
    assert found["status"]["capacity"] == {"storage": "1Gi"}
    name = found["spec"]["volumeName"]
    made = await standard.get(PERSISTENT_VOLUMES, name)
    assert made["spec"]["hostPath"]["path"] == f"/var/lib/netloom/volumes/{name}"
    assert made["spec"]["claimRef"]["uid"] == found["metadata"]["uid"]
    await standard.delete(PERSISTENT_VOLUME_CLAIMS, "data")

    async def gone():
        return await phase(standard, name) == "gone"

    await standard.until(gone)


async def test_the_smallest_volume_that_fits_is_taken_and_kept_afterwards(cluster):
    for name, size in (("big", "10Gi"), ("fit", "2Gi"), ("small", "500Mi")):
        await cluster.create(PERSISTENT_VOLUMES, name, spec=volume(size))
    await cluster.create(PERSISTENT_VOLUME_CLAIMS, "data", spec=claim(storageClassName="manual"))
    found = await bound(cluster)
    assert found["spec"]["volumeName"] == "fit"
    assert await phase(cluster, "fit") == "Bound"
    await cluster.delete(PERSISTENT_VOLUME_CLAIMS, "data")

    async def released():
        return await phase(cluster, "fit") == "Released"

    await cluster.until(released)


async def test_a_claim_in_use_stays_until_its_pod_is_gone(standard):
    await standard.create(PERSISTENT_VOLUME_CLAIMS, "data", spec=claim())
    await bound(standard)
    spec = {
        "containers": [{"name": "main", "image": "example.org/a:1"}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    await standard.create(PODS, "user", spec=spec)
    await standard.settled()
    await standard.delete(PERSISTENT_VOLUME_CLAIMS, "data")
    await standard.settled()
    assert (await standard.get(PERSISTENT_VOLUME_CLAIMS, "data"))["metadata"]["deletionTimestamp"]
    await standard.delete(PODS, "user")

    async def gone():
        return not await standard.list(PERSISTENT_VOLUME_CLAIMS)

    await standard.until(gone)


async def test_a_class_may_wait_for_the_first_pod(standard):
    class_ = storage_class() | {"metadata": {"name": "late"}, "volumeBindingMode": "WaitForFirstConsumer"}
    await standard.client.create(STORAGE_CLASSES, class_)
    await standard.create(PERSISTENT_VOLUME_CLAIMS, "data", spec=claim(storageClassName="late"))
    await standard.settled()
    assert not await standard.list(PERSISTENT_VOLUMES)
    spec = {
        "containers": [{"name": "main", "image": "example.org/a:1"}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    await standard.create(PODS, "user", spec=spec)
    await bound(standard)


def user(*volumes: dict[str, Any]) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "example.org/a:1"}], "volumes": list(volumes)}


async def test_a_pod_goes_where_its_volume_is_and_nowhere_before_there_is_one(cluster):
    uses = {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}
    await cluster.create(PERSISTENT_VOLUME_CLAIMS, "data", spec=claim(storageClassName="manual"))
    await cluster.create(PODS, "user", spec=user(uses))
    await cluster.settled()
    assert "nodeName" not in (await cluster.get(PODS, "user"))["spec"]
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}
    here = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    await cluster.create(PERSISTENT_VOLUMES, "one", spec=volume("2Gi", nodeAffinity=here))

    async def placed():
        return (await cluster.get(PODS, "user"))["spec"].get("nodeName")

    assert await cluster.until(placed) == "node-2"


async def test_a_volume_of_a_pod_alone_is_made_for_it_and_goes_with_it(standard):
    template = {"metadata": {"labels": {"of": "user"}}, "spec": claim()}
    await standard.create(
        PODS, "user", spec=user({"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}})
    )
    found = await bound_when_there(standard, "user-scratch")
    assert found["metadata"]["labels"] == {"of": "user"}
    await standard.delete(PODS, "user")

    async def gone():
        return not await standard.list(PERSISTENT_VOLUME_CLAIMS)

    await standard.until(gone)


async def bound_when_there(cluster, name: str) -> dict[str, Any]:
    async def there():
        return [c for c in await cluster.list(PERSISTENT_VOLUME_CLAIMS) if c["metadata"]["name"] == name]

    await cluster.until(there)
    return await bound(cluster, name)
