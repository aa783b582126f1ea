"""What the record lets be given: addresses asked for, reserved, lent, used a moment ago; ports; records of the first release."""

from __future__ import annotations

import ipaddress
import sqlite3
from pathlib import Path

import pytest

from netloom.cni.ipam.lease import Exhausted, PortMapping, Taken
from netloom.cni.ipam.store import AddressStore, Attachment
from netloom.errors import StorageError

FOUR = ipaddress.ip_network("192.0.2.0/28")
SIX = ipaddress.ip_network("2001:db8::/124")
BLOCK = ipaddress.ip_network("198.51.100.0/30")
DELAY = 100.0


class Time:
    def __init__(self):
        self.now = 1_000_000.0

    def wall(self):
        return self.now

    def monotonic(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def store(tmp_path: Path, time: Time):
    opened = AddressStore(tmp_path / "ipam.db", clock=time, reuse_delay_s=DELAY)
    yield opened
    opened.close()


def of(name):
    return Attachment(name, "eth0")


def ip(text):
    return ipaddress.ip_address(text)


def take(store, name, ranges=(FOUR,), **words):
    return [str(a) for a in store.reserve(of(name), ranges, f"shop/{name}", **words)]


def test_all_of_a_block_is_given_and_only_the_middle_of_a_nodes_range(store):
    got = [take(store, f"c{i}", (), blocks=[BLOCK])[0] for i in range(4)]
    assert got == [str(a) for a in BLOCK]
    assert take(store, "n") == ["192.0.2.2"]


def test_an_address_that_is_asked_for_leaves_those_below_it_for_others(store):
    assert take(store, "a", requested=[ip("192.0.2.10")]) == ["192.0.2.10"]
    got = [take(store, f"c{i}")[0] for i in range(12)]
    assert got == [f"192.0.2.{i}" for i in (2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)]
    with pytest.raises(Exhausted) as caught:
        take(store, "more")
    assert caught.value.version == 4


def test_an_address_that_somebody_has_is_refused_with_their_name(store):
    take(store, "a", requested=[ip("192.0.2.10")])
    with pytest.raises(Taken, match=r"192\.0\.2\.10 belongs to pod shop/a") as caught:
        take(store, "b", requested=[ip("192.0.2.10")])
    assert caught.value.holding.attachment == of("a")
    assert store.find(of("b")) is None


@pytest.mark.parametrize("text", ["192.0.2.0", "192.0.2.1", "192.0.2.15", "192.0.2.77", "198.51.100.1"])
def test_an_address_that_this_node_does_not_give_is_refused(store, text):
    with pytest.raises(Taken, match="none of the addresses that this node may give"):
        take(store, "a", requested=[ip(text)])


def test_a_repeated_add_gives_what_was_asked_for_also_when_that_changed(store):
    assert take(store, "a") == ["192.0.2.2"]
    assert take(store, "a", requested=[ip("192.0.2.9")]) == ["192.0.2.9"]
    assert take(store, "a", requested=[ip("192.0.2.9")]) == ["192.0.2.9"]
    assert take(store, "a") == ["192.0.2.9"]


def test_reserved_addresses_are_passed_over_and_given_when_they_are_reserved_no_more(store):
    reserved = [ipaddress.ip_network("192.0.2.2/31"), ipaddress.ip_network("192.0.2.8/29")]
    got = [take(store, f"c{i}", reserved=reserved)[0] for i in range(4)]
    assert got == ["192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7"]
    with pytest.raises(Exhausted):
        take(store, "more", reserved=reserved)
    with pytest.raises(Taken):
        take(store, "asks", reserved=reserved, requested=[ip("192.0.2.3")])
    later = [take(store, f"l{i}")[0] for i in range(9)]
    assert sorted(map(ip, later)) == [ip(f"192.0.2.{i}") for i in (2, 3, 8, 9, 10, 11, 12, 13, 14)]


def test_an_address_rests_before_a_stranger_gets_it(store, time):
    room = [BLOCK]
    for i in range(4):
        take(store, f"c{i}", (), blocks=room)
    for i in (2, 0):
        store.release(of(f"c{i}"))
        time.now += 1
    with pytest.raises(Exhausted):
        take(store, "patient", (), blocks=room, hurry=False)
    time.now += DELAY - 1.5
    assert take(store, "patient", (), blocks=room, hurry=False) == ["198.51.100.2"], (
        "rested, the other has not"
    )
    assert take(store, "hurried", (), blocks=room) == ["198.51.100.0"], "nothing else is left"


def test_of_what_was_used_a_moment_ago_the_oldest_goes_first(store, time):
    for i in range(4):
        take(store, f"c{i}", (), blocks=[BLOCK])
    for i in (3, 1, 2):
        store.release(of(f"c{i}"))
        time.now += 1
    got = [take(store, f"d{i}", (), blocks=[BLOCK])[0][-1] for i in range(3)]
    assert got == ["3", "1", "2"]


def test_the_rest_of_an_address_survives_a_restart_and_a_clock_that_is_set_back(store, time, tmp_path):
    for i in range(4):
        take(store, f"c{i}", (), blocks=[BLOCK])
    store.release(of("c0"))
    time.now -= 10_000_000
    again = AddressStore(tmp_path / "ipam.db", clock=time, reuse_delay_s=DELAY)
    with pytest.raises(Exhausted):
        take(again, "x", (), blocks=[BLOCK], hurry=False)
    time.now += DELAY
    assert take(again, "x", (), blocks=[BLOCK], hurry=False) == ["198.51.100.0"]
    again.close()


def test_who_had_an_address_may_ask_for_it_again_at_once_and_a_stranger_is_told_when(store, time):
    wish = [ip("192.0.2.9")]
    store.reserve(of("old"), [FOUR], "shop/db-0", requested=wish)
    store.release(of("old"))
    time.now += 30
    with pytest.raises(Taken, match=r"192\.0\.2\.9 was shop/db-0's until 30 s ago") as caught:
        store.reserve(of("x"), [FOUR], "shop/stranger", requested=wish)
    assert "free in 70 s" in caught.value.hint
    assert store.reserve(of("new"), [FOUR], "shop/db-0", requested=wish) == tuple(wish)


def test_what_was_never_used_need_not_rest(store):
    for i in range(4):
        take(store, f"c{i}", (), blocks=[BLOCK])
    store.release(of("c0"), was_used=False)
    assert take(store, "x", (), blocks=[BLOCK], hurry=False) == ["198.51.100.0"]


def test_one_exhausted_family_leaves_nothing_of_the_other(store):
    tiny = ipaddress.ip_network("2001:db8::/127")
    take(store, "a", [FOUR], blocks=[tiny])
    take(store, "b", [FOUR], blocks=[tiny])
    before = store.leases()
    with pytest.raises(Exhausted) as caught:
        take(store, "c", [FOUR], blocks=[tiny])
    assert caught.value.version == 6
    assert store.leases() == before
    store.release(of("a"))
    assert take(store, "c", [FOUR], blocks=[tiny]) == ["192.0.2.4", "2001:db8::"]


def test_a_family_that_is_wanted_and_has_no_range_is_exhausted(store):
    with pytest.raises(Exhausted) as caught:
        take(store, "a", [FOUR], versions=(4, 6))
    assert caught.value.version == 6
    assert store.leases() == []


def test_ports_are_recorded_with_the_addresses_and_go_with_them(store):
    ports = (PortMapping(8080, 80, "tcp"), PortMapping(53, 53, "udp", "192.0.2.1"))
    take(store, "a", ports=ports)
    assert store.find(of("a")).ports == ports
    assert store.leases()[0].ports == ports
    take(store, "a")
    assert store.find(of("a")).ports == (), "as the last ADD said"
    take(store, "a", ports=ports)
    store.release(of("a"))
    take(store, "a")
    assert store.find(of("a")).ports == ()


def test_a_lent_address_is_given_to_nobody_until_it_comes_back(store, time):
    assert store.lend(ip("192.0.2.2"), "192.0.2.2-32") is None
    assert store.lend(ip("192.0.2.2"), "192.0.2.2-32") is None
    assert take(store, "a") == ["192.0.2.3"]
    with pytest.raises(Taken, match=r"another node's \(IPBlock 192\.0\.2\.2-32\)"):
        take(store, "b", requested=[ip("192.0.2.2")])
    assert store.lend(ip("192.0.2.3"), "192.0.2.3-32").pod == "shop/a", "not what a pod has"
    assert store.usage(FOUR).lent == 1
    assert store.take_back(["192.0.2.2-32"]) == 0
    assert store.take_back([]) == 1
    usage = store.usage(FOUR)
    assert (usage.used, usage.quarantined, usage.lent) == (1, 1, 0)


def test_a_range_is_closed_only_when_nobody_has_or_had_any_of_it(store, time):
    take(store, "a", (), blocks=[BLOCK])
    assert not store.close_range(BLOCK)
    store.release(of("a"))
    assert not store.close_range(BLOCK)
    assert store.close_range(BLOCK, at_once_for="shop/a")
    with pytest.raises(Exhausted):
        take(store, "b", (), blocks=[BLOCK])
    store.open_range(BLOCK)
    time.now += DELAY
    assert store.close_range(BLOCK)
    store.open_range(BLOCK)
    assert take(store, "b", (), blocks=[BLOCK])


def test_the_record_knows_who_had_an_address_last(store, time):
    take(store, "a", [FOUR, SIX])
    assert store.holding(ip("192.0.2.2")).attachment == of("a")
    assert store.holding(ip("192.0.2.3")) is None
    time.now += 5
    store.release(of("a"))
    holding = store.holding(ip("2001:db8::2"))
    assert (holding.attachment, holding.pod, holding.since) == (None, "shop/a", time.now)
    assert [str(h.address) for h in store.holdings()] == ["192.0.2.2", "2001:db8::2"]


OLD = """
CREATE TABLE addresses (
    family INTEGER NOT NULL, address BLOB NOT NULL, container TEXT, interface TEXT, pod TEXT NOT NULL DEFAULT '',
    freed INTEGER, PRIMARY KEY (family, address)
) WITHOUT ROWID;
CREATE UNIQUE INDEX holders ON addresses (container, interface, family) WHERE container IS NOT NULL;
CREATE INDEX free ON addresses (freed) WHERE freed IS NOT NULL;
"""


def old_record(path):
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(OLD)
    db.execute("INSERT INTO addresses VALUES (4, ?, 'c1', 'eth0', 'shop/a', NULL)", (ip("192.0.2.2").packed,))
    db.execute(
        "INSERT INTO addresses VALUES (6, ?, 'c1', 'eth0', 'shop/a', NULL)", (ip("2001:db8::2").packed,)
    )
    db.execute("INSERT INTO addresses VALUES (4, ?, NULL, NULL, '', 1)", (ip("192.0.2.3").packed,))
    db.commit()
    db.close()


def test_a_record_of_the_first_release_is_taken_over(tmp_path, time):
    path = tmp_path / "old.db"
    old_record(path)
    for _ in range(2):
        store = AddressStore(path, clock=time, reuse_delay_s=DELAY)
        (lease,) = store.leases()
        assert (lease.attachment, lease.pod, lease.since) == (of("c1"), "shop/a", 0.0)
        assert [str(a) for a in lease.addresses] == ["192.0.2.2", "2001:db8::2"]
        assert store.usage(FOUR).quarantined == 1, "when it was given back is not known: it rests"
        store.close()
    store = AddressStore(path, clock=time)
    assert take(store, "new", [FOUR, SIX]) == ["192.0.2.4", "2001:db8::3"]
    store.close()


def test_a_record_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path, time):
    path = tmp_path / "new.db"
    AddressStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="edition 99"):
        AddressStore(path)
    assert path.read_bytes() == before
