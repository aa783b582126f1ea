"""A whole node: runner and stand-in process in a namespace, the real API server, the real CNI shim and verbs; real packets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from netloom.clock import SystemClock
from netloom.cni.attach import prepare_node
from netloom.cni.ipam.store import AddressStore
from netloom.cni.server import CniServer
from netloom.cni.verbs import PodNetwork, Verbs
from netloom.errors import NotFound
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import EVENTS, LEASES, NAMESPACES, NODES, PODS, SERVICES, Resource
from netloom.kube.watch import Reflector
from netloom.linux import netns, process
from netloom.linux.netns import Namespaces
from netloom.linux.process import Command, Process
from netloom.linux.rtnl import Rtnl
from netloom.local.apiserver.access.front import Trust
from netloom.local.apiserver.access.tokens import Keys
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.store import Store
from netloom.local.runner.config import RunnerConfig
from netloom.program import names
from netloom.testing.hosts import Host
from netloom.testing.netns import fresh_netns
from netloom.units import ObjectKey, Protocol

# One node for all tests, each of which leaves it without pods: starting two interpreters takes longer than most tests.
pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

NODE = ipaddress.ip_address("172.30.0.11")
RANGES = (ipaddress.ip_network("10.244.1.0/24"),)
_KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "unix://%s"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""
Object = dict[str, Any]


class InNode:
    """The verbs, done by threads inside the node's namespace: what an agent process has by being there itself."""

    def __init__(self, verbs: Verbs, node_fd: int) -> None:
        self._verbs = verbs
        self._node_fd = node_fd

    async def answer(self, variables, config, netns_fd):
        return await netns.run_in_async(
            self._node_fd, lambda: asyncio.run(self._verbs.answer(variables, config, netns_fd))
        )


class Node:
    """What a test talks to."""

    def __init__(self, *, client: KubeClient, config: RunnerConfig, fd: int, store: AddressStore) -> None:
        self.client = client
        self.config = config
        self.fd = fd
        self.store = store
        self.pods: dict[ObjectKey, Object] = {}
        self.changed = asyncio.Event()
        self._processes: dict[str, Process] = {}

    def see(self, key: ObjectKey, pod: Object | None) -> None:
        if pod is None:
            self.pods.pop(key, None)
        else:
            self.pods[key] = pod
        self.changed.set()

    async def start(self, module: str) -> None:
        path = Path(self.config.state_dir) / "runner.json"
        code = f"from netloom.local.runner.{module} import main; main({str(path)!r})"
        self._processes[module] = await process.spawn(
            Command(argv=(sys.executable, "-c", code), stdout=1, stderr=2), ns=Namespaces(net=self.fd)
        )

    async def ensure(self, module: str) -> None:
        if module not in self._processes:
            await self.start(module)

    async def kill(self, module: str) -> None:
        running = self._processes.pop(module)
        running.kill()
        await running.wait()
        running.close()

    async def stop(self) -> None:
        for module in list(self._processes):
            await self.kill(module)

    async def create(self, resource: Resource, name: str, spec: Object, **metadata: Any) -> None:
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        await self.client.create(
            resource, {**kind, "metadata": {"name": name, "namespace": "shop", **metadata}, "spec": spec}
        )

    async def run(self, name: str, spec: Object, **metadata: Any) -> Object:
        await self.create(PODS, name, {"nodeName": "node-1", **spec}, **metadata)
        return await self.until(name, is_ready)

    async def until(self, name: str, holds: Callable[[Object], bool]) -> Object:
        """The pod, as soon as it is so."""
        key = ObjectKey("shop", name)
        try:
            async with asyncio.timeout(20):
                while key not in self.pods or not holds(self.pods[key]):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"pod {name} is still {self.pods.get(key)}") from None
        return self.pods[key]

    async def until_gone(self, name: str) -> None:
        async with asyncio.timeout(20):
            while ObjectKey("shop", name) in self.pods:
                self.changed.clear()
                await self.changed.wait()

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            "http://node", connector=aiohttp.UnixConnector(self.config.runner_socket)
        )

    async def logs(self, name: str, container: str = "app", **params: str) -> tuple[int, str]:
        async with self.session() as session:
            answer = await session.get(f"/containerLogs/shop/{name}/{container}", params=params)
            return answer.status, await answer.text()

    async def run_in(self, name: str, *argv: str, stdin: bytes | None = None) -> tuple[int, bytes]:
        """Exec over WebSocket with a client of another make: exit code, and stdout with stderr."""
        params = [("command", word) for word in argv] + [("stdout", "true"), ("stderr", "true")]
        if stdin is not None:
            params.append(("stdin", "true"))
        out = b""
        async with self.session() as session:
            protocols = ("v5.channel.k8s.io",)
            async with session.ws_connect(f"/exec/shop/{name}/app", params=params, protocols=protocols) as ws:
                if stdin is not None:
                    await ws.send_bytes(b"\x00" + stdin)
                    await ws.send_bytes(b"\xff\x00")
                async for message in ws:
                    channel, payload = message.data[0], message.data[1:]
                    if channel in {1, 2}:
                        out += payload
                    elif channel == 3:
                        status = json.loads(payload)
        if status["status"] == "Success":
            return 0, out
        return int(status["details"]["causes"][0]["message"]), out


