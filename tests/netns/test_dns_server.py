"""The real DNS process in a namespace of its own, asked by ``dig``, fed as the agent feeds it, with a scripted upstream."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import msgspec
import pytest

from netloom.dns.config import OutsideSettings
from netloom.dns.feed import FeedClient
from netloom.dns.main import DnsConfig
from netloom.dns.sockets import open_sockets
from netloom.linux import process
from netloom.linux.netns import Namespaces, open_socket, run_in
from netloom.linux.rtnl import Rtnl
from netloom.model.names.names import Names
from netloom.model.names.records import NameSettings
from netloom.testing import builders as b
from netloom.testing.dns_messages import read_reply, write_query
from netloom.testing.dns_upstream import ScriptedUpstream
from netloom.testing.netns import fresh_netns

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(shutil.which("dig") is None, reason="dig is missing; install bind9-dnsutils"),
]
SERVER = "10.96.0.10"
SETTINGS = NameSettings(
    reverse_cidrs=(ip_network("10.96.0.0/16"), ip_network("10.244.0.0/16")),
    dns_addresses=(ip_address(SERVER),),
)
SOA = "cluster.local. 0 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 0"


def shop() -> list:
    members = [msgspec.structs.replace(b.endpoint(f"10.244.1.{i}"), hostname=f"db-{i}") for i in range(1, 4)]
    many = [b.endpoint(f"10.244.2.{i}") for i in range(1, 151)]
    return [
        b.service("shop/web", "10.96.0.5", ports=(b.port(80, "http"),)),
        b.service("shop/db", "None", ports=(b.port(5432, "pg"),)),
        b.endpoint_slice("shop/db-1", "db", *members, ports=(("pg", 5432),)),
        b.service("shop/many", "None"),
        b.endpoint_slice("shop/many-1", "many", *many),
        b.service("shop/api", type="ExternalName", external_name="www.example.org"),
        b.service("shop/lost", type="ExternalName", external_name="nope.example.org"),
        b.pod("shop/web-1", "10.244.1.77"),
    ]


class Agent:
    """The agent's side: names, and the feed of them."""

    def __init__(self, path: Path) -> None:
        self.names = Names(SETTINGS)
        self.generation = 0
        self.client = FeedClient(path=str(path), snapshot=lambda: (self.generation, self.names.state))

    async def says(self, *objects, gone=()) -> None:
        """Objects come or go; returns when the DNS process answers so."""
        delta = self.names.update(b.changes(*objects, gone=gone))
        self.generation += 1
        self.client.offer(self.generation, delta)
        await self.client.in_force(self.generation)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        async with asyncio.TaskGroup() as tasks:
            run = tasks.create_task(self.client.run())
            try:
                yield self
            finally:
                run.cancel()


