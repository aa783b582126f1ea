"""Notifications as bytes, put together to commits."""

from __future__ import annotations

import struct

import pytest

from netloom.linux.netlink import Message, attr, be32, nested, string
from netloom.linux.nft_commits import Commit, Overrun, Reading
from netloom.units import Family

NEW_TABLE, NEW_CHAIN, DEL_CHAIN, NEW_RULE, NEW_SET, NEW_ELEMENT, DEL_ELEMENT = 0, 3, 5, 6, 9, 12, 14
DESTROY_ELEMENT, NEW_OBJECT, GENERATION = 30, 18, 15
IP, IP6, INET = 2, 10, 1


def message(kind, *attributes, family=IP):
    return Message(10 << 8 | kind, 0, 1, struct.pack("=BBH", family, 0, 0) + b"".join(attributes))


def element(kind=NEW_ELEMENT, table="netloom", name="endpoints", payload=b"....", **rest):
    return message(
        kind, attr(1, string(table)), attr(2, string(name)), nested(3, nested(1, attr(1, payload))), **rest
    )


def end(generation=7, pid=4711, process="nft"):
    return message(
        GENERATION, attr(1, be32(generation)), attr(2, be32(pid)), attr(3, string(process)), family=0
    )


def only(events):
    (event,) = events
    return event


def test_a_commit_is_complete_with_its_generation():
    reading = Reading(("netloom",))
    assert reading.feed([element(), element(DEL_ELEMENT)]) == []
    commit = only(reading.feed([element(), end()]))
    assert (commit.generation, commit.pid, commit.process) == (7, 4711, "nft")
    assert commit.tables == {(Family.V4, "netloom")}
    (change,) = commit.changes
    assert (change.kind, change.name, change.added, change.deleted) == ("element", "endpoints", 2, 1)
    assert change.bodies == (element().body, element(DEL_ELEMENT).body, element().body)
    assert only(reading.feed([end(8)])) == Commit(8, 4711, "nft", frozenset())


@pytest.mark.parametrize(
    ("kind", "attributes", "word", "name"),
    [
        (NEW_TABLE, (attr(1, string("netloom")), attr(3, be32(0))), "table", "netloom"),
        (NEW_CHAIN, (attr(1, string("netloom")), attr(3, string("c"))), "chain", "c"),
        (NEW_RULE, (attr(1, string("netloom")), attr(2, string("c")), attr(3, be32(1))), "rule", "c"),
        (NEW_SET, (attr(1, string("netloom")), attr(2, string("s"))), "map", "s"),
    ],
)
def test_every_kind_of_object_is_named(kind, attributes, word, name):
    commit = only(Reading(("netloom",)).feed([message(kind, *attributes), end()]))
    assert [(c.kind, c.name, c.added, c.bodies) for c in commit.changes] == [(word, name, 1, ())]


def test_what_is_destroyed_is_deleted():
    (change,) = only(Reading(("netloom",)).feed([element(DESTROY_ELEMENT), end()])).changes
    assert (change.added, change.deleted) == (0, 1)


def test_of_other_tables_only_the_name_is_told_and_of_other_families_nothing():
    commit = only(
        Reading(("netloom",)).feed(
            [
                element(table="kube-proxy", family=IP6),
                element(family=INET),
                message(NEW_OBJECT, attr(1, string("netloom")), attr(2, string("o"))),
                end(),
            ]
        )
    )
    assert commit.tables == {(Family.V6, "kube-proxy"), (Family.V4, "netloom")}
    assert commit.changes == ()


def test_of_many_elements_the_keys_are_not_kept():
    (change,) = only(Reading(("netloom",)).feed([*[element()] * 300, end()])).changes
    assert (change.added, change.bodies) == (300, None)


def test_more_places_than_are_kept_are_an_overrun():
    many = [element(name=f"map{number}") for number in range(2000)]
    reading = Reading(("netloom",))
    assert only(reading.feed([*many, end()])) == Overrun()
    assert isinstance(only(reading.feed([element(), end()])), Commit)


def test_after_a_loss_nothing_half_is_told():
    reading = Reading(("netloom",))
    reading.feed([element()])
    reading.forget()
    assert only(reading.feed([end()])).changes == ()


@pytest.mark.parametrize("length", range(40))
def test_what_is_cut_short_harms_nobody(length):
    whole = element()
    cut = Message(whole.type, 0, 1, whole.body[:length])
    assert len(Reading(("netloom",)).feed([cut, end()])) == 1
