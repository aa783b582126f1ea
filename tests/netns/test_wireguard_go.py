"""WireGuard by wireguard-go, where the kernel has none: real packets, and never a plain one on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import signal
from pathlib import Path

import pytest

from netloom.errors import KernelError, Unsupported
from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.tunnel_rules import WIREGUARD_TABLE
from netloom.fabric.tunnel_rules_apply import has_rules
from netloom.fabric.ways import FabricOfWays
from netloom.fabric.wireguard.apply import WireguardFabric, WireguardSettings
from netloom.fabric.wireguard.blocked import BlockedPeers
from netloom.linux import process
from netloom.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from netloom.linux.rtnl import Rtnl
from netloom.linux.wireguard import KernelWireguard
from netloom.linux.wireguard_uapi import UserspaceWireguard
from netloom.model.routes.ways import FabricKind, Way
from netloom.program.names import WIREGUARD_LINK
from netloom.program.routes import Route
from netloom.testing.topologies import Segment, nodes_on_a_segment, pod_cidrs
from netloom.testing.tunnel_rig import Tap, chatter, facts_of, others, routes_to, until_reached
from netloom.units import Family

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        not any(shutil.which("wireguard-go", path=p) for p in (os.environ["PATH"], "/usr/bin:/usr/sbin")),
        reason="no wireguard-go here; tools/setup.sh test installs it",
    ),
    pytest.mark.skipif(
        not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="/dev/net/tun is not for this user"
    ),
]


class Node:
    """One node's fabric, as the agent builds it."""

    def __init__(self, segment: Segment, number: int, directory: Path, outer: Family) -> None:
        self.host = segment.nodes[number - 1]
        self.number = number
        self.directory = directory / self.host.name
        self.directory.mkdir(exist_ok=True)
        self.facts = facts_of(self.host, number, FabricKind.WIREGUARD, outer=outer)
        self.keys: list[str] = []
        self.fabric, self.wireguard = self.agent()

    def agent(self, *, in_kernel: bool | None = False) -> tuple[FabricOfWays, WireguardFabric]:
        """A fresh agent's."""
        fd = self.host.netns_fd
        settings = WireguardSettings(self.directory, netns_fd=fd, in_kernel=in_kernel)
        wireguard = WireguardFabric(settings, publish=self.keys.append)
        ways = {Way.WIREGUARD: wireguard, Way.BLOCKED: BlockedPeers(netns_fd=fd)}
        return FabricOfWays(ways), wireguard

    @property
    def control(self) -> UserspaceWireguard:
        return UserspaceWireguard(self.directory / "wg" / f"{WIREGUARD_LINK}.sock")

    @property
    def pid(self) -> int:
        """Of its wireguard-go: the one in its network namespace."""
        here = os.fstat(self.host.netns_fd).st_ino
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (directory / "comm").read_text() == "wireguard-go\n" and (
                    directory / "ns/net"
                ).stat().st_ino == here:
                    return int(directory.name)
        raise LookupError(f"no wireguard-go on {self.host.name}")


class Cluster:
    def __init__(self, segment: Segment, directory: Path, outer: Family) -> None:
        self.segment = segment
        self.nodes = [Node(segment, n, directory, outer) for n in range(1, len(segment.nodes) + 1)]

    @property
    def keys(self) -> dict[int, str]:
        return {node.number: node.keys[-1] for node in self.nodes if node.keys}

    def routes(self, node: Node, keys: dict[int, str] | None = None) -> dict:
        known = self.keys if keys is None else keys
        numbers = others(len(self.nodes), node.number)
        return routes_to(self.segment, numbers, node.facts, Way.WIREGUARD, known)

    async def start(self) -> None:
        for node in self.nodes:
            await node.fabric.start(self.routes(node, {}), node.facts)
        for node in self.nodes:
            await node.fabric.apply(self.routes(node))


@contextlib.contextmanager
def cluster(directory: Path, count: int = 2, outer: Family = Family.V4):
    with nodes_on_a_segment(count) as segment:
        made = Cluster(segment, directory, outer)
        try:
            yield made
        finally:
            for node in made.nodes:
                with contextlib.suppress(Exception):
                    os.kill(node.pid, signal.SIGKILL)


