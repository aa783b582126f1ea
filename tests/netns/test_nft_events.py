"""What the kernel tells of nftables: commits, and what tables hold."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket

import pytest

from netloom.linux import process
from netloom.linux.netns import Namespaces
from netloom.linux.nft import Nft
from netloom.linux.nft_commits import Commit, Overrun
from netloom.linux.nft_dump import NftDump
from netloom.linux.nft_events import AccountedNft, NftEvents
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    Container,
    DeleteElements,
    Field,
    Transaction,
)
from netloom.testing.netns import fresh_netns
from netloom.units import Family

pytestmark = pytest.mark.netns

V4 = Family.V4
ENDPOINTS = Container(
    "endpoints", (Field.SLOT, Field.ADDRESS, Field.PROTOCOL, Field.PORT), data=(Field.ADDRESS, Field.PORT)
)
ADDRESS = ipaddress.ip_address("192.0.2.80").packed
RULES = (
    "ip saddr { 192.0.2.1, 192.0.2.7 } accept",
    "ip daddr vmap { 192.0.2.1 : accept, 192.0.2.2 : drop }",
    "counter",
)


def key(slot):
    return (slot, ADDRESS, 6, 80)


def elements(*slots, port=8080):
    return tx(AddElements(ENDPOINTS, tuple((key(slot), (ADDRESS, port)) for slot in slots)))


def tx(*ops, table="mine", family=V4):
    return Transaction(family, table, ops)


def ground(*rules, table="mine"):
    return tx(
        AddTable(),
        AddContainer(ENDPOINTS),
        AddChain(Chain("one")),
        *(AddRule("one", rule) for rule in rules),
        table=table,
    )


@pytest.fixture
def netns_fd():
    with fresh_netns() as fd:
        yield fd


@pytest.fixture
async def nft(netns_fd):
    with AccountedNft(netns_fd=netns_fd) as one:
        yield one


async def next_of(events):
    async with asyncio.timeout(5):
        return await events.next()


async def program(netns_fd, command):
    done = await process.run(["nft", command], ns=Namespaces(net=netns_fd))
    assert done.returncode == 0, done.stderr


async def test_a_commit_says_who_and_what(netns_fd, nft):
    await nft.run(ground())
    with NftEvents(netns_fd=netns_fd, tables=("mine",)) as events:
        await program(
            netns_fd,
            "add rule ip mine one accept; add table ip6 mine; add table inet mine; add table ip other;"
            " add element ip mine endpoints { 3 . 192.0.2.80 . tcp . 80 : 192.0.2.1 . 81 }",
        )
        commit = await next_of(events)
    assert commit.process == "nft"
    assert commit.pid > 0
    assert commit.generation == nft.generation
    assert commit.tables == {(V4, "mine"), (Family.V6, "mine"), (V4, "other")}
    assert commit.counts() == {"rule": 1, "table": 1, "element": 1}
    by_kind = {change.kind: change for change in commit.changes}
    assert (by_kind["rule"].name, by_kind["rule"].added, by_kind["rule"].deleted) == ("one", 1, 0)
    assert (by_kind["element"].name, len(by_kind["element"].bodies)) == ("endpoints", 1)


async def test_commits_come_one_by_one_and_deletions_are_told(netns_fd, nft):
    await nft.run(ground())
    await nft.run(elements(1, 2))
    with NftEvents(netns_fd=netns_fd, tables=("mine",)) as events:
        await program(netns_fd, "flush map ip mine endpoints")
        await program(netns_fd, "delete table ip mine")
        first, second = [await next_of(events) for _ in range(2)]
    assert second.generation == first.generation + 1
    assert [(c.kind, c.name, c.added, c.deleted) for c in first.changes] == [("element", "endpoints", 0, 2)]
    assert {change.kind for change in second.changes} == {"map", "chain", "table"}


async def test_our_own_commits_are_not_told_or_known_for_ours(netns_fd, nft):
    with NftEvents(netns_fd=netns_fd, tables=("mine",), but_not=(nft.port,)) as events:
        await nft.run(ground(*RULES))  # by the nft program
        for slot in range(20):
            await nft.run(elements(slot))  # by our own socket
        with Nft(netns_fd=netns_fd) as other:
            await other.run(elements(99))
        first, second = [await next_of(events) for _ in range(2)]
        assert events.pending() == []
    assert nft.made(first)
    assert not nft.made(second)
    assert second.generation == nft.generation


async def test_who_commits_while_our_program_runs_is_not_taken_for_us(netns_fd, nft):
    await nft.run(ground())
    with NftEvents(netns_fd=netns_fd, tables=("mine",), but_not=(nft.port,)) as events:
        with Nft(netns_fd=netns_fd) as other:
            # The program starts on a thread: the other one is sooner, or later, or between.
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(nft.run(tx(AddChain(Chain("two")), AddRule("two", "accept"))))
                for slot in range(5):
                    await other.run(elements(slot))
                    await asyncio.sleep(0)
        await program(netns_fd, "add chain ip mine last")
        seen = []
        while not any(change.name == "last" for commit in seen for change in commit.changes):
            seen.append(await next_of(events))
    foreign = [commit for commit in seen if commit.counts().keys() == {"element"}]
    assert len(foreign) == 5
    assert not any(nft.made(commit) for commit in foreign)


async def test_an_overrun_is_told_once_and_then_all_goes_on(netns_fd, nft):
    await nft.run(ground())
    with NftEvents(netns_fd=netns_fd, tables=("mine",)) as events:
        with socket.socket(fileno=os.dup(events._socket.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await nft.run(elements(*range(2000)))
        assert isinstance(await next_of(events), Overrun)
        await program(netns_fd, "add chain ip mine later")
        commit = await next_of(events)
    assert isinstance(commit, Commit)
    assert [(change.kind, change.name) for change in commit.changes] == [("chain", "later")]


async def test_tables_of_the_same_program_look_the_same_in_any_namespace(netns_fd, nft):
    await nft.run(ground(*RULES))
    await program(netns_fd, "add rule ip mine one accept; flush chain ip mine one")  # handles have moved on
    await nft.run(tx(*(AddRule("one", rule) for rule in RULES)))
    with fresh_netns() as elsewhere, Nft(netns_fd=elsewhere) as other:
        await other.run(ground("drop", table="first"), ground(*RULES))
        with NftDump(netns_fd=netns_fd) as here, NftDump(netns_fd=elsewhere) as there:
            assert await here.table(V4, "mine") == await there.table(V4, "mine") is not None
            assert await here.table(V4, "nothing") is None
            assert await here.table(Family.V6, "mine") is None


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (0, "ip saddr { 192.0.2.1, 192.0.2.8 } accept"),
        (0, "ip saddr { 192.0.2.1 } accept"),
        (0, "ip saddr { 192.0.2.1, 192.0.2.7 } drop"),
        (1, "ip daddr vmap { 192.0.2.1 : accept, 192.0.2.2 : accept }"),
    ],
)
async def test_another_rule_looks_another(netns_fd, nft, number, rule):
    changed = [*RULES]
    changed[number] = rule
    await nft.run(ground(*RULES), ground(*changed, table="other"))
    with NftDump(netns_fd=netns_fd) as dump:
        right, wrong = await dump.table(V4, "mine"), await dump.table(V4, "other")
    same = [a == b for a, b in zip(right.chains["one"].rules, wrong.chains["one"].rules, strict=True)]
    assert same == [place != number for place in range(3)]


async def test_hooks_and_declarations_are_read(netns_fd):
    await program(
        netns_fd,
        "add table ip mine; add chain ip mine c { type nat hook postrouting priority 99; policy accept; };"
        " add set ip mine a { type ipv4_addr; }; add set ip mine b { type ipv4_addr; timeout 5s; }",
    )
    with NftDump(netns_fd=netns_fd) as dump:
        table = await dump.table(V4, "mine")
    assert table.chains["c"].hook == "nat postrouting 99 accept"
    assert table.containers["a"] != table.containers["b"]


async def test_elements_are_read_and_looked_up_while_somebody_writes(netns_fd, nft):
    await nft.run(ground())
    await nft.run(elements(*range(3000)))
    with NftDump(netns_fd=netns_fd) as dump:

        async def read():
            return [one async for page in dump.elements(V4, "mine", ENDPOINTS) for one in page]

        assert dict(await read()) == await nft.elements(V4, "mine", ENDPOINTS)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read())
            for slot in range(3000, 3100):
                await nft.run(elements(slot))
                await asyncio.sleep(0)
        assert len(reading.result()) >= 3000
        await nft.run(tx(DeleteElements(ENDPOINTS, (key(7),))))
        asked = [key(slot) for slot in (1, 7, 2999, 5000)]
        found = await dump.look_up(V4, "mine", ENDPOINTS, asked)
        assert found == {key(1): (ADDRESS, 8080), key(2999): (ADDRESS, 8080)}
        assert await dump.look_up(V4, "nothing", ENDPOINTS, asked) == {}


async def test_closing_ends_the_waiting_for_a_commit(netns_fd):
    with NftEvents(netns_fd=netns_fd, tables=()) as events:
        waiting = asyncio.ensure_future(events.next())
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
    assert waiting.cancelled()
