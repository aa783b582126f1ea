"""The oldest claim holds, and following changes gives what computing from nothing gives."""

from __future__ import annotations

from netloom.model.claims import Changed, Claims, seniority, settle
from netloom.model.provenance import Finding, Source
from netloom.testing import builders as b

OLD = seniority(b.meta("z/old", created="2024-01-01T00:00:00Z"))
NEW = seniority(b.meta("a/new", created="2024-01-02T00:00:00Z"))
PLANNED = seniority(b.meta("a/planned"))


def dispute(holder, loser):
    return Finding(Source("Test", "", loser), f"{holder} holds it")


def replaced(claims, owner, rank, values):
    changed = Changed()
    claims.replace(owner, rank, values, changed)
    return list(changed.items())


def released(claims, owner):
    changed = Changed()
    claims.release(owner, changed)
    return list(changed.items())


def test_seniority():
    assert OLD < NEW < PLANNED
    twin = "2024-01-01T00:00:00Z"
    assert seniority(b.meta("a/y", created=twin)) < seniority(b.meta("a/z", created=twin)) < OLD


def test_settle():
    held, findings = settle(
        [(PLANNED, {1: "planned"}), (NEW, {1: "new", 2: "two"}), (OLD, {1: "old"})], dispute
    )
    assert held == {1: "old", 2: "two"}
    assert [str(f) for f in findings] == ["Test new: old holds it", "Test planned: old holds it"]


def test_the_younger_takes_over_when_the_older_goes():
    claims = Claims(dispute)
    assert replaced(claims, "new", NEW, {1: "new"}) == [(1, None, "new")]
    assert replaced(claims, "old", OLD, {1: "old"}) == [(1, "new", "old")]
    assert [f.source.name for f in claims.findings()] == ["new"]
    assert released(claims, "old") == [(1, "old", "new")]
    assert list(claims.findings()) == []
    assert released(claims, "new") == [(1, "new", None)]
    assert claims.held == {}


def test_the_loser_going_changes_nothing():
    claims = Claims(dispute)
    replaced(claims, "old", OLD, {1: "old"})
    assert replaced(claims, "new", NEW, {1: "new"}) == []
    assert released(claims, "new") == []
    assert claims.held == {1: "old"}


def test_three_claims():
    claims = Claims(dispute)
    for owner, rank in (("planned", PLANNED), ("new", NEW), ("old", OLD)):
        replaced(claims, owner, rank, {1: owner})
    assert sorted(f.source.name for f in claims.findings()) == ["new", "planned"]
    released(claims, "old")
    assert claims.held == {1: "new"}
    assert [f.source.name for f in claims.findings()] == ["planned"]


def test_an_owner_that_becomes_older():
    claims = Claims(dispute)
    replaced(claims, "a", PLANNED, {1: "a"})
    replaced(claims, "b", NEW, {1: "b"})
    assert claims.held == {1: "b"}
    assert replaced(claims, "a", OLD, {1: "a"}) == [(1, "b", "a")]


def test_an_unknown_owner_that_goes():
    assert released(Claims(dispute), "nobody") == []


def test_what_is_taken_back_was_no_change():
    changed = Changed()
    changed.note("k", 1, 2)
    changed.note("k", 2, 1)
    changed.note("other", None, 1)
    assert list(changed.items()) == [("other", None, 1)]
