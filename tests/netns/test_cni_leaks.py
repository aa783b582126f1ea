"""Every kind of failing ADD: its number, its words, and nothing left of it: links, addresses, routes, neighbours, rules, leases."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netloom.cni.ipam.store import Attachment, PortMapping
from netloom.cni.verbs import PodNetwork
from netloom.errors import KernelError, Unavailable
from netloom.linux import netns, process
from netloom.linux.netns import Namespaces
from netloom.linux.process import PIPE, Command
from netloom.linux.rtnl import Rtnl
from netloom.testing.cni_runtime import NODE_ADDRESSES, RANGES, CniNode, Said, addresses_of, call, cni_node
from netloom.testing.hosts import Host
from netloom.testing.netns import fresh_netns

pytestmark = pytest.mark.netns

CONFIG = {"cniVersion": "1.1.0", "name": "netloom", "type": "netloom-cni"}


class Seams:
    """The rest of the agent: everything goes well unless a test says otherwise."""

    def __init__(self) -> None:
        self.network: PodNetwork | None = PodNetwork(ranges=RANGES, node_addresses=NODE_ADDRESSES, mtu=1400)
        self.fails: dict[str, Exception] = {}
        self.waits: dict[str, tuple[asyncio.Event, Callable[[], None]]] = {}
        self.told: list[str] = []

    def __getitem__(self, name: str) -> Any:
        async def act(*told: Any) -> None:
            self.told.append(name)
            if name in self.fails:
                raise self.fails[name]

        return act

    async def admit(self, pod: str, addresses: Any) -> None:
        await self["admit"]()

    def released(self, pod: str, addresses: Any) -> None:
        self.told.append("released")

    async def opened(self, lease: Any) -> None:
        await self["opened"]()

    def closed(self, lease: Any) -> None:
        self.told.append("closed")

    async def add(self, request: Any, netns_fd: int, made: Any) -> None:
        await self["secondary add"]()

    async def delete(self, request: Any, netns_fd: int | None) -> None:
        await self["secondary delete"]()

    async def check(self, request: Any, netns_fd: int) -> None:
        await self["secondary check"]()

    async def collect(self, network: str, valid: Any) -> None:
        await self["secondary collect"]()

    def moved_families(self, attachment: Any) -> frozenset[Any]:
        return frozenset()


@pytest.fixture
def seams() -> Seams:
    return Seams()


@pytest.fixture
async def node(tmp_path: Path, cni_shim: Path, seams: Seams) -> AsyncIterator[CniNode]:
    async with cni_node(
        tmp_path,
        cni_shim,
        network=lambda: seams.network,
        admit=seams.admit,
        released=seams.released,
        ports=seams,
        secondary=seams,
    ) as made:
        yield made


async def whole_state(node: CniNode, pod_fd: int) -> dict[str, object]:
    state = node.state()
    for name, words in (("rules", ["ip", "rule"]), ("tables", ["nft", "list", "ruleset"])):
        environment = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
        done = await process.run(words, ns=Namespaces(net=node.host.netns_fd), env=environment)
        assert done.returncode == 0, done.stderr
        state[name] = done.stdout
    with Rtnl(pod_fd) as rtnl:
        state["pod"] = (
            sorted(link.name for link in rtnl.links()),
            sorted(f"{a.device} {a.interface}" for a in rtnl.addresses()),
            sorted(map(str, rtnl.routes())),
            sorted(map(str, rtnl.neighbours())),
        )
    return state


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, and what the runtime hears of it."""

    code: int
    words: str
    config: dict[str, Any] = {}
    variables: dict[str, str] = {}
    fails: dict[str, Exception] = {}
    prepare: Callable[[CniNode, Seams, int], None] | None = None
    no_namespace: bool = False


def no_ranges(node: CniNode, seams: Seams, pod_fd: int) -> None:
    seams.network = None


def full(node: CniNode, seams: Seams, pod_fd: int) -> None:
    """A range with one address, which somebody has."""
    tiny = ipaddress.ip_network("10.244.9.0/30")
    seams.network = PodNetwork(ranges=(tiny,), node_addresses=NODE_ADDRESSES)
    node.store.reserve(Attachment("other", "eth0"), [tiny])


def foreign_interface(node: CniNode, seams: Seams, pod_fd: int) -> None:
    with Rtnl(pod_fd) as rtnl:
        rtnl.add_veth("eth0", peer="other")


def no_ipv6(node: CniNode, seams: Seams, pod_fd: int) -> None:
    path = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    netns.run_in(pod_fd, lambda: path.write_text("1"))


def address_taken(node: CniNode, seams: Seams, pod_fd: int) -> None:
    address = RANGES[0].network_address + 77
    node.store.reserve(Attachment("other", "eth0"), RANGES, requested=[address])


