"""The whole CNI path: a runtime's call through the compiled shim to an agent's socket, into the kernel, and back."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netloom.cni import server as server_module
from netloom.cni.ipam.store import AddressStore
from netloom.cni.server import CniServer
from netloom.cni.verbs import Verbs
from netloom.linux import process
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.testing.cni_runtime import Said, cni_node
from netloom.testing.hosts import Host
from netloom.testing.netns import fresh_netns
from netloom.units import family_of

pytestmark = pytest.mark.netns


class Runtime:
    """Calls the shim as a container runtime does."""

    def __init__(self, shim: Path, socket_path: Path) -> None:
        self.shim = shim
        self._socket = socket_path

    async def call(
        self,
        command: str,
        container: str = "",
        netns_fd: int | None = None,
        **config: Any,
    ) -> Said:
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0",
            "NETLOOM_CNI_SOCKET": str(self._socket),
        }
        if netns_fd is not None:
            variables["CNI_NETNS"] = f"/proc/{os.getpid()}/fd/{netns_fd}"
        text = json.dumps({"cniVersion": "1.1.0", "name": "netloom", "type": "netloom-cni", **config})
        done = await process.run([str(self.shim)], input=text.encode(), env=variables, timeout_s=20)
        assert done.stderr == b""
        return Said(done.returncode, json.loads(done.stdout) if done.stdout else {})


class Bench(msgspec.Struct, frozen=True):
    """A node with an agent's socket, and a runtime that calls it."""

    node: Host
    runtime: Runtime
    store: AddressStore
    socket_path: Path


@pytest.fixture
async def bench(tmp_path: Path, cni_shim: Path) -> AsyncIterator[Bench]:
    async with cni_node(tmp_path, cni_shim) as made:
        yield Bench(made.host, Runtime(cni_shim, made.socket_path), made.store, made.socket_path)


def addresses_of(said: Said) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_interface(ip["address"]).ip for ip in said.body["ips"])


def pod_links(node: Host) -> list[str]:
    with Rtnl(node.netns_fd) as rtnl:
        return [link.name for link in rtnl.links() if names.is_pod_link(link.name)]


async def test_two_pods_talk_and_see_each_others_own_address(bench: Bench):
    with fresh_netns() as a_fd, fresh_netns() as b_fd:
        a_said = await bench.runtime.call("ADD", "pod-a", a_fd)
        b_said = await bench.runtime.call("ADD", "pod-b", b_fd)
        assert (a_said.code, b_said.code) == (0, 0)
        a, b = Host("a", a_fd, addresses_of(a_said)), Host("b", b_fd, addresses_of(b_said))
        for mine, theirs in zip(a.addresses, b.addresses, strict=True):
            family = family_of(mine)
            async with b.serve(80, family=family), bench.node.serve(81, family=family):
                reply = await a.ask(theirs, 80)
                assert reply is not None
                assert reply.peer == mine
                assert await a.reaches(bench.node.address_of(family), 81)
                from_node = await bench.node.ask(theirs, 80)
                assert from_node is not None
                assert from_node.peer == bench.node.address_of(family)


