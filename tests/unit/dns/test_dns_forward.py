"""Upstream servers that answer, stay silent, lie, refuse, and cut short: on loopback sockets of free ports."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from netloom.dns.answers import Answer, Ask, assemble
from netloom.dns.cache import AnswerCache
from netloom.dns.config import OutsideSettings, Policy, Stub, checked
from netloom.dns.counters import Counters
from netloom.dns.forward import Forwarder
from netloom.dns.records import Record
from netloom.dns.servers import Server, parse_server
from netloom.dns.tls import TlsPool
from netloom.dns.upstream import Resolvers
from netloom.dns.wire import CLASS_IN, TYPE_CNAME, encode_name, parse_query
from netloom.errors import UsageError
from netloom.testing.dns_messages import Reply, read_reply, write_query
from netloom.testing.dns_upstream import ScriptedUpstream

WWW = "www.example.org."
GOOD = {(WWW, "A"): [f"{WWW} 300 A 192.0.2.1"]}


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Bench:
    """A forwarder in front of scripted servers."""

    def __init__(
        self, forwarder: Forwarder, counters: Counters, servers: list[ScriptedUpstream], clock: HandClock
    ) -> None:
        self.clock = clock
        self.forwarder = forwarder
        self.counters = counters
        self.servers = servers

    def ask(self, name: str = WWW, kind: str = "A", *, prefix: tuple[Record, ...] = (), flags: int = 0x100):
        """The reply, once it is there."""
        query = parse_query(write_query(name, kind, flags=flags))
        got: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            got.set_result(read_reply(assemble(query, answer, 1232)))

        self.forwarder.ask(query, Ask(prefix[-1].data if prefix else query.folded, prefix), done)
        return got


def sockets() -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on the same free port."""
    while True:
        stream = socket.socket()
        stream.bind(("127.0.0.1", 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(stream.getsockname())
        except OSError:
            stream.close()
            datagrams.close()
        else:
            return datagrams, stream


async def nobody_cares(reply):
    assert reply.counts


@asynccontextmanager
async def bench(*answers, attempt_s: float = 0.05, total_s: float = 1.0, absent: int = 0, **settings):
    """``answers`` of each server; ``absent`` ports where nobody is come first. ``stubs`` by domain: places of servers."""
    counters = Counters()
    servers, addresses = [], []
    for _ in range(absent):
        gone, stream = sockets()
        addresses.append(str(Server("127.0.0.1", gone.getsockname()[1])))
        gone.close()
        stream.close()
    for one in answers:
        datagrams, stream = sockets()
        server = ScriptedUpstream(one)
        await server.start(datagrams, stream)
        servers.append(server)
        addresses.append(str(Server("127.0.0.1", datagrams.getsockname()[1])))
    clock = HandClock()
    stubs = {d: Stub(servers=(addresses[at],)) for d, at in settings.pop("stubs", {}).items()}
    stale_after_s = settings.pop("stale_after_s", 30)
    announce = settings.pop("announce", nobody_cares)
    outside = checked(
        OutsideSettings(upstreams=tuple(addresses), attempt_s=min(attempt_s, 5), stubs=stubs, **settings)
    )
    resolvers = Resolvers.of(outside, counters=counters, tls=TlsPool())
    for group in resolvers.groups:
        group.total_s = total_s
    async with asyncio.TaskGroup() as tasks:
        forwarder = Forwarder(
            resolvers=resolvers,
            cache=AnswerCache(clock=clock),
            clock=clock,
            counters=counters,
            tasks=tasks,
            announce=announce,
            stale_after_s=stale_after_s,
        )
        health = tasks.create_task(resolvers.run())
        try:
            yield Bench(forwarder, counters, servers, clock)
        finally:
            health.cancel()
            forwarder.close()
            for server in servers:
                server.close()


async def test_an_answer_is_fetched_once_and_kept():
    async with bench(GOOD) as b:
        reply = await b.ask()
        assert (reply.rcode, reply.answers) == ("NOERROR", (f"{WWW} 300 A 192.0.2.1",))
        assert "aa" not in reply.flags
        again = await b.ask("WWW.Example.org.")
        assert again.question.startswith("WWW.Example.org.")
        assert len(again.answers) == 1
        assert b.servers[0].asked == [(WWW, "A")]
        assert (b.counters.cache_hits, b.counters.cache_misses, b.counters.forwarded) == (1, 1, 1)


async def test_who_asks_the_same_at_once_waits_for_one_question():
    async with bench(GOOD) as b:
        replies = await asyncio.gather(*(b.ask() for _ in range(20)))
        assert {r.answers for r in replies} == {(f"{WWW} 300 A 192.0.2.1",)}
        assert b.servers[0].asked == [(WWW, "A")]


async def test_negative_answers_are_kept_as_well():
    async with bench(GOOD) as b:
        for _ in range(2):
            reply = await b.ask("nope.example.org.")
            assert reply.rcode == "NXDOMAIN"
            assert reply.authority[0].startswith("example.org. 300 SOA ")
        assert (await b.ask(kind="AAAA")).rcode == "NOERROR"
        assert b.servers[0].asked == [("nope.example.org.", "A"), (WWW, "AAAA")]


async def test_each_question_has_its_own_port():
    async with bench(GOOD) as b:
        for i in range(8):
            await b.ask(f"n{i}.example.org.")
        assert len(set(b.servers[0].ports)) > 4


async def test_a_silent_server_has_the_next_one_asked_and_that_one_stays_first():
    async with bench(GOOD, GOOD) as b:
        silent, other = b.servers
        silent.twist = lambda reply: ()
        assert (await b.ask()).rcode == "NOERROR"
        assert (silent.asked, other.asked) == ([(WWW, "A")], [(WWW, "A")])
        assert b.counters.upstream_retries == 1
        await b.ask("nope.example.org.")
        assert (WWW, "A") in other.asked
        assert ("nope.example.org.", "A") not in silent.asked


@pytest.mark.parametrize("rcode", [2, 4, 5])
async def test_a_server_that_cannot_help_is_passed_over_at_once(rcode):
    async with bench(GOOD, GOOD, attempt_s=30, total_s=60) as b:
        b.servers[0].twist = lambda reply: (reply[:3] + bytes((0x80 | rcode,)) + reply[4:],)
        assert (await b.ask()).rcode == "NOERROR"
        assert b.servers[1].asked == [(WWW, "A")]


async def test_a_port_where_nobody_is_is_passed_over_at_once():
    async with bench(GOOD, absent=1, attempt_s=30, total_s=60) as b:
        assert (await b.ask()).rcode == "NOERROR"


async def test_a_late_answer_of_an_earlier_try_still_counts():
    async with bench(GOOD, {}, total_s=30) as b:
        first, second = b.servers
        held: list[bytes] = []
        first.twist = lambda reply: held.append(reply) or ()
        second.twist = lambda reply: ()
        waiting = b.ask()
        await second.arrived.wait()
        first._datagrams.sendto(held[0], ("127.0.0.1", first.ports[0]))
        assert (await waiting).answers == (f"{WWW} 300 A 192.0.2.1",)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda r: bytes((r[0] ^ 1,)) + r[1:], id="another id"),
        pytest.param(lambda r: r.replace(b"\3www", b"\3wwx", 1), id="another question"),
        pytest.param(lambda r: r[:2] + b"\1\0" + r[4:], id="a query"),
        pytest.param(lambda r: r[:9], id="cut short"),
        pytest.param(lambda r: b"", id="nothing"),
    ],
)
async def test_a_forged_answer_is_passed_over_for_the_right_one(forge):
    async with bench(GOOD, attempt_s=30, total_s=60) as b:
        b.servers[0].twist = lambda reply: (forge(reply).replace(b"\xc0\0\2\1", b"\xcb\0\x71\7"), reply)
        assert (await b.ask()).answers == (f"{WWW} 300 A 192.0.2.1",)
        assert len(b.servers[0].asked) == 1


