"""Chains with the reference plugins of the distribution, before ours and behind it, run as a runtime runs them; real packets."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netloom.linux import netns, process
from netloom.linux.netns import Namespaces
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.testing.cni_runtime import (
    REFERENCE_PLUGINS,
    CniNode,
    Network,
    PluginFailed,
    addresses_of,
    cni_node,
)
from netloom.testing.hosts import Host
from netloom.testing.netns import fresh_netns
from netloom.units import Family

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        not (REFERENCE_PLUGINS / "portmap").exists(),
        reason=f"no plugins in {REFERENCE_PLUGINS}: apt-get install containernetworking-plugins",
    ),
]

OURS = {"type": "netloom-cni"}
SPURIOUS = ("portmap",)
"""CHECK of the reference portmap 1.1.1 looks for rules of one family in both, behind bridge, too ("could not check ipv6 dnat")."""


def needs(program: str) -> None:
    if shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        pytest.skip(f"no {program}: apt-get install {program}")


@pytest.fixture
async def node(tmp_path: Path, cni_shim: Path) -> AsyncIterator[CniNode]:
    async with cni_node(tmp_path, cni_shim) as made:
        yield made


async def test_portmap_behind_us_opens_a_port(node: CniNode):
    needs("iptables")
    network = Network(
        node, [OURS, {"type": "portmap", "capabilities": {"portMappings": True}}], unchecked=SPURIOUS
    )
    wanted = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    before = node.state()
    with fresh_netns() as pod_fd, fresh_netns() as client_fd:
        added = await network.add("pod-a", pod_fd, wanted=wanted)
        other = await network.add("client", client_fd)
        pod = Host("pod-a", pod_fd, addresses_of(added))
        client = Host("client", client_fd, addresses_of(other))
        async with pod.serve(80):
            reply = await client.ask(node.host.address_of(Family.V4), 8080)
            assert reply is not None
            assert reply.server == "pod-a"
            await network.check("pod-a", pod_fd, wanted=wanted)
            await network.delete("pod-a", pod_fd, wanted=wanted)
            assert await client.ask(node.host.address_of(Family.V4), 8080) is None
        await network.delete("client", client_fd)
    assert node.state() == before


async def test_tuning_behind_us_may_change_the_mtu(node: CniNode, tmp_path: Path):
    tuning = {
        "type": "tuning",
        "mtu": 1300,
        "dataDir": str(tmp_path / "tuning"),
        "sysctl": {"net.core.somaxconn": "500"},
    }
    network = Network(node, [OURS, tuning])
    with fresh_netns() as pod_fd:
        added = await network.add("pod-a", pod_fd)
        assert len(added["ips"]) == 2
        with Rtnl(pod_fd) as rtnl:
            link = rtnl.find_link("eth0")
        assert link is not None
        assert link.mtu == 1300
        await network.check("pod-a", pod_fd)
        with Rtnl(pod_fd) as rtnl:
            rtnl.set_mtu("eth0", 1450)  # more than ours: packets would be lost
        with pytest.raises(PluginFailed, match="MTU 1450 instead of 1400"):
            await network.check("pod-a", pod_fd)
        await network.delete("pod-a", pod_fd)


async def test_tuning_behind_us_that_changes_the_mac_is_found(node: CniNode, tmp_path: Path):
    """The node's neighbour entry is permanent, so that such a pod is cut off: ours is the capability to be used for that."""
    tuning = {"type": "tuning", "mac": "0a:58:00:00:00:99", "dataDir": str(tmp_path / "tuning")}
    network = Network(node, [OURS, tuning])
    with fresh_netns() as pod_fd:
        await network.add("pod-a", pod_fd)
        with pytest.raises(PluginFailed, match="no neighbour"):
            await network.check("pod-a", pod_fd)
        await network.delete("pod-a", pod_fd)


async def test_a_mac_of_the_runtimes_choice_works(node: CniNode):
    network = Network(node, [{**OURS, "capabilities": {"mac": True}}])
    wanted = {"mac": "0A-58-00-00-00-99"}
    with fresh_netns() as pod_fd:
        added = await network.add("pod-a", pod_fd, wanted=wanted)
        assert added["interfaces"][1]["mac"] == "0a:58:00:00:00:99"
        pod = Host("pod-a", pod_fd, addresses_of(added))
        for family in Family:
            async with pod.serve(80, family=family):
                assert await node.host.ask(pod.address_of(family), 80) is not None
        await network.check("pod-a", pod_fd)


