"""What is remembered of drift, counted and told."""

from __future__ import annotations

import logging

import pytest

from netloom.dataplane.nftables.audit import TIMER, Audit
from netloom.dataplane.nftables.drift import Drift, DriftKind
from netloom.metrics import render
from netloom.model.provenance import Source
from netloom.observe.drift import DriftLog
from netloom.units import Family

SOURCE = Source("EndpointSlice", "shop", "cart-1", field="endpoints[0]")


class HandClock:
    now = 1_000_000.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def drifts(clock):
    return DriftLog(node="node-2", clock=clock)


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.WARNING, "netloom.observe.drift")
    return lambda: [record.getMessage() for record in caplog.records]


def missing(item="one"):
    text = f"endpoint {item} of shop/cart is missing on node-2"
    return Drift(DriftKind.MISSING, Family.V4, "map endpoints", item, text, (SOURCE,))


def audit(*found, unrepaired=(), cause="nft (process 7)", **rest):
    return Audit(
        cause, cause == TIMER, tuple(found), rest.pop("count", len(found)), tuple(unrepaired), **rest
    )


def samples(drifts):
    return {(s.name, *s.labels): s.value for s in drifts.samples()}


def test_a_drift_is_told_counted_and_reported(drifts, told):
    drifts.take(audit(missing(), seconds=0.01))
    assert told() == ["drift: endpoint one of shop/cart is missing on node-2; by nft (process 7); put right"]
    found = samples(drifts)
    assert found["netloom_drift_found_total", ("kind", "missing")] == 1
    assert found["netloom_drift_repaired_total",] == 1
    assert found["netloom_drift_audits_total", ("cause", "commit")] == 1
    report = drifts.report()
    (line,) = report.lines
    assert (report.node, report.found, report.unrepaired, report.last_whole_audit) == ("node-2", 1, 0, "")
    assert (line.kind, line.place, line.item, line.sources) == ("missing", "map endpoints", "one", (SOURCE,))
    assert line.first == line.last == "1970-01-12T13:46:40Z"


def test_the_same_again_is_counted_and_told_once_a_minute(drifts, told, clock):
    for _ in range(600):
        drifts.take(audit(missing()))
        clock.now += 0.2
    assert len(told()) == 2
    assert ", 30" in told()[1]
    (line,) = drifts.report().lines
    assert line.count == 600
    assert line.first < line.last


def test_ever_other_drifts_are_told_up_to_a_page_a_minute_and_forgotten(drifts, told, clock):
    for number in range(1000):
        drifts.take(audit(missing(str(number))))
        clock.now += 0.05
    assert len(told()) == 30
    assert len(drifts.report().lines) == 128
    assert drifts.report().lines[0].item == "999"
    assert drifts.report().found == 1000
    clock.now += 60
    drifts.take(audit(missing("later")))
    assert told()[-1].endswith("(970 other lines were left out)")


def test_what_could_not_be_put_right_stays_wrong_until_it_is(drifts, told):
    drifts.take(audit(missing("one"), missing("two"), unrepaired=[missing("two")]))
    assert "two of shop/cart is missing on node-2; by nft (process 7); COULD NOT be put right" in told()[1]
    assert drifts.report().unrepaired == 1
    drifts.take(audit(missing("three")))  # another matter
    assert drifts.report().unrepaired == 1
    drifts.take(audit(cause=TIMER))  # everything was compared, and nothing found
    assert drifts.report().unrepaired == 0
    assert drifts.report().last_whole_audit
    assert samples(drifts)["netloom_drift_repaired_total",] == 2


def test_of_very_many_the_number_is_told(drifts, told):
    drifts.take(audit(missing(), count=50_000, cause=TIMER))
    assert told()[-1] == "drift: and 49999 more on node-2"
    assert samples(drifts)["netloom_drift_found_total", ("kind", "untold")] == 49_999
    assert drifts.report().found == 50_000


def test_the_samples_make_a_page(drifts):
    drifts.take(audit(missing(), cause=TIMER, seconds=0.7))
    page = render(drifts.samples())
    assert 'netloom_drift_found_total{kind="missing"} 1' in page
    assert "netloom_drift_last_whole_audit_timestamp_seconds 1000000" in page