@pytest.mark.parametrize("outer", list(Family), ids=lambda f: f.value)
@pytest.mark.parametrize("inner", list(Family), ids=lambda f: f.value)
async def test_pods_reach_each_other_and_the_wire_shows_none_of_it(tmp_path, outer: Family, inner: Family):
    with cluster(tmp_path, outer=outer) as net, Tap(net.segment.switch) as tap:
        one, two = net.segment.pods
        async with two.serve(80, family=inner), chatter((one, two.address_of(inner))):
            await net.start()
            reply = await one.ask(two.address_of(inner), 80, timeout_s=6)
            assert reply is not None
            assert reply.peer == one.address_of(inner)
        assert tap.plain() == []


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_the_tap_does_see_plain_packets(family: Family):
    with nodes_on_a_segment(2) as segment, Tap(segment.switch) as tap:
        for number, node in enumerate(segment.nodes, 1):
            facts = facts_of(node, number, FabricKind.HOSTGW, outer=family)
            peers = routes_to(segment, others(2, number), facts, Way.DIRECT)
            plain = {c: r for c, r in peers.items() if c.version == r.via.version}
            await HostGateway(netns_fd=node.netns_fd).start(plain, facts)
        one, two = segment.pods
        async with two.serve(80, family=family):
            assert await one.reaches(two.address_of(family), 80)
        ends = {(p.source, p.target) for p in tap.plain()}
        assert ends >= {
            (one.address_of(family), two.address_of(family)),
            (two.address_of(family), one.address_of(family)),
        }


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_a_node_speaks_to_pods_of_others_through_the_tunnel_too(tmp_path, family: Family):
    with cluster(tmp_path) as net, Tap(net.segment.switch) as tap:
        await net.start()
        node, two = net.segment.nodes[0], net.segment.pods[1]
        async with two.serve(80, family=family):
            reply = await node.ask(two.address_of(family), 80, timeout_s=6)
            assert reply is not None
            assert reply.peer in pod_cidrs(1)[family is Family.V6]
            # also with an address of the underlay that it chose before it knew the way
            reply = await node.ask(two.address_of(family), 80, source=(node.address_of(family), 0))
            assert reply is not None
        assert tap.plain() == []


async def test_a_peer_without_a_key_gets_nothing_until_it_has_one(tmp_path):
    with cluster(tmp_path) as net, Tap(net.segment.switch) as tap:
        one, two = net.segment.pods
        first, second = net.nodes
        for node in net.nodes:
            await node.fabric.start(net.routes(node, {}), node.facts)
        with pytest.raises(OSError, match="Errno 113"):
            await one.ask_or_raise(two.address, 80)
        async with two.serve(80), chatter((one, two.address), (net.segment.nodes[0], two.address)):
            assert not await one.reaches(two.address, 80)
            await first.fabric.apply(net.routes(first))
            await second.fabric.apply(net.routes(second))
            assert await until_reached(one, two.address, 80)
            await first.fabric.apply(net.routes(first, {}))
            assert not await one.reaches(two.address, 80)
            with Rtnl(first.host.netns_fd) as rtnl:
                assert rtnl.routes(205) == []
                assert len(rtnl.routes(206)) == 2
        assert tap.plain() == []


async def test_a_key_that_changes_is_followed_and_no_other_peer_is_touched(tmp_path):
    with cluster(tmp_path, 3) as net, Tap(net.segment.switch) as tap:
        one, two, three = net.segment.pods
        await net.start()
        first, second, _ = net.nodes
        async with two.serve(80), three.serve(80), chatter((one, two.address)):
            assert await until_reached(one, two.address, 80)
            assert await until_reached(one, three.address, 80)
            before = first.control.read().peers[net.keys[3]]
            second.wireguard.key_file.unlink()
            await second.fabric.start(net.routes(second), second.facts)
            assert len(second.keys) == 2
            await first.fabric.apply(routes_to(net.segment, [2], first.facts, Way.WIREGUARD, net.keys))
            assert await until_reached(one, two.address, 80)
            after = first.control.read().peers
            assert set(after) == {net.keys[2], net.keys[3]}
            third = after[net.keys[3]]
            assert third.peer == before.peer
            assert third.handshake_s == before.handshake_s > 0
        assert tap.plain() == []