async def test_the_result_says_what_is_in_the_kernel(bench: Bench):
    with fresh_netns() as pod_fd:
        said = await bench.runtime.call("ADD", "pod-a", pod_fd)
        host, pod = said.body["interfaces"]
        with Rtnl(pod_fd) as rtnl:
            link = rtnl.find_link("eth0")
            addresses = {str(a.interface) for a in rtnl.addresses("eth0")}
        with Rtnl(bench.node.netns_fd) as rtnl:
            host_link = rtnl.find_link(host["name"])
    assert link is not None
    assert host_link is not None
    assert (pod["name"], pod["mac"], pod["mtu"]) == ("eth0", link.mac, link.mtu) == ("eth0", link.mac, 1400)
    assert pod["sandbox"].endswith(f"/fd/{pod_fd}")
    assert (host["mac"], host["mtu"]) == (host_link.mac, 1400)
    assert host_link.alias == "netloom pod shop/cart-0 in network netloom"
    assert {ip["address"] for ip in said.body["ips"]} == addresses
    assert {(r["dst"], r["gw"]) for r in said.body["routes"]} == {
        ("0.0.0.0/0", "169.254.1.1"),
        ("::/0", "fe80::1"),
    }


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
async def test_results_have_the_shape_of_the_version_asked_for(bench: Bench, version: str):
    with fresh_netns() as pod_fd:
        said = await bench.runtime.call("ADD", "pod-a", pod_fd, cniVersion=version)
    assert said.body["cniVersion"] == version
    assert ("version" in said.body["ips"][0]) == version.startswith("0.")
    assert ("mtu" in said.body["interfaces"][1]) == (version == "1.1.0")


async def test_repeated_add_gives_the_same_address_and_a_working_interface(bench: Bench):
    with fresh_netns() as pod_fd:
        first = await bench.runtime.call("ADD", "pod-a", pod_fd)
        again = await bench.runtime.call("ADD", "pod-a", pod_fd)
        assert again.code == 0
        assert addresses_of(first) == addresses_of(again)
        assert len(pod_links(bench.node)) == 1
        pod = Host("a", pod_fd, addresses_of(again))
        async with pod.serve(80):
            assert await bench.node.reaches(pod, 80)


async def test_add_after_a_crash_replaces_what_was_half_made(bench: Bench):
    with fresh_netns() as pod_fd:
        with Rtnl(bench.node.netns_fd) as rtnl:  # the pair is made, nothing is configured: killed in between
            rtnl.add_veth(names.pod_link("pod-a", "eth0"), peer="eth0", peer_netns_fd=pod_fd)
        said = await bench.runtime.call("ADD", "pod-a", pod_fd)
        assert said.code == 0
        assert (await bench.runtime.call("CHECK", "pod-a", pod_fd, prevResult=said.body)).code == 0


async def test_del_removes_everything_and_may_be_repeated(bench: Bench):
    with fresh_netns() as pod_fd:
        said = await bench.runtime.call("ADD", "pod-a", pod_fd)
        assert len(pod_links(bench.node)) == 1
        for _ in range(2):
            assert (await bench.runtime.call("DEL", "pod-a", pod_fd, prevResult=said.body)).code == 0
            assert pod_links(bench.node) == []
            assert bench.store.leases() == []
            with Rtnl(pod_fd) as pod, Rtnl(bench.node.netns_fd) as node:
                assert [link.name for link in pod.links()] == ["lo"]
                assert node.routes(names.POD_ROUTE_PROTOCOL) == []
                assert node.neighbours() == []
        again = await bench.runtime.call("ADD", "pod-a", pod_fd)
        assert again.code == 0
        assert addresses_of(again) != addresses_of(said)  # reuse waits as long as there are others


async def test_del_works_when_the_pods_namespace_is_gone(bench: Bench):
    with fresh_netns() as pod_fd:
        assert (await bench.runtime.call("ADD", "pod-a", pod_fd)).code == 0
    said = await bench.runtime.call("DEL", "pod-a")
    assert said == Said(0, {})
    assert bench.store.leases() == []
    assert pod_links(bench.node) == []


async def test_del_of_what_never_was_is_no_error(bench: Bench):
    assert await bench.runtime.call("DEL", "never-added") == Said(0, {})


async def damage_address(pod: Rtnl, node: Rtnl, link: str) -> None:
    pod.delete_address("eth0", pod.addresses("eth0")[0].interface)


async def damage_down(pod: Rtnl, node: Rtnl, link: str) -> None:
    pod.set_down("eth0")


async def damage_node_route(pod: Rtnl, node: Rtnl, link: str) -> None:
    node.delete_route(node.routes(names.POD_ROUTE_PROTOCOL)[0])