async def test_a_cut_answer_is_fetched_by_tcp():
    many = {(WWW, "A"): [f"{WWW} 300 A 192.0.2.{i}" for i in range(1, 31)]}
    async with bench(many) as b:
        b.servers[0].twist = lambda r: (r[:2] + b"\x83\x80\0\1\0\0\0\0\0\0" + r[12 : 12 + len(WWW) + 5],)
        reply = await b.ask()
        assert len(reply.answers) == 30
        assert b.servers[0].asked_by_tcp == [(WWW, "A")]


async def test_when_nobody_answers_it_is_servfail_and_not_kept():
    async with bench(GOOD, GOOD, attempt_s=0.01, total_s=0.1) as b:
        for server in b.servers:
            server.twist = lambda reply: ()
        assert (await b.ask()).rcode == "SERVFAIL"
        assert b.counters.upstream_failures == 1
        for server in b.servers:
            server.twist = lambda reply: (reply,)
        assert (await b.ask()).rcode == "SERVFAIL", "a failure counts for a second (RFC 9520)"
        b.clock.now += 1
        assert (await b.ask()).rcode == "NOERROR"


async def test_when_all_refuse_it_is_servfail_at_once():
    async with bench(GOOD, absent=1, attempt_s=30, total_s=60) as b:
        b.servers[0].twist = lambda r: (r[:3] + b"\x85" + r[4:],)
        assert (await b.ask()).rcode == "SERVFAIL"


