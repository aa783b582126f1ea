"""Established flows through all kinds of frontends while endpoints come and go: which end, how soon, and that no other is touched."""

from __future__ import annotations

import asyncio

import pytest

from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.model.inputs import ClusterView
from netloom.program.conntrack import Flow, FlowFilter
from netloom.testing import builders as b
from netloom.testing.hosts import Host
from netloom.testing.service_networks import Connection, plane_of
from netloom.testing.service_rig import ECHO, Refused, Rig, echoing, probe, service_rig
from netloom.testing.service_universe import nodes, pods
from netloom.testing.service_words import ENDING, GONE, READY, UNREADY, Conditions, Words
from netloom.units import Family, Protocol, family_of

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
_POLL_S = 0.005


def view(w: Words, protocol: Protocol, port: int, **conditions: Conditions | None) -> ClusterView:
    """Services x and y with these endpoints; y never loses any."""
    x = w.service(protocol=protocol)
    y = w.service("ClusterIP", name="a/y", at="nobody", protocol=protocol)
    found = [w.endpoint(word, given) for word, given in conditions.items() if given is not None]
    everybody = [w.endpoint(word) for word in conditions]
    return b.view(
        x,
        y,
        w.slice(*found, protocol=protocol, port=port),
        w.slice(*everybody, name="a/t", of="y", protocol=protocol, port=port),
        *nodes(),
        *pods(),
    )


def tracked(rig: Rig, w: Words, protocol: Protocol) -> dict[int, Flow]:
    with Conntrack(netns_fd=rig.node.netns_fd) as conntrack:
        return {flow.id: flow for flow in conntrack.dump(FlowFilter(w.family, protocol.number))}


async def talk_everywhere(rig: Rig, w: Words, count: int) -> None:
    """UDP flows from everybody to every frontend, and past them."""
    places = [(w.address("service"), 80), (w.address("nobody"), 80), (w.address("balancer"), 80)]
    places += [(w.address("node"), 30080), (w.address("external"), 80), (w.address("a"), 8080)]
    for host in (rig.node, rig.net.pod_1, rig.second, rig.net.pod_2, rig.client):
        for place in places:
            is_cluster_ip = place[0] in (w.address("service"), w.address("nobody"))
            if is_cluster_ip and host in (rig.client, rig.net.pod_2):
                continue  # who is led to a ClusterIP from elsewhere may get no answer
            for _ in range(count):
                source = (host.address_of(w.family), 0)
                assert await host.ask(*place, Protocol.UDP, source=source), (host.name, place)


@both_families
async def test_udp_flows_to_an_endpoint_that_has_gone_end_at_once_and_no_other_is_touched(family):
    """As the agent does it: the ender works beside the changes."""
    w = Words(family)
    async with service_rig() as rig, asyncio.TaskGroup() as tasks:
        with Nft(netns_fd=rig.node.netns_fd) as nft, Conntrack(netns_fd=rig.node.netns_fd) as conntrack:
            ender = FlowEnder(conntrack=conntrack)
            rig.plane = NftablesPlane(nft=nft, ender=ender)
            running = tasks.create_task(ender.run())
            await rig.put(view(w, Protocol.UDP, 8080, a=READY, b=READY, far=READY))
            for fate in (None, READY, ENDING, READY, UNREADY):
                await talk_everywhere(rig, w, 2)
                before = tracked(rig, w, Protocol.UDP)
                stale = {
                    number
                    for number, flow in before.items()
                    if flow.reply.source == w.address("b")
                    and flow.original.destination not in (w.address("b"), w.address("nobody"))
                    and fate is not READY
                }
                assert stale or fate is READY
                already = ender.ended
                await rig.put(view(w, Protocol.UDP, 8080, a=READY, b=fate, far=READY))
                async with asyncio.timeout(3):
                    ended = ender.ended
                    while ended < already + len(stale):
                        await asyncio.sleep(_POLL_S)
                        ended = ender.ended
                now = tracked(rig, w, Protocol.UDP)
                assert before.keys() - now.keys() == stale
            running.cancel()


@both_families
async def test_tcp_drains_to_an_endpoint_that_ends_and_new_connections_go_elsewhere(family):
    w = Words(family)
    async with service_rig() as rig, echoing(*rig.pods, family=family):
        askers = ((rig.second, "service", 80), (rig.client, "balancer", 80), (rig.client, "node", 30080))
        await rig.put(view(w, Protocol.TCP, ECHO, a=READY))
        kept = [Connection(host, w.address(word), port) for host, word, port in askers]
        for connection in kept:
            assert await connection.open()
        ours = tracked(rig, w, Protocol.TCP)
        for fate in (ENDING, GONE, UNREADY, READY, ENDING):
            await rig.put(view(w, Protocol.TCP, ECHO, a=fate, far=READY))
            for connection in kept:
                assert await connection.talk(), fate
            if fate is READY:
                continue
            for host, word, port in askers:
                await moved(rig, w, (host, word, port))
        assert ours.keys() <= tracked(rig, w, Protocol.TCP).keys()
        # Out of the slices: over, for these and only these.
        other = Connection(rig.second, w.address("nobody"))
        assert await other.open()
        await rig.put(view(w, Protocol.TCP, ECHO, a=None, far=READY))
        assert not ours.keys() & tracked(rig, w, Protocol.TCP).keys()
        for connection in kept:
            with pytest.raises(ConnectionResetError):
                await connection.talk(timeout_s=1)
        assert await other.talk()
        for connection in (*kept, other):
            connection.close()


