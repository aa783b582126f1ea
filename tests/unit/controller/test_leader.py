"""One of several controllers leads: one at a time, whatever the API server does, and the next one soon."""

import asyncio
import contextlib
import random
from copy import deepcopy

import pytest

from netloom.controller.leader import LEASE, Leader, Terms
from netloom.errors import AlreadyExists, NotFound, Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.status import Conflict, Denied

pytestmark = pytest.mark.looptime
TERMS = Terms()


class Shelf:
    """The one Lease of an API server."""

    def __init__(self):
        self.lease = None
        self.version = 0

    def write(self, spec, version=None):
        if version is not None and version != str(self.version):
            raise Conflict("changed")
        self.version += 1
        before = {} if self.lease is None else self.lease["spec"]
        merged = {k: v for k, v in {**before, **spec}.items() if v is not None}
        self.lease = {
            "metadata": {
                "namespace": LEASE.namespace,
                "name": LEASE.name,
                "resourceVersion": str(self.version),
            },
            "spec": merged,
        }
        return deepcopy(self.lease)


class Line(KubeClient):
    """One controller's connection, which can be cut, or be slow."""

    def __init__(self, shelf):
        super().__init__(ClientConfig(server="http://localhost"))
        self.shelf = shelf
        self.is_cut = False
        self.denied = ""
        self.delay = 0.0

    async def _arrives(self):
        if self.is_cut:
            raise Unavailable("away")
        if self.denied:
            raise Denied(self.denied)
        if self.delay:
            await asyncio.sleep(self.delay)

    async def get(self, resource, key):
        await self._arrives()
        if self.shelf.lease is None:
            raise NotFound("none")
        return deepcopy(self.shelf.lease)

    async def create(self, resource, body, *, subresource=""):
        await self._arrives()
        if self.shelf.lease is not None:
            raise AlreadyExists("there")
        return self.shelf.write(body["spec"])

    async def patch(self, resource, key, body, **options):
        await self._arrives()
        return self.shelf.write(body["spec"], body["metadata"]["resourceVersion"])


class LoopClock:
    def __init__(self, offset=0.0):
        self.offset = offset

    def monotonic(self):
        return asyncio.get_running_loop().time() + self.offset

    def wall(self):
        return 1_700_000_000.0 + self.monotonic()


class Controller:
    def __init__(self, shelf, name, offset=0.0):
        self.line = Line(shelf)
        self.leader = Leader(self.line, identity=name, clock=LoopClock(offset))
        self.began = []
        self.ended = []
        self.is_working = False

    async def work(self):
        loop = asyncio.get_running_loop()
        self.began.append(loop.time())
        self.is_working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_working = False
            self.ended.append(loop.time())

    async def run(self):
        await self.leader.run(self.work)


@contextlib.asynccontextmanager
async def running(*controllers):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in controllers]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()


async def test_the_first_one_leads_and_gives_back_when_it_ends():
    shelf = Shelf()
    one = Controller(shelf, "one")
    async with running(one):
        await asyncio.sleep(60)
        assert (one.began, one.ended) == ([0.0], [])
        assert one.leader.is_leading
        assert shelf.lease["spec"]["holderIdentity"] == "one"
    assert one.ended == [60.0]
    assert "holderIdentity" not in shelf.lease["spec"]
    assert not one.leader.is_leading


async def test_the_second_one_waits_and_follows_soon_after_the_first_gives_back():
    shelf = Shelf()
    one, two = Controller(shelf, "one"), Controller(shelf, "two", offset=1e6)
    async with running(one, two) as tasks:
        await asyncio.sleep(100)
        assert (one.began, two.began) == ([0.0], [])
        tasks[0].cancel()
        await asyncio.sleep(TERMS.retry_s + 0.1)
        assert one.ended == [100.0]
        assert len(two.began) == 1
    assert shelf.lease["spec"]["leaseTransitions"] == 1


