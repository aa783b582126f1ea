"""Which address a pod gets: from its node, its pool, as it asks; and what it is told where it gets none."""

from __future__ import annotations

import asyncio

import pytest

from netloom.errors import InvalidObject, Unavailable
from netloom.kube.resources import EVENTS, IP_BLOCKS, IP_POOLS, NAMESPACES, PODS
from netloom.units import ObjectKey

A, B = "10.1.0.0/24", "10.1.1.0/24"


async def test_without_pools_a_pod_gets_an_address_of_its_nodes_range(world):
    node = await world.node("node-1", A, "fd00:1::/64")
    await world.pod("shop/a", "node-1")
    assert await node.add("shop/a") == ["10.1.0.2", "fd00:1::2"]
    assert await world.blocks() == {}


async def test_a_pool_by_the_labels_of_the_namespace(world):
    node = await world.node("node-1", A)
    await world.pool(
        "shop", "10.2.0.0/26", blockSize={"ipv4": 28}, namespaceSelector={"matchLabels": {"team": "shop"}}
    )
    await world.pod("shop/a", "node-1")
    await world.namespace("bank")
    await world.pod("bank/b", "node-1")
    (address,) = await node.add("shop/a")
    ((block, owner),) = (await world.blocks()).items()
    assert owner == "node-1"
    assert address.startswith("10.2.0.")
    assert block.endswith("/28")
    assert await node.add("bank/b") == ["10.1.0.2"]


async def test_the_pods_annotation_comes_before_its_namespaces(world):
    node = await world.node("node-1", A)
    await world.pool("one", "10.2.1.0/24")
    await world.pool("two", "10.2.2.0/24")
    made = await world.client.patch(
        NAMESPACES, ObjectKey("", "shop"), {"metadata": {"annotations": {"netloom.io/ip-pool": "one"}}}
    )
    await node.reflectors[3].reached(int(made["metadata"]["resourceVersion"]))
    await world.pod("shop/a", "node-1")
    await world.pod("shop/b", "node-1", ip_pool="two")
    assert (await node.add("shop/a"))[0].startswith("10.2.1.")
    assert (await node.add("shop/b"))[0].startswith("10.2.2.")


async def test_a_pool_of_one_family_leaves_the_other_to_the_node(world):
    node = await world.node("node-1", A, "fd00:1::/64")
    await world.pool("four", "10.2.1.0/24")
    await world.pod("shop/a", "node-1", ip_pool="four")
    four, six = await node.add("shop/a")
    assert four.startswith("10.2.1.")
    assert six == "fd00:1::2"


async def test_two_pools_of_a_family_each_make_a_dual_stack_pod(world):
    node = await world.node("node-1", A)
    await world.pool("four", "10.2.1.0/24")
    await world.pool("six", "fd00:2::/112")
    await world.pod("shop/a", "node-1", ip_pool="four, six")
    four, six = await node.add("shop/a")
    assert four.startswith("10.2.1.")
    assert six.startswith("fd00:2::")


async def test_32_pods_at_once_share_blocks_and_no_address(world):
    node = await world.node("node-1", A)
    await world.pool("p", "10.2.1.0/24", blockSize={"ipv4": 29})
    names = [f"shop/p{i}" for i in range(32)]
    for name in names:
        await world.pod(name, "node-1", ip_pool="p")
    found = await asyncio.gather(*(node.add(name) for name in names))
    assert len({address for (address,) in found}) == 32
    assert len(await world.blocks()) <= 6, "a block is claimed when the one before is full, not by each pod"


async def test_three_nodes_at_once_never_give_one_address(world):
    nodes = [await world.node(f"node-{i}", f"10.1.{i}.0/24") for i in range(3)]
    await world.pool("p", "10.2.1.0/26", blockSize={"ipv4": 29})
    for i in range(30):
        await world.pod(f"shop/p{i}", f"node-{i % 3}", ip_pool="p")
    found = await asyncio.gather(*(nodes[i % 3].add(f"shop/p{i}") for i in range(30)))
    assert len({address for (address,) in found}) == 30


async def test_an_exhausted_pool_says_so_on_the_pod_and_recovers(world):
    node = await world.node("node-1", A)
    await world.pool("p", "10.2.1.0/29", blockSize={"ipv4": 29})
    for i in range(7):
        await world.pod(f"shop/p{i}", "node-1", ip_pool="p")
    for i in range(6):  # eight less the first and the last
        await node.add(f"shop/p{i}")
    with pytest.raises(
        Unavailable, match=r"Pod shop/p6: all IPv4 addresses of IPPool p are in use"
    ) as caught:
        await node.add("shop/p6")
    assert "spec.cidrs" in caught.value.hint
    await node.events.flush()
    events, _ = await world.client.list(EVENTS, "shop")
    (event,) = events
    assert (event["reason"], event["involvedObject"]["name"], event["type"]) == ("NoAddress", "p6", "Warning")
    assert "IPPool p" in event["message"]
    node.delete("shop/p0")
    assert await node.add("shop/p6") == ["10.2.1.1"], "used a moment ago, but nothing else is left"


