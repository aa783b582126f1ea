"""Workloads of every kind go when their namespace does: nothing that is kept by a finalizer keeps it for ever."""

from __future__ import annotations

from netloom.errors import NotFound
from netloom.kube.resources import (
    CRON_JOBS,
    DAEMON_SETS,
    JOBS,
    NAMESPACES,
    PERSISTENT_VOLUMES,
    PODS,
    STATEFUL_SETS,
    STORAGE_CLASSES,
)
from netloom.local.bootstrap import storage_class


def template(app: str, policy: str = "Always") -> dict[str, object]:
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"restartPolicy": policy, "containers": [{"name": "main", "image": "example.org/a:1"}]},
    }


async def test_a_namespace_goes_with_all_its_workloads(cluster):
    await cluster.client.create(STORAGE_CLASSES, storage_class())
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    selected = {"selector": {"matchLabels": {"app": "db"}}, "template": template("db")}
    spec = selected | {"serviceName": "db", "replicas": 1, "volumeClaimTemplates": [claim]}
    await cluster.create(STATEFUL_SETS, "db", spec=spec)
    logs = {"selector": {"matchLabels": {"app": "log"}}, "template": template("log")}
    await cluster.create(DAEMON_SETS, "log", spec=logs)
    await cluster.create(JOBS, "pi", spec={"template": template("pi", "Never"), "parallelism": 2})
    job = {"spec": {"template": template("tick", "Never")}}
    await cluster.create(CRON_JOBS, "tick", spec={"schedule": "@every 1s", "jobTemplate": job})

    async def all_run():
        pods = await cluster.list(PODS)
        apps = {p["metadata"]["labels"]["app"] for p in pods if p["status"]["phase"] == "Running"}
        return apps == {"db", "log", "pi", "tick"}

    await cluster.until(all_run)
    await cluster.delete(NAMESPACES, "shop")

    async def gone():
        try:
            await cluster.get(NAMESPACES, "shop")
        except NotFound:
            return not await cluster.list(PERSISTENT_VOLUMES)
        return False

    await cluster.until(gone)
