"""Endpoints that people write themselves, as slices."""

from __future__ import annotations

from typing import Any

from netloom.kube.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from netloom.local.controllers.mirroring import MANAGER
from netloom.units import ObjectKey

OLD, NEW, SIX = "192.0.2.10", "192.0.2.11", "2001:db8::10"


def subsets(*addresses: str, **more: Any) -> list[dict[str, Any]]:
    ports = [{"name": "db", "port": 5432, "protocol": "TCP"}]
    return [{"addresses": [{"ip": a} for a in addresses], "ports": ports, **more}]


async def mirrored(cluster) -> dict[str, Any]:
    """Mirrored slices by family, as address -> ready."""
    slices, _ = await cluster.client.list(ENDPOINT_SLICES, "default")
    return {
        s["addressType"]: {e["addresses"][0]: e["conditions"]["ready"] for e in s["endpoints"]}
        for s in slices
        if s["metadata"]["labels"].get("endpointslice.kubernetes.io/managed-by") == MANAGER
    }


async def test_endpoints_of_a_service_without_selector_are_mirrored(cluster) -> None:
    ports = [{"name": "db", "port": 5432}]
    await cluster.client.create(
        SERVICES, {"metadata": {"name": "db", "namespace": "default"}, "spec": {"ports": ports}}
    )
    body = {
        "metadata": {"name": "db", "namespace": "default", "labels": {"mine": "yes"}},
        "subsets": subsets(OLD, SIX, notReadyAddresses=[{"ip": NEW}]),
    }
    await cluster.client.create(ENDPOINTS, body)

    async def says(**families: dict[str, bool]) -> bool:
        return await mirrored(cluster) == families

    await cluster.until(lambda: says(IPv4={OLD: True, NEW: False}, IPv6={SIX: True}))
    slices, _ = await cluster.client.list(ENDPOINT_SLICES, "default", label_selector="mine=yes")
    assert {s["metadata"]["ownerReferences"][0]["kind"] for s in slices} == {"Endpoints"}
    assert slices[0]["ports"] == [{"name": "db", "port": 5432, "protocol": "TCP"}]

    key = ObjectKey("default", "db")
    await cluster.client.patch(ENDPOINTS, key, {"subsets": subsets(NEW)})
    await cluster.until(lambda: says(IPv4={NEW: True}))
    await cluster.client.patch(
        ENDPOINTS, key, {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}
    )
    await cluster.until(says)
    await cluster.client.patch(
        ENDPOINTS, key, {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": None}}}
    )
    await cluster.until(lambda: says(IPv4={NEW: True}))
    await cluster.client.patch(SERVICES, key, {"spec": {"selector": {"app": "db"}}})
    await cluster.until(says)
