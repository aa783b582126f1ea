"""Addresses of pools, by two nodes that do not know each other: never the same, never lost, given back in the end."""

import asyncio
import ipaddress
import json

import pytest

from netloom.cni.ipam.store import Attachment
from netloom.cni.networks.ipam import PoolIpam
from netloom.cni.networks.leases import Asked
from netloom.errors import AlreadyExists, InvalidObject, Unavailable
from netloom.kube.resources import NETWORK_LEASES
from netloom.testing.secondary_rig import ScriptedLeases, SecondaryRig
from netloom.units import ObjectKey

A = Attachment("c1", "net1")


@pytest.fixture
def api():
    return ScriptedLeases()


@pytest.fixture
def nodes(tmp_path, api):
    """Two nodes over one API server."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rig = SecondaryRig(tmp_path / name, api=api)
        rig.pool("blue", "192.0.2.0/28", gateways=["192.0.2.1"])
        made.append(rig)
    yield made
    for rig in made:
        rig.close()


@pytest.fixture
def rig(nodes):
    return nodes[0]


async def take(rig, attachment=A, *wanted, pod="shop/cart", pool="blue"):
    asked = Asked(attachment, pod, "uid", tuple(map(ipaddress.ip_address, wanted)))
    return [str(g.address) for g in await rig.leases.acquire(await rig.leases.pool(pool), asked)]


async def test_a_lease_says_who_has_the_address(rig, api):
    (address,) = await take(rig)
    (lease,) = api.objects.values()
    assert lease["metadata"]["name"] == f"blue-{address.replace('.', '-')}"
    assert lease["metadata"]["labels"] == {"netloom.io/pool": "blue"}
    assert lease["spec"] == {
        "pool": "blue",
        "address": address,
        "holder": {
            "pod": "shop/cart",
            "uid": "uid",
            "node": "node-1",
            "container": "c1",
            "interface": "net1",
        },
    }


async def test_asking_again_gives_the_same_and_giving_back_may_be_repeated(rig, api):
    assert await take(rig) == await take(rig)
    assert len(api.objects) == 1
    for _ in range(2):
        await rig.leases.release(A)
    assert api.objects == {}
    assert rig.record.leases() == []


async def test_two_nodes_at_the_same_time_never_have_the_same(nodes, api):
    """Fourteen addresses less the gateway for thirteen pods, all at once: each node finds out by creating that it is too late."""
    async with asyncio.TaskGroup() as tasks:
        works = [
            tasks.create_task(take(nodes[i % 2], Attachment(f"c{i}", "net1"), pod=f"shop/p{i % 3}"))
            for i in range(13)
        ]
    taken = [work.result()[0] for work in works]
    assert sorted(taken, key=ipaddress.ip_address) == [f"192.0.2.{i}" for i in range(2, 15)]
    with pytest.raises(Unavailable, match=r"NetworkPool blue: all 13 addresses of 192\.0\.2\.0/28 are taken"):
        await take(nodes[0], Attachment("more", "net1"))
    assert len(rig_leases(nodes)) == 13
    await nodes[1].leases.release(Attachment("c1", "net1"))
    assert await take(nodes[0], Attachment("more", "net1")) == [taken[1]]


def rig_leases(nodes):
    return [entry for rig in nodes for entry in rig.record.leases()]


async def test_an_address_that_is_asked_for(nodes):
    assert await take(nodes[0], A, "192.0.2.9") == ["192.0.2.9"]
    with pytest.raises(
        AlreadyExists, match=r"192\.0\.2\.9, which is asked for, is held by Pod shop/cart on node node-1"
    ):
        await take(nodes[1], Attachment("c2", "net1"), "192.0.2.9")
    for strange in ("192.0.2.1", "192.0.2.15", "198.51.100.1"):
        with pytest.raises(InvalidObject, match="is none of its addresses"):
            await take(nodes[1], Attachment("c2", "net1"), strange)
    assert nodes[1].record.leases() == []


async def test_the_api_server_away_is_try_again_and_leaves_nothing(rig, api):
    api.is_away = True
    with pytest.raises(Unavailable):
        await take(rig)
    assert rig.record.leases() == []


async def test_giving_back_waits_for_the_api_server_and_survives_a_restart(rig, api, tmp_path):
    (address,) = await take(rig)
    api.is_away = True
    await rig.leases.release(A)
    assert not await rig.leases.turn()
    assert len(api.objects) == 1
    after = SecondaryRig(tmp_path / "one", api=api)
    assert not await after.leases.turn()
    api.is_away = False
    assert await after.leases.turn()
    assert api.objects == {}
    assert after.record.leases() == []
    after.close()
    assert address


async def test_what_is_taken_again_is_not_given_back_by_what_is_left_to_do(rig, api):
    """The API server was away when the interface went; then the same interface is made anew, while giving back is tried."""
    (address,) = await take(rig)
    api.is_away = True
    await rig.leases.release(A)
    api.is_away = False
    async with asyncio.TaskGroup() as tasks:
        again = tasks.create_task(take(rig))
        tasks.create_task(rig.leases.turn())
    assert again.result() == [address]
    (lease,) = api.objects.values()
    assert lease["spec"]["address"] == address
    assert await rig.leases.check(A) == ()
    assert await rig.leases.turn()
    assert len(api.objects) == 1


async def test_what_is_anothers_by_now_is_not_given_back(nodes, api):
    (address,) = await take(nodes[0])
    api.objects.clear()  # the controller gave it up
    assert await take(nodes[1], Attachment("c2", "net1"), address) == [address]
    await nodes[0].leases.release(A)
    assert len(api.objects) == 1
    assert nodes[0].record.leases() == []


async def test_an_answer_that_was_lost_is_found_again(rig, api):
    """The lease was made, and the agent never heard of it."""
    (address,) = await take(rig)
    (entry,) = rig.record.leases()
    rig.record.drop_lease(entry.name)
    assert await take(rig) == [address]
    assert len(rig.record.leases()) == 1
    assert len(api.objects) == 1


async def test_an_address_is_kept_for_the_name_of_its_pod(nodes, api):
    for rig in nodes:
        rig.pool("sticky", "192.0.2.0/28", keep_seconds=600)
    (address,) = await take(nodes[0], pool="sticky", pod="shop/db-0")
    await nodes[0].leases.release(A)
    (lease,) = api.objects.values()
    assert lease["spec"]["holder"] == {"pod": "shop/db-0", "interface": "net1"}
    assert lease["spec"]["keptUntil"].endswith("Z")
    # nobody else gets it, also where all others are taken
    others = [
        await take(nodes[1], Attachment(f"o{i}", "net1"), pool="sticky", pod=f"shop/o{i}") for i in range(13)
    ]
    assert [address] not in others
    with pytest.raises(Unavailable):
        await take(nodes[1], Attachment("x", "net1"), pool="sticky", pod="shop/x")
    # the pod of this name does, on whatever node
    assert await take(nodes[1], Attachment("c9", "net1"), pool="sticky", pod="shop/db-0") == [address]
    held = api.objects["networkleases", ObjectKey("", f"sticky-{address.replace('.', '-')}")]
    assert held["spec"]["holder"]["container"] == "c9"
    assert "keptUntil" not in held["spec"]


async def test_check_tells_of_an_address_that_was_lost(rig, api):
    assert await rig.leases.check(A) == ("no address is recorded for it",)
    await take(rig)
    assert await rig.leases.check(A) == ()
    api.is_away = True
    assert await rig.leases.check(A) == ()
    api.is_away = False
    api.objects.clear()
    (wrong,) = await rig.leases.check(A)
    assert "is not its own any more" in wrong


# --- the plugin that asks


def config(version="1.0.0", **more):
    return json.dumps(
        {
            "cniVersion": version,
            "name": "x",
            "type": "bridge",
            "ipam": {"type": "netloom-ipam", "pool": "blue"},
            **more,
        }
    ).encode()


def variables(command):
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID=u"
    return {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_ARGS": args}


async def say(rig, command, text):
    answer = await PoolIpam(leases=rig.leases).answer(variables(command), text, None)
    return answer.exit_code, json.loads(answer.body) if answer.body else {}


@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "1.0.0"])
async def test_ipam_answers_in_the_version_that_is_asked(rig, version, api):
    code, body = await say(rig, "ADD", config(version, runtimeConfig={"ips": ["192.0.2.9/28"]}))
    assert (code, body["cniVersion"]) == (0, version)
    if version == "0.2.0":
        assert body["ip4"] == {"ip": "192.0.2.9/28", "gateway": "192.0.2.1", "routes": []}
    else:
        assert body["ips"][0]["address"] == "192.0.2.9/28"
        assert ("version" in body["ips"][0]) == (version == "0.3.1")
    assert await say(rig, "CHECK", config(version)) == (0, {})
    assert await say(rig, "DEL", config(version)) == (0, {})
    assert api.objects == {}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"{", 6, "network configuration"),
        (
            json.dumps({"cniVersion": "1.0.0", "ipam": {"type": "netloom-ipam"}}).encode(),
            7,
            "ipam.pool is missing",
        ),
        (
            json.dumps({"cniVersion": "1.0.0", "ipam": {"pool": "red"}}).encode(),
            7,
            "NetworkPool red: there is no such pool",
        ),
        (config(runtimeConfig={"ips": ["x"]}), 7, "'x' is no address"),
        (config(runtimeConfig={"ips": "192.0.2.9"}), 7, "ips is no list"),
        (config("9.9.9"), 1, "cniVersion '9.9.9' is not supported"),
    ],
)
async def test_ipam_says_what_is_wrong(rig, text, code, words):
    exit_code, body = await say(rig, "ADD", text)
    assert (exit_code, body["code"]) == (1, code)
    assert words in body["msg"]


async def test_leases_are_of_the_kind_that_is_served(api, rig):
    await take(rig)
    assert {plural for plural, _ in api.objects} == {NETWORK_LEASES.plural}
