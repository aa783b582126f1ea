"""Dropped packets get names: real policies in a real kernel, and what the agent makes of what the kernel logs."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest
import yaml

from netloom.agent.drops import DropWatch
from netloom.api.core import ContainerPort
from netloom.api.meta import OwnerReference
from netloom.api.networking import NetworkPolicy
from netloom.clock import SystemClock
from netloom.linux.ip_headers import Headers
from netloom.linux.nflog import Nflog
from netloom.linux.questions import QuestionServer, ask, follow
from netloom.metrics import render
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.policies import Policies
from netloom.model.state import NetworkState
from netloom.observe.drops import Cluster, DropNamer, DropReport
from netloom.program.names import NFT_LOG_GROUP
from netloom.testing import builders as b
from netloom.testing.service_networks import facts, plane_of
from netloom.testing.topologies import two_pods_one_node
from netloom.units import Family

pytestmark = pytest.mark.netns

WAIT_S = 10
ONLY_API = """
podSelector: {matchLabels: {role: db}}
ingress: [{from: [{podSelector: {matchLabels: {role: api}}}], ports: [{port: postgres}]}]
"""
SILENT = "podSelector: {matchLabels: {role: web}}\npolicyTypes: [Egress]\negress: []"


def policy(name, text):
    return NetworkPolicy(metadata=b.meta(name), spec=yaml.safe_load(text))


def cluster(net, *policies):
    web = b.pod(
        "shop/web-1",
        *map(str, net.a.addresses),
        node="node-1",
        labels={"role": "web", "pod-template-hash": "5d9c"},
    )
    owner = OwnerReference(kind="ReplicaSet", name="web-5d9c", controller=True)
    web = msgspec.structs.replace(
        web, metadata=msgspec.structs.replace(web.metadata, owner_references=(owner,))
    )
    port = ContainerPort(container_port=5432, name="postgres")
    db = b.pod("shop/db-0", *map(str, net.b.addresses), node="node-1", labels={"role": "db"}, ports=[port])
    return b.view(web, db, *policies)


class Observed:
    """A node with policies in force, and the watch of its drops."""

    def __init__(self, net, namer, watch, put) -> None:
        self.net, self.namer, self.watch, self.put = net, namer, watch, put

    async def drop(self, wanted):
        """The next drop that fits."""
        async with asyncio.timeout(WAIT_S), contextlib.aclosing(self.watch.follow()) as told:
            async for report in told:
                for drop in report.drops:
                    if wanted(drop):
                        return drop
        raise AssertionError


@contextlib.asynccontextmanager
async def observed(*policies):
    with two_pods_one_node() as net, plane_of(net.node) as plane:
        known = []

        async def put(*policies):
            view = cluster(net, *policies)
            known[:] = [Cluster(PolicyCluster.of(view), view.pods)]
            await plane.start(NetworkState(policy=Policies.compute(view, facts())), facts())

        await put(*policies)
        namer = DropNamer(
            node="node-1",
            cluster=lambda: known[0],
            tables=lambda: {family: table.policy for family, table in plane.tables.items()},
            clock=SystemClock(),
        )
        opened = asyncio.Event()

        def listen():
            opened.set()
            return Nflog(NFT_LOG_GROUP, netns_fd=net.node.netns_fd)

        watch = DropWatch(node="node-1", namer=namer, listen=listen)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watch.run())
            await opened.wait()
            yield Observed(net, namer, watch, put)
            running.cancel()


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_what_nothing_allows_is_named_with_the_nearest_miss(family):
    async with observed(policy("shop/db", ONLY_API)) as seen:
        web, db = seen.net
        async with db.serve(5432, family=family):
            assert not await web.reaches(db.address_of(family), 5432)
            drop = await seen.drop(lambda drop: drop.destination.port == 5432)
        assert (drop.source.pod, drop.destination.pod) == ("shop/web-1", "shop/db-0")
        assert drop.source.workload == "Deployment shop/web"
        assert (drop.direction, drop.protocol) == ("ingress", "tcp")
        assert [source.subject for source in drop.policies] == ["NetworkPolicy shop/db"]
        assert drop.miss.field == "spec.ingress[0].from[0]"
        assert "role" in drop.why
        assert 'direction="ingress",policy="NetworkPolicy shop/db"} ' in render(seen.watch.samples())


async def test_the_sender_s_policies_are_blamed_where_they_are_to_blame():
    async with observed(policy("shop/db", ONLY_API), policy("shop/silent", SILENT)) as seen:
        web, db = seen.net
        assert not await web.reaches(db, 5432)
        drop = await seen.drop(lambda drop: drop.destination.port == 5432)
        assert drop.direction == "egress"
        assert [source.subject for source in drop.policies] == ["NetworkPolicy shop/silent"]


async def test_what_is_allowed_is_no_drop():
    async with observed(policy("shop/db", ONLY_API.replace("role: api", "role: web"))) as seen:
        web, db = seen.net
        async with db.serve(5432), db.serve(5433):
            assert await web.reaches(db, 5432, timeout_s=WAIT_S)
            assert not await web.reaches(db, 5433)
            drop = await seen.drop(lambda _: True)
        assert drop.destination.port == 5433
        assert "5433" in drop.why
        assert "postgres" in drop.why


async def test_a_drop_of_a_policy_that_has_changed_says_so():
    async with observed(policy("shop/db", ONLY_API)) as seen:
        web, db = seen.net
        assert not await web.reaches(db, 5432)
        drop = await seen.drop(lambda drop: drop.destination.port == 5432)
        assert drop.direction == "ingress"
        await seen.put()
        headers = Headers(web.address, db.address, 6, 1, 5432)
        drop = seen.namer.name(7, headers, "netloom:ffffffffffff", 0.0)
        assert "not there any more" in drop.why
        assert drop.direction == ""


async def test_an_agent_tells_who_asks_and_who_follows(tmp_path):
    path = tmp_path / "agent.sock"
    async with observed(policy("shop/db", ONLY_API)) as seen:
        server = QuestionServer(
            path, {"drops": seen.watch.report}, followed={"drops-follow": seen.watch.follow}
        )
        server.open()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(server.run())
            web, db = seen.net
            async with asyncio.timeout(WAIT_S), contextlib.aclosing(follow(path, "drops-follow")) as told:
                first = msgspec.json.decode(await anext(told), type=DropReport)
                assert first.drops == ()
                asking = tasks.create_task(web.ask(db, 5432))
                report = msgspec.json.decode(await anext(told), type=DropReport)
                assert report.drops[0].destination.pod == "shop/db-0"
            asked = msgspec.json.decode(await ask(path, "drops"), type=DropReport)
            assert report.drops[0] in asked.drops
            assert asked.problem == ""
            assert await asking is None
            running.cancel()


async def test_a_group_that_somebody_else_listens_to_is_told_and_harms_nothing():
    with two_pods_one_node() as net, Nflog(NFT_LOG_GROUP, netns_fd=net.node.netns_fd):
        namer = DropNamer(node="node-1", cluster=lambda: None, tables=dict, clock=SystemClock())
        tried = asyncio.Event()

        def listen():
            tried.set()
            return Nflog(NFT_LOG_GROUP, netns_fd=net.node.netns_fd)

        watch = DropWatch(node="node-1", namer=namer, listen=listen)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watch.run())
            await tried.wait()
            assert str(NFT_LOG_GROUP) in watch.report().problem
            running.cancel()