async def test_firewall_behind_us_lets_the_pod_through(node: CniNode):
    needs("iptables")
    network = Network(node, [OURS, {"type": "firewall", "backend": "iptables"}])
    before = node.state()
    with fresh_netns() as a_fd, fresh_netns() as b_fd:
        for policy in ("iptables", "ip6tables"):
            done = await process.run(
                [policy, "-P", "FORWARD", "DROP"],
                env={"PATH": "/usr/sbin:/sbin", "XTABLES_LOCKFILE": str(node.socket_path) + ".lock"},
                ns=Namespaces(net=node.host.netns_fd),
            )
            assert done.returncode == 0, done.stderr
        bare = Network(node, [OURS])
        a = Host("a", a_fd, addresses_of(await bare.add("a", a_fd)))
        b = Host("b", b_fd, addresses_of(await bare.add("b", b_fd)))
        async with b.serve(80):
            assert not await a.reaches(b, 80)
            for container, fd in (("a", a_fd), ("b", b_fd)):
                await network.add(container, fd)
            assert await a.reaches(b, 80)
            await network.check("a", a_fd)
        for container, fd in (("a", a_fd), ("b", b_fd)):
            await network.delete(container, fd)
    assert node.state() == before


async def test_bandwidth_behind_us_limits_the_interface(node: CniNode):
    network = Network(node, [OURS, {"type": "bandwidth", "capabilities": {"bandwidth": True}}])
    wanted = {
        "bandwidth": {"ingressRate": 10**6, "ingressBurst": 10**6, "egressRate": 10**6, "egressBurst": 10**6}
    }
    before = node.state()
    with fresh_netns() as pod_fd:
        try:
            added = await network.add("pod-a", pod_fd, wanted=wanted)
        except PluginFailed as error:
            await network.delete("pod-a", pod_fd, wanted=wanted)
            if "no such file" in str(error) or "not supported" in str(error):
                pytest.skip(f"this kernel lacks what the plugin needs: {error}")
            raise
        assert len(added["interfaces"]) == 3  # the plugin's own, for what the pod sends
        await network.check("pod-a", pod_fd, wanted=wanted)
        await network.delete("pod-a", pod_fd, wanted=wanted)
    assert node.state() == before


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
async def test_loopback_before_us_stays_in_the_result(node: CniNode, version: str):
    network = Network(node, [{"type": "loopback"}, OURS], version=version)
    before = node.state()
    with fresh_netns() as pod_fd:
        with Rtnl(pod_fd) as rtnl:
            rtnl.set_down("lo")
        added = await network.add("pod-a", pod_fd)
        assert [i["name"] for i in added["interfaces"] if i.get("sandbox")] == ["lo", "eth0"]
        ours = [ip for ip in added["ips"] if added["interfaces"][ip["interface"]]["name"] == "eth0"]
        assert len(ours) == 2
        assert added["ips"][0]["address"] == "127.0.0.1/8"
        if version != "0.3.1":
            await network.check("pod-a", pod_fd)
        await network.delete("pod-a", pod_fd)
    assert node.state() == before


@pytest.mark.parametrize("first", ["bridge", "ptp"])
async def test_a_plugin_before_us_that_made_the_interface_is_an_error_that_says_what_to_do(
    node: CniNode, tmp_path: Path, first: str
):
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "host-local"), "subnet": "10.88.0.0/24"}
    network = Network(node, [{"type": first, "ipam": ipam}, OURS])
    with fresh_netns() as pod_fd:
        with pytest.raises(PluginFailed, match=r"prevResult\.interfaces") as caught:
            await network.add("pod-a", pod_fd)
        assert caught.value.plugin == "netloom-cni"
        assert caught.value.said.body["code"] == 7
        assert "eth0" in caught.value.said.body["msg"]
        with Rtnl(pod_fd) as rtnl:
            assert rtnl.find_link("eth0") is not None  # the other plugin's
        await network.delete(
            "pod-a", pod_fd
        )  # what a runtime does then: ours leaves the other's interface alone
        assert node.store.leases() == []
        with Rtnl(pod_fd) as rtnl:
            assert rtnl.find_link("eth0") is None


