"""A further interface in the cluster's own network: an address of its own, answered through itself, and nothing left of it."""

import asyncio
import ipaddress
import json
import os

import pytest

from netloom.cni.attach import attach, prepare_node
from netloom.cni.codes import CniError
from netloom.cni.delegate import Call, PodNetns
from netloom.cni.ipam.store import AddressStore, Attachment
from netloom.cni.networks.own import OwnNetwork
from netloom.cni.verbs import PodNetwork, Verbs
from netloom.linux import netns, process
from netloom.linux.netns import Namespaces
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.testing.hosts import Host
from netloom.testing.netns import fresh_netns
from netloom.testing.secondary_rig import SecondaryRig, call, first_interface
from netloom.units import family_of

pytestmark = pytest.mark.netns

NODE = (ipaddress.ip_address("172.30.0.11"), ipaddress.ip_address("2001:db8:30::11"))
RANGES = (ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("2001:db8:44:1::/64"))


class InNode:
    """The plugin done by threads in the node's namespace: what an agent has by being there."""

    def __init__(self, own, node_fd):
        self._own = own
        self._node_fd = node_fd

    async def call(self, command: str, call: Call, config: dict, inside: PodNetns):
        return await netns.run_in_async(
            self._node_fd, lambda: asyncio.run(self._own.call(command, call, config, inside))
        )


class World:
    def __init__(self, rig, store, node_fd, admitted, released):
        self.rig = rig
        self.store = store
        self.node_fd = node_fd
        self.admitted = admitted
        self.released = released


@pytest.fixture
def world(tmp_path):
    with fresh_netns() as node_fd:
        with Rtnl(node_fd) as rtnl:
            for address in NODE:
                rtnl.add_address("lo", ipaddress.ip_interface(address))
        netns.run_in(node_fd, prepare_node)
        store = AddressStore(tmp_path / "ipam.db")
        network = PodNetwork(ranges=RANGES, node_addresses=NODE, mtu=1400)
        admitted, released = [], []

        async def admit(pod, addresses):
            admitted.append((pod, sorted(map(str, addresses))))

        own = OwnNetwork(
            store=store,
            network=lambda: network,
            admit=admit,
            released=lambda pod, addresses: released.append((pod, sorted(map(str, addresses)))),
        )
        rig = SecondaryRig(tmp_path, node_fd=node_fd, inline={"netloom": InNode(own, node_fd)})
        yield World(rig, store, node_fd, admitted, released)
        rig.close()
        store.close()


async def first(world, pod_fd):
    """The pod's first interface, with its record."""
    addresses = world.store.reserve(Attachment("c1", "eth0"), RANGES[:1], "shop/cart")
    made = first_interface(address=str(addresses[0]))
    await netns.run_in_async(world.node_fd, lambda: attach(pod_fd, made))
    return made


def pod_links(fd):
    with Rtnl(fd) as rtnl:
        return sorted(link.name for link in rtnl.links() if names.is_pod_link(link.name))


async def test_it_has_an_address_of_the_node_and_answers_through_itself(world):
    rig = world.rig
    rig.definitions.put(
        "shop/own", {"cniVersion": "1.0.0", "type": "netloom", "routes": [{"dst": "198.51.100.0/24"}]}
    )
    rig.pod("shop/cart", networks="own")
    with fresh_netns() as pod_fd:
        made = await first(world, pod_fd)
        await rig.networks.add(call("shop/cart"), pod_fd, made)
        _, own = rig.statuses()
        assert own["name"] == "shop/own"
        assert len(own["ips"]) == 2
        assert not set(own["ips"]) & {str(a) for a in made.addresses}
        assert world.admitted == [("shop/cart", sorted([*map(str, made.addresses), *own["ips"]]))]
        node = Host("node", world.node_fd, NODE)
        for text in own["ips"]:
            address = ipaddress.ip_address(text)
            async with Host("pod", pod_fd, (address,)).serve(80, family=family_of(address)):
                # strict: a reply through the first interface would be taken for spoofed, and never comes
                assert (await node.ask(address, 80)) is not None
            way = [
                "ip",
                "-j",
                "route",
                "get",
                "203.0.113.1" if "." in text else "2001:db8:ff::1",
                "from",
                text,
            ]
            said = await process.run(way, ns=Namespaces(net=pod_fd))
            assert json.loads(said.stdout)[0]["dev"] == "net1"
        said = await process.run(["ip", "-j", "route", "get", "198.51.100.7"], ns=Namespaces(net=pod_fd))
        assert json.loads(said.stdout)[0]["dev"] == "net1"
        said = await process.run(["ip", "-j", "route", "get", "203.0.113.1"], ns=Namespaces(net=pod_fd))
        assert json.loads(said.stdout)[0]["dev"] == "eth0"
        await rig.networks.check(call("shop/cart", "CHECK"), pod_fd)
        assert len(pod_links(world.node_fd)) == 2
        await rig.networks.delete(call("shop/cart", "DEL"), pod_fd)
        assert len(pod_links(world.node_fd)) == 1
        assert world.released == [("shop/cart", sorted(own["ips"]))]
        assert [lease.attachment.interface for lease in world.store.leases()] == ["eth0"]


