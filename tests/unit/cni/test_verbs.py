"""Verbs that need no kernel: not ready, full, broken record; the answer is always one of CNI's shape."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path

import pytest

from netloom.cni.ipam.store import AddressStore
from netloom.cni.request import parse
from netloom.cni.result import Answer
from netloom.cni.verbs import PodNetwork, Verbs

CONFIG = json.dumps({"cniVersion": "1.1.0", "name": "netloom"}).encode()


@pytest.fixture
def store(tmp_path: Path):
    store = AddressStore(tmp_path / "ipam.db")
    yield store
    store.close()


async def ask(verbs: Verbs, command: str) -> Answer:
    variables = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_NETNS": "/own"}
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        return await verbs.answer(variables, CONFIG, fd)
    finally:
        os.close(fd)


async def test_status_says_why_the_node_is_not_ready_and_then_that_it_is(store: AddressStore):
    known: list[PodNetwork] = []
    verbs = Verbs(store=store, network=lambda: known[0] if known else None)
    answer = await ask(verbs, "STATUS")
    assert answer.exit_code == 1
    said = json.loads(answer.body)
    assert said["code"] == 50
    assert "spec.podCIDRs" in said["msg"]
    known.append(PodNetwork(ranges=(ipaddress.ip_network("10.1.0.0/24"),)))
    assert await ask(verbs, "STATUS") == Answer(0, b"")


async def test_status_says_that_the_record_cannot_be_written(tmp_path: Path):
    store = AddressStore(tmp_path / "ipam.db")
    store._db.execute("PRAGMA query_only=1")
    verbs = Verbs(store=store, network=lambda: PodNetwork(ranges=(ipaddress.ip_network("10.1.0.0/24"),)))
    said = json.loads((await ask(verbs, "STATUS")).body)
    assert said["code"] == 50
    assert "address database" in said["msg"]
    store.close()


async def test_the_agents_own_namespace_is_never_a_pods(store: AddressStore):
    verbs = Verbs(store=store, network=lambda: PodNetwork(ranges=(ipaddress.ip_network("10.1.0.0/24"),)))
    said = json.loads((await ask(verbs, "ADD")).body)
    assert said["code"] == 4
    assert "/own" in said["msg"]
    assert store.leases() == []


async def test_locks_of_finished_calls_are_forgotten(store: AddressStore):
    verbs = Verbs(store=store, network=lambda: None)
    for _ in range(3):
        await ask(verbs, "ADD")
    assert verbs._turns == {}


async def test_a_namespace_that_cannot_be_opened_is_a_container_that_is_gone(store: AddressStore):
    verbs = Verbs(store=store, network=lambda: None)
    config = json.dumps({"cniVersion": "1.1.0", "name": "netloom", "prevResult": {"ips": []}}).encode()
    variables = {"CNI_COMMAND": "CHECK", "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_NETNS": "/x"}
    said = json.loads((await verbs.answer(variables, config, None)).body)
    assert said["code"] == 3


async def test_status_says_that_what_is_there_may_be_limited(store: AddressStore):
    why: list[str] = []
    verbs = Verbs(
        store=store,
        network=lambda: PodNetwork(ranges=(ipaddress.ip_network("10.1.0.0/24"),)),
        limited=lambda: " ".join(why),
    )
    assert await ask(verbs, "STATUS") == Answer(0, b"")
    why.append("changes wait")
    said = json.loads((await ask(verbs, "STATUS")).body)
    assert (said["code"], said["msg"]) == (51, "changes wait")


def test_what_is_passed_over_is_said_once_for_each_network(
    store: AddressStore, caplog: pytest.LogCaptureFixture
):
    verbs = Verbs(store=store, network=lambda: None)
    variables = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_NETNS": "/x"}
    for network in ("one", "one", "two"):
        config = {"cniVersion": "1.1.0", "name": network, "runtimeConfig": {"deviceID": "0000:00:1f.6"}}
        verbs._say(parse(variables, json.dumps(config).encode()))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["network one", "network two"]
    assert "deviceID" in caplog.text
