"""Both ends of what pods are told: the DNS process holds an answer until the agent has put its addresses in force."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest

from netloom.agent.domains import GRACE_S, DomainNames
from netloom.dns import told as told_module
from netloom.dns.cache import Question, read_reply
from netloom.dns.told import ToldNames
from netloom.dns.wire import encode_name
from netloom.model.inputs import NodeFacts
from netloom.model.policy.domains import KnownName
from netloom.model.policy.state import DomainPeers, PolicyDelta, PolicyState, SetChange
from netloom.model.state import Delta, NetworkState
from netloom.testing.dns_messages import write_record
from netloom.units import ObjectKey

WWW, CDN = "www.example.org.", "cdn.example.net."
ALIAS = (f"{WWW} 60 CNAME {CDN}", f"{CDN} 30 A 192.0.2.1", f"{CDN} 30 A 192.0.2.2")
FACTS = NodeFacts(name="node-1")


class HandClock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


def reply(*lines, name=WWW, kind=1):
    question = Question(encode_name(name), kind)
    head = bytes(2) + b"\x81\x80\0\1" + len(lines).to_bytes(2, "big") + bytes(4)
    return read_reply(question, head + question.section + b"".join(map(write_record, lines)))


class Turns:
    """Stands for the engine: marks are in force when the test says so."""

    def __init__(self):
        self.marked = asyncio.Queue()
        self.known = {}
        self.number = 0
        self.open = asyncio.Event()
        self.open.set()

    def mark(self, key, known):
        self.number += 1
        self.known[key.name] = known
        self.marked.put_nowait((key.name, known))
        return self.number

    async def in_force(self, number):
        assert 0 < number <= self.number
        await self.open.wait()


class Observed(ToldNames):
    """Tells the test when an agent has left."""

    def _release(self):
        super()._release()
        self.left.set()


class Node:
    """The DNS process's end, and agents that come and go."""

    def __init__(self, path, fixed):
        self.clock = HandClock()
        self.kept = []
        self.path = path
        self.used = frozenset()
        self.watched = asyncio.Event()
        self.told = Observed(path=path, clock=self.clock, fixed=fixed, answers=self._answers)
        self.told.left = asyncio.Event()

    def _answers(self):
        """Asked for whenever the agent says what policies mean."""
        self.watched.set()
        return self.kept

    @asynccontextmanager
    async def agent(self, *patterns):
        turns = Turns()

        async def used(addresses):
            return self.used & addresses

        domains = DomainNames(
            path=self.path, mark=turns.mark, in_force=turns.in_force, clock=self.clock, used=used
        )
        task = asyncio.create_task(domains.run())
        try:
            await domains.recall()
            self.watched.clear()
            domains.start(state(*patterns), FACTS)
            if patterns:
                await self.watched.wait()
            yield domains, turns
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def state(*patterns):
    return NetworkState(policy=PolicyState(sets={DomainPeers(patterns): {}} if patterns else {}))


@asynccontextmanager
async def node(tmp_path, fixed=()):
    one = Node(tmp_path / "told.sock", {encode_name(n): tuple(map(ip_address, a)) for n, a in fixed})
    one.told.open()
    await one.told.start()
    try:
        yield one
    finally:
        one.told.close()


def known(name, *addresses):
    return KnownName(name, tuple(map(ip_address, addresses)))


async def test_an_answer_waits_until_its_addresses_are_in_force(tmp_path):
    async with node(tmp_path) as n, n.agent("*.example.org") as (_, turns):
        turns.open.clear()
        waiting = asyncio.create_task(n.told.announce(reply(*ALIAS)))
        names = dict([await turns.marked.get(), await turns.marked.get()])
        assert names == {
            "www.example.org": known("www.example.org", "192.0.2.1", "192.0.2.2"),
            "cdn.example.net": known("cdn.example.net", "192.0.2.1", "192.0.2.2"),
        }
        assert not waiting.done()
        turns.open.set()
        await waiting


@pytest.mark.parametrize(
    ("patterns", "name", "lines", "kind"),
    [
        ((), WWW, ALIAS, 1),
        (("example.org",), WWW, ALIAS, 1),
        (("*.www.example.org",), WWW, ALIAS, 1),
        (("www.example.org",), WWW, (f"{WWW} 60 TXT x",), 16),
        (("www.example.org",), WWW, (), 1),
    ],
)
async def test_what_no_policy_means_is_given_at_once(tmp_path, patterns, name, lines, kind):
    async with node(tmp_path) as n, n.agent(*patterns) as (_, turns):
        turns.open.clear()
        await n.told.announce(reply(*lines, name=name, kind=kind))
        assert turns.marked.empty()


