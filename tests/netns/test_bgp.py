"""BGP on the wire: our nodes' BIRD against FRR, which plays the switch. Routes, attributes, ECMP, passwords, and what faults do."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from netloom.announce.bgp.bird import Bird, Session
from netloom.announce.bgp.config import protocol_of, render
from netloom.announce.bgp.control import Refused
from netloom.api.bgp import BGPPeer
from netloom.api.core import Node
from netloom.api.load_balancers import LoadBalancerPool
from netloom.errors import Unavailable
from netloom.linux import process
from netloom.linux.netns import Namespaces
from netloom.linux.rtnl import Rtnl
from netloom.model.announcing.bgp import Outside, PodNetwork, speech
from netloom.model.announcing.view import Duty
from netloom.model.provenance import Source
from netloom.program.names import BGP_ROUTE_METRIC, BGP_ROUTE_PROTOCOL
from netloom.testing.frr import FRR, FrrSwitch, frr_switch
from netloom.testing.topologies import CLUSTER_CIDRS, Segment, nodes_on_a_segment, pod_cidrs
from netloom.units import ObjectKey

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(shutil.which("bird") is None or not (FRR / "bgpd").exists(), reason="no bird or FRR"),
]

SWITCH = ("172.30.0.1", "2001:db8:30::1")
VIP, VIP6 = "203.0.113.10", "2001:db8:113::10"
POOL = {
    "cidrs": ["203.0.113.0/24", "2001:db8:113::/64"],
    "bgp": {"communities": ["64512:100", "no-export"], "largeCommunities": ["64512:1:2"], "localPref": 250},
}
PEER = {"peerAddress": SWITCH[0], "peerASN": 64513, "holdTimeSeconds": 9}
BGPD = """
router bgp {asn}
 bgp router-id 172.30.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 neighbor nodes peer-group
 neighbor nodes remote-as 64512
 neighbor nodes timers 3 9
 {extra}
 bgp listen range 172.30.0.0/24 peer-group nodes
 bgp listen range 2001:db8:30::/64 peer-group nodes
 address-family ipv4 unicast
  neighbor nodes activate
  maximum-paths 16
  maximum-paths ibgp 16
 address-family ipv6 unicast
  neighbor nodes activate
  maximum-paths 16