async def test_an_address_that_changes_is_followed_and_the_session_goes_on(tmp_path):
    with cluster(tmp_path, 3) as net:
        one, two, three = net.segment.pods
        await net.start()
        first = net.nodes[0]
        async with two.serve(80, family=Family.V6), three.serve(80):
            assert await until_reached(one, two.addresses[1], 80)
            assert await until_reached(one, three.address, 80)
            before = first.control.read().peers
            with Rtnl(net.segment.nodes[1].netns_fd) as rtnl:
                rtnl.delete_address("eth0", ipaddress.ip_interface("172.30.0.12/24"))
                rtnl.add_address("eth0", ipaddress.ip_interface("172.30.0.77/24"))
            moved = {
                c: type(r)(c, ipaddress.ip_address("172.30.0.77"), r.node, r.source, r.way, r.key, r.mtu)
                for c, r in routes_to(net.segment, [2], first.facts, Way.WIREGUARD, net.keys).items()
            }
            await first.fabric.apply(moved)
            assert await until_reached(one, two.addresses[1], 80)
            after = first.control.read().peers
            assert str(after[net.keys[2]].peer.endpoint) == "172.30.0.77:51820"
            assert after[net.keys[2]].handshake_s == before[net.keys[2]].handshake_s
            was, third = before[net.keys[3]], after[net.keys[3]]
            assert (third.peer, third.handshake_s) == (was.peer, was.handshake_s)


async def test_an_agent_that_is_killed_is_not_missed_and_the_next_one_touches_nothing(tmp_path):
    with cluster(tmp_path) as net, Tap(net.segment.switch) as tap:
        one, two = net.segment.pods
        await net.start()
        first = net.nodes[0]
        async with two.serve(80), chatter((one, two.address)):
            assert await until_reached(one, two.address, 80)
            pid, before = first.pid, first.control.read()
            fabric, _ = first.agent()  # nobody said good-bye to the former one
            with NetlinkSocket(NETLINK_ROUTE, netns_fd=first.host.netns_fd, groups=(1, 5, 7, 9, 11)) as news:
                await fabric.start(net.routes(first), first.facts)
                assert news.receive(wait=False) == []
            assert first.pid == pid
            after = first.control.read().peers[net.keys[2]]
            assert after.handshake_s == before.peers[net.keys[2]].handshake_s
            assert first.keys[0] == first.keys[-1]
            assert await one.reaches(two.address, 80)
        assert tap.plain() == []


async def test_where_the_kernel_has_none_the_process_is_found_again_and_again(tmp_path):
    with cluster(tmp_path) as net:
        await net.start()
        first = net.nodes[0]
        try:
            KernelWireguard("none", netns_fd=first.host.netns_fd).read()
        except Unsupported:
            pass
        except KernelError:
            pytest.skip("this kernel has WireGuard")
        with pytest.raises(Unsupported, match="no wireguard"):
            await first.agent(in_kernel=True)[0].start(net.routes(first), first.facts)
        fabric, _ = first.agent(in_kernel=None)
        pid = first.pid
        with NetlinkSocket(NETLINK_ROUTE, netns_fd=first.host.netns_fd, groups=(1, 5, 7, 9, 11)) as news:
            for _ in range(2):
                await fabric.start(net.routes(first), first.facts)
            assert news.receive(wait=False) == []
        assert first.pid == pid


