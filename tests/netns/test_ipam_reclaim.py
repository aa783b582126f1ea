"""Leases that nobody uses: looked at in a real kernel. An interface that is there is never taken from its pod."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from netloom.agent.unused import UnusedLeases
from netloom.cni.attach import detach, prepare_node
from netloom.cni.ipam.store import AddressStore, Attachment
from netloom.cni.verbs import PodNetwork, Verbs
from netloom.errors import NotFound, Unavailable
from netloom.linux import netns
from netloom.program.names import pod_link
from netloom.testing.netns import fresh_netns

pytestmark = pytest.mark.netns

RANGE = ipaddress.ip_network("10.1.0.0/24")


class Time:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


class Server:
    """Has no pods, or does not answer."""

    is_away = False

    async def get(self, resource, key):
        if self.is_away:
            raise Unavailable("the API server does not answer", "")
        raise NotFound(f"{resource.kind} {key}", "")


class Node:
    """Verbs and the look at unused leases."""

    def __init__(self, path: Path, pod_fd: int) -> None:
        self.pod_fd = pod_fd
        self.store = AddressStore(path)
        self.time, self.server = Time(), Server()
        network = PodNetwork(ranges=(RANGE,))
        self.verbs = Verbs(store=self.store, network=lambda: network)
        self.unused = UnusedLeases(
            client=self.server,
            node="node-1",
            store=self.store,
            pods={},
            reclaim=self.verbs.reclaim,
            clock=self.time,
            apart_s=60.0,
        )

    async def add(self, container: str, interface: str = "eth0") -> None:
        variables = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": interface,
            "CNI_NETNS": "/pod",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0",
        }
        config = json.dumps({"cniVersion": "1.1.0", "name": "netloom", "type": "netloom-cni"}).encode()
        answer = await self.verbs.answer(variables, config, self.pod_fd)
        assert answer.exit_code == 0, answer.body

    async def cut(self, container: str) -> None:
        """Its interface is gone, as with its namespace."""
        await netns.run_in_async(None, lambda: detach(pod_link(container, "eth0")))

    async def look_twice(self) -> list[str]:
        await self.unused.look()
        self.time.now += 61
        return [lease.attachment.container for lease in await self.unused.look()]


@pytest.fixture
def in_node(tmp_path: Path) -> Callable[[Callable[[Node], Awaitable[None]]], None]:
    """Runs a scenario on a thread inside of a node's namespace, with a loop of its own."""

    def run(scenario: Callable[[Node], Awaitable[None]]) -> None:
        with fresh_netns() as node_fd, fresh_netns() as pod_fd:
            netns.run_in(node_fd, prepare_node)
            node = Node(tmp_path / "ipam.db", pod_fd)
            netns.run_in(node_fd, lambda: asyncio.run(scenario(node)))
            node.store.close()

    return run


def test_an_interface_that_is_there_keeps_its_lease_whatever_the_api_server_says(in_node):
    async def scenario(node: Node) -> None:
        await node.add("c1")
        assert await node.look_twice() == []
        assert len(node.store.leases()) == 1

    in_node(scenario)


def test_a_pod_and_an_interface_that_are_gone_twice_give_their_address_back(in_node):
    async def scenario(node: Node) -> None:
        await node.add("c1")
        await node.cut("c1")
        assert await node.look_twice() == ["c1"]
        assert node.store.leases() == []
        usage = node.store.usage(RANGE)
        assert (usage.used, usage.quarantined) == (0, 1)

    in_node(scenario)


def test_while_the_api_server_is_away_nothing_is_given_back(in_node):
    async def scenario(node: Node) -> None:
        await node.add("c1")
        await node.cut("c1")
        node.server.is_away = True
        with pytest.raises(Unavailable):
            await node.look_twice()
        assert len(node.store.leases()) == 1
        node.server.is_away = False
        assert [lease.attachment.container for lease in await node.unused.look()] == ["c1"]

    in_node(scenario)


def test_a_lease_that_is_taken_anew_between_two_looks_begins_anew(in_node):
    async def scenario(node: Node) -> None:
        await node.add("c1")
        await node.cut("c1")
        await node.unused.look()
        lease = node.store.find(Attachment("c1", "eth0"))
        node.time.now += 61
        await node.add("c1")  # its runtime repeats the call: the interface is back
        assert await node.unused.look() == []
        assert not await node.verbs.reclaim(lease)
        assert len(node.store.leases()) == 1

    in_node(scenario)


def test_a_sandbox_that_was_made_anew_frees_the_one_before_it_without_any_question(in_node):
    async def scenario(node: Node) -> None:
        await node.add("old")
        await node.cut("old")
        with fresh_netns() as fd:
            node.pod_fd = fd
            await node.add("new")
            node.server.is_away = True
            assert await node.look_twice() == ["old"]
            (lease,) = node.store.leases()
            assert lease.attachment.container == "new"

    in_node(scenario)
