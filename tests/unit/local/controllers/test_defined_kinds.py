"""Namespaces with objects of kinds that users defined: they go with all of them."""

from __future__ import annotations

import contextlib

from netloom.errors import NotFound
from netloom.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, Resource

TABS = Resource("stable.example.com", "v1", "crontabs", "CronTab", namespaced=True)
NAMES = {"plural": "crontabs", "kind": "CronTab"}
SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


async def made(cluster):
    """An object, as soon as the server serves its kind, which it does between two requests."""
    for _ in range(1000):
        with contextlib.suppress(NotFound):
            return await cluster.create(
                TABS, "daily", metadata={"finalizers": ["example.org/mine"]}, spec={"a": 1}
            )
    raise AssertionError("is not served")


async def test_a_namespace_loses_objects_of_defined_kinds_too(cluster):
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}
    spec = {"group": TABS.group, "scope": "Namespaced", "names": NAMES, "versions": [version]}
    await cluster.create(CUSTOM_RESOURCE_DEFINITIONS, "crontabs.stable.example.com", spec=spec)

    await made(cluster)
    await cluster.delete(NAMESPACES, "shop")

    async def told():
        conditions = (await cluster.get(NAMESPACES, "shop"))["status"].get("conditions") or []
        return {c["type"]: c["message"] for c in conditions}

    assert "crontabs has 1 resource instances" in (await cluster.until(told))["NamespaceContentRemaining"]
    await cluster.patch(TABS, "daily", {"metadata": {"finalizers": []}})

    async def gone():
        return not any(n["metadata"]["name"] == "shop" for n in await cluster.list(NAMESPACES))

    await cluster.until(gone)
    assert await cluster.list(TABS) == []