def port_taken(node: CniNode, seams: Seams, pod_fd: int) -> None:
    node.store.reserve(Attachment("other", "eth0"), RANGES, ports=[PortMapping(8080, 80, "tcp", "0.0.0.0")])


PORTS = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}
FAULTS = {
    "no name": Fault(code=7, words="name", config={"name": ""}),
    "version": Fault(code=1, words="cniVersion", config={"cniVersion": "0.2.0"}),
    "ipam": Fault(code=2, words="host-local", config={"ipam": {"type": "host-local"}}),
    "mtu": Fault(code=7, words="mtu", config={"mtu": 5}),
    "mac": Fault(code=7, words="runtimeConfig.mac", config={"runtimeConfig": {"mac": "x"}}),
    "arguments": Fault(code=4, words="CNI_ARGS", variables={"CNI_ARGS": "WHAT=1"}),
    "interface name": Fault(code=4, words="CNI_IFNAME", variables={"CNI_IFNAME": "a/b"}),
    "container name": Fault(code=4, words="CNI_CONTAINERID", variables={"CNI_CONTAINERID": "/"}),
    "verb": Fault(code=4, words="CNI_COMMAND", variables={"CNI_COMMAND": "PATCH"}),
    "no namespace": Fault(code=4, words="CNI_NETNS", no_namespace=True),
    "lost namespace": Fault(code=3, words="cannot be opened", variables={"CNI_NETNS": "/run/netns/gone"}),
    "file": Fault(code=4, words="no network namespace", variables={"CNI_NETNS": "/etc/passwd"}),
    "taken by an earlier plugin": Fault(
        code=7,
        words="prevResult.interfaces[0]",
        config={"prevResult": {"interfaces": [{"name": "eth0", "sandbox": "/x"}]}},
    ),
    "no ranges yet": Fault(code=11, words="spec.podCIDRs", prepare=no_ranges),
    "range full": Fault(code=11, words="10.244.9.0/30", prepare=full),
    "address taken": Fault(
        code=11,
        words="10.244.1.77",
        prepare=address_taken,
        config={"runtimeConfig": {"ips": ["10.244.1.77"]}},
    ),
    "port taken": Fault(code=104, words="8080/tcp", prepare=port_taken, config=PORTS),
    "policies not in force": Fault(
        code=11, words="policies", fails={"admit": Unavailable("policies", "wait")}
    ),
    "foreign interface": Fault(code=102, words="eth0", prepare=foreign_interface),
    "kernel refuses in the middle": Fault(code=100, words="address", prepare=no_ipv6),
    "ports not opened": Fault(
        code=100, words="nft", config=PORTS, fails={"opened": KernelError("nft", 12, "no")}
    ),
    "other network": Fault(code=11, words="net1", fails={"secondary add": Unavailable("net1: gone")}),
    "other network, and it stays": Fault(
        code=11,
        words="net1",
        fails={"secondary add": Unavailable("net1: gone"), "secondary delete": KernelError("x", 1, "y")},
    ),
}


UNNAMED = {"no name", "version", "interface name", "container name", "verb"}


@pytest.mark.parametrize("name", FAULTS)
async def test_nothing_is_left_of_an_add_that_failed(node: CniNode, seams: Seams, name: str):
    fault = FAULTS[name]
    with fresh_netns() as pod_fd:
        if fault.prepare is not None:
            fault.prepare(node, seams, pod_fd)
        before = await whole_state(node, pod_fd)
        seams.fails = fault.fails
        for attempt in range(2):
            said = await call(
                node,
                "ADD",
                "pod-a",
                None if fault.no_namespace else pod_fd,
                {**CONFIG, **fault.config},
                variables=fault.variables,
            )
            assert said.code == 1
            assert said.body["code"] == fault.code, said.body
            assert fault.words in said.body["msg"]
            after = await whole_state(node, pod_fd)
            if name == "other network, and it stays":
                assert (
                    after["leases"] != before["leases"]
                )  # what could not be taken away keeps its address, until DEL
                break
            assert after == before, f"attempt {attempt}"
        seams.fails = {}
        # what a runtime does next: DEL with the same words, which succeeds wherever it can be told whose interface it is about
        config = {**CONFIG, **fault.config}
        cleaned = await call(node, "DEL", "pod-a", pod_fd, config, variables=fault.variables)
        assert cleaned == Said(0, {}) or name in UNNAMED
        assert await whole_state(node, pod_fd) == before


