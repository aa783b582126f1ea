from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from netloom.errors import NotFound, Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import Resource
from netloom.local.runner.reporter import Reporter
from netloom.local.runner.spec import Pod
from netloom.local.runner.status import ContainerFacts, PodFacts
from netloom.units import ObjectKey

pytestmark = pytest.mark.looptime
RUNNING = ContainerFacts(id="c1", running_since=0.0, started=True, ready=True)


class Recorder(KubeClient):
    """A client that records patches; errors can be given for the next ones."""

    def __init__(self) -> None:
        super().__init__(ClientConfig(server="http://localhost"))
        self.sent: list[dict[str, Any]] = []
        self.errors: list[Exception] = []

    async def patch(self, resource: Resource, key: ObjectKey, body: Any, **options: Any) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        assert options["subresource"] == "status"
        self.sent.append(body["status"])
        return {}


class TickingClock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return asyncio.get_running_loop().time()


class Bench:
    def __init__(self, pod: Pod) -> None:
        self.client = Recorder()
        self.pod = pod
        self.facts = PodFacts("1970-01-01T00:00:00Z", ("172.30.0.11",))
        self.reporter = Reporter(
            client=self.client, clock=TickingClock(), pod=lambda: self.pod, facts=lambda: self.facts
        )

    def change(self, **changes: object) -> None:
        self.facts = msgspec.structs.replace(self.facts, **changes)
        self.reporter.mark()

    async def run_for(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.reporter.run())
            await asyncio.sleep(seconds)
            task.cancel()


@pytest.fixture
def bench(pod) -> Bench:
    return Bench(pod("containers: [{name: app, image: a}]"))


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(c for c in status["conditions"] if c["type"] == kind)


async def test_only_what_changed_is_sent_and_bursts_are_one_request(bench: Bench):
    bench.change(has_sandbox=True)
    bench.change(containers={"app": RUNNING})
    await bench.run_for(1)
    assert len(bench.client.sent) == 1
    bench.reporter.mark()
    await bench.run_for(1)
    assert len(bench.client.sent) == 1
    bench.change(ips=("10.244.1.5",))
    await bench.run_for(1)
    assert [s.get("podIP") for s in bench.client.sent] == [None, "10.244.1.5"]


async def test_transition_times_hold_although_the_watch_has_not_come_back(bench: Bench):
    bench.change(has_sandbox=True, containers={"app": RUNNING})
    await bench.run_for(60)
    bench.change(ips=("10.244.1.5",))
    await bench.run_for(1)
    first, second = (condition(s, "Ready")["lastTransitionTime"] for s in bench.client.sent)
    assert first == second == "1970-01-01T00:00:00Z"


async def test_an_api_that_is_away_is_asked_again(bench: Bench):
    bench.client.errors = [Unavailable("away"), Unavailable("away")]
    bench.change(has_sandbox=True)
    await bench.run_for(5)
    assert len(bench.client.sent) == 1


async def test_a_pod_that_is_gone_is_not_insisted_on(bench: Bench):
    bench.client.errors = [NotFound("gone")]
    bench.change(has_sandbox=True)
    await bench.run_for(60)
    assert bench.client.sent == []


async def test_conditions_of_others_are_never_sent_and_open_a_gate(pod):
    gated = "containers: [{name: app, image: a}]\nreadinessGates: [{conditionType: example.org/gate}]"
    bench = Bench(pod(gated))
    bench.change(has_sandbox=True, containers={"app": RUNNING})
    await bench.run_for(1)
    assert condition(bench.client.sent[-1], "Ready")["reason"] == "ReadinessGatesNotReady"
    bench.pod = pod(gated, "conditions: [{type: example.org/gate, status: 'True'}]")
    bench.reporter.mark()
    await bench.run_for(1)
    assert condition(bench.client.sent[-1], "Ready")["status"] == "True"
    assert all(c["type"] != "example.org/gate" for sent in bench.client.sent for c in sent["conditions"])
