"""When a node counts as healthy and eligible, and how that is answered; the documents are those that kube-proxy's clients read."""

from __future__ import annotations

import json

import pytest

from netloom.agent.servers.health import HealthPages, UpdateHealth, is_eligible
from netloom.agent.servers.http import Request
from netloom.api.core import Node, NodeSpec, Taint
from netloom.api.meta import ObjectMeta
from netloom.metrics import render


class HandClock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_750_000_000.0 + self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_a_node_is_healthy_until_a_change_has_waited_for_two_minutes(clock):
    health = UpdateHealth(clock=clock)
    assert health.is_healthy, "nothing waits, also before the first change"
    health.queued()
    clock.now += 100
    health.queued()  # a later change does not make the first one younger
    clock.now += 19.9
    assert health.is_healthy
    clock.now += 0.1
    assert not health.is_healthy
    health.in_force()
    assert health.is_healthy


def test_what_came_during_a_turn_still_waits_after_it(clock):
    health = UpdateHealth(clock=clock)
    health.queued()
    clock.now += 60
    began = clock.now
    clock.now += 1
    health.queued()
    clock.now += 1
    health.in_force(began=began)
    clock.now += 117.9
    assert health.is_healthy
    clock.now += 0.2
    assert not health.is_healthy


def test_nothing_waits_after_a_turn_that_took_all(clock):
    health = UpdateHealth(clock=clock)
    health.queued()
    clock.now += 1
    health.in_force(began=clock.now)
    clock.now += 10_000
    assert health.is_healthy


GOING = Node(metadata=ObjectMeta(name="node-1", deletion_timestamp="2026-01-01T00:00:00Z"))
TAINTED = Node(spec=NodeSpec(taints=(Taint(key="ToBeDeletedByClusterAutoscaler", effect="NoSchedule"),)))
CORDONED = Node(spec=NodeSpec(unschedulable=True, taints=(Taint(key="node.kubernetes.io/unschedulable"),)))


@pytest.mark.parametrize(
    ("node", "eligible"),
    [(Node(), True), (CORDONED, True), (GOING, False), (TAINTED, False)],
    ids=["usual", "cordoned", "being deleted", "about to be removed by the autoscaler"],
)
def test_load_balancers_are_sent_away_from_a_node_that_goes_and_its_agent_lives_on(node, eligible, clock):
    pages = HealthPages(health=UpdateHealth(clock=clock), is_eligible=lambda: is_eligible(node), clock=clock)
    answer = pages.handle(Request("GET", "/healthz"))
    now = "2025-06-15T15:23:20Z"
    assert answer.status == (200 if eligible else 503)
    assert json.loads(answer.body) == {
        "lastUpdated": now if eligible else "",
        "currentTime": now,
        "nodeEligible": eligible,
    }
    assert answer.content_type == "application/json"
    assert ("X-Content-Type-Options", "nosniff") in answer.headers
    live = pages.handle(Request("GET", "/livez"))
    assert live.status == 200
    assert json.loads(live.body) == {"lastUpdated": now, "currentTime": now}


def test_an_unhealthy_node_says_when_it_was_last_well(clock):
    health = UpdateHealth(clock=clock)
    health.in_force()
    clock.now += 60
    health.queued()
    clock.now += 120
    pages = HealthPages(health=health, is_eligible=lambda: True, clock=clock)
    for path in ("/healthz", "/livez"):
        answer = pages.handle(Request("GET", path))
        assert answer.status == 503
        body = json.loads(answer.body)
        assert (body["lastUpdated"], body["currentTime"]) == ("2025-06-15T15:23:20Z", "2025-06-15T15:26:20Z")
    page = render(pages.samples())
    assert 'netloom_health_answers_total{path="/healthz",code="503"} 1\n' in page
    assert "netloom_healthy 0\n" in page


def test_other_pages_are_not_there(clock):
    pages = HealthPages(health=UpdateHealth(clock=clock), is_eligible=lambda: True, clock=clock)
    assert pages.handle(Request("GET", "/")).status == 404
