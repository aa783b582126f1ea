"""Evictions: granted one by one as the budget says, refused with its name."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.local.apiserver.conftest import Api, pod

BUDGETS = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets"
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}


async def budgeted(api: Api, name: str = "web", *, allowed: int = 1, **more: Any) -> None:
    status = more.pop("status", {})
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}, **more}
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": spec,
    }
    await api.create(BUDGETS, body)
    counted = {
        "disruptionsAllowed": allowed,
        "desiredHealthy": 1,
        "currentHealthy": 1 + allowed,
        "expectedPods": 2,
        "observedGeneration": 1,
        **status,
    }
    (await api.patch(f"{BUDGETS}/{name}/status", {"status": counted})).ok()


async def running(api: Api, name: str, *, ready: bool = True, phase: str = "Running") -> None:
    body = pod(name, nodeName="node-1")
    body["metadata"]["labels"] = {"app": "web"}
    await api.create("pods", body)
    said = {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}
    (await api.patch(f"pods/{name}/status", {"status": said})).ok()


async def test_a_budget_grants_what_it_has_and_then_refuses(api: Api) -> None:
    await budgeted(api)
    for name in "ab":
        await running(api, name)
    assert (await api("POST", "pods/a/eviction", EVICTION)).code == 201
    gone = (await api("GET", "pods/a")).ok()
    (condition,) = [c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert (condition["status"], condition["reason"]) == ("True", "EvictionByEvictionAPI")
    assert gone["metadata"]["deletionTimestamp"]
    status = (await api("GET", f"{BUDGETS}/web")).ok()["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["a"])

    refusal = (await api("POST", "pods/b/eviction", {**EVICTION, "metadata": {"name": "b"}})).refused(
        429, "TooManyRequests"
    )
    assert refusal["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    (cause,) = refusal["details"]["causes"]
    assert cause == {
        "reason": "DisruptionBudget",
        "message": "The disruption budget web needs 1 healthy pods and has 2 currently",
    }
    assert "deletionTimestamp" not in (await api("GET", "pods/b")).ok()["metadata"]


async def test_a_dry_run_takes_nothing(api: Api) -> None:
    await budgeted(api)
    await running(api, "a")
    assert (await api("POST", "pods/a/eviction?dryRun=All", EVICTION)).code == 201
    assert (await api("GET", f"{BUDGETS}/web")).ok()["status"]["disruptionsAllowed"] == 1
    assert "deletionTimestamp" not in (await api("GET", "pods/a")).ok()["metadata"]


async def test_a_budget_that_nobody_has_counted_yet_is_waited_for(api: Api) -> None:
    await budgeted(api, status={"observedGeneration": 0})
    await running(api, "a")
    refusal = (await api("POST", "pods/a/eviction", EVICTION)).refused(429, "TooManyRequests")
    assert "still being processed" in refusal["details"]["causes"][0]["message"]
    assert refusal["details"]["retryAfterSeconds"] == 10


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_pods_on_which_nobody_counts_go(api: Api, phase: str) -> None:
    await budgeted(api, allowed=0)
    await running(api, "a", phase=phase)
    assert (await api("POST", "pods/a/eviction", EVICTION)).code == 201


@pytest.mark.parametrize(
    ("policy", "healthy", "code"),
    [("AlwaysAllow", 0, 201), ("IfHealthyBudget", 1, 201), ("IfHealthyBudget", 0, 429), (None, 0, 429)],
)
async def test_pods_that_are_not_ready(api: Api, policy: str | None, healthy: int, code: int) -> None:
    more = {"unhealthyPodEvictionPolicy": policy} if policy else {}
    await budgeted(api, allowed=0, status={"currentHealthy": healthy}, **more)
    await running(api, "a", ready=False)
    assert (await api("POST", "pods/a/eviction", EVICTION)).code == code


async def test_several_budgets_are_refused_and_those_of_others_do_not_count(api: Api) -> None:
    await budgeted(api, "other", allowed=0, selector={"matchLabels": {"app": "db"}})
    await running(api, "a")
    await running(api, "b")
    assert (await api("POST", "pods/a/eviction", EVICTION)).code == 201
    await budgeted(api, "one")
    await budgeted(api, "two")
    text = (await api("POST", "pods/b/eviction", {**EVICTION, "metadata": {"name": "b"}})).refused(
        500, "InternalError"
    )["message"]
    assert "more than one PodDisruptionBudget" in text


async def test_preconditions_and_names_are_checked(api: Api) -> None:
    await budgeted(api)
    await running(api, "a")
    wrong = {**EVICTION, "metadata": {"name": "b"}}
    (await api("POST", "pods/a/eviction", wrong)).refused(400, "BadRequest")
    other = {**EVICTION, "deleteOptions": {"preconditions": {"uid": "another"}}}
    (await api("POST", "pods/a/eviction", other)).refused(409, "Conflict")
    assert "deletionTimestamp" not in (await api("GET", "pods/a")).ok()["metadata"]
