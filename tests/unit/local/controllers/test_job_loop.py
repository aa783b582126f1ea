"""Jobs against the real API server; what a pod does at its end is written by the test."""

from __future__ import annotations

from typing import Any

from netloom.errors import NotFound
from netloom.kube.resources import JOBS, PODS

INDEX = "batch.kubernetes.io/job-completion-index"


def job(policy: str = "Never", **spec: object) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "pi"}},
        "spec": {"restartPolicy": policy, "containers": [{"name": "main", "image": "example.org/pi:1"}]},
    }
    return {"template": template, "manualSelector": True, "selector": {"matchLabels": {"app": "pi"}}, **spec}


async def running(cluster) -> list[dict[str, Any]]:
    pods = [p for p in await cluster.list(PODS) if "deletionTimestamp" not in p["metadata"]]
    return [p for p in pods if p["status"]["phase"] == "Running"]


async def until_running(cluster, count: int) -> list[dict[str, Any]]:
    async def there():
        pods = await running(cluster)
        return pods if len(pods) == count else None

    return await cluster.until(there)


async def end(cluster, pod: dict[str, Any], code: int = 0, **status: object) -> None:
    """The pod ends with this exit code."""
    state = {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}}
    body = {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [
            {"name": "main", "image": "a", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        ],
    }
    await cluster.patch(PODS, pod["metadata"]["name"], {"status": body | status}, subresource="status")


async def ended(cluster, type_: str) -> dict[str, Any]:
    """The Job when it has this condition, with the condition."""

    async def has():
        found = await cluster.get(JOBS, "pi")
        conditions = {c["type"]: c for c in found["status"].get("conditions", []) if c["status"] == "True"}
        return found | {"end": conditions[type_]} if type_ in conditions else None

    return await cluster.until(has)


async def test_a_job_completes_when_enough_pods_have_succeeded(cluster):
    await cluster.create(JOBS, "pi", spec=job(completions=3, parallelism=2))
    for pod in await until_running(cluster, 2):
        assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
        await end(cluster, pod)
    (last,) = await until_running(cluster, 1)
    await end(cluster, last)
    done = await ended(cluster, "Complete")
    assert done["end"]["reason"] == "CompletionsReached"
    assert (done["status"]["succeeded"], done["status"].get("active", 0)) == (3, 0)
    assert done["status"]["completionTime"]
    await cluster.settled()
    assert not any(p["metadata"].get("finalizers") for p in await cluster.list(PODS))
    await cluster.delete(JOBS, "pi")

    async def gone():
        return not await cluster.list(PODS)

    await cluster.until(gone)


async def test_a_job_fails_when_its_pods_fail_too_often(cluster):
    await cluster.create(JOBS, "pi", spec=job(backoffLimit=1))
    for _ in range(2):
        (pod,) = await until_running(cluster, 1)
        await end(cluster, pod, 1)
    done = await ended(cluster, "Failed")
    assert done["end"]["reason"] == "BackoffLimitExceeded"
    assert done["status"]["failed"] == 2


async def test_indexes_run_once_each_and_are_told_which_they_are(cluster):
    await cluster.create(JOBS, "pi", spec=job(completions=3, parallelism=3, completionMode="Indexed"))
    pods = {p["metadata"]["annotations"][INDEX]: p for p in await until_running(cluster, 3)}
    assert sorted(pods) == ["0", "1", "2"]
    assert pods["1"]["spec"]["hostname"] == "pi-1"
    assert pods["1"]["metadata"]["name"].startswith("pi-1-")
    env = {e["name"]: e for e in pods["1"]["spec"]["containers"][0]["env"]}
    assert env["JOB_COMPLETION_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.labels['{INDEX}']"
    for pod in pods.values():
        await end(cluster, pod)
    done = await ended(cluster, "Complete")
    assert done["status"]["completedIndexes"] == "0-2"


async def test_a_limit_for_each_index_leaves_the_others_alone(cluster):
    spec = job(completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1)
    await cluster.create(JOBS, "pi", spec=spec | {"backoffLimit": 100})
    pods = {p["metadata"]["annotations"][INDEX]: p for p in await until_running(cluster, 2)}
    await end(cluster, pods["0"], 1)

    async def again():
        return next((p for p in await running(cluster) if p["metadata"]["name"].startswith("pi-0-")), None)

    second = await cluster.until(again)
    assert second["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    await end(cluster, second, 1)
    await end(cluster, pods["1"])
    done = await ended(cluster, "Failed")
    assert done["end"]["reason"] == "FailedIndexes"
    status = done["status"]
    assert (status["failedIndexes"], status["completedIndexes"], status["failed"]) == ("0", "1", 2)


async def test_the_failure_policy_ends_the_job_at_once_or_forgives(cluster):
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    await cluster.create(JOBS, "pi", spec=job(backoffLimit=0, podFailurePolicy={"rules": rules}))
    (pod,) = await until_running(cluster, 1)
    await end(cluster, pod, 1, conditions=[{"type": "DisruptionTarget", "status": "True"}])
    (pod,) = await until_running(cluster, 1)
    await end(cluster, pod, 42)
    done = await ended(cluster, "Failed")
    assert done["end"]["reason"] == "PodFailurePolicy"
    name = pod["metadata"]["name"]
    message = f"Container main for pod shop/{name} failed with exit code 42 matching FailJob rule at index 1"
    assert done["end"]["message"] == message
    assert done["status"]["failed"] == 1


async def test_a_suspended_job_has_no_pods_until_it_is_resumed(cluster):
    await cluster.create(JOBS, "pi", spec=job(suspend=True, parallelism=2, completions=2))
    await ended(cluster, "Suspended")
    assert not await cluster.list(PODS)
    await cluster.patch(JOBS, "pi", {"spec": {"suspend": False}})
    await until_running(cluster, 2)
    await cluster.patch(JOBS, "pi", {"spec": {"suspend": True}})

    async def none():
        return not await cluster.list(PODS)

    await cluster.until(none)
    await ended(cluster, "Suspended")
    found = await cluster.get(JOBS, "pi")
    assert found["status"].get("failed", 0) == 0
    assert "startTime" not in found["status"]


async def test_success_of_the_named_indexes_is_enough(cluster):
    policy = {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
    spec = job(completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy)
    await cluster.create(JOBS, "pi", spec=spec)
    pods = {p["metadata"]["annotations"][INDEX]: p for p in await until_running(cluster, 3)}
    await end(cluster, pods["0"])
    done = await ended(cluster, "Complete")
    assert done["end"]["reason"] == "SuccessPolicy"
    assert not await running(cluster)


async def test_a_job_that_takes_too_long_fails_and_goes_when_its_time_to_live_is_over(cluster):
    await cluster.create(JOBS, "pi", spec=job(activeDeadlineSeconds=1, ttlSecondsAfterFinished=1))
    done = await ended(cluster, "Failed")
    assert done["end"]["reason"] == "DeadlineExceeded"

    async def gone():
        try:
            await cluster.get(JOBS, "pi")
        except NotFound:
            return not await cluster.list(PODS)
        return False

    await cluster.until(gone)


async def test_counts_go_on_where_a_controller_died(bare):
    async with bare.running():
        await bare.create(JOBS, "pi", spec=job(completions=3, parallelism=3))
        pods = await until_running(bare, 3)
    for pod in pods[:2]:
        await end(bare, pod)
    async with bare.running():

        async def two():
            return (await bare.get(JOBS, "pi"))["status"].get("succeeded") == 2

        await bare.until(two)
    await end(bare, pods[2])
    await bare.client.delete(PODS, bare.key(PODS, pods[2]["metadata"]["name"]))  # what is not counted stays
    async with bare.running():
        done = await ended(bare, "Complete")
    assert done["status"]["succeeded"] == 3
