"""Pods with the resolvers of glibc and musl in front of the DNS server: one query in the place of five; strangers and floods.

A node with two pods of two namespaces and a host beyond it; the server runs in this process, at sockets in the node's namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from netloom.dns import sockets as dns_sockets
from netloom.dns.config import OutsideSettings
from netloom.dns.counters import Counters
from netloom.dns.feed import Audience, FeedClient
from netloom.dns.main import DnsConfig, serve
from netloom.linux import netns as namespaces
from netloom.linux import process
from netloom.linux.netns import Namespaces, open_socket
from netloom.linux.rtnl import Rtnl
from netloom.model.names.askers import Asker, AskersDelta
from netloom.model.names.names import Names
from netloom.model.names.records import NamesDelta, NameSettings
from netloom.program.routes import Route
from netloom.testing import builders as b
from netloom.testing.dns_messages import read_reply, write_query
from netloom.testing.dns_upstream import ScriptedUpstream
from netloom.testing.netns import fresh_netns

pytestmark = pytest.mark.netns
SERVER = "10.96.0.10"
PODS = {"shop": "10.244.1.3", "other": "10.244.1.4"}
GATEWAY, STRANGER = "10.244.1.1", "192.0.2.7"
DOMAIN = "cluster.local"
SETTINGS = NameSettings(
    reverse_cidrs=(ip_network("10.96.0.0/16"), ip_network("10.244.0.0/16")),
    dns_addresses=(ip_address(SERVER),),
)
LOOKUP = """
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
    struct addrinfo hints, *found, *one;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    int error = getaddrinfo(argv[1], NULL, &hints, &found);
    if (error) { printf("%s\\n", error == EAI_NONAME ? "no name" : error == EAI_AGAIN ? "again" : "failed"); return 0; }
    for (one = found; one; one = one->ai_next) {
        char text[64];
        void *at = one->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
                                             : (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
        printf("%s\\n", inet_ntop(one->ai_family, at, text, sizeof text));
    }
    return 0;
}
"""


FLOOD = """
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    static const unsigned char query[] = "\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\3web\\4shop\\3svc\\7cluster\\5local\\0\\0\\1\\0\\1";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
    inet_pton(AF_INET, "10.96.0.10", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    for (;;) if (sendto(fd, query, sizeof query - 1, 0, (struct sockaddr *)&to, sizeof to) < 0) usleep(1);
}
"""


@pytest.fixture(scope="module", params=["gcc", "musl-gcc"])
def lookup(request, tmp_path_factory) -> Path:
    """getaddrinfo(3) of a C library, as a program."""
    compiler = request.param
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is missing; install gcc and musl-tools")
    place = tmp_path_factory.mktemp(compiler)
    (place / "lookup.c").write_text(LOOKUP)
    static = ["-static"] if compiler == "musl-gcc" else []
    argv = [compiler, *static, "-o", str(place / "lookup"), str(place / "lookup.c")]
    done = asyncio.run(process.run(argv))
    assert done.returncode == 0, done.stderr
    return place / "lookup"


class Place:
    """The node, its pods, the host beyond, and the server's counters."""

    def __init__(self, node: int, pods: dict[str, int], outside: int, directory: Path) -> None:
        self.node = node
        self.pods = pods
        self.outside = outside
        self.directory = directory
        self.counters = Counters()
        self.upstream = ScriptedUpstream(
            {("www.example.org.", "A"): ["www.example.org. 300 A 192.0.2.80"], ("six.example.org.", "AAAA"): ["six.example.org. 300 AAAA 2001:db8::6"]}
        )  # fmt: skip
        self.names = Names(SETTINGS)
        self.generation = 1
        self.agent = FeedClient(
            path=str(directory / "dns.sock"),
            snapshot=lambda: (self.generation, self.names.state),
            audience=lambda: Audience(
                {
                    ip_address(address): Asker(
                        f"{namespace}/pod", (f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN)
                    )
                    for namespace, address in PODS.items()
                },
                (f"{GATEWAY}/32", f"{SERVER}/32"),
            ),
        )

    async def run(self, namespace: str, *argv: str) -> str:
        """A program in a pod that has a resolv.conf as kubelet writes it; what it prints."""
        config = self.directory / f"resolv-{namespace}.conf"
        search = f"{namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
        config.write_text(f"search {search}\nnameserver {SERVER}\noptions ndots:5 timeout:20 attempts:1\n")
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        full = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(config), *argv]
        done = await process.run(full, ns=Namespaces(net=self.pods[namespace]))
        assert not done.stderr, done.stderr
        return done.stdout.decode()

    async def lookup(self, program: Path, namespace: str, name: str) -> tuple[set[str], int]:
        """What getaddrinfo finds, and how many queries that took."""
        before = self.counters.udp_queries
        lines = await self.run(namespace, str(program), name)
        return set(lines.split("\n")[:-1]), self.counters.udp_queries - before


