"""What is remembered of addresses that others claimed; frames and sockets are in ``tests/netns``."""

from ipaddress import ip_address, ip_network

import pytest

from netloom.announce.answering import Answerer
from netloom.announce.nics import Nic

ADDRESS = ip_address("192.0.2.7")
STRANGER = bytes.fromhex("02000000dead")
NIC = Nic(2, "eth0", bytes.fromhex("020000000001"), (ip_network("192.0.2.0/24"),))


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def world(monkeypatch):
    clock, claims = Clock(), []
    monkeypatch.setattr("netloom.announce.answering.nics", lambda _: (NIC,))
    answerer = Answerer(clock=clock, is_awake=lambda: True, on_conflict=claims.append)
    answerer.look()

    def claimed(after_s):
        clock.now += after_s
        before = answerer.announced
        answerer._claimed(ADDRESS, STRANGER, "eth0")
        return answerer.announced > before

    return answerer, claimed, claims


def test_an_address_is_defended_at_times_and_told_of_each_time(world):
    answerer, claimed, claims = world
    answerer.hold([ADDRESS])
    assert [claimed(2.0), claimed(1.0), claimed(10.0)] == [True, False, True]
    assert len(claims) == 3


def test_nothing_is_remembered_of_an_address_that_was_given_away(world):
    answerer, claimed, _ = world
    answerer.hold([ADDRESS])
    assert claimed(2.0)
    answerer.hold([])
    assert answerer._defended == {}
    answerer.hold([ADDRESS])
    assert claimed(2.0)