class Node:
    """A namespace, the DNS process in it, and the upstream server."""

    def __init__(self, netns: int, server: process.Process, upstream: ScriptedUpstream, sock: Path) -> None:
        self.netns = netns
        self.server = server
        self.upstream = upstream
        self.feed_socket = sock

    async def dig(self, *args: str) -> tuple[str, list[str], str]:
        """Status, records of all sections (blanks single), and everything that was printed."""
        argv = ["dig", f"@{SERVER}", "+time=3", "+tries=1", *args]
        done = await process.run(argv, ns=Namespaces(net=self.netns))
        text = done.stdout.decode()
        status = re.search(r"status: (\w+)", text)
        lines = [re.sub(r"\s+", " ", x) for x in text.splitlines() if x and not x.startswith(";")]
        return status[1] if status else "", lines, text

    def agent(self):
        return Agent(self.feed_socket).running()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    feed = tmp_path / "dns.sock"
    config = DnsConfig(
        listen=(SERVER,),
        feed_socket=str(feed),
        outside=OutsideSettings(upstreams=("127.0.0.1:5301", "127.0.0.1:5300")),
    )
    (tmp_path / "dns.json").write_bytes(msgspec.json.encode(config))
    with fresh_netns() as netns, contextlib.ExitStack() as undo:
        upstream = ScriptedUpstream(
            {
                ("www.example.org.", "A"): ["www.example.org. 300 CNAME a.example.net.", "a.example.net. 60 A 192.0.2.1"],
                ("big.example.org.", "A"): [f"big.example.org. 300 A 192.0.2.{i}" for i in range(1, 61)],
            }
        )  # fmt: skip
        datagrams = open_socket(netns, socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 5300))
        stream = open_socket(netns, socket.AF_INET, socket.SOCK_STREAM)
        stream.bind(("127.0.0.1", 5300))
        await upstream.start(datagrams, stream)
        undo.callback(upstream.close)
        command = process.Command(
            argv=(sys.executable, "-m", "netloom.dns.main", str(tmp_path / "dns.json")), stderr=process.PIPE
        )
        server = await process.spawn(command, ns=Namespaces(net=netns))
        undo.callback(server.close)
        assert server.stderr is not None
        assert b"answering at 10.96.0.10" in await asyncio.to_thread(server.stderr.readline)
        # Only now does the address exist: IP_FREEBIND lets the process start first.
        with Rtnl(netns) as rtnl:
            rtnl.add_address("lo", ip_interface(f"{SERVER}/32"))
        yield Node(netns, server, upstream, feed)


async def test_servfail_until_the_first_whole_set_then_the_truth(node: Node):
    assert (await node.dig("web.shop.svc.cluster.local"))[0] == "SERVFAIL"
    assert (await node.dig("-x", "10.96.0.5"))[0] == "SERVFAIL"
    assert (await node.dig("www.example.org"))[0] == "NOERROR"
    async with node.agent() as agent:
        await agent.says(*shop())
        assert (await node.dig("web.shop.svc.cluster.local"))[0] == "NOERROR"
        assert (await node.dig("nope.shop.svc.cluster.local"))[0] == "NXDOMAIN"


async def test_records_as_dig_reads_them(node: Node):
    async with node.agent() as agent:
        await agent.says(*shop())
        status, lines, text = await node.dig("WEB.shop.svc.cluster.local")
        assert (status, lines) == ("NOERROR", ["WEB.shop.svc.cluster.local. 5 IN A 10.96.0.5"])
        assert "flags: qr aa rd ra;" in text
        assert f"SERVER: {SERVER}#53" in text
        assert "EDNS: version: 0, flags:; udp: 1232" in text
        assert (await node.dig("web.shop.svc.cluster.local", "AAAA"))[:2] == ("NOERROR", [SOA])
        assert (await node.dig("nope.shop.svc.cluster.local"))[:2] == ("NXDOMAIN", [SOA])
        assert (await node.dig("shop.svc.cluster.local"))[:2] == ("NOERROR", [SOA])
        assert (await node.dig("_pg._tcp.db.shop.svc.cluster.local", "SRV"))[:2] == (
            "NOERROR",
            [f"_pg._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 100 5432 db-{i}.db.shop.svc.cluster.local." for i in (1, 2, 3)]
            + [f"db-{i}.db.shop.svc.cluster.local. 5 IN A 10.244.1.{i}" for i in (1, 2, 3)],
        )  # fmt: skip
        assert (await node.dig("-x", "10.96.0.5"))[1] == [
            "5.0.96.10.in-addr.arpa. 5 IN PTR web.shop.svc.cluster.local."
        ]
        assert (await node.dig("-x", "10.244.1.2"))[1] == [
            "2.1.244.10.in-addr.arpa. 5 IN PTR db-2.db.shop.svc.cluster.local."
        ]
        assert (await node.dig("10-244-1-77.shop.pod.cluster.local"))[1] == [
            "10-244-1-77.shop.pod.cluster.local. 5 IN A 10.244.1.77"
        ]
        assert (await node.dig("10-244-1-78.shop.pod.cluster.local"))[0] == "NXDOMAIN"
        assert (await node.dig("dns-version.cluster.local", "TXT"))[1] == [
            'dns-version.cluster.local. 5 IN TXT "1.1.0"'
        ]
        assert (await node.dig("cluster.local", "AXFR", "+tcp"))[2].count("Transfer failed") == 1
        assert (await node.dig("+noedns", "db.shop.svc.cluster.local", "+short"))[1].count("10.244.1.1") == 1


