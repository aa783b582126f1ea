from __future__ import annotations

import msgspec
import pytest

from netloom.errors import InvalidObject
from netloom.local.runner.images import standin_image_id
from netloom.local.runner.status import (
    REPLACE,
    ContainerFacts,
    PodFacts,
    Status,
    Terminated,
    adopted,
    pod_status,
)
from netloom.local.runner.told import OldContainerStatus

NOW = 1_700_000_000.0
STAMP = "2023-11-14T22:13:20Z"
APP = "containers: [{name: app, image: example.org/app:1}]"
RUNNING = ContainerFacts(id="c1", running_since=NOW, started=True, ready=True)


def facts(**changes: object) -> PodFacts:
    return msgspec.structs.replace(PodFacts(STAMP, ("172.30.0.11",)), **changes)


def condition(status: Status, kind: str) -> Status:
    return next(c for c in status["conditions"] if c["type"] == kind)


def test_before_the_sandbox_a_pod_is_pending_and_says_why(pod):
    status = pod_status(pod(APP), facts(problem="no address left"), now=NOW)
    assert status["phase"] == "Pending"
    assert condition(status, "PodReadyToStartContainers")["message"] == "no address left"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert "podIP" not in status


def test_a_running_pod(pod):
    status = pod_status(
        pod(APP), facts(ips=("10.244.1.5",), has_sandbox=True, containers={"app": RUNNING}), now=NOW
    )
    assert (status["phase"], status["podIP"], status["podIPs"]) == (
        "Running",
        "10.244.1.5",
        [{"ip": "10.244.1.5"}, REPLACE],
    )
    assert (status["hostIP"], status["startTime"]) == ("172.30.0.11", STAMP)
    assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(
        ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"), "True"
    )
    assert status["containerStatuses"] == [
        {
            "name": "app",
            "image": "example.org/app:1",
            "imageID": "standin://example.org/app:1",
            "containerID": "netloom://c1",
            "restartCount": 0,
            "ready": True,
            "started": True,
            "state": {"running": {"startedAt": STAMP}},
        }
    ]


def test_an_unready_container_is_named(pod):
    made = pod("containers: [{name: app}, {name: side}]")
    unready = msgspec.structs.replace(RUNNING, ready=False)
    status = pod_status(made, facts(has_sandbox=True, containers={"app": RUNNING, "side": unready}), now=NOW)
    assert (status["phase"], condition(status, "Ready")["status"]) == ("Running", "False")
    assert condition(status, "Ready")["message"] == "containers with unready status: [side]"


def test_transition_times_stay_while_the_status_stays(pod):
    old = "conditions: [{type: Ready, status: 'True', lastTransitionTime: '2020-01-01T00:00:00Z'}, {type: Initialized, status: 'False', lastTransitionTime: '2020-01-01T00:00:00Z'}]"
    status = pod_status(pod(APP, old), facts(has_sandbox=True, containers={"app": RUNNING}), now=NOW)
    assert condition(status, "Ready")["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert condition(status, "Initialized")["lastTransitionTime"] == STAMP


def test_readiness_gates_hold_a_pod_back(pod):
    made = APP + "\nreadinessGates: [{conditionType: example.org/gate}]"
    running = facts(has_sandbox=True, containers={"app": RUNNING})
    shut = pod_status(pod(made), running, now=NOW)
    assert (condition(shut, "ContainersReady")["status"], condition(shut, "Ready")["status"]) == (
        "True",
        "False",
    )
    assert (condition(shut, "Ready")["reason"], condition(shut, "Ready")["message"]) == (
        "ReadinessGatesNotReady",
        'corresponding condition of pod readiness gate "example.org/gate" does not exist.',
    )
    closed = "conditions: [{type: example.org/gate, status: Unknown}]"
    assert condition(pod_status(pod(made, closed), running, now=NOW), "Ready")["message"] == (
        'the status of pod readiness gate "example.org/gate" is not "True", but Unknown'
    )
    open_ = "conditions: [{type: example.org/gate, status: 'True'}]"
    assert condition(pod_status(pod(made, open_), running, now=NOW), "Ready")["status"] == "True"


def test_a_restarted_container_shows_its_last_end(pod):
    last = Terminated(137, "Error", NOW - 60, NOW, "liveness probe failed")
    crashed = ContainerFacts(id="c2", waiting="CrashLoopBackOff", last=last, restarts=3)
    status = pod_status(pod(APP), facts(has_sandbox=True, containers={"app": crashed}), now=NOW)
    (container,) = status["containerStatuses"]
    assert status["phase"] == "Running"
    assert container["state"] == {"waiting": {"reason": "CrashLoopBackOff"}}
    assert (container["restartCount"], container["lastState"]["terminated"]["exitCode"]) == (3, 137)


@pytest.mark.parametrize(("code", "expected"), [(0, "Succeeded"), (137, "Failed")])
def test_a_pod_whose_containers_will_not_run_again_is_over(code: int, expected: str, pod):
    over = ContainerFacts(id="c", terminated=Terminated(code, "Error", NOW, NOW))
    status = pod_status(pod(APP), facts(has_sandbox=True, containers={"app": over}), now=NOW)
    reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}[expected]
    assert (status["phase"], condition(status, "Ready")["reason"]) == (expected, reason)