def lay(node: int, pods: dict[str, int], outside: int) -> None:
    default = ip_network("0.0.0.0/0")
    with Rtnl(node) as rtnl:
        rtnl.add_bridge("br0")
        for namespace, fd in pods.items():
            rtnl.add_veth(f"p-{namespace}", peer="eth0", peer_netns_fd=fd)
            rtnl.set_master(f"p-{namespace}", "br0")
            rtnl.set_up(f"p-{namespace}")
        rtnl.add_veth("out", peer="eth0", peer_netns_fd=outside)
        for device, address in (("br0", f"{GATEWAY}/24"), ("out", "192.0.2.1/24"), ("lo", f"{SERVER}/32")):
            rtnl.add_address(device, ip_interface(address))
            rtnl.set_up(device)
    for fd, address, via in (
        *((pods[n], f"{a}/24", GATEWAY) for n, a in PODS.items()),
        (outside, f"{STRANGER}/24", "192.0.2.1"),
    ):
        with Rtnl(fd) as rtnl:
            rtnl.add_address("eth0", ip_interface(address))
            rtnl.set_up("eth0")
            rtnl.replace_route(Route(destination=default, device="eth0", via=ip_address(via)))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    with contextlib.ExitStack() as undo:
        node, shop, other, outside = (undo.enter_context(fresh_netns()) for _ in range(4))
        pods = {"shop": shop, "other": other}
        lay(node, pods, outside)
        place = Place(node, pods, outside, tmp_path)
        datagrams = open_socket(node, socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        await place.upstream.start(datagrams)
        undo.callback(place.upstream.close)
        place.names.update(
            b.changes(
                b.service("shop/web", "10.96.0.5"),
                b.service("other/db", "10.96.0.6", "2001:db8::6"),
                b.service("shop/each", "None"),
                b.endpoint_slice("shop/each-1", "each", *(b.endpoint(f"10.244.2.{i}") for i in (1, 2, 3))),
            )
        )
        # The upstream is in this process and in the node's namespace: the server must ask from there, too.
        port = datagrams.getsockname()[1]
        config = DnsConfig(
            listen=(SERVER,),
            feed_socket=str(tmp_path / "dns.sock"),
            outside=OutsideSettings(upstreams=(f"127.0.0.1:{await relayed(undo, node, port)}",)),
        )
        sockets = namespaces.run_in(node, functools.partial(dns_sockets.open_sockets, config.listen, 53))
        undo.callback(sockets.close)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(config, sockets=sockets, stop=stop, counters=place.counters))
            feeding = tasks.create_task(place.agent.run())
            await place.agent.in_force(1)
            yield place
            feeding.cancel()
            stop.set()


async def relayed(undo: contextlib.ExitStack, node: int, port: int) -> int:
    """A port of this namespace's loopback that leads to the scripted upstream."""
    with Rtnl() as rtnl:
        if not next(link for link in rtnl.links() if link.name == "lo").up:
            rtnl.set_up(
                "lo"
            )  # not the host's, whose loopback is up: a namespace made for this test run (unshare)
    outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    outer.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    inner = open_socket(node, socket.AF_INET, socket.SOCK_DGRAM)
    inner.setblocking(False)
    inner.connect(("127.0.0.1", port))
    peers: dict[bytes, tuple[str, int]] = {}

    def forth() -> None:
        data, peer = outer.recvfrom(4096)
        peers[data[:2]] = peer
        inner.send(data)

    def back() -> None:
        data = inner.recv(4096)
        outer.sendto(data, peers[data[:2]])

    loop.add_reader(outer, forth)
    loop.add_reader(inner, back)
    for sock in (inner, outer):
        undo.callback(sock.close)
        undo.callback(loop.remove_reader, sock)
    return int(outer.getsockname()[1])