async def test_external_names_are_resolved_to_their_end(node: Node):
    async with node.agent() as agent:
        await agent.says(*shop())
        status, lines, _ = await node.dig("api.shop.svc.cluster.local")
        assert status == "NOERROR"
        assert lines == [
            "api.shop.svc.cluster.local. 5 IN CNAME www.example.org.",
            "www.example.org. 300 IN CNAME a.example.net.",
            "a.example.net. 60 IN A 192.0.2.1",
        ]
        status, lines, _ = await node.dig("lost.shop.svc.cluster.local")
        assert status == "NXDOMAIN"
        assert lines[0] == "lost.shop.svc.cluster.local. 5 IN CNAME nope.example.org."
        assert lines[1].startswith("example.org. 300 IN SOA")
        # 127.0.0.1:5301, the first upstream, is nobody: that costs no time, and the second one stays first.
        assert node.upstream.asked == [("www.example.org.", "A"), ("nope.example.org.", "A")]


async def test_tcp_and_truncation(node: Node):
    async with node.agent() as agent:
        await agent.says(*shop())
        _, lines, text = await node.dig("+tcp", "web.shop.svc.cluster.local")
        assert lines == ["web.shop.svc.cluster.local. 5 IN A 10.96.0.5"]
        assert "(TCP)" in text
        _, cut, text = await node.dig("+ignore", "+noedns", "many.shop.svc.cluster.local")
        assert "flags: qr aa tc rd ra;" in text
        assert 0 < len(cut) < 150
        assert "MSG SIZE rcvd:" in re.sub(" +", " ", text)
        _, whole, text = await node.dig("many.shop.svc.cluster.local")
        assert "Truncated, retrying in TCP mode" in text
        assert len(whole) == 150
        _, whole, _ = await node.dig("+tcp", "big.example.org")
        assert len(whole) == 60
        _, cut, text = await node.dig("+ignore", "+bufsize=512", "big.example.org")
        assert " tc " in text
        assert 0 < len(cut) < 60


async def test_several_queries_on_one_connection_and_rubbish_on_another(node: Node):
    async with node.agent() as agent:
        await agent.says(*shop())
        stream = open_socket(node.netns, socket.AF_INET, socket.SOCK_STREAM)
        stream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stream, (SERVER, 53))
        reader, writer = await asyncio.open_connection(sock=stream)
        queries = [
            write_query(name, ident=i)
            for i, name in enumerate(
                ["web.shop.svc.cluster.local", "www.example.org", "nope.cluster.local"] * 40
            )
        ]
        writer.write(b"".join(len(q).to_bytes(2, "big") + q for q in queries))
        writer.write_eof()
        rest = await reader.read()  # the server closes when all are answered
        writer.close()
        replies = []
        while rest:
            size = int.from_bytes(rest[:2], "big")
            replies.append(read_reply(rest[2 : 2 + size]))
            rest = rest[2 + size :]
        assert sorted(r.ident for r in replies) == list(range(120))
        assert {r.rcode for r in replies if r.ident % 3 == 2} == {"NXDOMAIN"}
        rubbish = open_socket(node.netns, socket.AF_INET, socket.SOCK_STREAM)
        rubbish.setblocking(False)
        await asyncio.get_running_loop().sock_connect(rubbish, (SERVER, 53))
        reader, writer = await asyncio.open_connection(sock=rubbish)
        writer.write(b"\0\5hello")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert (await node.dig("web.shop.svc.cluster.local"))[0] == "NOERROR"