async def test_the_whole_chain_and_back(node: CniNode, tmp_path: Path):
    needs("iptables")
    network = Network(
        node,
        [
            {"type": "loopback"},
            {**OURS, "capabilities": {"ips": True, "dns": True}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "firewall", "backend": "iptables"},
            {
                "type": "tuning",
                "sysctl": {"net.ipv4.conf.eth0.arp_notify": "1"},
                "dataDir": str(tmp_path / "tuning"),
            },
        ],
        unchecked=SPURIOUS,
    )
    wanted = {
        "ips": ["10.244.1.77/24"],
        "dns": {"servers": ["192.0.2.53"], "searches": ["shop.svc.cluster.local"]},
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
    }
    before = node.state()
    with fresh_netns() as pod_fd:
        added = await network.add("pod-a", pod_fd, wanted=wanted)
        assert "10.244.1.77/32" in {ip["address"] for ip in added["ips"]}
        assert added["dns"] == {"nameservers": ["192.0.2.53"], "search": ["shop.svc.cluster.local"]}
        await network.check("pod-a", pod_fd, wanted=wanted)
        assert (
            netns.run_in(pod_fd, lambda: Path("/proc/sys/net/ipv4/conf/eth0/arp_notify").read_text()) == "1\n"
        )
        for _ in range(2):
            await network.delete("pod-a", pod_fd, wanted=wanted)
            assert node.state() == before
    with fresh_netns() as pod_fd:  # and with the namespace gone
        await network.add("pod-a", pod_fd, wanted=wanted)
    await network.delete("pod-a", None, wanted=wanted)
    assert not any(names.is_pod_link(name) for name in node.pod_links())
    assert node.store.leases() == []


META = """#!{python}
import json, os, subprocess, sys
config = json.load(sys.stdin)
delegate = {{**config.pop("delegate"), **{{key: config[key] for key in config if key != "type"}}}}
places = [path + "/" + delegate["type"] for path in os.environ["CNI_PATH"].split(":")]
program = next(place for place in places if os.path.exists(place))
environment = {{**os.environ, "CNI_IFNAME": "net1"}}
done = subprocess.run([program], input=json.dumps(delegate), text=True, capture_output=True, env=environment)
print(done.stdout)
sys.exit(done.returncode)
"""


async def test_as_the_delegate_of_another_plugin(node: CniNode, tmp_path: Path):
    """A plugin that executes ours, with another interface name, its own fields, and what it was told passed on."""
    meta = tmp_path / "meta"
    meta.write_text(META.format(python=sys.executable))
    meta.chmod(0o755)
    delegate = {"type": "netloom-cni", "mtu": 1300}
    network = Network(node, [{"type": str(meta), "delegate": delegate, "capabilities": {"mac": True}}])
    before = node.state()
    with fresh_netns() as pod_fd:
        added = await network.add("pod-a", pod_fd, wanted={"mac": "0a:58:00:00:00:77"})
        assert [i["name"] for i in added["interfaces"] if i.get("sandbox")] == ["net1"]
        assert added["interfaces"][1]["mac"] == "0a:58:00:00:00:77"
        with Rtnl(pod_fd) as rtnl:
            link = rtnl.find_link("net1")
        assert link is not None
        assert link.mtu == 1300
        pod = Host("pod-a", pod_fd, addresses_of(added))
        async with pod.serve(80):
            assert await node.host.reaches(pod, 80)
        await network.check("pod-a", pod_fd, wanted={"mac": "0a:58:00:00:00:77"})
        await network.delete("pod-a", pod_fd)
    assert node.state() == before


