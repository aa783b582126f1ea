"""WireGuard by the kernel's own driver: our netlink against it, and the fabric with real packets."""

from __future__ import annotations

import base64
import ipaddress
import os

import pytest

from netloom.fabric.ways import FabricOfWays
from netloom.fabric.wireguard.apply import WireguardFabric, WireguardSettings
from netloom.fabric.wireguard.blocked import BlockedPeers
from netloom.fabric.wireguard.driver import KernelDriver
from netloom.fabric.wireguard.keys import load_or_make
from netloom.linux import netns
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.model.routes.ways import FabricKind, Way
from netloom.program.names import WIREGUARD_LINK
from netloom.program.wireguard import Endpoint, WireguardChange, WireguardPeer
from netloom.testing.topologies import nodes_on_a_segment
from netloom.testing.tunnel_rig import Tap, chatter, facts_of, others, routes_to, until_reached
from netloom.units import Family

pytestmark = pytest.mark.vm


@pytest.fixture
def namespace():
    fd = netns.new_netns()
    yield fd
    os.close(fd)


def key(number: int) -> str:
    return base64.b64encode(bytes([1]) + number.to_bytes(31, "big")).decode()


def peer(number: int, *ranges: str, endpoint: str = "192.0.2.1") -> WireguardPeer:
    at = Endpoint(ipaddress.ip_address(endpoint), 51820)
    return WireguardPeer(key(number), at, frozenset(map(ipaddress.ip_network, ranges)))


def test_what_is_set_is_read_back(namespace, tmp_path):
    driver = KernelDriver(WIREGUARD_LINK, netns_fd=namespace)
    driver.bring_up()
    driver.bring_up()
    pair = load_or_make(tmp_path / "key")
    one = peer(1, "10.1.0.0/24", "2001:db8:1::/64")
    two = peer(2, "10.2.0.0/24", endpoint="2001:db8::2")
    driver.change(WireguardChange(private_key=pair.private, port=51821, put=(one, two)))
    state = driver.read()
    assert (state.public_key, state.port) == (pair.public, 51821)
    assert {k: s.peer for k, s in state.peers.items()} == {one.key: one, two.key: two}
    driver.change(WireguardChange(put=(peer(3, "10.2.0.0/24"),), remove=(two.key,)))
    assert driver.read().peers.keys() == {one.key, key(3)}
    driver.take_down()
    driver.take_down()


def test_hundreds_of_peers_and_a_peer_with_thousands_of_ranges(namespace, tmp_path):
    driver = KernelDriver(WIREGUARD_LINK, netns_fd=namespace)
    driver.bring_up()
    wide = peer(5000, *(f"10.{200 + i // 256}.{i % 256}.0/24" for i in range(3000)))
    peers = [peer(n, f"10.{n // 256}.{n % 256}.0/24", f"2001:db8:{n:x}::/64") for n in range(1, 501)]
    pair = load_or_make(tmp_path / "key")
    driver.change(WireguardChange(private_key=pair.private, put=(*peers, wide)))
    state = driver.read()
    assert {s.peer for s in state.peers.values()} == {*peers, wide}
    driver.change(WireguardChange(remove=tuple(p.key for p in peers)))
    assert driver.read().peers.keys() == {wide.key}


@pytest.mark.parametrize("outer", list(Family), ids=lambda f: f.value)
async def test_the_fabric_encrypts_follows_keys_and_shows_nothing(tmp_path, outer: Family):
    with nodes_on_a_segment(3) as segment, Tap(segment.switch) as tap:
        keys: dict[int, str] = {}
        facts = {n: facts_of(h, n, FabricKind.WIREGUARD, outer=outer) for n, h in enumerate(segment.nodes, 1)}
        rooms: dict[int, WireguardFabric] = {}
        fabrics: dict[int, FabricOfWays] = {}
        for number, host in enumerate(segment.nodes, 1):
            directory = tmp_path / str(number)
            directory.mkdir()
            settings = WireguardSettings(directory, netns_fd=host.netns_fd, in_kernel=True)
            rooms[number] = WireguardFabric(settings, publish=lambda text, n=number: keys.update({n: text}))
            ways = {Way.WIREGUARD: rooms[number], Way.BLOCKED: BlockedPeers(netns_fd=host.netns_fd)}
            fabrics[number] = FabricOfWays(ways)

        def routes(number: int) -> dict:
            return routes_to(segment, others(3, number), facts[number], Way.WIREGUARD, keys)

        one, two, three = segment.pods
        driver = KernelDriver(WIREGUARD_LINK, netns_fd=segment.nodes[0].netns_fd)
        async with (
            two.serve(80, address=two.address),
            two.serve(80, family=Family.V6, address=two.addresses[1]),
            three.serve(80),
            chatter((one, two.address), (segment.nodes[0], two.addresses[1])),
        ):
            for number, fabric in fabrics.items():
                await fabric.start(routes(number), facts[number])
            for number, fabric in fabrics.items():
                await fabric.apply(routes(number))
            for target in (*two.addresses, three.address):
                assert await until_reached(one, target, 80)
            assert await until_reached(segment.nodes[0], two.address, 80)
            before = driver.read().peers[keys[3]]
            assert before.handshake_s > 0
            # another key
            rooms[2].key_file.unlink()
            await fabrics[2].start(routes(2), facts[2])
            for number in (1, 3):
                await fabrics[number].apply(routes(number))
            assert await until_reached(one, two.address, 80)
            after = driver.read().peers
            assert after.keys() == {keys[2], keys[3]}
            assert after[keys[3]].handshake_s == before.handshake_s
            assert after[keys[3]].peer == before.peer
            # another agent
            with NetlinkSocket(
                NETLINK_ROUTE, netns_fd=segment.nodes[0].netns_fd, groups=(1, 5, 7, 9, 11)
            ) as news:
                again = WireguardFabric(
                    WireguardSettings(tmp_path / "1", netns_fd=segment.nodes[0].netns_fd),
                    publish=lambda text: keys.update({1: text}),
                )
                known = keys[1]
                await again.start(routes(1), facts[1])
                assert news.receive(wait=False) == []
                assert keys[1] == known
            assert await one.reaches(two.address, 80)
            # somebody deletes the interface
            driver.take_down()
            assert not await one.reaches(two.address, 80)
            await again.start(routes(1), facts[1])
            assert await until_reached(one, two.address, 80)
        assert tap.plain() == []
        with Rtnl(segment.nodes[0].netns_fd) as rtnl:
            link = rtnl.find_link(WIREGUARD_LINK)
            assert link is not None
            assert link.kind == "wireguard"
            assert link.mtu == 1500 - (60 if outer is Family.V4 else 80)