async def test_who_cannot_renew_stops_before_anybody_else_begins():
    shelf = Shelf()
    one, two = Controller(shelf, "one"), Controller(shelf, "two")
    async with running(one, two):
        await asyncio.sleep(21)
        one.line.is_cut = True
        await asyncio.sleep(60)
        assert 28 <= one.ended[0] <= 21 + TERMS.deadline_s
        assert one.ended[0] + 4 <= two.began[0] <= 21 + TERMS.duration_s + TERMS.retry_s
        one.line.is_cut = False
        await asyncio.sleep(60)
        assert len(one.began) == 1


def told(caplog):
    return [
        (record.levelname, record.args[-1])
        for record in caplog.records
        if "reached" in record.msg or "neither" in record.msg
    ]


async def test_why_a_lease_cannot_be_had_is_told_once_and_when_it_can(caplog):
    caplog.set_level("INFO", logger="netloom.controller.leader")
    one = Controller(Shelf(), "one")
    one.line.denied = "leases are not for you"
    async with running(one):
        await asyncio.sleep(60)
        assert told(caplog) == [("WARNING", "leases are not for you")]
        one.line.denied = "nor today"
        await asyncio.sleep(60)
        assert told(caplog)[1:] == [("WARNING", "nor today")]
        one.line.denied = ""
        await asyncio.sleep(60)
        assert told(caplog)[2:] == [("INFO", LEASE)]
        one.line.is_cut = True
        await asyncio.sleep(60)
        assert told(caplog)[3:] == [("WARNING", "away")]


async def test_who_waits_for_another_says_nothing(caplog):
    shelf = Shelf()
    one, two = Controller(shelf, "one"), Controller(shelf, "two")
    async with running(one, two):
        await asyncio.sleep(60)
    assert told(caplog) == []


async def test_a_request_that_hangs_is_no_renewal():
    shelf = Shelf()
    one = Controller(shelf, "one")
    async with running(one):
        await asyncio.sleep(1)
        one.line.delay = 1000.0
        await asyncio.sleep(TERMS.deadline_s + TERMS.retry_s)
        assert not one.leader.is_leading
        assert not one.is_working


async def test_a_lease_that_somebody_else_wrote_over_is_lost_at_once():
    shelf = Shelf()
    one = Controller(shelf, "one")
    async with running(one):
        await asyncio.sleep(1)
        shelf.write({"holderIdentity": "other"})
        await asyncio.sleep(2 * TERMS.retry_s)
        assert not one.is_working
        # the other one never renews
        await asyncio.sleep(2 * TERMS.duration_s)
        assert one.is_working


async def test_a_restart_with_the_same_name_does_not_wait():
    shelf = Shelf()
    shelf.write({"holderIdentity": "one", "leaseDurationSeconds": 15})
    one = Controller(shelf, "one")
    async with running(one):
        await asyncio.sleep(0.1)
        assert one.is_working


async def test_work_that_fails_ends_it_and_the_lease_is_given_back():
    shelf = Shelf()
    one = Controller(shelf, "one")

    async def failing():
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup):
        await one.leader.run(failing)
    assert "holderIdentity" not in shelf.lease["spec"]


@pytest.mark.parametrize("seed", range(5))
async def test_never_two_at_a_time(seed):
    """Cuts and delays by chance, clocks that differ: at no moment two work, and in the end one does."""
    chance = random.Random(seed)
    shelf = Shelf()
    three = [Controller(shelf, f"c{i}", offset=chance.random() * 1e5) for i in range(3)]
    async with running(*three):
        for _ in range(60):
            await asyncio.sleep(chance.random() * 5)
            assert sum(one.is_working for one in three) <= 1
            assert sum(one.leader.is_leading for one in three) <= 1
            target = chance.choice(three)
            target.line.is_cut = chance.random() < 0.4
            target.line.delay = chance.choice((0.0, 0.0, 0.5, 3.0))
        for one in three:
            one.line.is_cut, one.line.delay = False, 0.0
        await asyncio.sleep(2 * TERMS.duration_s)
        assert sum(one.is_working for one in three) == 1