async def damage_pod_route(pod: Rtnl, node: Rtnl, link: str) -> None:
    pod.delete_route(pod.routes(names.POD_ROUTE_PROTOCOL)[0])


async def damage_neighbour(pod: Rtnl, node: Rtnl, link: str) -> None:
    node.delete_neighbour(link, node.neighbours()[0].address)


async def damage_mtu(pod: Rtnl, node: Rtnl, link: str) -> None:
    pod.set_mtu("eth0", 1300)


async def damage_link(pod: Rtnl, node: Rtnl, link: str) -> None:
    node.delete_link(link)


@pytest.mark.parametrize(
    "damage",
    [
        damage_address,
        damage_down,
        damage_node_route,
        damage_pod_route,
        damage_neighbour,
        damage_mtu,
        damage_link,
    ],
)
async def test_check_finds_damage_and_only_damage(bench: Bench, damage):
    with fresh_netns() as pod_fd, Rtnl(pod_fd) as pod, Rtnl(bench.node.netns_fd) as node:
        added = await bench.runtime.call("ADD", "pod-a", pod_fd)
        link = added.body["interfaces"][0]["name"]
        assert (await bench.runtime.call("CHECK", "pod-a", pod_fd, prevResult=added.body)).code == 0
        await damage(pod, node, link)
        said = await bench.runtime.call("CHECK", "pod-a", pod_fd, prevResult=added.body)
    assert said.code == 1
    assert said.body["code"] == 101
    assert "pod-a/eth0" in said.body["msg"]


async def test_a_foreign_interface_in_the_pod_is_left_alone(bench: Bench):
    with fresh_netns() as pod_fd, Rtnl(pod_fd) as pod:
        pod.add_veth("eth0", peer="other")
        said = await bench.runtime.call("ADD", "pod-a", pod_fd)
        assert said.body["code"] == 102
        assert "eth0" in said.body["msg"]
        assert {link.name for link in pod.links()} == {"lo", "eth0", "other"}
    assert bench.store.leases() == []
    assert pod_links(bench.node) == []


async def test_the_nodes_own_namespace_is_refused(bench: Bench):
    said = await bench.runtime.call("ADD", "pod-a", bench.node.netns_fd)
    assert said.body["code"] == 4
    assert bench.store.leases() == []


async def test_add_to_what_is_no_namespace_says_so(bench: Bench):
    fd = os.memfd_create("no-namespace")
    said = await bench.runtime.call("ADD", "pod-a", fd)
    os.close(fd)
    assert said.body["code"] == 4
    said = await bench.runtime.call("ADD", "pod-a", 999)
    assert said.body["code"] == 3


async def test_gc_removes_what_is_not_valid_and_keeps_the_rest(bench: Bench):
    with fresh_netns() as a_fd, fresh_netns() as b_fd:
        await bench.runtime.call("ADD", "pod-a", a_fd)
        kept = await bench.runtime.call("ADD", "pod-b", b_fd)
        with Rtnl(bench.node.netns_fd) as rtnl:
            rtnl.add_veth(names.pod_link("stray", "eth0"), peer="x")
            rtnl.add_veth("nlforeign", peer="y")
        valid = [{"containerID": "pod-b", "ifname": "eth0"}]
        said = await bench.runtime.call("GC", **{"cni.dev/valid-attachments": valid})
        assert said == Said(0, {})
        assert [lease.attachment.container for lease in bench.store.leases()] == ["pod-b"]
        assert pod_links(bench.node) == [kept.body["interfaces"][0]["name"]]
        with Rtnl(bench.node.netns_fd) as rtnl:
            assert rtnl.find_link("nlforeign") is not None


async def test_status_and_version(bench: Bench):
    assert await bench.runtime.call("STATUS") == Said(0, {})
    said = await bench.runtime.call("VERSION")
    assert said.code == 0
    assert "1.1.0" in said.body["supportedVersions"]