async def test_a_second_pool_is_used_when_the_first_is_full(world):
    node = await world.node("node-1", A)
    await world.pool("a", "10.2.1.0/30", blockSize={"ipv4": 30})
    await world.pool("b", "10.2.2.0/30", blockSize={"ipv4": 30})
    for i in range(4):
        await world.pod(f"shop/p{i}", "node-1", ip_pool="a,b")
    found = [(await node.add(f"shop/p{i}"))[0] for i in range(4)]
    assert found == ["10.2.1.1", "10.2.1.2", "10.2.2.1", "10.2.2.2"]


async def test_an_exhausted_family_leaves_nothing_of_the_other(world):
    node = await world.node("node-1", A)
    await world.pool("four", "10.2.1.0/30", blockSize={"ipv4": 30})
    await world.pool("six", "fd00:2::/112")
    for i in range(3):
        await world.pod(f"shop/p{i}", "node-1", ip_pool="four,six")
    await node.add("shop/p0")
    await node.add("shop/p1")
    with pytest.raises(Unavailable, match="IPPool four"):
        await node.add("shop/p2")
    assert {lease.pod for lease in node.store.leases()} == {"shop/p0", "shop/p1"}


async def test_reserved_addresses_are_given_to_nobody(world):
    node = await world.node("node-1", A)
    await world.pool("p", "10.2.1.0/29", blockSize={"ipv4": 29}, reserved=["10.2.1.2", "10.2.1.4/30"])
    for i in range(3):
        await world.pod(f"shop/p{i}", "node-1", ip_pool="p")
    assert [await node.add("shop/p0"), await node.add("shop/p1")] == [["10.2.1.1"], ["10.2.1.3"]]
    with pytest.raises(Unavailable):
        await node.add("shop/p2")


async def test_what_cannot_be_is_said_with_object_and_field(world):
    node = await world.node("node-1", A)
    await world.pool("p", "10.2.1.0/24", reserved=["10.2.1.9"], podSelector={"matchLabels": {"app": "x"}})
    for name, wish, said in (
        (
            "nix",
            {"ip_pool": "nix"},
            r"Pod shop/nix: metadata.annotations\[netloom.io/ip-pool\]: there is no IPPool nix",
        ),
        ("other", {"ip_pool": "p"}, r"IPPool p: spec.podSelector: it is not for pod shop/other"),
        ("far", {"ip_addresses": "192.0.2.1"}, r"192.0.2.1 is in no IPPool and in the range of no node"),
        ("held", {"ip_addresses": "10.2.1.9"}, r"10.2.1.9 is reserved \(IPPool p: spec.reserved"),
        ("two", {"ip_addresses": "10.1.0.7,10.1.0.8"}, r"10.1.0.8 is a second one of its family"),
        ("word", {"ip_addresses": "ten"}, r"ip-addresses\]: 'ten' is no IP address"),
    ):
        await world.pod(f"shop/{name}", "node-1", **wish)
        with pytest.raises(InvalidObject, match=said):
            await node.add(f"shop/{name}")
    assert node.store.leases() == []


async def test_a_disabled_pool_gives_nothing_more_and_takes_nothing_away(world):
    node = await world.node("node-1", A)
    await world.pool("p", "10.2.1.0/24")
    await world.pod("shop/a", "node-1", ip_pool="p")
    await world.pod("shop/b", "node-1", ip_pool="p")
    before = await node.add("shop/a")
    made = await world.client.patch(IP_POOLS, ObjectKey("", "p"), {"spec": {"disabled": True}})
    await node.reflectors[0].reached(int(made["metadata"]["resourceVersion"]))
    with pytest.raises(InvalidObject, match=r"IPPool p: spec.disabled"):
        await node.add("shop/b")
    assert [str(a) for lease in node.store.leases() for a in lease.addresses] == before


async def test_an_address_of_the_nodes_own_range_can_be_asked_for(world):
    node = await world.node("node-1", A)
    await world.pod("shop/a", "node-1", ip_addresses="10.1.0.200")
    await world.pod("shop/b", "node-1", ip_addresses="10.1.0.200")
    assert await node.add("shop/a") == ["10.1.0.200"]
    with pytest.raises(Unavailable, match=r"10.1.0.200 belongs to pod shop/a"):
        await node.add("shop/b")
    assert await world.blocks() == {}


async def test_an_address_of_another_nodes_range_is_given_up_by_that_node_first(world):
    one = await world.node("node-1", A)
    two = await world.node("node-2", B)
    await world.pod("shop/a", "node-1", ip_addresses="10.1.1.50")
    assert await one.add("shop/a") == ["10.1.1.50"]
    assert await world.blocks() == {"10.1.1.50/32": "node-1"}
    (block,), _ = await world.client.list(IP_BLOCKS)
    assert block["status"]["grants"] == {"node-2": "granted"}
    await world.pod("shop/b", "node-2", ip_addresses="10.1.1.50")
    world.patience_s = two.keeper._objects.patience_s = 0.2
    with pytest.raises(Unavailable, match=r"10.1.1.50"):
        await two.add("shop/b")