@pytest.mark.parametrize(
    ("namespace", "name", "found"),
    [
        ("shop", "web", {"10.96.0.5"}),
        ("other", "web.shop", {"10.96.0.5"}),
        ("other", "web.shop.svc", {"10.96.0.5"}),
        ("other", "WEB.shop.svc.cluster.local", {"10.96.0.5"}),
        ("shop", "db.other", {"10.96.0.6", "2001:db8::6"}),
        ("other", "each.shop", {"10.244.2.1", "10.244.2.2", "10.244.2.3"}),
        ("other", "10-244-2-2.each.shop", {"10.244.2.2"}),
        ("shop", "www.example.org", {"192.0.2.80"}),
        ("other", "six.example.org", {"2001:db8::6"}),
    ],
)
async def test_a_name_takes_one_query_for_each_family(place, lookup, namespace, name, found):
    assert await place.lookup(lookup, namespace, name) == (found, 2)


@pytest.mark.parametrize("name", ["ghost", "ghost.shop", "nope.example.org", "web.shop.svc.cluster.nowhere"])
async def test_a_name_that_is_nowhere_ends_as_such(place, lookup, name):
    found, queries = await place.lookup(lookup, "shop", name)
    assert found == {"no name"}
    assert queries <= 8, "no more than without help"


async def test_getent_sees_it_as_well(place):
    said = await place.run("other", "getent", "ahostsv4", "web.shop")
    assert {line.split()[0] for line in said.splitlines()} == {"10.96.0.5"}
    assert (
        await place.run("other", "getent", "hosts", "10.96.0.5")
        == "10.96.0.5       web.shop.svc.cluster.local\n"
    )


async def test_a_name_that_comes_is_found_although_it_was_denied_just_now(place, lookup):
    assert (await place.lookup(lookup, "other", "late.shop"))[0] == {"no name"}
    place.generation = 2
    place.agent.offer(2, place.names.update(b.changes(b.service("shop/late", "10.96.0.9"))))
    await place.agent.in_force(2)
    assert (await place.lookup(lookup, "other", "late.shop"))[0] == {"10.96.0.9"}


