"""LimitRanges: what pods of a namespace get, and what they may not have."""

from __future__ import annotations

import pytest
from tests.unit.local.apiserver.conftest import Api, pod

from netloom.local.apiserver.admission import limits


def limit_range(**item):
    return {"spec": {"limits": [{"type": "Container", **item}]}}


def made(*containers, **resources):
    document = pod("p")
    document["spec"]["containers"] = list(containers) or [{"name": "main", "resources": resources}]
    return document


def test_what_is_not_said_is_filled_in_and_noted():
    document = made(requests={"cpu": "50m"})
    both = limit_range(default={"cpu": "1", "memory": "64Mi"}, defaultRequest={"cpu": "100m"})
    assert limits.admit_pod(document, [both]) == ""
    found = document["spec"]["containers"][0]["resources"]
    assert found == {"requests": {"cpu": "50m"}, "limits": {"cpu": "1", "memory": "64Mi"}}
    note = document["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    assert note == "LimitRanger plugin set: cpu, memory limit for container main"


@pytest.mark.parametrize(
    ("item", "resources", "told"),
    [
        ({"max": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "maximum cpu usage per Container is 1, but limit is 2"),
        ({"max": {"cpu": "1"}}, {}, "maximum cpu usage per Container is 1. No limit is specified"),
        ({"min": {"cpu": "1"}}, {"requests": {"cpu": "500m"}}, "minimum cpu usage per Container is 1, but request is 500m"),
        ({"min": {"cpu": "1"}}, {}, "minimum cpu usage per Container is 1. No request is specified"),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}, "provided ratio is 3.000000"),
        ({"max": {"cpu": "1"}}, {"requests": {"cpu": "1"}, "limits": {"cpu": "1000m"}}, ""),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused(item, resources, told):
    found = limits.admit_pod(made(**resources), [limit_range(**item)])
    assert told in found if told else not found


def test_a_pod_is_its_containers_together_or_its_largest_init_container():
    each = {"resources": {"requests": {"cpu": "600m"}, "limits": {"cpu": "600m"}}}
    document = made({"name": "a", **each}, {"name": "b", **each})
    item = {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}
    assert limits.admit_pod(document, [item]) == "maximum cpu usage per Pod is 1, but limit is 1.2"
    del document["spec"]["containers"][1]
    assert limits.admit_pod(document, [item]) == ""
    large = {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}
    document["spec"]["initContainers"] = [{"name": "first", **large}]
    assert "but limit is 2" in limits.admit_pod(document, [item])


def test_claims_have_bounds_too():
    claim = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    item = {"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}}
    assert (
        "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
        in limits.claim_problem(claim, [item])
    )
    assert limits.claim_problem(claim, []) == ""


async def test_a_limit_range_acts_on_pods_that_are_made(api: Api) -> None:
    body = limit_range(max={"cpu": "1"}) | {"metadata": {"name": "small"}}
    await api.create("limitranges", body)
    found = await api.create("pods", pod("fits"))
    assert found["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}
    assert found["status"]["qosClass"] == "Burstable"
    large = pod("large")
    large["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
    status = (await api("POST", "pods", large)).refused(403, "Forbidden")
    assert (
        status["message"] == 'pods "large" is forbidden: maximum cpu usage per Container is 1, but limit is 2'
    )