INIT = APP + "\ninitContainers: [{name: setup, image: a}, {name: proxy, image: b, restartPolicy: Always}]"
DONE = ContainerFacts(id="c0", terminated=Terminated(0, "Completed", NOW, NOW), ready=True)


def test_init_containers_complete_and_sidecars_run(pod):
    has = {"setup": DONE, "app": RUNNING, "proxy": RUNNING}
    status = pod_status(pod(INIT), facts(has_sandbox=True, containers=has), now=NOW)
    setup, proxy = status["initContainerStatuses"]
    assert (setup["state"]["terminated"]["reason"], setup["ready"]) == ("Completed", True)
    assert proxy["state"] == {"running": {"startedAt": STAMP}}
    assert condition(status, "Initialized")["status"] == "True"


def test_until_the_init_containers_are_done_the_others_wait(pod):
    status = pod_status(pod(INIT), facts(has_sandbox=True, containers={"setup": RUNNING}), now=NOW)
    assert (status["phase"], condition(status, "Initialized")["message"]) == (
        "Pending",
        "containers with incomplete status: [setup proxy]",
    )
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_an_init_container_that_failed_for_good_fails_the_pod(pod):
    failed = ContainerFacts(id="c0", terminated=Terminated(3, "Error", NOW, NOW))
    status = pod_status(pod(INIT), facts(containers={"setup": failed}), now=NOW)
    assert status["phase"] == "Failed"


def test_a_pod_is_over_when_its_sidecars_are_too(pod):
    has = {"setup": DONE, "app": DONE, "proxy": RUNNING}
    assert pod_status(pod(INIT), facts(has_sandbox=True, containers=has), now=NOW)["phase"] == "Running"
    has["proxy"] = DONE
    assert pod_status(pod(INIT), facts(containers=has), now=NOW)["phase"] == "Succeeded"


def test_a_pod_that_was_active_for_too_long_says_so(pod):
    has = facts(containers={"app": DONE}, failed=("DeadlineExceeded", "too long"))
    status = pod_status(pod(APP), has, now=NOW)
    assert (status["phase"], status["reason"], status["message"]) == (
        "Failed",
        "DeadlineExceeded",
        "too long",
    )


@pytest.mark.parametrize(
    "image", ["nginx", "nginx:1.27", "example.org:5000/a/b_c:v1", "a/b@sha256:" + "0" * 64]
)
def test_image_names(image: str):
    assert standin_image_id(image, subject="pod") == f"standin://{image}"


@pytest.mark.parametrize("image", ["", "Nginx", "nginx:", "a b", "/a", "nginx@sha256:zz"])
def test_what_is_no_image_name_is_refused(image: str):
    with pytest.raises(InvalidObject, match="no image reference"):
        standin_image_id(image, subject="Pod shop/web-1 container app")


def test_a_status_is_read_back_by_the_next_runner(pod):
    facts_before = ContainerFacts(id="abc", running_since=120.0, restarts=2, started=True, ready=True)
    written = pod_status(pod(APP), facts(containers={"app": facts_before}), now=200.0)
    (old,) = msgspec.convert(written["containerStatuses"], tuple[OldContainerStatus, ...])
    assert adopted(old) == facts_before
    assert adopted(OldContainerStatus("app", restart_count=2)) is None
