"""What a pod's status says. Pure: facts in, ``status`` (core/v1 PodStatus) out, ready to be patched.

Not here: when to send it, and probes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.clock import rfc3339
from netloom.local.runner.spec import Condition, Container, OldContainerStatus, Pod

Status = dict[str, Any]
REPLACE = {"$patch": "replace"}
"""In a list of a strategic merge patch: these and no others. Addresses that were there before would stay otherwise."""
ID_SCHEME = "netloom://"
"""Begins every containerID: which runtime runs it."""


class Terminated(msgspec.Struct, frozen=True):
    """A container's life that is over (core/v1 ContainerStateTerminated); times are seconds since the epoch."""

    exit_code: int
    reason: str
    started: float
    finished: float
    message: str = ""


class ContainerFacts(msgspec.Struct, frozen=True):
    """How a container fares now."""

    id: str = ""
    running_since: float | None = None
    waiting: str = "ContainerCreating"
    """Reason where it is not running."""
    message: str = ""
    terminated: Terminated | None = None
    """Its end, where it will not run again."""
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    """Its startup probe has succeeded, or it has none."""
    ready: bool = False


def adopted(old: OldContainerStatus) -> ContainerFacts | None:
    """The facts behind a status that a runner before us wrote; None where the container did not run."""
    since = old.running_since
    if since is None:
        return None
    return ContainerFacts(
        id=old.container_id.removeprefix(ID_SCHEME),
        running_since=since,
        restarts=old.restart_count,
        started=old.started,
        ready=old.ready,
    )


class PodFacts(msgspec.Struct, frozen=True):
    """How a pod fares now."""

    start_time: str
    host_ips: tuple[str, ...]
    ips: tuple[str, ...] = ()
    has_sandbox: bool = False
    containers: Mapping[str, ContainerFacts] = {}
    problem: str = ""
    """Why there is no sandbox."""


def pod_status(pod: Pod, facts: PodFacts, *, now: float) -> Status:
    """The whole status that a runner is responsible for.

    Conditions keep their ``lastTransitionTime`` while their status stays, and those of others are left alone.
    """
    facts_of = {c.name: facts.containers.get(c.name, ContainerFacts()) for c in pod.apps}
    status: Status = {
        "phase": phase(pod, facts_of),
        "startTime": facts.start_time,
        "hostIP": next(iter(facts.host_ips), ""),
        "hostIPs": [*({"ip": ip} for ip in facts.host_ips), REPLACE],
        "conditions": _conditions(pod, facts, facts_of, now),
        "containerStatuses": [
            _container(c, facts_of[c.name]) for c in sorted(pod.spec.containers, key=lambda c: c.name)
        ],
    }
    if pod.spec.init_containers:
        status["initContainerStatuses"] = [_init(c, facts, facts_of) for c in pod.spec.init_containers]
    if facts.ips:
        status["podIP"] = facts.ips[0]
        status["podIPs"] = [*({"ip": ip} for ip in facts.ips), REPLACE]
    return status


def phase(pod: Pod, facts_of: Mapping[str, ContainerFacts]) -> str:
    """core/v1 PodPhase: Pending until every container has run once, Failed or Succeeded when none will run again."""
    mains = [facts_of[c.name] for c in pod.spec.containers]
    if mains and all(f.terminated is not None for f in mains):
        return (
            "Failed"
            if any(f.terminated is not None and f.terminated.exit_code for f in mains)
            else "Succeeded"
        )
    if all(f.running_since is not None or f.last is not None or f.terminated is not None for f in mains):
        return "Running"
    return "Pending"