async def test_many_at_once_get_different_addresses_and_all_work(bench: Bench):
    with contextlib.ExitStack() as stack:
        fds = [stack.enter_context(fresh_netns()) for _ in range(32)]
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(bench.runtime.call("ADD", f"pod-{i}", fd)) for i, fd in enumerate(fds)]
        said = [call.result() for call in calls]
        assert {s.code for s in said} == {0}
        assert len({addresses_of(s)[0] for s in said}) == 32
        assert len(pod_links(bench.node)) == 32
        last = Host("last", fds[-1], addresses_of(said[-1]))
        async with last.serve(80):
            assert await Host("first", fds[0], addresses_of(said[0])).reaches(last, 80)
        async with asyncio.TaskGroup() as tasks:
            for i in range(32):
                tasks.create_task(bench.runtime.call("DEL", f"pod-{i}"))
        assert pod_links(bench.node) == []
        assert bench.store.leases() == []


async def test_agent_away_is_try_again_later_but_version_is_answered(tmp_path: Path, cni_shim: Path):
    runtime = Runtime(cni_shim, tmp_path / "nobody.sock")
    for command in ("ADD", "DEL", "CHECK", "GC", "STATUS"):
        said = await runtime.call(command, "pod-a")
        assert said.code == 1
        # 51: no ADD is served, and what is there may be limited; the numbers that the specification has for STATUS
        assert said.body["code"] == (51 if command == "STATUS" else 11)
        assert "nobody.sock" in said.body["msg"]
    said = await runtime.call("VERSION")
    assert said.code == 0
    assert "1.1.0" in said.body["supportedVersions"]


async def test_what_is_too_big_to_pass_on_is_code_5(bench: Bench):
    said = await bench.runtime.call("STATUS", filler="x" * (1024 * 1024))
    assert said.body["code"] == 5
    assert "network configuration" in said.body["msg"]
    environment = {
        "CNI_COMMAND": "STATUS",
        "CNI_ARGS": "x" * 70_000,
        "NETLOOM_CNI_SOCKET": str(bench.socket_path),
    }
    done = await process.run([str(bench.runtime.shim)], input=b"{}", env=environment, timeout_s=20)
    assert json.loads(done.stdout)["code"] == 5
    assert (await bench.runtime.call("STATUS")).code == 0


async def test_agent_that_dies_during_a_call_is_try_again_later(tmp_path: Path, cni_shim: Path):
    path = tmp_path / "cni.sock"

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(16)
        writer.close()

    async with await asyncio.start_unix_server(hang_up, path):
        said = await Runtime(cni_shim, path).call("ADD", "pod-a")
    assert said.code == 1
    assert said.body["code"] == 11


@pytest.mark.parametrize(
    "call",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("=4sIII", server_module.MAGIC, 1, server_module.MAX_CONFIG + 1, 0),
        struct.pack("=4sIII", server_module.MAGIC, 1, 1, 1) + b"xx",
        struct.pack("=4sIII", server_module.MAGIC, 8, 8, 0) + b"CNI",
    ],
    ids=["http", "too big", "no descriptor", "cut short"],
)
async def test_strangers_are_hung_up_on_and_the_server_goes_on(bench: Bench, call: bytes, caplog):
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, str(bench.socket_path))
        await loop.sock_sendall(sock, call)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert await loop.sock_recv(sock, 100) == b""
    assert (await bench.runtime.call("STATUS")).code == 0
    assert "CNI socket" in caplog.text


def test_the_socket_is_for_its_owner_only(tmp_path: Path):
    cni = CniServer(tmp_path / "cni.sock", Verbs(store=None, network=lambda: None))
    cni.open()
    assert (tmp_path / "cni.sock").stat().st_mode & 0o777 == 0o600
    cni.close()
    assert not (tmp_path / "cni.sock").exists()