def is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def container(pod: Object, index: int = 0) -> Object:
    return pod["status"]["containerStatuses"][index]


def app(**fields: Any) -> Object:
    return {"containers": [{"name": "app", "image": "example.org/app:1", **fields}]}


@pytest_asyncio.fixture(loop_scope="module")
async def node(running: Node) -> AsyncIterator[Node]:
    yield running
    for module in ("standins.process", "main"):
        await running.ensure(module)
    services, _ = await running.client.list(SERVICES, "shop")
    for service in services:
        await running.client.delete(SERVICES, ObjectKey("shop", service["metadata"]["name"]))
    for key in list(running.pods):
        with contextlib.suppress(NotFound):
            await running.client.delete(PODS, key)
        await running.until_gone(key.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(cni_shim: Path) -> AsyncIterator[Node]:
    async with AsyncExitStack() as stack:
        # volumes in memory are mounts, which go with the mount namespace of the tests
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="nl", ignore_cleanup_errors=True))
        )
        fd = stack.enter_context(fresh_netns())
        with Rtnl(fd) as rtnl:
            rtnl.add_address("lo", ipaddress.ip_interface(NODE))
        netns.run_in(fd, prepare_node)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        store = AddressStore(directory / "ipam.db")
        stack.callback(store.close)
        network = PodNetwork(ranges=RANGES, node_addresses=(NODE,), mtu=1400)
        cni = CniServer(directory / "cni.sock", InNode(Verbs(store=store, network=lambda: network), fd))
        cni.open()
        stack.callback(group.create_task(cni.run()).cancel)
        api_store = Store(":memory:")
        stack.callback(api_store.close)
        server = ApiServer(
            trust=Trust(Keys.fresh("https://issuer.example.org"), ca="an authority"),  # mounted into pods
            store=api_store,
            clock=SystemClock(),
            service_cidrs=[ipaddress.ip_network("10.96.0.0/16")],
            runner_socket=lambda _: directory / "runner.sock",
            bookmark_s=0.05,
        )
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(directory / "api.sock"))
        stack.callback(group.create_task(server.serve([Listener(sock)])).cancel)
        await server.started.wait()
        client = KubeClient(ClientConfig(server="http://localhost", unix_socket=str(directory / "api.sock")))
        await stack.enter_async_context(client)
        config = RunnerConfig(
            node_name="node-1",
            node_addresses=(str(NODE),),
            kubeconfig=str(directory / "kubeconfig"),
            state_dir=str(directory),
            cni_shim=str(cni_shim),
            cni_socket=str(directory / "cni.sock"),
            runner_socket=str(directory / "runner.sock"),
            standin_socket=str(directory / "standin.sock"),
        )
        (directory / "kubeconfig").write_text(_KUBECONFIG % (directory / "api.sock"))
        (directory / "runner.json").write_bytes(msgspec.json.encode(config))
        made = Node(client=client, config=config, fd=fd, store=store)
        stack.push_async_callback(made.stop)
        watch = Reflector(client, PODS, dict, on_change=made.see)
        stack.callback(group.create_task(watch.run()).cancel)
        await client.create(
            NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        )
        await made.start("standins.process")
        await made.start("main")
        yield made


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what no event tells us of: something in another process or in the kernel."""
    async with asyncio.timeout(15):
        while not await condition():  # noqa: ASYNC110 - no event can come from there
            await asyncio.sleep(0.02)


async def is_running(node: Node, command: str, wanted: bool) -> bool:
    return ((await node.run_in("web", "pgrep", "-f", command))[0] == 0) is wanted


async def have_links(node: Node, count: int) -> bool:
    return len(pod_links(node)) == count


def records(node: Node) -> list[Object]:
    directory = Path(node.config.state_dir, "sandboxes")
    return [json.loads(path.read_bytes()) for path in directory.iterdir()]


async def remove(node: Node, name: str) -> None:
    await node.client.delete(PODS, ObjectKey("shop", name))
    await node.until_gone(name)


def pod_links(node: Node) -> list[str]:
    with Rtnl(node.fd) as rtnl:
        return [link.name for link in rtnl.links() if names.is_pod_link(link.name)]


async def test_from_pod_object_to_answered_packets_and_back_to_nothing(node: Node):
    ports = [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]
    web, client = await asyncio.gather(
        node.run("web", app(ports=ports)), node.run("client", app(command=["sleep"]))
    )
    address = ipaddress.ip_address(web["status"]["podIP"])
    assert address in RANGES[0]
    assert container(web)["state"].keys() == {"running"}
    code, out = await node.run_in(
        "client", "curl", "-s", "-H", "Accept: application/json", f"http://{address}:8080/cart"
    )
    facts = json.loads(out)
    assert (code, facts["pod"], facts["path"]) == (0, "web", "/cart")
    assert facts["peer"].split(":")[0] == client["status"]["podIP"], "no NAT between pods"
    with netns.open_socket(node.fd, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((str(address), 53))
        await asyncio.get_running_loop().sock_sendall(sock, b"hi")
        assert json.loads(await asyncio.get_running_loop().sock_recv(sock, 2000))["pod"] == "web"
    assert not await Host("node-1", node.fd, (NODE,)).reaches(address, 9999)
    await asyncio.gather(remove(node, "web"), remove(node, "client"))
    assert pod_links(node) == []
    assert node.store.leases() == []
    assert records(node) == []


async def test_a_node_registers_and_renews_its_lease(node: Node):
    seen = asyncio.Event()
    watch = Reflector(
        node.client, NODES, dict, on_change=lambda _, n: seen.set() if n and is_ready(n) else None
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(watch.run())
        await seen.wait()
        running.cancel()
    found = await node.client.get(NODES, ObjectKey("", "node-1"))
    assert {"type": "InternalIP", "address": str(NODE)} in found["status"]["addresses"]
    lease = await node.client.get(LEASES, ObjectKey("kube-node-lease", "node-1"))
    assert lease["spec"]["holderIdentity"] == "node-1"


async def test_stand_ins_listen_where_services_point(node: Node):
    web = await node.run("web", app(), labels={"app": "web"})
    host, address = Host("node-1", node.fd, (NODE,)), ipaddress.ip_address(web["status"]["podIP"])
    assert not await host.reaches(address, 7000)
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 7000}]}
    await node.create(SERVICES, "web", spec)

    async def listens() -> bool:
        return "listening on port 7000/TCP" in (await node.logs("web"))[1]

    await eventually(listens)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(sock=await connected(node, str(address), 7000))
        writer.write(b"hello\n")
        assert json.loads(await reader.readline())["said"] == "hello"
        writer.close()
        await writer.wait_closed()


async def connected(node: Node, address: str, port: int) -> socket.socket:
    sock = netns.open_socket(node.fd, socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def test_containers_of_a_pod_share_localhost_and_fight_for_ports(node: Node):
    side = {"name": "side", "image": "s", "ports": [{"containerPort": 9000}]}
    thief = {"name": "thief", "image": "t", "ports": [{"containerPort": 9000}]}
    spec = app()
    spec["containers"].append(side)
    await node.run("pair", spec)
    code, out = await node.run_in("pair", "curl", "-s", "http://127.0.0.1:9000/")
    assert code == 0
    assert b"container: side\n" in out
    spec["containers"].append(thief)
    await node.create(PODS, "trio", {"nodeName": "node-1", **spec})

    def is_told(pod: Object) -> bool:
        states = [c["state"].get("waiting", {}) for c in pod["status"].get("containerStatuses", ())]
        return any("Address already in use" in s.get("message", "") for s in states)

    assert not is_ready(await node.until("trio", is_told))


async def test_exec_carries_input_output_and_exit_codes(node: Node):
    await node.run("web", app(env=[{"name": "WORD", "value": "hello"}]))
    assert await node.run_in("web", "sh", "-c", "echo $WORD; exit 3") == (3, b"hello\n")
    blob = bytes(range(256)) * 4000
    assert await node.run_in("web", "cat", stdin=blob) == (0, blob)
    code, out = await node.run_in("web", "netloom-no-such-program")
    assert code == 127
    assert b"cannot execute" in out
    # what stays in the background with the output open must not hold the command up
    assert await node.run_in("web", "sh", "-c", "sleep 1000 & echo started") == (0, b"started\n")


async def test_exec_with_a_terminal(node: Node):
    await node.run("web", app())
    params = [("command", w) for w in ("sh", "-c", "read go; tty >/dev/null && stty size")]
    params += [("stdout", "true"), ("stdin", "true"), ("tty", "true")]
    out = b""
    async with (
        node.session() as session,
        session.ws_connect("/exec/shop/web/app", params=params, protocols=("v5.channel.k8s.io",)) as ws,
    ):
        await ws.send_bytes(b'\x04{"Width":91,"Height":17}')
        await ws.send_bytes(b"\x00go\n")
        async for message in ws:
            if message.data[0] == 1:
                out += message.data[1:]
    assert out.replace(b"\r", b"").endswith(b"17 91\n")


async def test_a_command_ends_with_its_client(node: Node):
    await node.run("web", app())
    params = [("command", w) for w in ("sleep", "4242")] + [("stdout", "true")]
    async with (
        node.session() as session,
        session.ws_connect("/exec/shop/web/app", params=params, protocols=("v4.channel.k8s.io",)) as ws,
    ):
        assert await ws.receive_bytes() == b"\x01"
        await eventually(lambda: is_running(node, "^sleep 4242", True))
    await eventually(lambda: is_running(node, "^sleep 4242", False))


async def test_logs(node: Node):
    await node.run("web", app(ports=[{"containerPort": 80}]))
    for i in range(3):
        await node.run_in("web", "curl", "-s", f"http://127.0.0.1/{i}")
    status, text = await node.logs("web", tailLines="2")
    assert status == 200
    assert [line.split('"')[1] for line in text.splitlines()] == ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"]
    assert (await node.logs("web", limitBytes="4"))[1] == "stan"
    assert await node.logs("web", previous="true") == (400, "container app has no earlier start\n")
    assert (await node.logs("web", tailLines="-3"))[0] == 400
    assert (await node.logs("web", "nobody"))[0] == 400
    assert (await node.logs("nobody"))[0] == 404
    async with node.session() as session:
        answer = await session.get("/containerLogs/shop/web/app", params={"follow": "true", "tailLines": "0"})
        await node.run_in("web", "curl", "-s", "http://127.0.0.1/live")
        async with asyncio.timeout(10):
            assert b"GET /live" in await answer.content.readline()
            await remove(node, "web")
            assert await answer.content.read() == b"", "the log ends with the container"


async def test_a_failing_liveness_probe_restarts_the_container(node: Node):
    check = ["sh", "-c", "! rm /tmp/dead"]  # fails once for each time that the file was made
    probe = {"exec": {"command": check}, "periodSeconds": 1, "failureThreshold": 1}
    first = container(await node.run("web", app(livenessProbe=probe, ports=[{"containerPort": 80}])))
    await node.run_in("web", "touch", "/tmp/dead")
    down = container(await node.until("web", lambda p: container(p).get("lastState") is not None))
    assert down["lastState"]["terminated"]["exitCode"] == 137
    again = container(await node.until("web", lambda p: is_ready(p) and container(p)["restartCount"] > 0))
    assert again["containerID"] != first["containerID"]
    assert "listening on port 80/TCP" in (await node.logs("web", previous="true"))[1]


async def test_readiness_follows_its_probe(node: Node):
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    await node.create(PODS, "web", {"nodeName": "node-1", **app(readinessProbe=probe)})
    pod = await node.until("web", lambda p: p["status"]["phase"] == "Running")
    assert not is_ready(pod)
    await node.run_in("web", "touch", "/tmp/ready")
    await node.until("web", is_ready)
    await node.run_in("web", "rm", "/tmp/ready")
    await node.until("web", lambda p: not is_ready(p))


async def test_pods_outlive_the_runner(node: Node):
    before = await node.run("web", app(ports=[{"containerPort": 80}]))
    await node.run("doomed", app())
    links = pod_links(node)
    await node.kill("main")
    await node.client.delete(PODS, ObjectKey("shop", "doomed"), grace_s=0)
    sock = await connected(node, before["status"]["podIP"], 80)
    sock.close()
    await node.start("main")
    await node.run("next", app())  # the new runner has seen everything by now
    await eventually(lambda: have_links(node, 2))
    assert set(pod_links(node)) & set(links), "the pod kept its interface"
    assert len(node.store.leases()) == 2, "what the former runner left of the deleted pod is cleared"
    after = node.pods[ObjectKey("shop", "web")]
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert container(after)["restartCount"] == 0
    assert (await node.run_in("web", "hostname"))[1] == b"web\n"


async def test_pods_come_back_when_everything_was_killed(node: Node):
    before = await node.run("web", app(ports=[{"containerPort": 80}]))
    await node.kill("main")
    await node.kill("standins.process")
    os.kill(records(node)[0]["pid"], signal.SIGKILL)
    await node.start("standins.process")
    await node.start("main")

    def is_new(pod: Object) -> bool:
        return is_ready(pod) and pod["status"]["podIP"] != before["status"]["podIP"]

    after = await node.until("web", is_new)
    assert container(after)["restartCount"] == 1
    assert len(node.store.leases()) == 1
    (await connected(node, after["status"]["podIP"], 80)).close()


async def test_a_sandbox_that_ends_is_made_anew(node: Node):
    before = await node.run("web", app(ports=[{"containerPort": 80}]))
    os.kill(records(node)[0]["pid"], signal.SIGKILL)
    after = await node.until(
        "web", lambda p: is_ready(p) and p["status"]["podIP"] != before["status"]["podIP"]
    )
    assert container(after)["restartCount"] == 1


async def test_host_network_pods_have_the_nodes_address_and_port(node: Node):
    spec = {**app(ports=[{"containerPort": 8088}]), "hostNetwork": True}
    pod = await node.run("host", spec)
    assert pod["status"]["podIP"] == str(NODE)
    assert pod_links(node) == []
    host = Host("node-1", node.fd, (NODE,))
    reply = await connected(node, str(NODE), 8088)
    reply.close()
    await remove(node, "host")
    assert not await host.reaches(NODE, 8088)


async def test_deletion_of_a_pod_with_a_running_command(node: Node):
    await node.run("web", app())
    async with asyncio.TaskGroup() as group:
        command = group.create_task(node.run_in("web", "sleep", "1000"))
        await eventually(lambda: is_running(node, "^sleep 1000", True))
        await remove(node, "web")
        assert (await command)[0] == 137


async def test_an_unknown_pod_is_not_found(node: Node):
    await node.run("web", app())
    async with node.session() as session:
        answer = await session.post("/exec/shop/nobody/app", params={"command": "true"})
        assert (answer.status, "does not run on node" in await answer.text()) == (404, True)


async def test_udp_and_tcp_of_one_port_are_two_sockets(node: Node):
    ports = [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]
    pod = await node.run("dns", app(ports=ports))
    address = ipaddress.ip_address(pod["status"]["podIP"])
    for protocol in (Protocol.TCP, Protocol.UDP):
        kind = socket.SOCK_DGRAM if protocol is Protocol.UDP else socket.SOCK_STREAM
        with netns.open_socket(node.fd, socket.AF_INET, kind) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (str(address), 53))
            await loop.sock_sendall(sock, b"q\n")
            assert json.loads(await loop.sock_recv(sock, 2000))["said"] == "q"


class Door:
    """A server in the node's namespace that a hook asks, and that answers when the test says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.head = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.set()
        await self.open.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self, node: Node, port: int) -> AsyncIterator[None]:
        sock = netns.open_socket(node.fd, socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(NODE), port))
        async with await asyncio.start_server(self.answer, sock=sock):
            yield


