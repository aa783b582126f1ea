"""Session affinity with real packets: who stays with whom, for how long, and what happens when the backend goes."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from netloom.api.core import ClientIPConfig, SessionAffinityConfig
from netloom.dataplane.nftables.containers import SERVICE
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.testing import builders as b
from netloom.testing.naive_services import Place
from netloom.testing.service_rig import Rig, service_rig
from netloom.testing.service_universe import nodes, pods
from netloom.testing.service_words import ENDING, GONE, READY, Conditions, Words
from netloom.units import Addr, Family, Protocol

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
tcp_and_udp = pytest.mark.parametrize(
    ("family", "protocol"), [(Family.V4, Protocol.TCP), (Family.V6, Protocol.UDP)], ids=["ip-tcp", "ip6-udp"]
)

CLIENTS = 24
"""By chance all of them go to the same one of two backends, or none changes, once in eight million runs."""
_FIRST = {Family.V4: ipaddress.ip_address("203.0.113.1"), Family.V6: ipaddress.ip_address("2001:db8:ffff::1")}
_POLL_S = 0.02


async def clients(rig: Rig, family: Family) -> list[Addr]:
    """The client outside gets more addresses; node-1's way to them is its default route.

    It asks from its first one before: neighbours are looked for from addresses of the same link only.
    """
    assert not await rig.client.reaches(rig.node.address_of(family), 9)
    found = [_FIRST[family] + number for number in range(CLIENTS)]
    with Rtnl(rig.client.netns_fd) as rtnl:
        rtnl.set_up("lo")
        for address in found:
            rtnl.add_address("lo", ipaddress.ip_interface(address))
    return found


async def put(
    rig: Rig, w: Words, protocol: Protocol, timeout_s: int, **conditions: Conditions | None
) -> None:
    """A sticky Service with these endpoints; one with None is in no slice."""
    config = SessionAffinityConfig(ClientIPConfig(timeout_s))
    service = w.service(
        session_affinity="ClientIP",
        session_affinity_config=config,
        external_traffic_policy="Cluster",
        protocol=protocol,
    )
    found = [w.endpoint(word, given) for word, given in conditions.items() if given is not None]
    await rig.put(b.view(service, w.slice(*found, protocol=protocol), *nodes(), *pods()))


async def served(rig: Rig, w: Words, protocol: Protocol, sources: list[Addr]) -> dict[Addr, Place]:
    """Where each of these addresses is led to."""
    named = [rig.client.ask(w.address("balancer"), 80, protocol, source=(source, 0)) for source in sources]
    replies = await asyncio.gather(*named)
    assert None not in replies
    return {source: rig.place_of(reply) for source, reply in zip(sources, replies, strict=True) if reply}


async def forgotten(rig: Rig, family: Family) -> None:
    """Until the kernel remembers no client any more."""
    with Nft(netns_fd=rig.node.netns_fd) as nft:
        async with asyncio.timeout(5):
            remembered = await nft.elements(family, names.NFT_TABLE, SERVICE.affinity)
            while remembered:  # of elements whose time is over the kernel sends no event
                await asyncio.sleep(_POLL_S)
                remembered = await nft.elements(family, names.NFT_TABLE, SERVICE.affinity)


@tcp_and_udp
async def test_each_client_stays_until_its_time_is_over(family, protocol):
    w = Words(family)
    async with service_rig() as rig:
        sources = await clients(rig, family)
        await put(rig, w, protocol, 1, a=READY, b=READY)
        first = await served(rig, w, protocol, sources)
        assert len(set(first.values())) == 2, "all clients at one backend"
        assert await served(rig, w, protocol, sources) == first
        await forgotten(rig, family)
        assert await served(rig, w, protocol, sources) != first, "drawn anew, and all drew the same"


@tcp_and_udp
@pytest.mark.parametrize("fate", [ENDING, GONE, None], ids=["terminating", "not serving", "gone"])
async def test_clients_of_a_backend_that_goes_move_and_all_others_stay(family, protocol, fate):
    w = Words(family)
    async with service_rig() as rig:
        sources = await clients(rig, family)
        await put(rig, w, protocol, 60, a=READY, b=READY, far=READY)
        first = await served(rig, w, protocol, sources)
        leaver = w.address("b")
        await put(rig, w, protocol, 60, a=READY, b=fate, far=READY)
        then = await served(rig, w, protocol, sources)
        assert leaver in {place[0] for place in first.values()}
        assert leaver not in {place[0] for place in then.values()}
        stayed = {source: place for source, place in first.items() if place[0] != leaver}
        assert {source: then[source] for source in stayed} == stayed
        # A backend that comes draws nobody away.
        await put(rig, w, protocol, 60, a=READY, b=READY, far=READY)
        assert await served(rig, w, protocol, sources) == then


@both_families
async def test_a_client_is_remembered_for_each_frontend_alone(family):
    """As kube-proxy does: NodePort, LoadBalancer address and ClusterIP draw on their own."""
    w = Words(family)
    async with service_rig() as rig:
        sources = await clients(rig, family)
        await put(rig, w, Protocol.TCP, 60, a=READY, b=READY)
        at_balancer = await served(rig, w, Protocol.TCP, sources)
        asked = [rig.client.ask(w.address("node"), 30080, source=(source, 0)) for source in sources]
        at_node = [rig.place_of(reply) for reply in await asyncio.gather(*asked) if reply]
        again = [rig.client.ask(w.address("node"), 30080, source=(source, 0)) for source in sources]
        assert [rig.place_of(reply) for reply in await asyncio.gather(*again) if reply] == at_node
        assert at_node != list(at_balancer.values())


@both_families
async def test_without_affinity_a_client_goes_to_all(family):
    w = Words(family)
    async with service_rig() as rig:
        await rig.put(b.view(w.service(), w.slice(w.endpoint("a"), w.endpoint("b")), *nodes(), *pods()))
        again = [await served(rig, w, Protocol.TCP, [rig.client.address_of(family)]) for _ in range(CLIENTS)]
        assert len({place for one in again for place in one.values()}) == 2
