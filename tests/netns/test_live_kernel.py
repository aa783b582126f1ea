"""A walk against a real kernel: what is in force is the same as the model, and whatever is tampered with is named by meaning."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
import yaml

from netloom.agent.kernel import KernelReader
from netloom.api.networking import NetworkPolicy
from netloom.errors import Unavailable, UsageError
from netloom.linux import process
from netloom.linux.netns import Namespaces
from netloom.linux.nft import find_program
from netloom.linux.nft_chain_rules import rule_comments
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import ClusterFacts
from netloom.observe.live.kernel import NodeKernel
from netloom.observe.live.run import compare, render
from netloom.observe.live.stations import TracedCluster
from netloom.observe.why import explain_in
from netloom.program.names import NFT_TABLE
from netloom.testing import builders as b
from netloom.testing.service_networks import facts, plane_of
from netloom.testing.topologies import two_pods_one_node
from netloom.units import Family

pytestmark = pytest.mark.netns

ONLY_WEB = """
podSelector: {matchLabels: {role: db}}
ingress: [{from: [{podSelector: {matchLabels: {role: web}}}], ports: [{port: 5432}]}]
"""


class Place:
    """A node whose kernel has what the model says, and a reader of it."""

    def __init__(self, net, cluster, view) -> None:
        self.net, self.view, self._cluster = net, view, cluster
        self.fd = net.node.netns_fd

    async def ask(self, question):
        word, _, words = question.partition(" ")
        assert word == "kernel"
        assert len(question) < 4096
        return msgspec.json.encode(await KernelReader(netns_fd=self.fd).answer(words))

    async def nft(self, text):
        done = await process.run([find_program(), "-f", "-"], input=text.encode(), ns=Namespaces(net=self.fd))
        assert done.returncode == 0, done.stderr

    async def live(self, source="pod/shop/web", destination="svc/shop/db:5432", view=None):
        cluster = TracedCluster(view or self.view, self._cluster)
        explain_in(cluster, source, destination)
        return await compare(cluster, {"node-1": NodeKernel(self.ask)})

    async def problems(self, **more):
        report = await self.live(**more)
        assert not report.unread, report.unread
        return [one.problem for one in report.comparisons if one.problem]


@contextlib.asynccontextmanager
async def place():
    with two_pods_one_node() as net, plane_of(net.node) as plane:
        own = facts()
        cluster = ClusterFacts(cluster_cidrs=own.cluster_cidrs, service_cidrs=own.service_cidrs)
        db = str(net.b.address_of(Family.V4))
        view = b.view(
            b.node("node-1", *map(str, own.addresses), pod_cidrs=map(str, own.pod_cidrs)),
            b.pod("shop/web", str(net.a.address_of(Family.V4)), node="node-1", labels={"role": "web"}),
            b.pod("shop/db", db, node="node-1", labels={"role": "db"}),
            b.service("shop/db", "10.96.0.20", ports=[b.port(5432)], selector={"role": "db"}),
            b.endpoint_slice("shop/db-1", "db", b.endpoint(db, node="node-1", pod="db"), ports=[("", 5432)]),
            NetworkPolicy(metadata=b.meta("shop/db"), spec=yaml.safe_load(ONLY_WEB)),
        )
        made = TracedCluster(view, cluster)
        await plane.start(made.plain_state("node-1"), made.nodes["node-1"])
        yield Place(net, cluster, view)


async def test_what_is_in_force_is_the_same():
    async with place() as node:
        report = await node.live()
        assert report.is_good, render(report)
        assert {one.stage for one in report.comparisons} == {"service", "policy", "route"}
        assert await node.net.a.ask(node.net.b, 5432) is None  # nobody listens, but nothing was broken
        shown = render(report)
        assert "10.96.0.20:5432/tcp" in shown
        assert "DIFFERS" not in shown


async def test_an_endpoint_that_is_another():
    async with place() as node:
        await node.nft(
            f"delete element ip {NFT_TABLE} endpoints {{ 0 . 10.96.0.20 . tcp . 5432 }}\n"
            f"add element ip {NFT_TABLE} endpoints {{ 0 . 10.96.0.20 . tcp . 5432 : 192.0.2.66 . 66 }}"
        )
        (problem,) = await node.problems()
        assert "should also lead to" in problem
        assert "leads to 192.0.2.66 port 66, which it should not" in problem


async def test_a_service_that_is_not_in_force():
    async with place() as node:
        await node.nft(f"delete element ip {NFT_TABLE} services {{ 10.96.0.20 . tcp . 5432 }}")
        assert await node.problems() == ["its Service is not in force"]


async def test_a_pod_without_its_policies():
    async with place() as node:
        address = node.net.b.address_of(Family.V4)
        await node.nft(f"delete element ip {NFT_TABLE} policy-ingress {{ {address} }}")
        assert await node.problems() == ["it should be under NetworkPolicy shop/db"]


async def test_a_peer_that_its_set_lacks_and_one_too_many():
    async with place() as node:
        dump = (
            await process.run([find_program(), "list", "sets", "ip"], ns=Namespaces(net=node.fd))
        ).stdout.decode()
        name = next(word for word in dump.split() if word.startswith("peers-"))
        web = node.net.a.address_of(Family.V4)
        await node.nft(f"flush set ip {NFT_TABLE} {name}")
        (problem,) = await node.problems()
        assert f"lacks {web}" in problem
        await node.nft(f"add element ip {NFT_TABLE} {name} {{ {web}, 172.30.0.11 }}")
        assert await node.problems() == []
        (problem,) = await node.problems(source="node/node-1", destination="pod/shop/db:5432")
        assert "should not have 172.30.0.11" in problem


async def test_a_rule_that_is_gone_and_one_that_is_foreign():
    async with place() as node:
        report = await node.live()
        (policy,) = [one for one in report.comparisons if "chain" in one.text]
        entry = policy.text.partition("chain ")[2].partition(",")[0]
        chain = f"{entry}-1"
        before = rule_comments(Family.V4, NFT_TABLE, chain, netns_fd=node.fd)
        assert before is not None
        assert any("spec.ingress[0].from[0]" in one for one in before)
        await node.nft(
            f'flush chain ip {NFT_TABLE} {chain}\nadd rule ip {NFT_TABLE} {chain} accept comment "mine now"'
        )
        (problem,) = await node.problems()
        assert f"chain {chain} lacks the rule of NetworkPolicy shop/db: spec.ingress[0].from[0]" in problem
        assert f"chain {chain} has a rule that it should not have: mine" in problem
        assert rule_comments(Family.V4, NFT_TABLE, "nobody", netns_fd=node.fd) is None


async def test_a_route_that_leads_elsewhere():
    async with place() as node:
        with Rtnl(node.fd) as rtnl:
            target = node.net.b.address_of(Family.V4)
            route = next(one for one in rtnl.routes() if one.destination.network_address == target)
            rtnl.delete_route(route)
        assert await node.problems() == ["should lead to the pod's own interface"]


async def test_a_model_that_the_kernel_has_not_heard_of():
    async with place() as node:
        pods = dict(node.view.pods)
        key = b.key_of("shop/web")
        pods[key] = b.pod(
            "shop/web", str(node.net.a.address_of(Family.V4)), node="node-1", labels={"role": "other"}
        )
        view = msgspec.structs.replace(node.view, pods=pods)
        (problem,) = await node.problems(view=view)
        assert "should not have" in problem


async def test_agents_that_cannot_be_asked_are_told():
    async with place() as node:
        cluster = TracedCluster(node.view, ClusterFacts())
        explain_in(cluster, "pod/shop/web", "pod/shop/db:5432")

        async def nobody(_):
            raise Unavailable("nobody answers")

        report = await compare(cluster, {"node-1": NodeKernel(nobody)})
        assert report.comparisons == ()
        assert report.unread == ("node-1: nobody answers",)
        report = await compare(cluster, {})
        assert "no agent" in report.unread[0]
        with pytest.raises(UsageError):
            await KernelReader(netns_fd=node.fd).answer("{}")
