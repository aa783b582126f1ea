"""The part for layer 2: who is elected answers, once; what the others and the API must say before."""

import asyncio
from ipaddress import ip_address

import msgspec
import pytest

from netloom.announce.answering import Conflict
from netloom.announce.authority import Authority
from netloom.announce.layer2 import AddressStatus, Layer2
from netloom.announce.members.beats import Heartbeat, short_id, write_heard
from netloom.announce.members.key import read_or_make, secret_key
from netloom.announce.members.state import Members
from netloom.cli.speaker import Answer, merged, status_text
from netloom.errors import AlreadyExists, NotFound, Unavailable, UsageError
from netloom.model.announcing.elect import elected
from netloom.model.announcing.view import AnnounceView, Duty, Situation
from netloom.model.provenance import Source

ADDRESS = ip_address("192.0.2.7")
NAMES = ("a", "b", "c")
OWNER = elected(str(ADDRESS), NAMES)
OTHER = next(name for name in NAMES if name != OWNER)
SOURCE = Source("Service", "shop", "web", field="status.loadBalancer.ingress[0].ip")


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def wall(self):
        return 1e9 + self.now


class Answers:
    """Stands for the answerer."""

    def __init__(self):
        self.held = set()

    def hold(self, addresses):
        self.held = set(addresses)

    def places(self, _address):
        return ("eth0",)


class World:
    """One node's part, with two others that can speak."""

    def __init__(self, own=OWNER):
        self.clock = Clock()
        self.answers = Answers()
        self.reports, self.moves = [], []
        self.may_take = True
        self.members = Members(own)
        self.members.know(NAMES, self.clock.now - 5)
        self.members.became_ready(self.clock.now - 4)
        self.sequence = 0
        self.part = Layer2(
            members=self.members,
            answerer=self.answers,
            clock=self.clock,
            may_take=lambda _now: self.may_take,
            on_moved=lambda: self.moves.append(1),
            report=self.reports.append,
        )
        self.beat()

    def beat(self, **claims):
        """Both others say that they are there, and hear this node."""
        self.sequence += 1
        for name in self.members.peers:
            claimed = tuple(a.packed for a in claims.get(name, ()))
            heard = write_heard([(short_id(self.members.own), 0.0)])
            self.members.heard(
                Heartbeat(
                    sender=name,
                    incarnation=1,
                    sequence=self.sequence,
                    is_ready=True,
                    heard=heard,
                    claims_version=self.sequence,
                    claims=claimed,
                ),
                self.clock.now,
            )
        self.members.turn(self.clock.now)

    def tell(self, candidates=NAMES):
        duty = Duty(address=ADDRESS, candidates=candidates, layer2=candidates, source=SOURCE)
        self.part.take(Situation(node=self.members.own, view=AnnounceView(), duties={ADDRESS: duty}))


def test_who_is_elected_answers_and_says_so():
    world = World()
    world.tell()
    assert world.answers.held == {ADDRESS}
    assert world.part.claims.addresses == (ADDRESS,)
    assert world.moves == [1]
    (row,) = world.part.report()
    assert (row.owner, row.claimed_by, row.interfaces, row.since) == (OWNER, (OWNER,), ("eth0",), 1e9 + 100)


def test_who_is_not_elected_does_not():
    world = World(OTHER)
    world.tell()
    assert world.answers.held == set()


def test_another_that_still_answers_is_waited_for():
    world = World()
    world.beat(**{OTHER: (ADDRESS,)})
    world.tell()
    assert world.answers.held == set()
    assert world.part.report()[0].is_waiting
    world.beat()
    world.part.turn(is_news=True)
    assert world.answers.held == {ADDRESS}


def test_nothing_new_is_taken_without_leave_and_what_is_held_stays():
    world = World()
    world.may_take = False
    world.tell()
    assert world.answers.held == set()
    world.may_take = True
    world.part.turn(is_news=False)
    assert world.answers.held == {ADDRESS}
    world.may_take = False
    world.tell()
    assert world.answers.held == {ADDRESS}


def test_the_end_gives_all_away():
    world = World()
    world.tell()
    world.part.stop()
    assert world.answers.held == set()
    assert world.part.claims.addresses == ()


def test_a_stranger_is_told_of_once_a_minute():
    world = World()
    world.tell()
    for mac in ("02:00:00:00:00:01", "02:00:00:00:00:01", "02:00:00:00:00:02"):
        world.part.conflict(Conflict(ADDRESS, mac, "eth0"))
    assert [finding.source for finding in world.reports] == [SOURCE, SOURCE]
    assert "02:00:00:00:00:01" in world.reports[0].problem
    world.clock.now += 61
    world.part.conflict(Conflict(ADDRESS, "02:00:00:00:00:01", "eth0"))
    assert len(world.reports) == 3


