"""The page of metrics: all sources, without those that fail."""

from __future__ import annotations

from netloom.agent.servers.http import Request
from netloom.agent.servers.page import MetricsPage, ProcessSamples
from netloom.agent.servers.sources import finding_samples, name_feed_samples
from netloom.clock import SystemClock
from netloom.metrics import gauge, render
from netloom.model.provenance import Finding, Source


def test_a_source_that_fails_does_not_take_the_others_along(caplog):
    def bad():
        yield gauge("netloom_lost", "Lost.", 1)
        raise RuntimeError("no numbers today")

    def good():
        return [gauge("netloom_kept", "Kept.", 2)]

    page = MetricsPage(sources=(bad, good))
    answer = page.handle(Request("GET", "/metrics"))
    text = answer.body.decode()
    assert answer.status == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "netloom_kept 2\n" in text
    assert "netloom_metrics_failures_total 1\n" in text
    assert "no numbers today" in caplog.text
    assert page.handle(Request("GET", "/other")).status == 404


def test_what_the_process_uses_has_the_names_of_the_field():
    text = render(ProcessSamples(clock=SystemClock())())
    numbers = dict(line.split() for line in text.splitlines() if not line.startswith("#") and "{" not in line)
    assert float(numbers["process_resident_memory_bytes"]) > 1 << 20
    assert 3 <= float(numbers["process_open_fds"]) <= float(numbers["process_max_fds"])
    assert float(numbers["process_cpu_seconds_total"]) > 0


def test_findings_are_counted_by_kind():
    found = [Finding(Source("Service", "shop", name), "is wrong") for name in ("a", "b")]
    text = render(finding_samples(lambda: found))
    assert 'netloom_findings{kind="Service"} 2\n' in text
    assert 'netloom_findings{kind="EndpointSlice"} 0\n' in text


def test_the_feed_of_names():
    class Feed:
        is_answered = False
        is_connected = True

    text = render(name_feed_samples(Feed()))
    assert "netloom_dns_feed_connected 1\n" in text
    assert "netloom_dns_feed_current 0\n" in text
