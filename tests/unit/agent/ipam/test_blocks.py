"""The life of blocks: claimed once, kept over restarts, given back when nobody uses them, whoever deletes them."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from netloom.agent.unused import AbandonedBlocks, UnusedLeases
from netloom.cni.ipam.lease import Attachment, Lease
from netloom.kube.resources import IP_BLOCKS, IP_POOLS, NODES, PODS
from netloom.model.addresses.blocks import block_name
from netloom.units import ObjectKey

A, B = "10.1.0.0/24", "10.1.1.0/24"


def block_body(cidr, node, pool="p"):
    return {
        "apiVersion": IP_BLOCKS.api_version,
        "kind": "IPBlock",
        "metadata": {"name": block_name(ipaddress.ip_network(cidr))},
        "spec": {"cidr": cidr, "node": node, "pool": pool},
    }


async def with_pod(world, node, pool="p", **spec):
    await world.pool(pool, "10.2.1.0/28", blockSize={"ipv4": 29}, **spec)
    await world.pod("shop/a", node.name, ip_pool=pool)
    return await node.add("shop/a")


async def test_a_restart_keeps_blocks_and_addresses(world):
    node = await world.node("node-1", A)
    before = await with_pod(world, node)
    blocks = node.own()
    node = await world.restarted(node)
    assert node.own() == blocks
    assert await node.add("shop/a") == before
    await world.pod("shop/b", "node-1", ip_pool="p")
    await node.add("shop/b")
    assert node.own() == blocks


async def test_an_agent_that_died_between_claim_and_check_checks_at_its_start(world):
    node = await world.node("node-1", A)
    await world.node("node-2", B)
    await world.pool("p", "10.2.1.0/28", blockSize={"ipv4": 29})
    node.stop()
    node.store.close()
    world.halves.remove(node)
    # made by the one that died; meanwhile the size of blocks was changed, and another node was faster with a part of it
    await world.client.create(IP_BLOCKS, block_body("10.2.1.0/30", "node-2"))
    await world.client.create(IP_BLOCKS, block_body("10.2.1.0/29", "node-1"))
    node = await world.half("node-1")
    assert node.own() == []
    assert await world.blocks() == {"10.2.1.0/30": "node-2"}


async def test_an_empty_block_is_given_back_after_its_time_and_not_before(world):
    node = await world.node("node-1", A, looks=False)
    await with_pod(world, node)
    node.delete("shop/a")
    world.time.now += 59
    await node.keeper.look()
    assert len(await world.blocks()) == 1, "a late packet may be on its way"
    world.time.now += 2
    await node.keeper.look()
    assert await world.blocks() == {}
    await world.pod("shop/b", "node-1", ip_pool="p")
    await node.add("shop/b")
    assert len(await world.blocks()) == 1, "and claimed again when it is needed"


async def test_a_block_in_use_stays_when_its_pool_is_deleted_and_goes_with_its_last_pod(world):
    node = await world.node("node-1", A, looks=False)
    await with_pod(world, node)
    await world.client.delete(IP_POOLS, ObjectKey("", "p"))
    await node.until(lambda: not node.cluster.pools)
    await node.keeper.look()
    assert len(await world.blocks()) == 1
    node.delete("shop/a")
    world.time.now += 61
    await node.keeper.look()
    assert await world.blocks() == {}


async def test_a_block_that_somebody_deletes_stays_until_its_last_pod_is_gone(world):
    node = await world.node("node-1", A, looks=False)
    (address,) = await with_pod(world, node)
    (cidr,) = await world.blocks()
    name = block_name(ipaddress.ip_network(cidr))
    await world.client.delete(IP_BLOCKS, ObjectKey("", name))
    await node.until(lambda: node.cluster.blocks[name].is_leaving)
    assert node.own() == [], "nothing of it is given any more"
    await world.pod("shop/b", "node-1", ip_pool="p")
    (other,) = await node.add("shop/b")
    assert ipaddress.ip_address(other) not in ipaddress.ip_network(cidr)
    await node.keeper.look()
    assert cidr in await world.blocks()
    assert ipaddress.ip_address(address) in ipaddress.ip_network(cidr)
    node.delete("shop/a")
    world.time.now += 61
    await node.keeper.look()
    assert cidr not in await world.blocks()


async def test_a_block_that_is_taken_by_force_is_made_again_while_pods_use_it(world):
    node = await world.node("node-1", A, looks=False)
    await with_pod(world, node)
    (cidr,) = await world.blocks()
    key = ObjectKey("", block_name(ipaddress.ip_network(cidr)))
    await world.client.patch(IP_BLOCKS, key, {"metadata": {"finalizers": None}})
    await world.client.delete(IP_BLOCKS, key)
    await node.until(lambda: not node.cluster.blocks)
    await node.keeper.look()
    assert await world.blocks() == {cidr: "node-1"}


async def test_two_nodes_that_claim_the_same_range_in_two_sizes_do_not_both_keep_it(world):
    one = await world.node("node-1", A, looks=False)
    two = await world.node("node-2", B, looks=False)
    await world.pool("p", "10.2.1.0/28", blockSize={"ipv4": 28})
    pool = one.cluster.pools["p"]
    await world.client.create(IP_BLOCKS, block_body("10.2.1.4/30", "node-2"))
    with pytest.raises(Exception, match="all its blocks of IPv4 are taken"):
        await one.keeper.claim(pool, 4)
    assert await world.blocks() == {"10.2.1.4/30": "node-2"}
    await two.keeper.look()
    assert two.own() == ["10.2.1.4/30"]


async def test_an_address_that_was_lent_comes_back_when_its_block_goes(world):
    one = await world.node("node-1", A, looks=False)
    two = await world.node("node-2", B)
    await world.pod("shop/a", "node-1", ip_addresses="10.1.1.50")
    await one.add("shop/a")
    assert two.store.usage(ipaddress.ip_network(B)).lent == 1
    two = await world.restarted(two)
    assert two.store.usage(ipaddress.ip_network(B)).lent == 1, "a restart does not forget it"
    one.delete("shop/a")
    world.time.now += 61
    await one.keeper.look()
    await two.until(lambda: not two.cluster.blocks)
    await two.keeper.look()
    usage = two.store.usage(ipaddress.ip_network(B))
    assert (usage.lent, usage.quarantined) == (0, 1)


async def test_blocks_of_a_node_that_is_gone_are_freed_after_two_looks(world):
    one = await world.node("node-1", A)
    two = await world.node("node-2", B)
    await with_pod(world, two)
    two.stop()
    abandoned = AbandonedBlocks(
        client=world.client, node="node-1", cluster=one.cluster, pods=one.pods, clock=world.time, apart_s=60.0
    )
    await world.client.delete(NODES, ObjectKey("", "node-2"))
    await one.until(lambda: "node-2" not in one.cluster.nodes)
    world.time.now += 100
    assert await abandoned.look() == []
    world.time.now += 59
    assert await abandoned.look() == []
    world.time.now += 1
    assert [block.node for block in await abandoned.look()] == ["node-2"]
    assert await world.blocks() == {}


async def test_blocks_of_a_node_that_comes_back_are_not_freed(world):
    one = await world.node("node-1", A)
    two = await world.node("node-2", B)
    await with_pod(world, two)
    abandoned = AbandonedBlocks(
        client=world.client, node="node-1", cluster=one.cluster, pods=one.pods, clock=world.time, apart_s=60.0
    )
    # our watch has not told of it, but the API server has the Node
    one.cluster.node_changed(ObjectKey("", "node-2"), None)
    assert await abandoned.look() == []
    world.time.now += 61
    assert await abandoned.look() == []
    assert len(await world.blocks()) == 1


async def test_a_lease_whose_pod_and_interface_are_gone_is_released_after_two_looks(world):
    node = await world.node("node-1", A)
    released = []

    async def reclaim(lease: Lease) -> bool:
        released.append(lease.pod)
        return node.store.release(lease.attachment)

    unused = UnusedLeases(
        client=world.client,
        node="node-1",
        store=node.store,
        pods=node.pods,
        reclaim=reclaim,
        clock=world.time,
        apart_s=60.0,
    )
    await world.pod("shop/a", "node-1")
    await node.add("shop/a")
    await unused.look()
    world.time.now += 61
    await unused.look()
    assert released == [], "its pod is there"
    await world.client.delete(PODS, ObjectKey("shop", "a"), grace_s=0)
    await node.until(lambda: not node.pods)
    await unused.look()
    world.time.now += 59
    await unused.look()
    assert released == []
    world.time.now += 1
    await unused.look()
    assert released == ["shop/a"]
    assert node.store.leases() == []


async def test_a_lease_of_a_pod_that_is_on_another_node_now_is_released(world):
    node = await world.node("node-1", A)
    await world.node("node-2", B)

    async def reclaim(lease: Lease) -> bool:
        return node.store.release(lease.attachment)

    unused = UnusedLeases(
        client=world.client,
        node="node-1",
        store=node.store,
        pods=node.pods,
        reclaim=reclaim,
        clock=world.time,
    )
    await world.pod("shop/db-0", "node-2")
    await node.until(lambda: node.pods)
    node.store.reserve(Attachment("old", "eth0"), [ipaddress.ip_network(A)], "shop/db-0")
    await unused.look()
    world.time.now += 61
    assert [lease.pod for lease in await unused.look()] == ["shop/db-0"]


async def test_while_the_api_server_is_away_no_lease_is_released(world):
    node = await world.node("node-1", A)
    node.store.reserve(Attachment("c1", "eth0"), [ipaddress.ip_network(A)], "shop/gone")

    async def reclaim(_: Lease) -> bool:
        raise AssertionError

    class Away:
        async def get(self, resource, key):
            raise ConnectionError

    unused = UnusedLeases(
        client=Away(),
        node="node-1",
        store=node.store,
        pods={},
        reclaim=reclaim,
        clock=world.time,
        apart_s=60.0,
    )
    await unused.look()
    world.time.now += 100
    with pytest.raises(ConnectionError):
        await unused.look()
    assert len(node.store.leases()) == 1


async def test_claims_of_many_nodes_at_once_end_with_each_block_once(world):
    nodes = [await world.node(f"node-{i}", f"10.1.{i}.0/24") for i in range(8)]
    await world.pool("p", "10.2.1.0/26", blockSize={"ipv4": 29})
    pool = nodes[0].cluster.pools["p"]
    got = await asyncio.gather(*(node.keeper.claim(pool, 4) for node in nodes))
    assert len(set(got)) == 8
    assert set(map(str, got)) == set(await world.blocks())