@pytest.mark.parametrize(("mac", "stays"), [("02:00:00:00:00:01", False), ("02:00:00:00:00:09", True)])
def test_where_no_heartbeat_gets_through_the_lower_mac_keeps_an_address(mac, stays):
    world = World()
    for peer in world.members.peers.values():
        peer.rank, peer.evidence = (0, 0), float("-inf")
    world.tell()
    world.part.conflict(Conflict(ADDRESS, mac, "eth0", "02:00:00:00:00:05"))
    assert (world.answers.held == {ADDRESS}) is stays
    assert len(world.reports) == 1
    world.clock.now += 601
    world.members.turn(world.clock.now)
    world.clock.now += 1
    world.part.turn(is_news=True)
    assert world.answers.held == {ADDRESS}


def test_who_has_heard_others_yields_to_no_stranger():
    world = World()
    world.tell()
    world.part.conflict(Conflict(ADDRESS, "02:00:00:00:00:01", "eth0", "02:00:00:00:00:05"))
    assert world.answers.held == {ADDRESS}


# --- leave to take


class Api:
    def __init__(self, answers):
        self.answers = answers

    async def get(self, _resource, _key):
        if not self.answers:
            raise Unavailable("no API", "")
        return {}


@pytest.mark.parametrize("answers", [True, False])
async def test_a_node_that_hears_nobody_asks_the_api(answers):
    clock = Clock()
    members = Members("a")
    members.know(NAMES, 0.0)
    authority = Authority(members=members, client=Api(answers), node="a", clock=clock)
    assert not authority.may_take(clock.now)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(authority.run())
        for _ in range(5):
            await asyncio.sleep(0)
        assert authority.may_take(clock.now) is answers
        clock.now += 10
        assert not authority.may_take(clock.now)  # what was said ten seconds ago is old
        asking.cancel()


# --- the key


class Secrets:
    """An API with one Secret at most; another may be quicker."""

    def __init__(self, *, quicker=None, data=None):
        self.body = None if data is None else {"data": {"key": data}}
        self.quicker = quicker

    async def get(self, _resource, _key):
        if self.body is None:
            raise NotFound("no Secret", "")
        return self.body

    async def create(self, _resource, body):
        if self.quicker is not None:
            self.body = self.quicker
            raise AlreadyExists("there is one", "")
        self.body = body
        return body


async def test_the_first_makes_the_key_and_all_others_read_it():
    api = Secrets()
    key = await read_or_make(api, secret_key("kube-system/netloom-members"))
    assert len(key) == 32
    assert await read_or_make(api, secret_key("kube-system/netloom-members")) == key
    late = Secrets(quicker=api.body)
    assert await read_or_make(late, secret_key("kube-system/netloom-members")) == key


@pytest.mark.parametrize("data", ["", "c2hvcnQ=", "no base64!"])
async def test_a_secret_without_a_key_is_said(data):
    with pytest.raises(UsageError, match="delete the Secret"):
        await read_or_make(Secrets(data=data), secret_key("kube-system/netloom-members"))
    with pytest.raises(UsageError, match="names no Secret"):
        secret_key("netloom-members")


# --- what people see


def row(**more):
    plain = {
        "address": "192.0.2.7",
        "owner": "a",
        "claimed_by": ("a",),
        "candidates": NAMES,
        "source": str(SOURCE),
    }
    return AddressStatus(**plain | more)


def test_what_several_nodes_say_is_one_table():
    told = {
        "a": msgspec.json.encode([row(interfaces=("eth0",), since=940.0)]),
        "b": msgspec.json.encode([row()]),
    }
    answer = Answer(addresses=merged(told), problems={"c": "no answer"})
    (one,) = answer.addresses
    assert (one.owners, one.elected, one.interfaces) == (("a",), ("a",), ("eth0",))
    assert status_text(answer, 1000.0).splitlines() == [
        "ADDRESS    ANSWERED BY  SINCE  AT    MAY ANSWER  BECAUSE OF",
        "192.0.2.7  a            1m     eth0  a,b,c       Service shop/web: status.loadBalancer.ingress[0].ip",
        "c: no answer",
    ]
    assert merged({"": msgspec.json.encode([row()])})[0].owners == ("a",)