async def test_a_change_is_answered_when_it_is_acknowledged(node: Node):
    async with node.agent() as agent:
        await agent.says(*shop())
        assert (await node.dig("new.shop.svc.cluster.local"))[0] == "NXDOMAIN"
        new = b.service("shop/new", "10.96.0.6")
        await agent.says(new)
        assert (await node.dig("new.shop.svc.cluster.local", "+short"))[1] == ["10.96.0.6"]
        await agent.says(b.service("shop/new", "10.96.0.7"))
        assert (await node.dig("new.shop.svc.cluster.local", "+short"))[1] == ["10.96.0.7"]
        await agent.says(gone=[new])
        assert (await node.dig("new.shop.svc.cluster.local"))[0] == "NXDOMAIN"


async def test_without_the_agent_the_last_knowledge_is_served(node: Node):
    async with node.agent() as agent:
        await agent.says(*shop())
    assert (await node.dig("web.shop.svc.cluster.local", "+short"))[1] == ["10.96.0.5"]
    assert (await node.dig("nope.shop.svc.cluster.local"))[0] == "NXDOMAIN"
    async with node.agent() as successor:
        await successor.says(b.service("shop/web", "10.96.0.99"))
        assert (await node.dig("web.shop.svc.cluster.local", "+short"))[1] == ["10.96.0.99"]
        assert (await node.dig("db.shop.svc.cluster.local"))[0] == "NXDOMAIN"


async def test_the_protocol_as_dig_and_kdig_see_it(node: Node):
    async with node.agent() as agent:
        await agent.says(*shop())
        name = "web.shop.svc.cluster.local"
        for args, status in (
            (("+opcode=NOTIFY", "cluster.local", "SOA"), "NOTIMP"),
            (("+opcode=UPDATE", "cluster.local", "SOA"), "NOTIMP"),
            (("+edns=1", "+noednsnegotiation", name), "BADVERS"),
            ((name, "ANY"), "NOERROR"),
            (("hostname.bind", "CH", "TXT"), "REFUSED"),
            ((name, "HS"), "REFUSED"),
            (("+ednsopt=65001:abcd", name), "NOERROR"),
            (("+ednsopt=10:abcd", "+nocookie", name), "FORMERR"),
            (("+qid=7", "+header-only",), "FORMERR"),
        ):  # fmt: skip
            assert (await node.dig(*args))[0] == status, args
        assert (await node.dig("version.bind", "CH", "TXT"))[1] == ['version.bind. 0 CH TXT "netloom"']
        assert "(good)" in (await node.dig("+cookie", name))[2]
        assert "flags: do; udp: 1232" in (await node.dig("+dnssec", name))[2]
        assert "TCP-KEEPALIVE: 10.0 secs" in re.sub("[-_ ]KEEPALIVE", "-KEEPALIVE", (await node.dig("+tcp", "+keepalive", name))[2])  # fmt: skip
        assert (await node.dig("cluster.local", "IXFR=1"))[2].count("Transfer failed") == 1


@pytest.mark.skipif(shutil.which("kdig") is None, reason="kdig is missing; install knot-dnsutils")
async def test_another_program_reads_the_same(node: Node):
    async with node.agent() as agent:
        await agent.says(*shop())

        async def kdig(*args: str) -> str:
            argv = ["kdig", f"@{SERVER}", "+timeout=3", "+retry=0", *args]
            done = await process.run(argv, ns=Namespaces(net=node.netns))
            return re.sub(r"[ \t]+", " ", done.stdout.decode())

        said = await kdig("+cookie", "+edns=0", "WEB.shop.svc.cluster.local")
        assert "status: NOERROR" in said
        assert "web.shop.svc.cluster.local. 5 in a 10.96.0.5" in said.lower()
        assert "status: NXDOMAIN" in await kdig("nope.shop.svc.cluster.local")
        assert "status: BADVERS" in await kdig("+edns=1", "web.shop.svc.cluster.local")
        assert "SOA" not in await kdig("+tcp", "cluster.local", "AXFR")
        assert (await kdig("+tcp", "+keepopen", "+short", "web.shop.svc.cluster.local", "db-1.db.shop.svc.cluster.local")) == "10.96.0.5\n10.244.1.1\n"  # fmt: skip


