"""CronJobs against the real API server."""

from __future__ import annotations

from typing import Any

from netloom.kube.resources import CRON_JOBS, EVENTS, JOBS, PODS


def cron(schedule: str = "@every 1s", **spec: object) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "tick"}},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "example.org/tick:1"}],
        },
    }
    return {"schedule": schedule, "jobTemplate": {"spec": {"template": template}}, **spec}


async def jobs_of(cluster) -> list[dict[str, Any]]:
    return await cluster.list(JOBS)


async def first_job(cluster) -> dict[str, Any]:
    async def there():
        jobs = await jobs_of(cluster)
        return jobs[0] if jobs else None

    return await cluster.until(there)


async def test_a_job_is_made_when_it_is_due_and_its_success_is_noted(cluster):
    await cluster.create(CRON_JOBS, "quiet", spec=cron(suspend=True))
    await cluster.create(CRON_JOBS, "tick", spec=cron())
    job = await first_job(cluster)
    assert job["metadata"]["name"].startswith("tick-")
    assert job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].endswith("Z")

    async def noted():
        status = (await cluster.get(CRON_JOBS, "tick")).get("status", {})
        return status if status.get("active") else None

    status = await cluster.until(noted)
    assert status["active"][0]["uid"] == job["metadata"]["uid"]
    assert status["lastScheduleTime"]

    async def pods():
        return [p for p in await cluster.list(PODS) if p["status"]["phase"] == "Running"]

    (pod, *_) = await cluster.until(pods)
    await cluster.patch(
        PODS, pod["metadata"]["name"], {"status": {"phase": "Succeeded"}}, subresource="status"
    )

    async def succeeded():
        return (await cluster.get(CRON_JOBS, "tick"))["status"].get("lastSuccessfulTime")

    await cluster.until(succeeded)
    assert not [j for j in await jobs_of(cluster) if j["metadata"]["name"].startswith("quiet-")]
    events = {e["reason"] for e in await cluster.list(EVENTS) if e["involvedObject"]["kind"] == "CronJob"}
    assert "UnexpectedJob" not in events


async def test_ended_jobs_beyond_the_limit_are_removed(cluster):
    await cluster.create(CRON_JOBS, "tick", spec=cron("0 0 1 1 *", successfulJobsHistoryLimit=1))
    cj = await cluster.get(CRON_JOBS, "tick")
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": "tick",
        "uid": cj["metadata"]["uid"],
        "controller": True,
    }
    spec = cron()["jobTemplate"]["spec"]
    for number in range(3):
        name = f"tick-{number}"
        await cluster.create(JOBS, name, metadata={"ownerReferences": [owner]}, spec=spec | {"suspend": True})
        await cluster.settled()
        since = f"2026-01-0{number + 1}T00:00:00Z"
        conditions = [
            {"type": t, "status": "True", "reason": "CompletionsReached", "lastTransitionTime": since}
            for t in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"conditions": conditions, "startTime": since, "completionTime": since, "succeeded": 1}
        await cluster.patch(JOBS, name, {"status": status}, subresource="status")

    async def one_is_left():
        return [j["metadata"]["name"] for j in await jobs_of(cluster)] == ["tick-2"]

    await cluster.until(one_is_left)