async def test_an_address_that_a_pod_has_where_it_belongs_is_refused(world):
    one = await world.node("node-1", A)
    two = await world.node("node-2", B)
    await world.pod("shop/b", "node-2", ip_addresses="10.1.1.50")
    await two.add("shop/b")
    await world.pod("shop/a", "node-1", ip_addresses="10.1.1.50")
    with pytest.raises(Unavailable, match=r"10.1.1.50: it belongs to pod shop/b on node-2"):
        await one.add("shop/a")
    assert await world.blocks() == {}, "what was refused is not kept"


async def test_who_has_to_give_an_address_up_and_does_not_answer_is_named(world):
    one = await world.node("node-1", A)
    await (await world.node("node-2", B)).keeper.look()
    world.halves[1].stop()
    one.keeper._objects.patience_s = 0.2
    await world.pod("shop/a", "node-1", ip_addresses="10.1.1.50")
    with pytest.raises(Unavailable, match="in the range of node-2, which has not given it up"):
        await one.add("shop/a")
    assert await world.blocks() == {}


async def test_a_pod_that_moves_takes_its_address_with_it_and_a_stranger_waits(world):
    one = await world.node("node-1", A)
    two = await world.node("node-2", B)
    await world.pool("p", "10.2.1.0/24")
    await world.pod("shop/db-0", "node-1", ip_addresses="10.2.1.7")
    assert await one.add("shop/db-0") == ["10.2.1.7"]
    one.delete("shop/db-0")
    two.keeper._objects.patience_s = 0.2
    await world.pod("shop/stranger", "node-2", ip_addresses="10.2.1.7")
    with pytest.raises(Unavailable, match=r"10\.2\.1\.7"):
        await two.add("shop/stranger")
    two.keeper._objects.patience_s = 20.0
    await world.client.delete(PODS, ObjectKey("shop", "db-0"), grace_s=0)
    await world.pod("shop/db-0", "node-2", ip_addresses="10.2.1.7")
    await two.until(
        lambda: (
            two.pods.get(ObjectKey("shop", "db-0"))
            and two.pods[ObjectKey("shop", "db-0")].spec.node_name == "node-2"
        )
    )
    assert await two.add("shop/db-0") == ["10.2.1.7"]
    assert (await world.blocks())["10.2.1.7/32"] == "node-2"


async def test_a_block_leaves_out_what_others_asked_for_before(world):
    one = await world.node("node-1", A)
    two = await world.node("node-2", B)
    await world.pool("p", "10.2.1.0/29", blockSize={"ipv4": 29})
    await world.pod("shop/a", "node-1", ip_addresses="10.2.1.3")
    assert await one.add("shop/a") == ["10.2.1.3"]
    for i in range(6):
        await world.pod(f"shop/p{i}", "node-2", ip_pool="p")
    got = [(await two.add(f"shop/p{i}"))[0] for i in range(5)]
    assert sorted(got) == ["10.2.1.1", "10.2.1.2", "10.2.1.4", "10.2.1.5", "10.2.1.6"]
    with pytest.raises(Unavailable):
        await two.add("shop/p5")


async def test_a_pod_that_comes_home_has_its_address_again(world):
    one = await world.node("node-1", A)
    two = await world.node("node-2", B)
    await world.pod("shop/db-0", "node-1", ip_addresses="10.1.1.50")
    await one.add("shop/db-0")
    await world.pod("shop/other", "node-2", ip_addresses="10.1.1.50")
    two.keeper._objects.patience_s = 0.2
    with pytest.raises(
        Unavailable, match=r"10\.1\.1\.50 is still in use on node-1 \(IPBlock 10\.1\.1\.50-32\)"
    ):
        await two.add("shop/other")
    two.keeper._objects.patience_s = 20.0
    one.delete("shop/db-0")
    await world.client.delete(PODS, ObjectKey("shop", "db-0"), grace_s=0)
    await two.until(lambda: ObjectKey("shop", "db-0") not in two.pods)
    await world.pod("shop/db-0", "node-2", ip_addresses="10.1.1.50")
    assert await two.add("shop/db-0") == ["10.1.1.50"]
    assert await world.blocks() == {}


async def test_a_node_without_a_range_gives_addresses_of_pools_and_says_where_there_is_none(world):
    node = await world.node("node-1")
    await world.pod("shop/a", "node-1")
    with pytest.raises(Unavailable, match=r"Node node-1 has no range of its own"):
        await node.add("shop/a")
    await world.pool("default", "10.2.0.0/16", namespaceSelector={})
    (address,) = await node.add("shop/a")
    assert address.startswith("10.2.")