BEQUEST = """
import os, sys
given = [os.dup(fd) for fd in map(int, sys.argv[2].split(","))]
for place, fd in enumerate(given, 3):
    os.dup2(fd, place)
    os.set_inheritable(place, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given))}
os.execv(sys.executable, [sys.executable, "-m", "netloom.dns.main", sys.argv[1]])
"""


async def test_who_asks_while_one_process_follows_another_waits_and_is_answered(tmp_path: Path):
    feed = tmp_path / "dns.sock"
    config = tmp_path / "dns.json"
    config.write_bytes(msgspec.json.encode(DnsConfig(listen=(SERVER,), feed_socket=str(feed), patience_s=30)))
    loop = asyncio.get_running_loop()
    with fresh_netns() as netns, contextlib.ExitStack() as undo:
        with Rtnl(netns) as rtnl:
            rtnl.add_address("lo", ip_interface(f"{SERVER}/32"))
        sockets = run_in(netns, lambda: open_sockets((SERVER,), 53))
        undo.callback(sockets.close)
        fds = tuple(s.fileno() for s in (*sockets.datagrams, *sockets.streams))
        argv = (sys.executable, "-c", BEQUEST, str(config), ",".join(map(str, fds)))

        async def started() -> process.Process:
            command = process.Command(argv=argv, stderr=process.PIPE, pass_fds=fds)
            made = await process.spawn(command, ns=Namespaces(net=netns))
            undo.callback(made.close)
            assert made.stderr is not None
            assert b"answering at" in await asyncio.to_thread(made.stderr.readline)
            return made

        first = await started()
        async with Agent(feed).running() as agent:
            await agent.says(*shop())
            first.kill(signal.SIGKILL)
            await first.wait()
            asking = open_socket(netns, socket.AF_INET, socket.SOCK_DGRAM)
            undo.callback(asking.close)
            asking.setblocking(False)
            asking.connect((SERVER, 53))
            for ident in range(20):
                asking.send(write_query("web.shop.svc.cluster.local", ident=ident))
            stream = open_socket(netns, socket.AF_INET, socket.SOCK_STREAM)
            undo.callback(stream.close)
            stream.setblocking(False)
            query = write_query("nope.shop.svc.cluster.local")
            async with asyncio.timeout(30):
                await loop.sock_connect(stream, (SERVER, 53))
                await loop.sock_sendall(stream, len(query).to_bytes(2, "big") + query)
                second = await started()
                replies = [read_reply(await loop.sock_recv(asking, 4096)) for _ in range(20)]
                denied = read_reply((await loop.sock_recv(stream, 4096))[2:])
        assert sorted(r.ident for r in replies) == list(range(20))
        assert {r.answers for r in replies} == {("web.shop.svc.cluster.local. 5 A 10.96.0.5",)}
        assert denied.rcode == "NXDOMAIN"
        second.kill(signal.SIGTERM)
        assert await second.wait() == 0


async def test_sigterm_ends_it_cleanly(node: Node):
    node.upstream.twist = lambda reply: ()
    async with node.agent() as agent:
        await agent.says(*shop())
        asking = open_socket(node.netns, socket.AF_INET, socket.SOCK_DGRAM)
        asking.sendto(write_query("slow.example.org"), (SERVER, 53))
        await node.upstream.arrived.wait()  # a question upstream is open while it ends
        asking.close()
        node.server.kill(signal.SIGTERM)
        assert await node.server.wait() == 0
        assert not node.feed_socket.exists()