async def test_an_add_that_repeats_one_and_fails_leaves_nothing_of_either(node: CniNode, seams: Seams):
    with fresh_netns() as pod_fd:
        before = await whole_state(node, pod_fd)
        assert (await call(node, "ADD", "pod-a", pod_fd, CONFIG)).code == 0
        seams.fails = {"admit": Unavailable("policies", "wait")}
        assert (await call(node, "ADD", "pod-a", pod_fd, CONFIG)).body["code"] == 11
        after = await whole_state(node, pod_fd)
        # the pod's loopback came up with the first
        assert {**after, "pod": None} == {**before, "pod": None}


async def test_order_of_steps(node: CniNode, seams: Seams):
    with fresh_netns() as pod_fd:
        added = await call(node, "ADD", "pod-a", pod_fd, {**CONFIG, **PORTS})
        assert added.code == 0, added.body
        assert seams.told == ["admit", "opened", "secondary add"]
        seams.told.clear()
        config = {**CONFIG, **PORTS, "prevResult": added.body}
        assert (await call(node, "CHECK", "pod-a", pod_fd, config)).code == 0
        assert (await call(node, "DEL", "pod-a", pod_fd, config)).code == 0
        assert seams.told == ["secondary check", "secondary delete", "closed", "released"]


async def test_del_goes_on_where_other_networks_fail_and_says_so(node: CniNode, seams: Seams):
    with fresh_netns() as pod_fd:
        assert (await call(node, "ADD", "pod-a", pod_fd, CONFIG)).code == 0
        seams.fails = {"secondary delete": Unavailable("net1: plugin macvlan", "try again")}
        said = await call(node, "DEL", "pod-a", pod_fd, CONFIG)
        assert said.body["code"] == 11
        assert "macvlan" in said.body["msg"]
        assert node.pod_links() == []
        assert node.store.leases() == []
        seams.fails = {}
        assert await call(node, "DEL", "pod-a", pod_fd, CONFIG) == Said(0, {})


async def test_an_add_while_the_first_still_runs_waits_for_it(tmp_path: Path, cni_shim: Path):
    waiting, go_on = asyncio.Semaphore(0), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def admit(pod: str, addresses: Any) -> None:
        loop.call_soon_threadsafe(waiting.release)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(go_on.wait(), loop))

    async with cni_node(tmp_path, cni_shim, admit=admit) as node:
        with fresh_netns() as pod_fd:
            async with asyncio.TaskGroup() as tasks:
                calls = [tasks.create_task(call(node, "ADD", "pod-a", pod_fd, CONFIG))]
                await waiting.acquire()
                calls.append(tasks.create_task(call(node, "ADD", "pod-a", pod_fd, CONFIG)))
                go_on.set()
            first, second = (task.result() for task in calls)
            assert (first.code, second.code) == (0, 0)
            assert addresses_of(first.body) == addresses_of(second.body)
            assert len(node.pod_links()) == 1
            assert len(node.store.leases()) == 1
            pod = Host("pod-a", pod_fd, addresses_of(second.body))
            async with pod.serve(80):
                assert await node.host.reaches(pod, 80)