async def test_an_answer_is_given_after_a_while_whatever_the_agent_does(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(told_module, "PATIENCE_S", 0.01)
    async with node(tmp_path) as n, n.agent("www.example.org") as (_, turns):
        turns.open.clear()
        await n.told.announce(reply(*ALIAS))
        assert "did not put www.example.org in force in time" in caplog.text


async def test_without_an_agent_answers_are_given_and_the_next_agent_hears_of_them_first(tmp_path):
    async with node(tmp_path) as n:
        async with n.agent("*.example.org") as (_, turns):
            await n.told.announce(reply(*ALIAS))
        n.clock.now += 10
        await n.told.left.wait()
        await n.told.announce(reply(f"a.{WWW} 60 A 192.0.2.7", name=f"a.{WWW}"))
        async with n.agent() as (_, turns):
            assert turns.known == {
                "www.example.org": known("www.example.org", "192.0.2.1", "192.0.2.2"),
                "cdn.example.net": known("cdn.example.net", "192.0.2.1", "192.0.2.2"),
                "a.www.example.org": known("a.www.example.org", "192.0.2.7"),
            }


async def test_answers_of_before_the_policy_count_and_fixed_names_do(tmp_path):
    async with node(tmp_path, fixed=[("printer.example", ["192.0.2.9"])]) as n:
        n.kept = [reply(*ALIAS), reply(f"other.{CDN} 60 A 192.0.2.8", name=f"other.{CDN}")]
        async with n.agent("*.example.org", "printer.example") as (_, turns):
            while len(turns.known) < 3:
                await turns.marked.get()
            assert set(turns.known) == {"www.example.org", "cdn.example.net", "printer.example"}


async def test_a_policy_that_comes_later_is_heard_of(tmp_path):
    async with node(tmp_path) as n, n.agent("www.example.org") as (domains, turns):
        n.watched.clear()
        domains.apply(
            Delta(policy=PolicyDelta(sets={DomainPeers(("*.example.net",)): SetChange(is_new=True)}))
        )
        await n.watched.wait()
        assert set(n.told.patterns) == {"www.example.org", "*.example.net"}
        await n.told.announce(reply(f"{CDN} 30 A 192.0.2.1", name=CDN))
        assert set(turns.known) == {"cdn.example.net"}


async def test_addresses_add_up_and_are_forgotten_when_their_time_is_over_and_nobody_uses_them(tmp_path):
    async with node(tmp_path) as n, n.agent("www.example.org") as (domains, turns):
        await n.told.announce(reply(f"{WWW} 30 A 192.0.2.1"))
        n.clock.now += 20
        await n.told.announce(reply(f"{WWW} 30 A 192.0.2.2"))
        assert turns.known["www.example.org"] == known("www.example.org", "192.0.2.1", "192.0.2.2")
        before = turns.number
        await n.told.announce(reply(f"{WWW} 30 A 192.0.2.2"))
        assert turns.number == before, "nothing new, no turn"
        n.clock.now += 11 + GRACE_S
        n.used = frozenset({ip_address("192.0.2.1")})
        await domains.forget()
        assert turns.known["www.example.org"] == known("www.example.org", "192.0.2.1", "192.0.2.2")
        n.used = frozenset()
        await domains.forget()
        assert turns.known["www.example.org"] == known("www.example.org", "192.0.2.2")
        n.clock.now += 100
        await domains.forget()
        assert turns.known["www.example.org"] is None
        assert domains.report() == []


async def test_both_families_of_a_name(tmp_path):
    async with node(tmp_path) as n, n.agent("www.example.org") as (_, turns):
        await n.told.announce(reply(f"{WWW} 30 A 192.0.2.1"))
        await n.told.announce(reply(f"{WWW} 30 AAAA 2001:db8::1", kind=28))
        assert turns.known["www.example.org"] == known("www.example.org", "192.0.2.1", "2001:db8::1")
    async with node(tmp_path) as n, n.agent() as (_, turns):
        assert turns.known == {}, "another DNS process has told nobody"


async def test_a_stranger_at_the_socket_ends_nothing(tmp_path):
    async with node(tmp_path) as n:
        reader, writer = await asyncio.open_unix_connection(n.path)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        async with n.agent("www.example.org") as (_, turns):
            await n.told.announce(reply(f"{WWW} 30 A 192.0.2.1"))
            assert turns.known == {"www.example.org": known("www.example.org", "192.0.2.1")}


def test_the_key_of_a_known_name():
    assert known("a.example").key == ObjectKey("", "a.example")