async def test_records_that_are_none_are_servfail():
    async with bench(GOOD) as b:
        b.servers[0].twist = lambda r: (r[: -11 - 4] + b"\0" + r[-11:],)
        assert (await b.ask()).rcode == "SERVFAIL"
        assert b.counters.faults == 0


async def test_aliases_of_ours_stand_before_the_answer():
    alias = Record(encode_name("api.cluster.local"), TYPE_CNAME, CLASS_IN, 5, encode_name(WWW))
    async with bench(GOOD) as b:
        for _ in range(2):
            reply = await b.ask("api.cluster.local.", prefix=(alias,))
            assert reply.answers == (f"api.cluster.local. 5 CNAME {WWW}", f"{WWW} 300 A 192.0.2.1")
        assert b.servers[0].asked == [(WWW, "A")]
        assert (await b.ask("api.cluster.local.", "AAAA", prefix=(alias,))).rcode == "NOERROR"


async def test_without_recursion_or_upstreams_the_alias_alone_is_the_answer():
    alias = Record(encode_name("api.cluster.local"), TYPE_CNAME, CLASS_IN, 5, encode_name(WWW))
    async with bench(GOOD) as b:
        reply = await b.ask("api.cluster.local.", prefix=(alias,), flags=0)
        assert (reply.rcode, reply.answers) == ("NOERROR", (f"api.cluster.local. 5 CNAME {WWW}",))
        assert b.servers[0].asked == []
    async with bench() as b:
        assert (await b.ask()).rcode == "REFUSED"


async def test_open_questions_are_bounded(monkeypatch):
    monkeypatch.setattr("netloom.dns.forward.QUESTIONS_LIMIT", 2)
    async with bench(GOOD, attempt_s=30, total_s=60) as b:
        b.servers[0].twist = lambda reply: ()
        waiting = [b.ask(f"n{i}.example.org.") for i in range(3)]
        assert (await waiting[2]).rcode == "SERVFAIL"
        assert b.counters.refused_busy == 1
        assert not waiting[0].done()


async def test_a_server_that_answers_again_is_found_by_a_probe():
    async with bench(GOOD, GOOD) as b:
        silent, _ = b.servers
        silent.twist = lambda reply: ()
        await b.ask()
        silent.twist = lambda reply: (reply,)
        while (".", "NS") not in silent.asked:
            silent.arrived.clear()
            await silent.arrived.wait()
        while ("later.example.org.", "A") not in silent.asked:
            b.clock.now += 100
            await b.ask("later.example.org.")


async def test_what_was_true_before_is_given_when_nobody_answers():
    async with bench(GOOD, attempt_s=0.01, total_s=0.05) as b:
        await b.ask()
        b.clock.now += 301
        b.servers[0].twist = lambda reply: ()
        reply = await b.ask()
        assert (reply.rcode, reply.answers) == ("NOERROR", (f"{WWW} 30 A 192.0.2.1",))
        assert b.counters.stale == 1
        b.clock.now += 3600
        assert (await b.ask()).rcode == "SERVFAIL"


