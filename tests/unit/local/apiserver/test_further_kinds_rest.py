"""Every kind over HTTP: made, read, changed, scaled, deleted; and Events, which are the same objects in two groups."""

from __future__ import annotations

import copy

import pytest
from tests.unit.local.apiserver.conftest import Api
from tests.unit.local.apiserver.every_kind import DOCUMENTS

from netloom.local.apiserver import kinds

EVENTS = "/apis/events.k8s.io/v1/namespaces/shop/events"


def path_of(gvk: str) -> str:
    kind = kinds.of(*gvk.rsplit("/", 1))
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/shop/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


@pytest.mark.parametrize("gvk", DOCUMENTS)
async def test_every_kind_is_made_read_changed_and_deleted(api: Api, gvk: str) -> None:
    document = copy.deepcopy(DOCUMENTS[gvk])
    path, name = path_of(gvk), document["metadata"]["name"]
    made = (await api("POST", path, document)).ok()
    assert made["metadata"]["uid"]
    kind = kinds.of(*gvk.rsplit("/", 1))
    assert made["metadata"].get("generation") == (1 if kind.counts_generations else None)
    read = (await api("GET", f"{path}/{name}")).ok()
    if kind is not kinds.SERVICE_CIDRS:  # the server itself says more of it at once (service_ranges.py)
        assert read == made
    made = read
    made["metadata"]["labels"] = {"changed": "yes"}
    changed = (await api("PUT", f"{path}/{name}", made)).ok()
    assert changed["metadata"].get("generation") == made["metadata"].get("generation")
    listed = (
        await api("GET", f"{path}?labelSelector=changed%3Dyes&fieldSelector=metadata.name%3D{name}")
    ).ok()
    assert [one["metadata"]["name"] for one in listed["items"]] == [name]
    table = await api("GET", path, Accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    assert name in [row["object"]["metadata"]["name"] for row in table.ok()["rows"]]
    await api("DELETE", f"{path}/{name}?propagationPolicy=Background")
    assert (await api("GET", f"{path}/{name}")).code == 404


@pytest.mark.parametrize(
    "gvk", ["apps/v1/StatefulSet", "v1/ReplicationController"], ids=lambda gvk: gvk.rpartition("/")[2]
)
async def test_what_has_replicas_is_scaled(api: Api, gvk: str) -> None:
    document = copy.deepcopy(DOCUMENTS[gvk])
    path = f"{path_of(gvk)}/{document['metadata']['name']}"
    made = (await api("POST", path_of(gvk), document)).ok()
    scale = (await api("GET", f"{path}/scale")).ok()
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"]["selector"] == f"app={document['metadata']['name']}"
    scale["spec"]["replicas"] = 4
    (await api("PUT", f"{path}/scale", scale)).ok()
    found = (await api("GET", path)).ok()
    assert found["spec"]["replicas"] == 4
    assert found["metadata"]["generation"] == made["metadata"]["generation"] + 1


async def test_a_job_selects_its_pods_by_its_uid(api: Api) -> None:
    made = (await api("POST", path_of("batch/v1/Job"), copy.deepcopy(DOCUMENTS["batch/v1/Job"]))).ok()
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == labels["job-name"] == "once"
    assert labels["app"] == "once"


def event() -> dict:
    return {
        "metadata": {"name": "web.1"},
        "regarding": {"kind": "Pod", "name": "web", "namespace": "shop"},
        "eventTime": "2026-01-01T12:00:00.000000Z",
        "reportingController": "example.org/test",
        "reportingInstance": "test-1",
        "action": "Look",
        "reason": "Seen",
        "type": "Normal",
        "note": "is there",
    }


async def test_an_event_is_the_same_object_in_both_groups(api: Api) -> None:
    made = (await api("POST", EVENTS, event())).ok()
    assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "is there")
    old = (await api("GET", "events/web.1")).ok()
    assert (old["apiVersion"], old["message"]) == ("v1", "is there")
    assert old["involvedObject"]["name"] == "web"
    assert old["metadata"]["uid"] == made["metadata"]["uid"]
    old["message"] = "is still there"
    (await api("PUT", "events/web.1", old)).ok()
    seen = (
        await api(
            "GET", f"{EVENTS}?fieldSelector=regarding.name%3Dweb,reportingController%3Dexample.org/test"
        )
    ).ok()
    assert (seen["apiVersion"], seen["kind"]) == ("events.k8s.io/v1", "EventList")
    assert [one["note"] for one in seen["items"]] == ["is still there"]
    assert (await api("GET", f"{EVENTS}?fieldSelector=regarding.name%3Dother")).ok()["items"] == []
    table = (await api("GET", EVENTS, Accept="application/json;as=Table;g=meta.k8s.io;v=v1")).ok()
    assert "is still there" in table["rows"][0]["cells"]
    patch = {"series": {"count": 2, "lastObservedTime": "2026-01-01T12:00:01.000000Z"}}
    merge = {"Content-Type": "application/merge-patch+json"}
    (await api("PATCH", f"{EVENTS}/web.1", patch, **merge)).ok()
    assert (await api("GET", "events/web.1")).ok()["series"]["count"] == 2
    (await api("DELETE", f"{EVENTS}/web.1")).ok()
    assert (await api("GET", "events/web.1")).code == 404


async def test_a_new_event_says_who_saw_what(api: Api) -> None:
    body = {name: value for name, value in event().items() if name not in ("action", "eventTime")}
    status = (await api("POST", EVENTS, body)).refused(422, "Invalid")
    assert {cause["field"] for cause in status["details"]["causes"]} == {"action", "eventTime"}


async def test_an_autoscaler_is_the_same_object_in_both_versions(api: Api) -> None:
    old, new = (f"/apis/autoscaling/{v}/namespaces/shop/horizontalpodautoscalers" for v in ("v1", "v2"))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}
    made = (await api("POST", old, {"metadata": {"name": "web"}, "spec": spec})).ok()
    assert made["apiVersion"] == "autoscaling/v1"
    assert made["spec"]["targetCPUUtilizationPercentage"] == 70
    found = (await api("GET", f"{new}/web")).ok()
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert found["spec"]["metrics"] == [{"type": "Resource", "resource": metric}]
    found["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 50
    (await api("PUT", f"{new}/web", found)).ok()
    listed = (await api("GET", old)).ok()
    assert [one["spec"]["targetCPUUtilizationPercentage"] for one in listed["items"]] == [50]


async def test_jobs_are_selected_by_how_many_pods_succeeded(api: Api) -> None:
    path = path_of("batch/v1/Job")
    (await api("POST", path, copy.deepcopy(DOCUMENTS["batch/v1/Job"]))).ok()
    for number, wanted in ((0, ["once"]), (1, [])):
        found = (await api("GET", f"{path}?fieldSelector=status.successful%3D{number}")).ok()
        assert [one["metadata"]["name"] for one in found["items"]] == wanted


async def test_the_time_of_an_old_event_is_the_time_of_the_new_one(api: Api) -> None:
    old = {
        "metadata": {"name": "old.1"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "shop"},
        "firstTimestamp": "2026-01-01T12:00:00Z",
        "type": "Normal",
        "reason": "Seen",
    }
    (await api("POST", "events", old)).ok()
    assert (await api("GET", f"{EVENTS}/old.1")).ok()["eventTime"] == "2026-01-01T12:00:00.000000Z"


async def test_priority_classes_of_the_system_stay(api: Api) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical"
    status = (await api("DELETE", path)).refused(403, "Forbidden")
    assert "cannot be deleted" in status["message"]