AGENT = """
import asyncio, ipaddress, json, signal, sys
from netloom.cni.ipam.store import AddressStore
from netloom.cni.server import CniServer
from netloom.cni.verbs import PodNetwork, Verbs

told = json.loads(sys.argv[1])

class Seams:
    async def at(self, step):
        if step == told["hangs_at"]:
            print("there", flush=True)
            await asyncio.Event().wait()
    async def admit(self, pod, addresses):
        await self.at("admit")
    async def opened(self, lease):
        await self.at("opened")
    def closed(self, lease):
        pass
    async def add(self, request, netns_fd, made):
        await self.at("secondary")
    async def delete(self, request, netns_fd):
        pass

async def main():
    seams = Seams()
    network = PodNetwork(
        ranges=tuple(map(ipaddress.ip_network, told["ranges"])),
        node_addresses=tuple(map(ipaddress.ip_address, told["addresses"])),
    )
    store = AddressStore(told["store"])
    verbs = Verbs(store=store, network=lambda: network, admit=seams.admit, ports=seams, secondary=seams)
    server = CniServer(told["socket"], verbs)
    server.open()
    print("listens", flush=True)
    await server.run()

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests in the background has it ignored
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def agent(node: CniNode, hangs_at: str = "") -> AsyncIterator[process.Process]:
    """An agent's process of its own, in place of the one of the test's process."""
    told = {
        "hangs_at": hangs_at,
        "ranges": [str(r) for r in RANGES],
        "addresses": [str(a) for a in NODE_ADDRESSES],
        "store": str(node.socket_path.with_name("ipam.db")),
        "socket": str(node.socket_path.with_name("other.sock")),
    }
    command = Command(argv=(sys.executable, "-c", AGENT, json.dumps(told)), stdout=PIPE)
    started = await process.spawn(command, ns=Namespaces(net=node.host.netns_fd))
    try:
        assert await line(started) == b"listens\n"
        yield started
    finally:
        started.kill(signal.SIGKILL)
        await started.wait()
        started.close()


async def line(started: process.Process) -> bytes:
    stdout = started.stdout
    assert stdout is not None
    return await asyncio.wait_for(asyncio.to_thread(stdout.readline), 20)


@pytest.mark.parametrize("step", ["admit", "opened", "secondary"])
async def test_an_agent_killed_in_the_middle_of_add(tmp_path: Path, cni_shim: Path, step: str):
    async with cni_node(tmp_path, cni_shim) as node:
        other = msgspec.structs.replace(node, socket_path=node.socket_path.with_name("other.sock"))
        config = {**CONFIG, **PORTS}
        with fresh_netns() as pod_fd:
            before = await whole_state(node, pod_fd)
            async with agent(other, hangs_at=step) as doomed:
                async with asyncio.TaskGroup() as tasks:
                    adding = tasks.create_task(call(other, "ADD", "pod-a", pod_fd, config))
                    assert await line(doomed) == b"there\n"
                    doomed.kill(signal.SIGKILL)
                assert adding.result().body["code"] == 11
                assert (await call(other, "ADD", "pod-a", pod_fd, config)).body["code"] == 11  # nobody there
            (recorded,) = node.store.leases()
            async with agent(other):
                # the runtime tries again
                again = await call(other, "ADD", "pod-a", pod_fd, config)
                assert again.code == 0, again.body
                assert addresses_of(again.body) == recorded.addresses
                assert len(node.pod_links()) == 1
                pod = Host("pod-a", pod_fd, addresses_of(again.body))
                async with pod.serve(80):
                    assert await node.host.reaches(pod, 80)
                assert (await call(other, "DEL", "pod-a", pod_fd, config)).code == 0
            after = await whole_state(node, pod_fd)
            assert {**after, "pod": None} == {**before, "pod": None}
            # or it gives up, and cleans up
            async with agent(other, hangs_at=step) as doomed, asyncio.TaskGroup() as tasks:
                tasks.create_task(call(other, "ADD", "pod-b", pod_fd, config))
                assert await line(doomed) == b"there\n"
                doomed.kill(signal.SIGKILL)
            async with agent(other):
                assert (await call(other, "DEL", "pod-b", None, config)).code == 0
            after = await whole_state(node, pod_fd)
            assert {**after, "pod": None} == {**before, "pod": None}


@pytest.mark.parametrize("step", ["admit", "opened", "secondary"])
async def test_an_agent_told_to_end_in_the_middle_of_add_undoes_it(tmp_path: Path, cni_shim: Path, step: str):
    async with cni_node(tmp_path, cni_shim) as node:
        other = msgspec.structs.replace(node, socket_path=node.socket_path.with_name("other.sock"))
        with fresh_netns() as pod_fd:
            before = await whole_state(node, pod_fd)
            async with agent(other, hangs_at=step) as ending:
                async with asyncio.TaskGroup() as tasks:
                    adding = tasks.create_task(call(other, "ADD", "pod-a", pod_fd, {**CONFIG, **PORTS}))
                    assert await line(ending) == b"there\n"
                    ending.kill(signal.SIGINT)  # which asyncio.run turns into a cancellation
                assert adding.result().body["code"] == 11
                await ending.wait()
            after = await whole_state(node, pod_fd)
            assert {**after, "pod": None} == {**before, "pod": None}


async def test_gc_leaves_what_was_made_for_another_network(node: CniNode, seams: Seams):
    gc = {"cniVersion": "1.1.0", "type": "netloom-cni", "cni.dev/valid-attachments": []}
    with fresh_netns() as a_fd, fresh_netns() as b_fd:
        assert (await call(node, "ADD", "pod-a", a_fd, CONFIG)).code == 0
        assert (await call(node, "ADD", "pod-b", b_fd, {**CONFIG, "name": "podman"})).code == 0
        assert (await call(node, "GC", "", None, {**gc, "name": "podman"})).code == 0
        assert [lease.attachment.container for lease in node.store.leases()] == ["pod-a"]
        assert len(node.pod_links()) == 1
        # libcni writes this older name besides
        old = {"cniVersion": "1.1.0", "name": "netloom", "cni.dev/attachments": []}
        assert (await call(node, "GC", "", None, old)).code == 0
        assert node.store.leases() == []
        assert node.pod_links() == []
        assert seams.told.count("secondary collect") == 2


async def test_del_after_a_reboot(node: CniNode):
    """Nothing is in the kernel any more, and the runtime has lost its results: only the record knows."""
    node.store.reserve(Attachment("pod-a", "eth0"), RANGES, "shop/cart-0")
    assert await call(node, "DEL", "pod-a", None, CONFIG) == Said(0, {})
    assert node.store.leases() == []