GET = b"GET / HTTP/1.1\r\n\r\n"


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    writer.write(GET)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    await reader.readexactly(int(head.split("Content-Length: ")[1].split("\r\n")[0]))
    return "close" if "Connection: close" in head else "keep-alive"


async def test_a_pod_serves_while_its_hook_runs_and_ends_with_its_last_connection(node: Node):
    door, get = Door(), {"host": str(NODE), "port": 9911, "path": "/drain?x=1"}
    hook = {"preStop": {"httpGet": {**get, "httpHeaders": [{"name": "X-Who", "value": "web"}]}}}
    pod = await node.run("web", app(ports=[{"containerPort": 80}], lifecycle=hook))
    address = pod["status"]["podIP"]
    async with door.listening(node, 9911), asyncio.timeout(20):
        long = await asyncio.open_connection(sock=await connected(node, address, 80))
        plain = await asyncio.open_connection(sock=await connected(node, address, 80))
        assert await ask(*long) == "keep-alive"
        plain[1].write(b"hello\n")
        await plain[0].readline()
        await node.client.delete(PODS, ObjectKey("shop", "web"))
        await door.asked.wait()
        assert door.head.startswith("GET /drain?x=1 HTTP/1.1\r\n")
        assert "x-who: web" in door.head
        fresh = await asyncio.open_connection(sock=await connected(node, address, 80))
        assert await ask(*fresh) == "close", "it serves, and says that it is about to end"
        assert await ask(*long) == "close"
        assert (await long[0].read(), await fresh[0].read()) == (b"", b"")
        door.open.set()
        for _, writer in (long, fresh):
            writer.close()

        async def refuses() -> bool:
            try:
                (await connected(node, address, 80)).close()
            except ConnectionRefusedError:
                return True
            return False

        await eventually(refuses)
        plain[1].write(b"still there?\n")
        assert b"still there?" in await plain[0].readline(), "an open connection lives on after the signal"
        assert ObjectKey("shop", "web") in node.pods
        plain[1].close()
        await node.until_gone("web")


