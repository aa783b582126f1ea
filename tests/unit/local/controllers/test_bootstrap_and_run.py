from __future__ import annotations

import asyncio
import ipaddress

import pytest

from netloom.errors import InvalidObject
from netloom.kube.resources import NODES, SERVICES
from netloom.local.apiserver.access.tokens import Keys
from netloom.local.bootstrap import DNS, bootstrap
from netloom.local.controllers import main
from netloom.local.settings import ClusterSettings

ADDRESS = ipaddress.ip_address("10.96.0.10")


async def test_the_dns_service_has_its_address_and_no_endpoints(bare):
    await bootstrap(bare.client, dns=[ADDRESS])
    service = await bare.client.get(SERVICES, DNS)
    assert service["spec"]["clusterIP"] == "10.96.0.10"
    assert {(p["name"], p["protocol"], p["port"]) for p in service["spec"]["ports"]} == {
        ("dns", "UDP", 53),
        ("dns-tcp", "TCP", 53),
    }
    assert not service["spec"].get("selector")


async def test_bootstrap_may_be_repeated_and_mends(bare):
    await bootstrap(bare.client, dns=[ADDRESS])
    first = await bare.client.get(SERVICES, DNS)
    await bootstrap(bare.client, dns=[ADDRESS])
    assert await bare.client.get(SERVICES, DNS) == first
    await bare.client.patch(SERVICES, DNS, {"spec": {"ports": [{"port": 5353, "protocol": "UDP"}]}})
    await bootstrap(bare.client, dns=[ADDRESS])
    assert (await bare.client.get(SERVICES, DNS))["spec"]["ports"] == first["spec"]["ports"]


async def test_an_address_outside_the_service_range_is_named(bare):
    with pytest.raises(InvalidObject, match="kube-dns"):
        await bootstrap(bare.client, dns=[ipaddress.ip_address("192.0.2.10")])


async def test_run_makes_the_cluster_whole(bare):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(
            main.run(bare.client.config, ClusterSettings(), keys=Keys.fresh("https://issuer.example.org"))
        )
        # A second set of loops only to be told of changes; all loops may run twice without harm.
        async with bare.running():

            async def whole():
                nodes = await bare.list(NODES)
                return all(n.get("spec", {}).get("podCIDR") for n in nodes) and DNS.name in {
                    s["metadata"]["name"] for s in await bare.list(SERVICES, DNS.namespace)
                }

            await bare.until(whole)
        running.cancel()