@pytest.mark.parametrize(
    ("plugin", "wanted", "arguments", "expected"),
    [
        (
            {},
            {"ips": ["10.244.1.50/24", "2001:db8:44:1::50"]},
            "",
            {"10.244.1.50/32", "2001:db8:44:1::50/128"},
        ),
        ({"args": {"cni": {"ips": ["10.244.1.51"]}}}, {}, "", {"10.244.1.51/32", "2001:db8:44:1::2/128"}),
        ({}, {}, "IP=10.244.1.52", {"10.244.1.52/32", "2001:db8:44:1::2/128"}),
        (
            {},
            {"ipRanges": [[{"subnet": "10.99.0.0/24", "rangeStart": "10.99.0.9", "rangeEnd": "10.99.0.9"}]]},
            "",
            {"10.99.0.9/32", "2001:db8:44:1::2/128"},
        ),
    ],
    ids=["ips", "args", "CNI_ARGS", "ipRanges"],
)
async def test_addresses_of_the_runtimes_choice(node: CniNode, plugin, wanted, arguments, expected):
    network = Network(node, [{**OURS, **plugin, "capabilities": {"ips": True, "ipRanges": True}}])
    with fresh_netns() as pod_fd, fresh_netns() as other_fd:
        added = await network.add("pod-a", pod_fd, wanted=wanted, arguments=arguments)
        assert {ip["address"] for ip in added["ips"]} == expected
        await network.check("pod-a", pod_fd, wanted=wanted)
        with pytest.raises(PluginFailed) as caught:  # nobody else gets it while it is there
            await network.add("pod-b", other_fd, wanted=wanted, arguments=arguments)
        assert caught.value.said.body["code"] == 11
        await network.delete("pod-a", pod_fd)
    assert node.store.leases() == []


@pytest.mark.parametrize("version", ["0.3.0", "0.4.0", "1.1.0"])
async def test_errors_are_written_in_the_version_that_was_asked_in(node: CniNode, version: str):
    network = Network(node, [{**OURS, "mtu": 1}], version=version)
    with fresh_netns() as pod_fd, pytest.raises(PluginFailed) as caught:
        await network.add("pod-a", pod_fd)
    assert caught.value.said.body["cniVersion"] == version


async def routes_of(pod_fd: int) -> dict[str, list[str]]:
    with Rtnl(pod_fd) as rtnl:
        return {
            "default": sorted(
                r.device for r in rtnl.routes() if r.destination.prefixlen == 0 and r.table == 254
            ),
            "rules": sorted(str(rule) for family in Family for rule in rtnl.source_rules(family)),
        }


@pytest.mark.parametrize("first", ["ours", "bridge"])
async def test_beside_another_interface_of_the_container(node: CniNode, tmp_path: Path, first: str):
    """Who came first leads to everything; what comes in through the other is answered through it."""
    ipam = {
        "type": "host-local",
        "dataDir": str(tmp_path / "host-local"),
        "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "2001:db8:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    plugin = (
        OURS if first == "ours" else {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}
    )
    one = Network(node, [plugin], name="one")
    two = Network(node, [OURS], version="1.1.0", name="two", interface="net1")
    with fresh_netns() as pod_fd, fresh_netns() as other_fd:
        await one.add("pod-a", pod_fd)
        before = await routes_of(pod_fd)
        assert before["default"] == ["eth0", "eth0"]
        added = await two.add("pod-a", pod_fd)
        assert added["routes"] == []
        assert (await routes_of(pod_fd))["default"] == ["eth0", "eth0"]
        pod = Host("pod-a", pod_fd, addresses_of(added))
        other = Host("other", other_fd, addresses_of(await Network(node, [OURS]).add("other", other_fd)))
        for family in Family:
            async with pod.serve(80, family=family):
                reply = await other.ask(pod.address_of(family), 80)
                assert reply is not None
                assert reply.peer == other.address_of(family)
        await two.check("pod-a", pod_fd)
        if first == "ours":
            await one.check("pod-a", pod_fd)
        with Rtnl(pod_fd) as rtnl:
            (way,) = (r for r in rtnl.routes() if r.table > 10_000 and r.family is Family.V4)
            rtnl.delete_route(way)
        with pytest.raises(PluginFailed, match="in table"):
            await two.check("pod-a", pod_fd)
        await two.add("pod-a", pod_fd)  # repeated, it is whole again
        await two.check("pod-a", pod_fd)
        await two.delete("pod-a", pod_fd)
        assert await routes_of(pod_fd) == before
        if first == "ours":
            await one.check("pod-a", pod_fd)
