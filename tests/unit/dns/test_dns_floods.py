"""Who asks too much is let in with a share, who asks little never notices, and turns are taken client by client."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.dns.clients import Clients
from netloom.dns.counters import Counters
from netloom.dns.floods import FloodGuard, fair_share
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.turns import QueryTurns

LOUD, MEDIUM, QUIET = (bytes((10, 244, 1, i)) for i in (3, 4, 5))


class Guarded(FloodGuard):
    """Notes the shares in the place of a kernel."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.clients = Clients(prepared=PreparedAnswers(counters=self.counters))
        self.shares: dict[bytes, float] = {}
        super().__init__(sockets=(), clients=self.clients, counters=self.counters)

    def _apply(self, shares) -> None:
        super()._apply(shares)
        self.shares = dict(self._shares)

    def asked(self, counts: dict[bytes, int]) -> None:
        for address, count in counts.items():
            self.clients.at(address).queries += count


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=20), st.floats(0.1, 1.5))
def test_a_fair_share_uses_the_capacity_and_spares_those_below(counts, part):
    capacity = sum(counts) * part
    fair = fair_share(counts, capacity)
    given_ = [min(c, fair) for c in counts]
    if capacity >= sum(counts):
        assert fair == float("inf")
    else:
        assert sum(given_) == pytest.approx(capacity)


def test_nobody_is_limited_as_long_as_everybody_is_read_in_time():
    guard = Guarded()
    for _ in range(10):
        guard.asked({LOUD: 100_000, QUIET: 1})
        guard.look(0.1)
    assert guard.shares == {}


def test_one_alone_is_never_limited():
    guard = Guarded()
    guard.asked({LOUD: 100_000})
    guard.look(1.0)
    assert guard.shares == {}


def test_who_asks_more_than_his_share_is_limited_until_he_asks_less(caplog):
    guard = Guarded()
    guard.asked({LOUD: 3000, MEDIUM: 200, QUIET: 10})
    guard.look(0.9)
    assert guard.shares.keys() == {LOUD}
    first = guard.shares[LOUD]
    assert 0.5 < first < 0.75
    assert "10.244.1.3" in caplog.text
    assert (guard.counters.floods, guard.counters.limited_clients) == (1, 1)
    guard.asked({LOUD: 3000, MEDIUM: 200, QUIET: 10})
    guard.look(0.9)
    assert guard.shares[LOUD] < first, "it was not enough"
    assert guard.counters.floods == 1
    for _ in range(1000):
        guard.asked({LOUD: 10, QUIET: 10})
        guard.look(0.0)
    assert guard.shares == {}
    assert guard.counters.limited_clients == 0


def test_a_limit_ends_also_when_nobody_asks():
    guard = Guarded()
    guard.asked({LOUD: 3000, QUIET: 10})
    guard.look(0.9)
    assert guard.shares
    for _ in range(300):
        guard.look(0.0)
    assert guard.shares == {}


class NoteCalls:
    def __init__(self) -> None:
        self.calls: list[tuple[bytes, bytes]] = []
        self.done = asyncio.Event()
        """513 calls have been."""

    def handle(self, data, client, send, *, stream) -> bool:
        self.calls.append((client.address, data))
        if len(self.calls) == 513:
            self.done.set()
        return True


async def test_clients_take_turns_and_wait_for_themselves_only():
    server, counters = NoteCalls(), Counters()
    clients = Clients(prepared=PreparedAnswers(counters=counters))
    turns = QueryTurns(server=server, counters=counters)
    for i in range(700):
        turns.add(clients.at(LOUD), b"%d" % i, lambda reply: None)
    turns.add(clients.at(QUIET), b"only", lambda reply: None)
    assert counters.dropped == 700 - 512
    async with asyncio.timeout(20):
        await server.done.wait()
    assert server.calls.index((QUIET, b"only")) <= 2
    assert [d for a, d in server.calls if a == LOUD] == [b"%d" % i for i in range(512)]


async def test_all_that_wait_together_are_bounded(monkeypatch):
    monkeypatch.setattr("netloom.dns.turns.TOTAL_LIMIT", 10)
    server, counters = NoteCalls(), Counters()
    clients = Clients(prepared=PreparedAnswers(counters=counters))
    turns = QueryTurns(server=server, counters=counters)
    for i in range(20):
        turns.add(clients.at(bytes((10, 0, 0, i))), b"x", lambda reply: None)
    assert counters.dropped == 10


def test_others_than_pods_are_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr("netloom.dns.clients.OTHERS_LIMIT", 5)
    guard = Guarded()
    for i in range(40):
        assert guard.clients.at(bytes((10, 9, 0, i))) is not None
    assert len(guard.clients.by_address) <= 6
