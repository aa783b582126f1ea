"""The kernel through linux/: links, routes, sysctls, mounts, processes born in namespaces, and threads that go home."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import threading

import pytest

from netloom.errors import KernelError, NotFound
from netloom.linux import features, mounts, netns, process, sysctl
from netloom.linux.netns import Namespaces
from netloom.linux.process import NEW_MNT, NEW_NET, NEW_PID, NEW_UTS, Command, mount_proc, run, spawn
from netloom.linux.rtnl import Rtnl
from netloom.program.routes import Route
from netloom.program.sysctl import NODE_SETTINGS, Setting
from netloom.testing.netns import fresh_netns

pytestmark = pytest.mark.netns


def own_netns() -> os.stat_result:
    return os.stat("/proc/self/ns/net")


def ip(text: str):
    return ipaddress.ip_address(text)


def net(text: str):
    return ipaddress.ip_network(text)


def test_a_thread_inside_a_namespace_leaves_the_process_where_it_was():
    before = own_netns()
    with fresh_netns() as fd:
        inside = netns.run_in(fd, lambda: os.stat("/proc/thread-self/ns/net"))
        assert os.path.samestat(inside, os.fstat(fd))
    assert os.path.samestat(before, own_netns())
    assert not [t for t in threading.enumerate() if t.name == "in-namespaces"]


def test_an_error_inside_is_raised_outside():
    with fresh_netns() as fd, pytest.raises(ZeroDivisionError):
        netns.run_in(fd, lambda: 1 // 0)


def test_a_descriptor_that_is_no_namespace_is_refused():
    with open("/dev/null") as null, pytest.raises(KernelError, match="setns"):
        netns.run_in(null.fileno(), lambda: None)
    with pytest.raises(NotFound, match="/no/such"):
        netns.open_netns("/no/such")


async def test_cancelling_waits_for_what_runs_inside():
    started, go, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        started.set()
        go.wait()
        done.append(1)

    task = asyncio.get_running_loop().create_task(netns.run_in_async(None, slow))
    await asyncio.to_thread(started.wait)
    task.cancel()
    go.set()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert done == [1]


def test_links_come_and_go():
    with fresh_netns() as a_fd, fresh_netns() as b_fd, Rtnl(a_fd) as a, Rtnl(b_fd) as b:
        a.add_bridge("br0")
        a.add_veth(
            "v0",
            peer="eth0",
            peer_netns_fd=b_fd,
            mac="02:00:00:00:00:01",
            peer_mac="02:00:00:00:00:02",
            mtu=1400,
        )
        a.set_master("v0", "br0")
        a.set_up("v0")
        here, there, bridge = a.find_link("v0"), b.find_link("eth0"), a.find_link("br0")
        assert here is not None
        assert there is not None
        assert bridge is not None
        assert (here.mac, here.mtu, here.up, here.kind, here.master) == (
            "02:00:00:00:00:01",
            1400,
            True,
            "veth",
            bridge.index,
        )
        assert (there.mac, there.up, there.peer_index) == ("02:00:00:00:00:02", False, here.index)
        a.delete_link("v0")
        a.delete_link("v0")
        assert b.find_link("eth0") is None


def test_a_refusal_has_the_kernels_words():
    with fresh_netns() as fd, Rtnl(fd) as rtnl:
        rtnl.add_veth("v0", peer="v1")
        rtnl.set_up("v0")
        with pytest.raises(KernelError, match="invalid gateway") as caught:
            rtnl.replace_route(Route(destination=net("10.0.0.0/8"), via=ip("192.0.2.1"), device="v0"))
        assert caught.value.errno == errno.ENETUNREACH
        with pytest.raises(KernelError, match="nothere"):
            rtnl.set_up("nothere")
        with pytest.raises(KernelError, match="v0"):
            rtnl.add_veth("v0", peer="v2")


def test_a_name_longer_than_the_kernel_takes_is_refused():
    with fresh_netns() as fd, Rtnl(fd) as rtnl, pytest.raises(KernelError):
        rtnl.add_bridge("sixteen-letters!")


def test_addresses_routes_and_neighbours_of_both_families():
    with fresh_netns() as fd, Rtnl(fd) as rtnl:
        rtnl.add_veth("v0", peer="v1")
        rtnl.set_up("v0")
        rtnl.set_up("v1")
        for text, gateway, destination in (
            ("192.0.2.1/24", "192.0.2.9", "198.51.100.0/24"),
            ("2001:db8::1/64", "2001:db8::9", "2001:db8:1::/64"),
        ):
            interface = ipaddress.ip_interface(text)
            rtnl.add_address("v0", interface)
            assert interface in {a.interface for a in rtnl.addresses("v0") if not a.tentative}
            route = Route(destination=net(destination), via=ip(gateway), device="v0", protocol=201)
            rtnl.replace_route(route)
            rtnl.replace_route(route)
            assert rtnl.routes(201) == [route]
            rtnl.delete_route(route)
            rtnl.delete_route(route)
            assert rtnl.routes(201) == []
            rtnl.replace_neighbour("v0", ip(gateway), "02:00:00:00:00:09")
            assert [n.mac for n in rtnl.neighbours() if n.address == ip(gateway)] == ["02:00:00:00:00:09"]
            rtnl.delete_neighbour("v0", ip(gateway))
            assert not [n for n in rtnl.neighbours() if n.address == ip(gateway)]
            rtnl.delete_address("v0", interface)
            rtnl.delete_address("v0", interface)
            assert interface not in {a.interface for a in rtnl.addresses("v0")}


def test_a_thousand_routes_go_in_few_sends_and_come_back():
    with fresh_netns() as fd, Rtnl(fd) as rtnl:
        rtnl.add_veth("v0", peer="v1")
        rtnl.set_up("v0")
        routes = [
            Route(destination=net(f"10.{i >> 8}.{i & 255}.0/24"), device="v0", protocol=201)
            for i in range(1000)
        ]
        rtnl.change_routes(replace=routes)
        assert len(rtnl.routes(201)) == 1000
        rtnl.change_routes(delete=[*routes, Route(destination=net("10.200.0.0/24"), device="gone")])
        assert rtnl.routes(201) == []


def test_settings_are_those_of_the_namespace():
    with fresh_netns() as fd, fresh_netns() as other:
        sysctl.write(NODE_SETTINGS, fd)
        assert sysctl.read("net/ipv4/ip_forward", fd) == "1"
        assert sysctl.read("net/ipv4/ip_forward", other) == "0"
        with pytest.raises(KernelError, match=r"net\.ipv4\.nonsense=1"):
            sysctl.write([Setting("net/ipv4/nonsense", "1")], fd)
        sysctl.write([Setting("net/ipv4/nonsense", "1", optional=True)], fd)


def test_a_socket_keeps_its_namespace():
    with fresh_netns() as fd, netns.open_socket(fd, socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with netns.open_socket(fd, socket.AF_INET, socket.SOCK_STREAM) as inside:
            inside.settimeout(2)
            inside.connect(server.getsockname())
        with socket.socket() as outside:
            outside.settimeout(1)
            assert outside.connect_ex(server.getsockname()) != 0


async def test_a_pod_is_born_in_namespaces_of_its_own(tmp_path):
    (tmp_path / "data").write_text("seen")

    def prepare() -> None:
        mounts.make_private()
        mounts.bind(str(tmp_path), "/mnt")
        mounts.set_read_only("/")
        socket.sethostname("pod-1")

    pause = await spawn(
        Command(argv=("sleep", "600")), new=NEW_NET | NEW_MNT | NEW_UTS | NEW_PID, prepare=prepare
    )
    try:
        await mount_proc(pause.namespaces)
        script = "hostname; cat /mnt/data; cat /proc/1/comm; touch /mnt/new; ls /sys/class/net 2>/dev/null; echo $$"
        done = await run(["sh", "-c", script], ns=pause.namespaces)
        hostname, data, *_ = done.stdout.decode().replace("seen", "seen\n").split()
        assert (hostname, data) == ("pod-1", "seen")
        assert b"sleep" in done.stdout
        assert b"Read-only file system" in done.stderr
        with Rtnl(pause.namespaces.net) as rtnl:
            assert [link.name for link in rtnl.links()] == ["lo"]
        assert socket.gethostname() != "pod-1"
        assert "data" not in os.listdir("/mnt")
    finally:
        pause.kill()
        assert await pause.wait() == -9
        pause.close()


async def test_the_end_of_process_1_is_the_end_of_all_others():
    pause = await spawn(Command(argv=("sleep", "600")), new=NEW_PID)
    other = await spawn(Command(argv=("sleep", "600")), ns=Namespaces(pid=pause.namespaces.pid))
    pause.kill()
    assert await other.wait() == -9
    other.close()
    pause.close()


async def test_a_failing_preparation_starts_nothing():
    def prepare() -> None:
        mounts.bind("/no/such/path", "/mnt")

    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(KernelError, match="mount"):
        await spawn(Command(argv=("sleep", "600")), new=NEW_MNT, prepare=prepare)
    with pytest.raises(NotFound, match="no-such-program"):
        await spawn(Command(argv=("no-such-program",)), new=NEW_MNT | NEW_NET)
    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_command_sees_the_network_it_is_run_in():
    with fresh_netns() as fd:
        with Rtnl(fd) as rtnl:
            rtnl.add_veth("only-here", peer="peer")
        inside = await process.run(["ip", "-br", "link"], ns=Namespaces(net=fd))
        outside = await process.run(["ip", "-br", "link"])
    assert b"only-here" in inside.stdout
    assert b"only-here" not in outside.stdout


@pytest.mark.parametrize("feature", features.ALL, ids=lambda f: f.name.split()[0])
async def test_features_that_this_kernel_must_have_are_found(feature):
    present = await feature.probe()
    if not present and not feature.is_expected():
        pytest.skip(f"kernel {os.uname().release} is older than {feature.minimum}")
    if feature is features.USER_NAMESPACES and not present:
        pytest.skip("user namespaces are a matter of configuration, not of the release")
    assert present
    await feature.require()