async def moved(rig: Rig, w: Words, asker: tuple[Host, str, int]) -> None:
    """New connections of this one go to the pod far away only."""
    host, word, port = asker
    before = set(tracked(rig, w, Protocol.TCP))
    for _ in range(5):
        connection = Connection(host, w.address(word), port)
        assert await connection.open()
        connection.close()
    flows = [flow for number, flow in tracked(rig, w, Protocol.TCP).items() if number not in before]
    assert len(flows) == 5
    assert {flow.reply.source for flow in flows} == {w.address("far")}


@both_families
async def test_connections_within_local_policies_drain_too(family):
    """externalTrafficPolicy Local, from outside; the only endpoint here ends, and nobody is left: new ones are dropped."""
    w = Words(family)

    def state(a: Conditions) -> ClusterView:
        service = w.service(external_traffic_policy="Local")
        found = w.slice(w.endpoint("a", a), w.endpoint("far"), port=ECHO)
        return b.view(service, found, *nodes(), *pods())

    async with service_rig() as rig, echoing(rig.net.pod_1, family=family):
        await rig.put(state(READY))
        connection = Connection(rig.client, w.address("balancer"))
        assert await connection.open()
        for a, is_open in ((ENDING, True), (GONE, False), (READY, True)):
            await rig.put(state(a))
            assert await connection.talk()
            another = Connection(rig.client, w.address("balancer"))
            if is_open:
                assert await another.open()
            else:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.12):
                        await another.open()
            another.close()
        connection.close()


@both_families
async def test_who_is_no_longer_let_in_is_not_let_go_on(family):
    w = Words(family)
    async with service_rig() as rig, echoing(rig.second, family=family):

        async def put(*words: str) -> None:
            service = w.service(load_balancer_source_ranges=tuple(map(w.text, words)))
            await rig.put(b.view(service, w.slice(w.endpoint("b"), port=ECHO), *nodes(), *pods()))

        await put("clients", "pods")
        places = ((rig.client, "balancer"), (rig.net.pod_1, "balancer"), (rig.client, "external"))
        kept = [Connection(host, w.address(word)) for host, word in places]
        for connection in kept:
            assert await connection.open()
        await put("pods")
        with pytest.raises((ConnectionResetError, TimeoutError)):
            await kept[0].talk(timeout_s=0.12)
        for connection in kept[1:]:
            assert await connection.talk()
        for connection in kept:
            connection.close()


@both_families
@pytest.mark.parametrize("word", ["service", "balancer", "external", "node"])
async def test_flows_of_a_service_that_went_while_no_agent_was_there(family, word):
    """A restart finds them stale, at every kind of address."""
    w = Words(family)
    port = 30080 if word == "node" else 80
    async with service_rig() as rig:
        await rig.put(view(w, Protocol.UDP, 8080, b=READY))
        source = (rig.net.pod_1.address_of(family), 40000)
        assert await rig.net.pod_1.ask(w.address(word), port, Protocol.UDP, source=source)
        with plane_of(rig.node) as plane:
            rig.plane, rig.state = plane, None
            await rig.put(b.view(*nodes(), *pods()))
            left = tracked(rig, w, Protocol.UDP).values()
            assert [flow for flow in left if flow.original.destination == w.address(word)] == []


@both_families
async def test_datagrams_to_an_address_that_becomes_a_services_are_led_to_it(family):
    """A client that goes on sending from one port, while the Service comes, goes, and comes again."""
    w = Words(family)
    async with service_rig() as rig:
        nothing = b.view(*nodes(), *pods())
        for word in ("service", "balancer", "external"):
            packet = probe(rig, rig.net.pod_1, w.text(word), 80, Protocol.UDP)
            assert family_of(packet.destination) is family
            for given, is_served in ((nothing, False), (view(w, Protocol.UDP, 8080, b=READY), True)) * 2:
                await rig.put(given)
                fate = await rig.fate(packet, timeout_s=0.8 if is_served else 0.05, source_port=40000)
                if is_served:
                    assert fate.place == (w.address("b"), 8080)
                elif word == "service":
                    assert fate == Refused()