async def test_a_hook_that_fails_is_an_event_and_the_pod_goes(node: Node):
    hook = {"preStop": {"httpGet": {"host": str(NODE), "port": 9912, "path": "/"}}}
    await node.run("web", app(lifecycle=hook))
    await remove(node, "web")

    async def is_told() -> bool:
        events, _ = await node.client.list(EVENTS, "shop")
        return any(
            (e["reason"], e["message"], e["involvedObject"].get("fieldPath"))
            == ("FailedPreStopHook", "PreStopHook failed", "spec.containers{app}")
            for e in events
        )

    await eventually(is_told)


async def test_deletion_by_force_waits_for_no_hook(node: Node):
    await node.run("web", app(lifecycle={"preStop": {"sleep": {"seconds": 30}}}))
    await node.client.delete(PODS, ObjectKey("shop", "web"))
    await node.until("web", lambda p: "deletionTimestamp" in p["metadata"])
    await node.client.delete(PODS, ObjectKey("shop", "web"), grace_s=0)
    await eventually(lambda: have_links(node, 0))


async def test_a_runner_that_comes_back_ends_its_pods_with_their_hooks(node: Node):
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "touch /tmp/drained; sleep 1000"]}}}
    await node.run("web", {**app(lifecycle=hook), "terminationGracePeriodSeconds": 1000})
    await node.kill("main")
    await node.client.delete(PODS, ObjectKey("shop", "web"))
    await node.start("main")

    async def is_draining() -> bool:
        try:
            return (await node.run_in("web", "test", "-e", "/tmp/drained"))[0] == 0
        except aiohttp.ClientError:
            return False  # the runner is not back yet, or has not seen its pods

    await eventually(is_draining)
    await node.client.delete(PODS, ObjectKey("shop", "web"), grace_s=0)
    await node.until_gone("web")


async def test_a_readiness_gate_opens_by_a_condition_of_somebody_else(node: Node):
    gates = {"readinessGates": [{"conditionType": "netloom.io/in-force"}]}
    await node.create(PODS, "web", {"nodeName": "node-1", **app(), **gates})

    def waits_for_gate(pod: Object) -> bool:
        return any(c.get("reason") == "ReadinessGatesNotReady" for c in pod["status"].get("conditions", ()))

    await node.until("web", waits_for_gate)
    gate = {"type": "netloom.io/in-force", "status": "True"}
    await node.client.patch(
        PODS,
        ObjectKey("shop", "web"),
        {"status": {"conditions": [gate]}},
        content_type="application/strategic-merge-patch+json",
        subresource="status",
    )
    ready = await node.until("web", is_ready)
    assert gate in [{k: c[k] for k in ("type", "status")} for c in ready["status"]["conditions"]]