"""


class Speaker:
    """One node: what it has to say, and the BIRD that says it."""

    def __init__(self, number: int, netns_fd: int, directory: Path) -> None:
        self.name, self.number = f"node-{number}", number
        self.fd = netns_fd
        self.peers: dict[str, dict] = {"switch": PEER}
        self.vips: tuple[str, ...] = (VIP,)
        self.passwords: dict[str, str] = {}
        self.fabric = False
        self.ended = asyncio.Event()
        self.directory = directory
        self.bird = Bird(directory, on_end=self.ended.set, namespaces=Namespaces(net=netns_fd))

    def text(self, *, is_recovering: bool = False) -> str:
        node = msgspec.convert(
            {
                "metadata": {"name": self.name},
                "spec": {"podCIDRs": [str(cidr) for cidr in pod_cidrs(self.number)]},
                "status": {"addresses": [{"type": "InternalIP", "address": f"172.30.0.{10 + self.number}"}]},
            },
            type=Node,
        )
        peers = [
            msgspec.convert({"metadata": {"name": name}, "spec": spec}, type=BGPPeer)
            for name, spec in self.peers.items()
        ]
        pool = msgspec.convert({"metadata": {"name": "outside"}, "spec": POOL}, type=LoadBalancerPool)
        duties = {
            ipaddress.ip_address(vip): Duty(
                address=ipaddress.ip_address(vip),
                candidates=(self.name,),
                users=(ObjectKey("shop", "web"),),
                bgp=True,
                source=Source("Service", "shop", "web"),
            )
            for vip in self.vips
        }
        fabric = PodNetwork(cluster_cidrs=CLUSTER_CIDRS, nodes={node.key: node}) if self.fabric else None
        outside = Outside(duties=duties, pools={ObjectKey("", "outside"): pool})
        spoken = speech(node, peers, outside, fabric)
        assert spoken.findings == ()
        return render(spoken, passwords=self.passwords, log=self.bird.log, is_recovering=is_recovering)

    async def speak(self) -> None:
        await self.bird.bring(self.text(), self.text(is_recovering=True))

    async def session(self, peer: str = "switch") -> Session:
        return (await self.bird.sessions())[protocol_of(peer)]

    async def is_up(self, peer: str = "switch") -> bool:
        return (await self.session(peer)).is_up

    def learned(self) -> dict[str, str]:
        with Rtnl(self.fd) as rtnl:
            return {
                str(r.destination): str(r.via)
                for r in rtnl.routes(BGP_ROUTE_PROTOCOL)
                if r.metric == BGP_ROUTE_METRIC
            }

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.bird._process is not None
        os.kill(self.bird._process.pid, number)


class World(msgspec.Struct, frozen=True):
    segment: Segment
    switch: FrrSwitch
    speakers: tuple[Speaker, ...]


@contextlib.asynccontextmanager
async def world(count: int = 2, *, asn: int = 64513, extra: str = "") -> AsyncIterator[World]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nl-bgp-")))
        segment = stack.enter_context(nodes_on_a_segment(count))
        with Rtnl(segment.switch.netns_fd) as rtnl:
            rtnl.add_address("underlay", ipaddress.ip_interface(f"{SWITCH[0]}/24"))
            rtnl.add_address("underlay", ipaddress.ip_interface(f"{SWITCH[1]}/64"))
        (directory / "frr").mkdir()
        speakers = tuple(
            Speaker(number, node.netns_fd, directory / node.name)
            for number, node in enumerate(segment.nodes, 1)
        )
        text = BGPD.format(asn=asn, extra=extra)
        async with frr_switch(segment.switch, directory / "frr", text) as switch:
            try:
                yield World(segment, switch, speakers)
            finally:
                for speaker in speakers:
                    speaker.bird.drop()


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.03)  # neither FRR nor BIRD tells of changes: they are asked


async def test_an_address_is_reached_by_all_nodes_with_what_its_pool_says():
    async with world() as net:
        for speaker in net.speakers:
            await speaker.speak()
        prefix = f"{VIP}/32"

        async def both() -> bool:
            return await net.switch.next_hops(prefix) == {"172.30.0.11", "172.30.0.12"}

        await eventually(both)
        for path in await net.switch.paths(prefix):
            assert set(path["community"]["list"]) == {"64512:100", "noExport"}
            assert path["largeCommunity"]["list"] == ["64512:1:2"]
            assert path["aspath"]["string"] == "64512"
        assert await net.switch.paths("10.244.1.0/24") == []  # pods are the fabric's business

        one, two = net.speakers
        one.vips = ()  # the last endpoint of this node is gone
        await one.speak()

        async def other() -> bool:
            return await net.switch.next_hops(prefix) == {"172.30.0.12"}

        await eventually(other)
        summary = await net.switch.show("show bgp ipv4 unicast summary")
        assert [peer["state"] for peer in summary["peers"].values()] == ["Established"] * 2
        assert [peer["connectionsEstablished"] for peer in summary["peers"].values()] == [1, 1]
        assert two.bird.starts == one.bird.starts == 1


async def test_a_peer_of_the_own_system_hears_of_local_preference():
    async with world(1, asn=64512) as net:
        (one,) = net.speakers
        one.peers = {"switch": {**PEER, "peerASN": 64512}}
        await one.speak()
        await eventually(lambda: has_path(net.switch, f"{VIP}/32"))
        (path,) = await net.switch.paths(f"{VIP}/32")
        assert path["locPrf"] == 250


async def test_both_families_by_one_session_and_by_two():
    async with world(1) as net:
        (one,) = net.speakers
        one.vips = (VIP, VIP6)
        one.peers = {"four": {**PEER, "addressFamilies": ["IPv4", "IPv6"]}}
        await one.speak()
        await eventually(lambda: has_path(net.switch, f"{VIP6}/128"))
        await eventually(lambda: has_path(net.switch, f"{VIP}/32"))
        one.peers = {"four": PEER, "six": {**PEER, "peerAddress": SWITCH[1]}}
        await one.speak()
        await eventually(lambda: is_by(net.switch, f"{VIP6}/128", {"2001:db8:30::11"}, of_peers=True))


async def test_a_password():
    async with world(1, extra="neighbor nodes password one-word") as net:
        (one,) = net.speakers
        one.peers = {
            "switch": {**PEER, "passwordSecretRef": {"name": "bgp", "namespace": "x", "key": "password"}}
        }
        await one.speak()
        assert await one.bird.sessions() == {}  # who has no password yet is not tried without
        one.passwords = {"switch": "another word"}
        await one.speak()
        assert (one.directory / "bird.conf").stat().st_mode & 0o777 == 0o600
        await eventually(lambda: is_refused(one))
        one.passwords = {"switch": "one-word"}
        await one.speak()
        await eventually(one.is_up)
        assert "one-word" not in one.bird.log.read_text()


async def test_a_dead_node_is_out_by_bfd_long_before_its_hold_time():
    async with world(extra="neighbor nodes bfd 3 100 100") as net:
        for speaker in net.speakers:
            speaker.peers = {"switch": {**PEER, "holdTimeSeconds": 90, "bfd": {}}}
            await speaker.speak()
        await eventually(lambda: is_by(net.switch, f"{VIP}/32", {"172.30.0.11", "172.30.0.12"}))
        # on a busy machine a session of 0.3 s comes and goes
        await eventually(lambda: bfd_is_up(net.switch, 2), within_s=60)
        with Rtnl(net.segment.switch.netns_fd) as rtnl:
            rtnl.delete_link("port1")  # the cable: nobody says good-bye
        await eventually(lambda: is_by(net.switch, f"{VIP}/32", {"172.30.0.12"}), within_s=10)


async def test_a_killed_bird_comes_back_and_nobody_notices():
    async with world() as net:
        for speaker in net.speakers:
            speaker.fabric = True
            await speaker.speak()
        one, two = net.speakers
        prefix, pods = f"{VIP}/32", "10.244.1.0/24"
        await eventually(lambda: is_by(net.switch, prefix, {"172.30.0.11", "172.30.0.12"}))
        await eventually(lambda: learned(two, pods))
        await eventually(lambda: learned(one, "10.244.2.0/24"))
        for speaker in net.speakers:
            await eventually(speaker.is_up)
        async with asyncio.TaskGroup() as tasks:
            watched = tasks.create_task(never_less(net.switch, prefix, 2))
            one.ended.clear()
            one.kill()
            await one.ended.wait()
            assert not one.bird.is_running
            assert "10.244.2.0/24" in one.learned()  # pods of this node go on
            await eventually(lambda: is_started(one))
            await eventually(one.is_up)
            await eventually(lambda: recovered(one, "10.244.2.0/24"))
            assert pods in two.learned()
            watched.cancel()
        assert one.bird.starts == 2


async def test_a_speaker_that_comes_back_takes_over_the_bird_that_runs():
    async with world(1) as net:
        (one,) = net.speakers
        await one.speak()
        await eventually(lambda: has_path(net.switch, f"{VIP}/32"))
        again = Speaker(1, one.fd, one.directory)
        again.vips = (VIP, "203.0.113.11")
        await again.speak()
        await eventually(lambda: has_path(net.switch, "203.0.113.11/32"))
        summary = await net.switch.show("show bgp ipv4 unicast summary")
        assert [peer["connectionsEstablished"] for peer in summary["peers"].values()] == [1]
        assert again.bird.starts == 0
        again.bird.drop()


async def test_a_planned_end_leaves_the_routes_until_the_next_speaker():
    async with world(1) as net:
        (one,) = net.speakers
        await one.speak()
        await eventually(lambda: is_by(net.switch, f"{VIP}/32", {"172.30.0.11"}))
        await eventually(one.is_up)
        async with asyncio.TaskGroup() as tasks:
            watched = tasks.create_task(never_less(net.switch, f"{VIP}/32", 1))
            await one.bird.leave()
            again = Speaker(1, one.fd, one.directory)
            await again.speak()
            await eventually(again.is_up)
            watched.cancel()
        again.bird.drop()


async def test_a_peer_that_flaps_comes_back_and_others_do_not_notice():
    async with world(1) as net:
        (one,) = net.speakers
        one.peers = {"four": PEER, "six": {**PEER, "peerAddress": SWITCH[1]}}
        one.vips = (VIP, VIP6)
        await one.speak()
        await eventually(lambda: has_path(net.switch, f"{VIP6}/128"))
        await eventually(lambda: one.is_up("four"))
        for _ in range(3):
            await net.switch.run("clear bgp ipv4 172.30.0.11")
            await eventually(lambda: one.is_up("four"))
        summary = await net.switch.show("show bgp ipv6 unicast summary")
        assert summary["peers"]["2001:db8:30::11"]["connectionsEstablished"] == 1
        one.vips = ("203.0.113.12", VIP6)
        await one.speak()
        await eventually(lambda: has_path(net.switch, "203.0.113.12/32"))


async def test_nodes_learn_the_ways_to_pods_and_nothing_else():
    async with world() as net:
        for speaker in net.speakers:
            speaker.fabric = True
            speaker.peers = {"four": PEER, "six": {**PEER, "peerAddress": SWITCH[1]}}
            await speaker.speak()
        one, two = net.speakers
        for speaker, other in ((one, two), (two, one)):
            for cidr in pod_cidrs(other.number):
                await eventually(lambda s=speaker, c=cidr: learned(s, str(c)))
            assert set(speaker.learned()) == {str(cidr) for cidr in pod_cidrs(other.number)}
        pod_1, pod_2 = net.segment.pods
        async with pod_2.serve(8080):
            reply = await pod_1.ask(pod_2, 8080, timeout_s=3)
            assert reply is not None
            assert reply.peer == pod_1.address
        # what somebody takes away is put back
        await process.run(["ip", "route", "delete", "10.244.2.0/24"], ns=Namespaces(net=one.fd))
        await eventually(lambda: learned(one, "10.244.2.0/24"), within_s=5)
        # what a router says of other places reaches no node's kernel
        await net.switch.run(
            "configure terminal", "router bgp 64513", "address-family ipv4 unicast", "network 172.30.0.0/24",
            "network 198.51.100.0/24",
        )  # fmt: skip
        two.vips = (VIP, "203.0.113.77")
        await two.speak()
        await eventually(lambda: has_path(net.switch, "203.0.113.77/32"))
        assert set(one.learned()) == {str(cidr) for cidr in pod_cidrs(2)}


async def test_a_configuration_with_a_fault_leaves_what_is_in_force():
    async with world(1) as net:
        (one,) = net.speakers
        await one.speak()
        await eventually(lambda: has_path(net.switch, f"{VIP}/32"))
        with pytest.raises(Refused, match="syntax error"):
            await one.bird.bring("protocol nonsense;\n", "")
        assert await one.is_up()
        assert "nonsense" not in (one.directory / "bird.conf").read_text()
        await one.speak()
        assert await one.is_up()


async def has_path(switch: FrrSwitch, prefix: str) -> bool:
    return len(await switch.paths(prefix)) > 0


async def is_by(switch: FrrSwitch, prefix: str, hops: set[str], *, of_peers: bool = False) -> bool:
    if of_peers:
        return {path["peer"]["peerId"] for path in await switch.paths(prefix)} == hops
    return await switch.next_hops(prefix) == hops


async def is_refused(speaker: Speaker) -> bool:
    """What has the wrong password is dropped without an answer."""
    return await speaker.session() == Session("Connect")


async def recovered(speaker: Speaker, cidr: str) -> bool:
    """Its kernel is BIRD's again; what is in it was there all the time."""
    assert cidr in speaker.learned()
    await speaker.speak()
    is_up = await speaker.is_up()
    return is_up and "disabled" not in (speaker.directory / "bird.conf").read_text()


async def bfd_is_up(switch: FrrSwitch, count: int) -> bool:
    peers = await switch.show("show bfd peers")
    return [peer["status"] for peer in peers] == ["up"] * count


async def learned(speaker: Speaker, cidr: str) -> bool:
    return cidr in speaker.learned()


async def never_less(switch: FrrSwitch, prefix: str, count: int) -> None:
    while True:  # each question is a process of its own, which is waited for
        assert len(await switch.next_hops(prefix)) >= count


async def is_started(speaker: Speaker) -> bool:
    with contextlib.suppress(Unavailable):
        await speaker.speak()
    return speaker.bird.is_running