async def test_an_address_and_a_mac_that_are_asked_for(world):
    rig = world.rig
    rig.definitions.put("shop/own", {"cniVersion": "1.0.0", "type": "netloom"})
    rig.pod(
        "shop/cart",
        networks=json.dumps([{"name": "own", "ips": ["10.244.1.77"], "mac": "02:00:00:00:00:77"}]),
    )
    with fresh_netns() as pod_fd:
        await rig.networks.add(call("shop/cart"), pod_fd, await first(world, pod_fd))
        _, own = rig.statuses()
        assert "10.244.1.77" in own["ips"]
        assert own["mac"] == "02:00:00:00:00:77"
        with Rtnl(pod_fd) as rtnl:
            assert rtnl.find_link("net1").mac == "02:00:00:00:00:77"


async def test_check_finds_damage(world):
    rig = world.rig
    rig.definitions.put("shop/own", {"cniVersion": "1.0.0", "type": "netloom"})
    rig.pod("shop/cart", networks="own")
    with fresh_netns() as pod_fd:
        await rig.networks.add(call("shop/cart"), pod_fd, await first(world, pod_fd))
        with Rtnl(pod_fd) as rtnl:
            rtnl.set_down("net1")
        with pytest.raises(CniError, match="net1 is down"):
            await rig.networks.check(call("shop/cart", "CHECK"), pod_fd)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"ipam": {"type": "netloom-ipam", "pool": "x"}}, "an address of the cluster's own"),
        ({"mtu": 100}, "outside 576 to 65535"),
        ({"routes": [{"dst": "x"}]}, "'x' is no CIDR"),
        ({"routes": "x"}, "Expected"),
    ],
)
async def test_a_configuration_that_means_nothing(world, config, words):
    rig = world.rig
    rig.definitions.put("shop/own", {"cniVersion": "1.0.0", "type": "netloom", **config})
    rig.pod("shop/cart", networks="own")
    with fresh_netns() as pod_fd:
        made = await first(world, pod_fd)
        with pytest.raises(CniError, match=words):
            await rig.networks.add(call("shop/cart"), pod_fd, made)
        assert len(pod_links(world.node_fd)) == 1
    assert [lease.attachment.interface for lease in world.store.leases()] == ["eth0"]


def runtime(verbs, node_fd, pod_fd):
    """Calls of a runtime for one pod."""

    async def say(command, **config):
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/proc/{os.getpid()}/fd/{pod_fd}",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart",
        }
        text = json.dumps({"cniVersion": "1.1.0", "name": "netloom", "type": "netloom", **config}).encode()
        answer = await netns.run_in_async(node_fd, lambda: asyncio.run(verbs.answer(variables, text, pod_fd)))
        return answer.exit_code, json.loads(answer.body) if answer.body else {}

    return say


async def test_all_verbs_of_a_runtime_over_a_pod_with_two_interfaces(tmp_path):
    """GC names first interfaces only: what is behind one that stays has to stay, and goes with it."""
    with fresh_netns() as node_fd, fresh_netns() as pod_fd:
        with Rtnl(node_fd) as rtnl:
            for address in NODE:
                rtnl.add_address("lo", ipaddress.ip_interface(address))
        netns.run_in(node_fd, prepare_node)
        store = AddressStore(tmp_path / "ipam.db")
        network = PodNetwork(ranges=RANGES, node_addresses=NODE, mtu=1400)
        own = OwnNetwork(store=store, network=lambda: network)
        rig = SecondaryRig(tmp_path, node_fd=node_fd, inline={"netloom": own})
        rig.definitions.put("shop/own", {"cniVersion": "1.0.0", "type": "netloom"})
        verbs = Verbs(store=store, network=lambda: network, secondary=rig.networks)

        say = runtime(verbs, node_fd, pod_fd)
        rig.pod("shop/cart", networks="own")
        code, added = await say("ADD")
        assert (code, [i["name"] for i in added["interfaces"]][1:]) == (0, ["eth0"])
        assert await say("CHECK", prevResult=added) == (0, {})
        stays = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
        assert await say("GC", **stays) == (0, {})
        assert len(pod_links(node_fd)) == 2
        assert await say("CHECK", prevResult=added) == (0, {})
        # ADD that is repeated
        assert (await say("ADD"))[0] == 0
        assert len(pod_links(node_fd)) == 2
        assert len(store.leases()) == 2
        assert await say("GC", **{"cni.dev/valid-attachments": []}) == (0, {})
        assert pod_links(node_fd) == []
        assert store.leases() == []
        assert await say("DEL") == (0, {})
        rig.close()
        store.close()


async def test_a_default_route_that_moved_is_right_to_check(tmp_path, world):
    rig = world.rig
    ipam = {"type": "static", "addresses": [{"address": "192.0.2.9/24"}]}
    rig.definitions.put("shop/blue", {"cniVersion": "1.0.0", "type": "bridge", "bridge": "br0", "ipam": ipam})
    rig.pod("shop/cart", networks='[{"name": "blue", "default-route": ["192.0.2.1"]}]')
    network = PodNetwork(ranges=RANGES[:1], node_addresses=NODE, mtu=1400)
    verbs = Verbs(store=world.store, network=lambda: network, secondary=rig.networks)
    with fresh_netns() as pod_fd:
        say = runtime(verbs, world.node_fd, pod_fd)
        code, added = await say("ADD")
        assert code == 0, added
        assert await say("CHECK", prevResult=added) == (0, {})
        with Rtnl(pod_fd) as rtnl:
            (route,) = (r for r in rtnl.routes() if not r.destination.prefixlen and r.table == 254)
            assert route.device == "net1"
            rtnl.delete_route(route)
        code, said = await say("CHECK", prevResult=added)
        assert (code, said["code"]) == (1, 101)
        assert await say("DEL") == (0, {})