@pytest.mark.parametrize(
    "fault", ["process killed", "device deleted", "key removed", "set down", "rules flushed", "guard deleted"]
)
async def test_what_others_break_is_put_right_and_nothing_leaks_meanwhile(tmp_path, fault: str):
    with cluster(tmp_path) as net, Tap(net.segment.switch) as tap:
        one, two = net.segment.pods
        await net.start()
        first, second = net.nodes
        async with (
            two.serve(80),
            chatter((one, two.address), (net.segment.nodes[0], two.address)),
            asyncio.TaskGroup() as tasks,
        ):
            assert await until_reached(one, two.address, 80)
            if fault == "process killed":  # also while no agent is there
                os.kill(first.pid, signal.SIGKILL)
                assert not await one.reaches(two.address, 80)
            running = tasks.create_task(first.wireguard.run())
            if fault == "device deleted":
                with Rtnl(first.host.netns_fd) as rtnl:
                    rtnl.delete_link(WIREGUARD_LINK)
            elif fault == "set down":
                with Rtnl(first.host.netns_fd) as rtnl:
                    rtnl.set_down(WIREGUARD_LINK)
            elif fault == "rules flushed":
                with NetlinkSocket(NETLINK_NETFILTER, netns_fd=first.host.netns_fd, groups=(7,)) as news:
                    inside = process.Namespaces(net=first.host.netns_fd)
                    assert (await process.run(["nft", "flush", "ruleset"], ns=inside)).returncode == 0
                    await asyncio.to_thread(news.receive)
                while not await has_rules(WIREGUARD_TABLE, first.host.netns_fd):  # noqa: ASYNC110 - the fabric has no event
                    await asyncio.sleep(0.01)
            elif fault == "guard deleted":
                with Rtnl(first.host.netns_fd) as rtnl:
                    rtnl.change_routes(delete=rtnl.routes(207))
                    while len(rtnl.routes(207)) < 2:  # noqa: ASYNC110 - the fabric has no event
                        await asyncio.sleep(0.01)
            elif fault == "key removed":
                assert await asyncio.to_thread(first.wireguard.key_file.unlink) is None
                while len(first.keys) < 2:  # noqa: ASYNC110 - a list has no event
                    await asyncio.sleep(0.01)
                await second.fabric.apply(net.routes(second))
            assert await until_reached(one, two.address, 80)
            running.cancel()
        assert tap.plain() == []


async def test_any_order_of_starting_shows_nothing_to_the_wire(tmp_path):
    with cluster(tmp_path) as net, Tap(net.segment.switch) as tap:
        one, two = net.segment.pods
        first, second = net.nodes
        # what a fabric without encryption left behind
        for node in net.nodes:
            facts = facts_of(node.host, node.number, FabricKind.HOSTGW)
            peers = routes_to(net.segment, others(2, node.number), facts, Way.DIRECT)
            await HostGateway(netns_fd=node.host.netns_fd).start(
                {c: r for c, r in peers.items() if c.version == 4}, facts
            )
        await first.fabric.start(net.routes(first, {}), first.facts)
        tap.plain()
        async with two.serve(80), chatter((one, two.address), (net.segment.nodes[0], two.address)):
            assert not await one.reaches(two.address, 80)
            assert tap.plain() == []
            await second.fabric.start(net.routes(second), second.facts)
            await first.fabric.apply(net.routes(first))
            assert await until_reached(one, two.address, 80)
        assert tap.plain() == []


async def test_plain_packets_of_pods_are_not_taken_from_the_wire_either(tmp_path):
    with cluster(tmp_path) as net:
        one, two = net.segment.pods
        await net.start()
        async with two.serve(80), net.segment.nodes[0].serve(81):
            # somebody on the segment who says that he is a pod
            with Rtnl(net.segment.switch.netns_fd) as rtnl:
                rtnl.add_address("underlay", ipaddress.ip_interface("172.30.0.1/24"))
                rtnl.add_address("underlay", ipaddress.ip_interface(f"{one.address}/32"))
                rtnl.replace_route(
                    Route(destination=pod_cidrs(2)[0], via=net.segment.nodes[1].address, device="underlay")
                )
            assert await net.segment.switch.ask(two.address, 80, source=(one.address, 0)) is None
            done = await process.run(
                ["nft", "list", "table", "ip", "netloom-wireguard"],
                ns=process.Namespaces(net=net.segment.nodes[1].netns_fd),
            )
            assert b"packets 0 " not in done.stdout.split(b"only-inside-in")[1].split(b"chain")[0]


async def test_removing_it_leaves_nothing_but_the_key(tmp_path):
    with cluster(tmp_path) as net:
        await net.start()
        first = net.nodes[0]
        await first.fabric.remove()
        await first.fabric.remove()
        with Rtnl(first.host.netns_fd) as rtnl:
            assert rtnl.find_link(WIREGUARD_LINK) is None
            assert [r for r in rtnl.routes() if r.protocol in {205, 206, 207}] == []
        done = await process.run(["nft", "list", "tables"], ns=process.Namespaces(net=first.host.netns_fd))
        assert b"netloom-wireguard" not in done.stdout
        assert first.wireguard.key_file.stat().st_mode & 0o777 == 0o600