def client_at(where: int) -> socket.socket:
    sock = open_socket(where, socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect((SERVER, 53))
    return sock


async def test_a_and_aaaa_at_once_from_one_socket_never_lose_each_other(place):
    loop = asyncio.get_running_loop()
    with contextlib.closing(client_at(place.pods["shop"])) as sock:
        for number in range(500):
            for index, kind in enumerate(("A", "AAAA")):
                sock.send(write_query("web.shop.svc.cluster.local", kind, ident=2 * number + index))
            async with asyncio.timeout(20):
                got = {read_reply(await loop.sock_recv(sock, 4096)).ident for _ in range(2)}
            assert got == {2 * number, 2 * number + 1}


async def test_a_stranger_is_not_answered_by_either_transport(place):
    loop = asyncio.get_running_loop()
    query = write_query("web.shop.svc.cluster.local")
    with (
        contextlib.closing(client_at(place.outside)) as sock,
        contextlib.closing(client_at(place.pods["shop"])) as pod,
    ):
        before = place.counters.strangers
        for _ in range(3):
            sock.send(query)
        stream = open_socket(place.outside, socket.AF_INET, socket.SOCK_STREAM)
        stream.setblocking(False)
        async with asyncio.timeout(20):
            await loop.sock_connect(stream, (SERVER, 53))
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                await loop.sock_sendall(stream, len(query).to_bytes(2, "big") + query)
                assert await loop.sock_recv(stream, 4096) == b""
        stream.close()
        pod.send(query)
        async with asyncio.timeout(20):
            assert read_reply(await loop.sock_recv(pod, 4096)).rcode == "NOERROR"
        assert place.counters.strangers - before == 4
        with pytest.raises(BlockingIOError):
            sock.recv(4096)


async def test_the_node_itself_is_answered(place):
    loop = asyncio.get_running_loop()
    with contextlib.closing(client_at(place.node)) as sock:
        sock.send(write_query("web.shop.svc.cluster.local"))
        async with asyncio.timeout(20):
            assert read_reply(await loop.sock_recv(sock, 4096)).rcode == "NOERROR"


async def test_who_comes_next_to_an_address_is_not_taken_for_who_was_there(place):
    loop = asyncio.get_running_loop()
    with contextlib.closing(client_at(place.pods["other"])) as sock:

        async def ask() -> str:
            sock.send(write_query("web.shop.other.svc.cluster.local"))
            async with asyncio.timeout(20):
                return read_reply(await loop.sock_recv(sock, 4096)).rcode

        assert await ask() == "NOERROR"
        address = ip_address(PODS["other"])
        standard = (f"third.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN)
        place.generation = 2
        place.agent.offer(2, NamesDelta(), AskersDelta({address: Asker("third/pod", standard)}))
        await place.agent.in_force(2)
        assert await ask() == "NXDOMAIN"


async def test_a_flood_from_one_pod_is_limited_and_the_other_pod_is_answered(place):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    (place.directory / "flood.c").write_text(FLOOD)
    flood = str(place.directory / "flood")
    done = await process.run(["gcc", "-O1", "-o", flood, f"{flood}.c"])
    assert done.returncode == 0, done.stderr
    loop = asyncio.get_running_loop()
    flooding = await process.spawn(process.Command(argv=(flood,)), ns=Namespaces(net=place.pods["shop"]))
    try:
        with contextlib.closing(client_at(place.pods["other"])) as sock:
            answered = asked = 0
            async with asyncio.timeout(50):
                # Until the flood has been noticed, packets of anybody may find the socket full.
                while not place.counters.limited_clients:
                    sock.send(write_query("web.shop.svc.cluster.local"))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await loop.sock_recv(sock, 4096)
                for number in range(200):
                    asked += 1
                    sock.send(write_query("web.shop.svc.cluster.local", ident=1000 + number))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(5):
                            while read_reply(await loop.sock_recv(sock, 4096)).ident != 1000 + number:
                                pass
                            answered += 1
        assert answered >= asked - 5, "a flood that comes back may be noticed late by a busy machine"
        assert place.counters.floods >= 1
    finally:
        flooding.kill(9)
        await flooding.wait()
        flooding.close()


async def test_clients_of_the_other_family_are_known_as_well(tmp_path):
    server, pod, stranger = "2001:db8:96::10", "2001:db8:1::3", "2001:db8:1::9"
    counters = Counters()
    names = Names(NameSettings())
    names.update(b.changes(b.service("shop/web", "10.96.0.5", "2001:db8:96::5")))
    asker = Asker("other/pod", (f"other.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN))
    agent = FeedClient(
        path=str(tmp_path / "dns.sock"),
        snapshot=lambda: (1, names.state),
        audience=lambda: Audience({ip_address(pod): asker}, (f"{server}/128",)),
    )
    config = DnsConfig(
        listen=(server,), feed_socket=str(tmp_path / "dns.sock"), node_resolvers=("192.0.2.53",)
    )
    loop = asyncio.get_running_loop()
    with fresh_netns() as node, contextlib.ExitStack() as undo:
        with Rtnl(node) as rtnl:
            for address in (server, pod, stranger):
                rtnl.add_address("lo", ip_interface(f"{address}/128"))
        sockets = namespaces.run_in(node, functools.partial(dns_sockets.open_sockets, config.listen, 53))
        undo.callback(sockets.close)

        def client(address: str) -> socket.socket:
            sock = undo.enter_context(open_socket(node, socket.AF_INET6, socket.SOCK_DGRAM))
            sock.setblocking(False)
            sock.bind((address, 0))
            sock.connect((server, 53))
            return sock

        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(config, sockets=sockets, stop=stop, counters=counters))
            feeding = tasks.create_task(agent.run())
            async with asyncio.timeout(30):
                await agent.in_force(1)
                known, unknown = client(pod), client(stranger)
                unknown.send(write_query(f"web.shop.svc.{DOMAIN}", "AAAA"))
                for _ in range(2):  # made at the first, ready at the second
                    known.send(write_query(f"web.shop.other.svc.{DOMAIN}", "AAAA"))
                    reply = read_reply(await loop.sock_recv(known, 4096))
                    assert reply.answers == (f"web.shop.other.svc.{DOMAIN}. 5 AAAA 2001:db8:96::5",)
            assert counters.strangers == 1
            feeding.cancel()
            stop.set()
