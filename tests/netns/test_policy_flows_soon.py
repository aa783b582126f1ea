"""A changed policy ends the flows that it denies, among thousands that it does not, with the ender beside the changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.model.inputs import ClusterView
from netloom.program.conntrack import Flow, FlowFilter
from netloom.testing import builders as b
from netloom.testing.hosts import Host
from netloom.testing.policy_rig import PolicyRig, policy_rig, rig_objects
from netloom.testing.service_networks import Connection
from netloom.testing.service_rig import ECHO, echoing
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

CROWD = 2000
SILENT = "192.0.2.1"
LABELS = {"a/p": {"app": "web"}, "a/q": {"app": "db"}, "b/q": {"app": "db"}}
WEB_ONLY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: b}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]
"""
NO_WAY_OUT = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: b}
spec: {podSelector: {}, policyTypes: [Egress]}
"""


def view(*policies: str) -> ClusterView:
    read = b.load_view("\n---\n".join(policies)) if policies else ClusterView()
    return b.view(*rig_objects(LABELS, {}), *read.policies.values())


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[tuple[PolicyRig, list[FlowEnder]]]:
    """A rig whose planes leave flows to enders that run beside, as in the agent."""
    async with policy_rig() as rig, asyncio.TaskGroup() as tasks:
        with contextlib.ExitStack() as stack:
            planes, enders, running = [], [], []
            for node in (rig.hosts["node-1"], rig.hosts["node-2"]):
                nft = stack.enter_context(Nft(netns_fd=node.netns_fd))
                conntrack = stack.enter_context(Conntrack(netns_fd=node.netns_fd))
                enders.append(FlowEnder(conntrack=conntrack))
                planes.append(NftablesPlane(nft=nft, ender=enders[-1]))
                running.append(tasks.create_task(enders[-1].run()))
            rig.planes = tuple(planes)
            yield rig, enders
            for task in running:
                task.cancel()


def tracked(node: Host, protocol: Protocol) -> dict[int, Flow]:
    with Conntrack(netns_fd=node.netns_fd) as conntrack:
        return {
            flow.id: flow for family in Family for flow in conntrack.dump(FlowFilter(family, protocol.number))
        }


def crowd(host: Host) -> None:
    """Flows of the same pod to elsewhere that nobody denies."""
    for _ in range(CROWD // 200):
        with contextlib.closing(host.open_socket(Family.V4, Protocol.UDP)) as sock:
            for port in range(200):
                sock.sendto(b"x", (SILENT, 1000 + port))


async def ended(ender: FlowEnder, count: int) -> None:
    async with asyncio.timeout(10):
        so_far = ender.ended
        while so_far < count:
            await asyncio.sleep(0.002)
            so_far = ender.ended


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=lambda p: p.word)
async def test_denied_flows_end_beside_the_change_and_no_other(protocol):
    async with watched() as (rig, (_, ender)), echoing(rig.hosts["b/q"], family=Family.V4):
        port = ECHO if protocol is Protocol.TCP else 8080
        await rig.put(view())
        node, server = rig.hosts["node-2"], rig.address("b/q", Family.V4)
        crowd(rig.hosts["b/q"])
        kept: list[Connection] = []
        for name in ("a/p", "a/q", "b/p", "c/p", "node-2"):
            host = rig.hosts[name]
            for number in range(10):
                if protocol is Protocol.TCP:
                    kept.append(Connection(host, server, port))
                    assert await kept[-1].open()
                else:
                    source = (host.address_of(Family.V4), 41000 + number)
                    assert await host.ask(server, port, protocol, source=source)
        before = tracked(node, protocol)
        allowed = {rig.address("a/p", Family.V4), rig.address("node-2", Family.V4)}
        denied = {
            number
            for number, flow in before.items()
            if flow.reply.source == server
            and flow.original.destination_port == port
            and flow.original.source not in allowed
        }
        assert len(denied) == 30
        assert protocol is Protocol.TCP or len(before) > CROWD // 2
        already = ender.ended
        await rig.put(view(WEB_ONLY))
        await ended(ender, already + len(denied))
        assert before.keys() - tracked(node, protocol).keys() == denied
        # what the pod may not begin goes, and what others began with it stays
        already = ender.ended
        await rig.put(view(WEB_ONLY, NO_WAY_OUT))
        rest = {
            number
            for number, flow in before.items()
            if number not in denied and flow.original.source == server
        }
        await ended(ender, already + len(rest))
        assert before.keys() - tracked(node, protocol).keys() == denied | rest
        for connection in kept:
            connection.close()
