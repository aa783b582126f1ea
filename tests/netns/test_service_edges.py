"""Edges of Services with real packets: ClusterIPs from elsewhere, the node's other addresses, source ranges that overlap."""

from __future__ import annotations

import ipaddress

import pytest

from netloom.linux.conntrack import Conntrack
from netloom.program.conntrack import FlowFilter
from netloom.testing import builders as b
from netloom.testing.service_rig import service_rig
from netloom.testing.service_universe import nodes, pods
from netloom.testing.service_words import ENDING, Words
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns
both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)


@both_families
@pytest.mark.parametrize("host", ["client", "other"])
async def test_who_is_led_to_a_cluster_ip_from_elsewhere_gets_an_answer(family, host):
    """model/services/build.py: ClusterIP frontends have masquerade False; the answer of a pod on node-2 does not come back through node-1."""
    w = Words(family)
    async with service_rig() as rig:
        await rig.put(b.view(w.service(), w.slice(w.endpoint("far")), *nodes(), *pods()))
        asker = rig.client if host == "client" else rig.net.pod_2
        assert await asker.reaches(w.address("service"), 80)


@both_families
async def test_the_node_itself_is_inside_whatever_its_source_address(family):
    """From the address of its link to the client, externalTrafficPolicy Local, only endpoint far away."""
    w = Words(family)
    link = ipaddress.ip_address("192.0.2.17" if family is Family.V4 else "2001:db8:c:1::1")
    async with service_rig() as rig:

        def view(*found):
            return b.view(
                w.service(external_traffic_policy="Local", protocol=Protocol.UDP),
                w.slice(*found, protocol=Protocol.UDP),
                *nodes(),
                *pods(),
            )

        await rig.put(view(w.endpoint("far"), w.endpoint("b", ENDING)))
        reply = await rig.node.ask(w.address("balancer"), 80, Protocol.UDP, source=(link, 40000))
        assert reply
        assert reply.peer in rig._own()
        with Conntrack(netns_fd=rig.node.netns_fd) as c:
            before = c.dump(FlowFilter(family, 17, w.address("balancer"), 80))
            await rig.put(view(w.endpoint("far")))
            assert c.dump(FlowFilter(family, 17, w.address("balancer"), 80)) == before, (
                "a flow that would be made the same way"
            )


@pytest.mark.parametrize(
    "ranges",
    [
        ("0.0.0.0/0",),
        ("10.0.0.0/8", "10.1.0.0/16"),
        ("10.1.0.0/16", "10.0.0.0/8"),
        ("0.0.0.0/0", "192.0.2.0/24"),
        ("192.0.2.18/32", "192.0.2.0/24"),
        ("192.0.2.0/24", "192.0.2.18/32"),
        ("0.0.0.0/1", "128.0.0.0/1"),
    ],
)
@pytest.mark.parametrize("begin", [True, False])
async def test_overlapping_source_ranges(ranges, begin):
    """kernel: File exists; the whole change is refused."""
    w = Words(Family.V4)
    async with service_rig() as rig:
        if not begin:
            await rig.put(b.view(w.service(), w.slice(w.endpoint("b")), *nodes(), *pods()))
        await rig.put(
            b.view(w.service(load_balancer_source_ranges=ranges), w.slice(w.endpoint("b")), *nodes(), *pods())
        )
        is_in = not ranges[0].startswith("10")
        assert await rig.client.reaches(w.address("balancer"), 80, timeout_s=0.1) == is_in
        await rig.put(
            b.view(
                w.service(load_balancer_source_ranges=ranges[:1]), w.slice(w.endpoint("b")), *nodes(), *pods()
            )
        )
        await rig.put(
            b.view(
                w.service(load_balancer_source_ranges=ranges[1:]), w.slice(w.endpoint("b")), *nodes(), *pods()
            )
        )


async def test_source_ranges_that_change_to_overlapping_ones():
    w = Words(Family.V4)
    async with service_rig() as rig:
        for ranges in (
            ("192.0.2.16/30",),
            ("192.0.2.0/24",),
            ("192.0.2.18/32",),
            ("192.0.2.0/25", "192.0.2.128/25"),
            ("192.0.2.0/24",),
        ):
            await rig.put(
                b.view(
                    w.service(load_balancer_source_ranges=ranges), w.slice(w.endpoint("b")), *nodes(), *pods()
                )
            )
            assert await rig.client.reaches(w.address("balancer"), 80, timeout_s=0.3), ranges