async def test_what_was_true_before_is_given_soon_and_upstream_is_asked_all_the_same():
    async with bench(GOOD, attempt_s=5, total_s=30, stale_after_s=0.01) as b:
        await b.ask()
        b.clock.now += 301
        server = b.servers[0]
        held: list[bytes] = []
        server.twist = lambda reply: held.append(reply) or ()
        assert (await b.ask()).answers == (f"{WWW} 30 A 192.0.2.1",)
        server.arrived.clear()
        server._datagrams.sendto(held[0], ("127.0.0.1", server.ports[-1]))
        while (await b.ask()).answers != (f"{WWW} 300 A 192.0.2.1",):
            pass


async def test_what_is_used_often_is_fetched_before_it_ends():
    async with bench(GOOD) as b:
        for _ in range(5):
            await b.ask()
        b.clock.now += 280
        assert len(b.servers[0].asked) == 1
        b.servers[0].arrived.clear()
        assert (await b.ask()).answers == (f"{WWW} 20 A 192.0.2.1",)
        await b.servers[0].arrived.wait()
        assert len(b.servers[0].asked) == 2
        assert b.counters.prefetched == 1


async def test_a_domain_with_servers_of_its_own():
    corp = {("db.corp.example.", "A"): ["db.corp.example. 60 A 192.0.2.77"]}
    async with bench(GOOD, corp, stubs={"corp.example": 1, "other.corp.example": 0}) as b:
        others, own = b.servers
        assert (await b.ask("DB.Corp.Example.")).answers == ("db.corp.example. 60 A 192.0.2.77",)
        assert others.asked == []
        await b.ask("x.other.corp.example.")
        await b.ask("notcorp.example.")
        assert [name for name, _ in others.asked] == ["x.other.corp.example.", "notcorp.example."]
        assert own.asked == [("db.corp.example.", "A")]


async def test_a_domain_that_nobody_is_asked_about():
    async with bench(GOOD, except_domains=("secret.example",)) as b:
        assert (await b.ask("x.secret.example.")).rcode == "REFUSED"
        assert (await b.ask()).rcode == "NOERROR"
        assert [name for name, _ in b.servers[0].asked] == [WWW]


async def test_an_answer_is_given_when_it_has_been_announced_and_not_before():
    announced, may_go = asyncio.Event(), asyncio.Event()

    async def announce(reply):
        announced.set()
        await may_go.wait()

    async with bench(GOOD, announce=announce) as b:
        waiting = b.ask()
        await announced.wait()
        assert not waiting.done()
        may_go.set()
        assert (await waiting).answers == (f"{WWW} 300 A 192.0.2.1",)
        announced.clear()
        await b.ask()
        assert not announced.is_set(), "what is kept has been announced"


async def test_servers_take_turns_where_that_is_wanted():
    async with bench(GOOD, GOOD, GOOD, policy=Policy.ROUND_ROBIN) as b:
        for i in range(6):
            await b.ask(f"n{i}.example.org.")
        assert [len(server.asked) for server in b.servers] == [2, 2, 2]


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", Server("192.0.2.1", 53)),
        ("192.0.2.1:5353", Server("192.0.2.1", 5353)),
        ("2001:db8::1", Server("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", Server("2001:db8::1", 5353)),
        ("[2001:db8::1]", Server("2001:db8::1", 53)),
        ("tls://192.0.2.1", Server("192.0.2.1", 853, tls=True)),
        ("tls://192.0.2.1:8853#dns.example", Server("192.0.2.1", 8853, tls=True, name="dns.example")),
        ("tls://[2001:db8::1]#dns.example", Server("2001:db8::1", 853, tls=True, name="dns.example")),
    ],
)
def test_servers_as_text(text, server):
    assert parse_server(text) == server
    assert parse_server(str(server)) == server


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns.example.org",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:x",
        "[::1",
        "192.0.2.1#x",
        "tls://192.0.2.1#",
        "tls://dns.example",
    ],
)
def test_text_that_is_no_server(text):
    with pytest.raises(UsageError, match="upstream"):
        parse_server(text)