def _conditions(
    pod: Pod, facts: PodFacts, facts_of: Mapping[str, ContainerFacts], now: float
) -> list[Status]:
    unready = sorted(name for name, f in facts_of.items() if not f.ready)
    containers_ready = facts.has_sandbox and not unready
    blame = _unready_blame(unready, phase(pod, facts_of))
    had = {c.type: c for c in pod.status.conditions}
    shut = [words for g in pod.spec.readiness_gates if (words := _shut(g.condition_type, had))]
    ready_blame = blame if not containers_ready else ("ReadinessGatesNotReady", ", ".join(shut))
    wanted = [
        _condition("PodScheduled", True),
        _condition("PodReadyToStartContainers", facts.has_sandbox, "SandboxNotReady", facts.problem),
        _condition(
            "Initialized", facts.has_sandbox or not pod.spec.init_containers, "ContainersNotInitialized"
        ),
        _condition("ContainersReady", containers_ready, *blame),
        _condition("Ready", containers_ready and not shut, *ready_blame),
    ]
    return [_stamped(c, had.get(c.type), now) for c in wanted]


def _unready_blame(unready: list[str], phase: str) -> tuple[str, str]:
    """Reason and message of a pod whose containers are not all ready, as a kubelet words them."""
    match phase:
        case "Succeeded":
            return "PodCompleted", ""
        case "Failed":
            return "PodFailed", ""
        case _:
            return "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"


def _shut(gate: str, had: Mapping[str, Condition]) -> str:
    """Why a readiness gate holds the pod back, as a kubelet words it; empty where it is open."""
    condition = had.get(gate)
    if condition is None:
        return f'corresponding condition of pod readiness gate "{gate}" does not exist.'
    if condition.status == "True":
        return ""
    return f'the status of pod readiness gate "{gate}" is not "True", but {condition.status}'


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Condition:
    return Condition(kind, "True") if holds else Condition(kind, "False", None, reason, message)


def _stamped(new: Condition, old: Condition | None, now: float) -> Status:
    same = old is not None and old.status == new.status and old.last_transition_time
    time = old.last_transition_time if same and old is not None else rfc3339(now)
    stamped: Status = {"type": new.type, "status": new.status, "lastTransitionTime": time}
    # Sent although empty: a merge patch leaves out of sight what it does not name, and an old reason would stay.
    stamped["reason"] = new.reason or None
    stamped["message"] = new.message or None
    return stamped


def _container(container: Container, facts: ContainerFacts) -> Status:
    status: Status = {
        "name": container.name,
        "image": container.image,
        "imageID": f"standin://{container.image}" if facts.id else "",
        "restartCount": facts.restarts,
        "ready": facts.ready,
        "started": facts.started and facts.running_since is not None,
        "state": _state(facts),
    }
    if facts.id:
        status["containerID"] = f"{ID_SCHEME}{facts.id}"
    if facts.last is not None:
        status["lastState"] = {"terminated": _terminated(facts.last)}
    return status


def _state(facts: ContainerFacts) -> Status:
    if facts.terminated is not None:
        return {"terminated": _terminated(facts.terminated)}
    if facts.running_since is not None:
        return {"running": {"startedAt": rfc3339(facts.running_since)}}
    waiting: Status = {"reason": facts.waiting}
    return {"waiting": waiting | ({"message": facts.message} if facts.message else {})}


def _terminated(end: Terminated) -> Status:
    told: Status = {
        "exitCode": end.exit_code,
        "reason": end.reason,
        "startedAt": rfc3339(end.started),
        "finishedAt": rfc3339(end.finished),
    }
    return told | ({"message": end.message} if end.message else {})


def _init(container: Container, facts: PodFacts, facts_of: Mapping[str, ContainerFacts]) -> Status:
    """An init container's stand-in has nothing to do and completes at once; a sidecar goes on."""
    if container.name in facts_of:
        return _container(container, facts_of[container.name])
    done = facts.has_sandbox
    state: Status = {"waiting": {"reason": "PodInitializing"}}
    if done:
        completed = {
            "exitCode": 0,
            "reason": "Completed",
            "startedAt": facts.start_time,
            "finishedAt": facts.start_time,
        }
        state = {"terminated": completed}
    return {
        "name": container.name,
        "image": container.image,
        "imageID": f"standin://{container.image}" if done else "",
        "restartCount": 0,
        "ready": done,
        "started": False,
        "state": state,
    }
