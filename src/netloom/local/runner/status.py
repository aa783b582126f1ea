"""What a pod's status says. Pure: facts in, ``status`` (core/v1 PodStatus) out, ready to be patched.

Not here: when to send it, and probes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.clock import rfc3339
from netloom.local.runner.spec import Condition, Container, Pod
from netloom.local.runner.told import OldContainerStatus, OldTerminated

Status = dict[str, Any]
REPLACE = {"$patch": "replace"}
"""In a list of a strategic merge patch: these and no others. Addresses that were there before would stay otherwise."""
STANDIN_SCHEME = "standin://"
"""Begins the imageID of a container that a stand-in plays."""
ID_SCHEME = "netloom://"
"""Begins every containerID: which runtime runs it."""


class Terminated(msgspec.Struct, frozen=True):
    """A container's life that is over (core/v1 ContainerStateTerminated); times are seconds since the epoch."""

    exit_code: int
    reason: str
    started: float
    finished: float
    message: str = ""
    signal: int = 0


class ContainerFacts(msgspec.Struct, frozen=True):
    """How a container fares now."""

    id: str = ""
    image: str = ""
    """Full name of the image whose program runs; empty for a stand-in."""
    image_id: str = ""
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
    """The facts behind a status that a runner before us wrote; None where the container did not run and is not over."""
    since, end = old.running_since, old.state.terminated
    if since is None and end is None:
        return None
    return ContainerFacts(
        id=old.container_id.removeprefix(ID_SCHEME),
        image=old.image if not old.image_id.startswith(STANDIN_SCHEME) else "",
        image_id=old.image_id if not old.image_id.startswith(STANDIN_SCHEME) else "",
        running_since=since,
        terminated=_formerly(end) if end is not None else None,
        last=_formerly(old.last_state.terminated) if old.last_state.terminated is not None else None,
        restarts=old.restart_count,
        started=old.started,
        ready=old.ready,
    )


def _formerly(end: OldTerminated) -> Terminated:
    started = end.started_at.timestamp() if end.started_at is not None else 0.0
    finished = end.finished_at.timestamp() if end.finished_at is not None else started
    return Terminated(end.exit_code, end.reason, started, finished, end.message, end.signal)


class PodFacts(msgspec.Struct, frozen=True):
    """How a pod fares now."""

    start_time: str
    host_ips: tuple[str, ...]
    ips: tuple[str, ...] = ()
    has_sandbox: bool = False
    containers: Mapping[str, ContainerFacts] = {}
    problem: str = ""
    """Why there is no sandbox."""
    failed: tuple[str, str] | None = None
    """Reason and message of a pod that was ended as failed (``activeDeadlineSeconds``)."""


def pod_status(pod: Pod, facts: PodFacts, *, now: float) -> Status:
    """The whole status that a runner is responsible for.

    Conditions keep their ``lastTransitionTime`` while their status stays, and those of others are left alone.
    """
    facts_of = {c.name: facts.containers.get(c.name, _not_yet(pod)) for c in pod.every}
    status: Status = {
        "phase": "Failed" if facts.failed is not None else phase(pod, facts_of),
        "startTime": facts.start_time,
        "hostIP": next(iter(facts.host_ips), ""),
        "hostIPs": [*({"ip": ip} for ip in facts.host_ips), REPLACE],
        "conditions": _conditions(pod, facts, facts_of, now),
        "containerStatuses": [
            _container(c, facts_of[c.name]) for c in sorted(pod.spec.containers, key=lambda c: c.name)
        ],
    }
    if facts.failed is not None:
        status["reason"], status["message"] = facts.failed
    if pod.spec.init_containers:
        status["initContainerStatuses"] = [_container(c, facts_of[c.name]) for c in pod.spec.init_containers]
    if pod.spec.ephemeral_containers:
        status["ephemeralContainerStatuses"] = [
            _container(c, facts_of[c.name]) for c in pod.spec.ephemeral_containers
        ]
    if facts.ips:
        status["podIP"] = facts.ips[0]
        status["podIPs"] = [*({"ip": ip} for ip in facts.ips), REPLACE]
    return status


def _not_yet(pod: Pod) -> ContainerFacts:
    """A container that has not been begun."""
    return ContainerFacts(waiting="PodInitializing" if pod.spec.init_containers else "ContainerCreating")


def phase(pod: Pod, facts_of: Mapping[str, ContainerFacts]) -> str:
    """core/v1 PodPhase: Pending until every container has run once, Failed or Succeeded when none will run again."""
    mains = [facts_of[c.name] for c in pod.spec.containers]
    ends = [f.terminated for f in mains if f.terminated is not None]
    inits = [facts_of[c.name].terminated for c in pod.spec.init_containers if c.restart_policy != "Always"]
    if any(end is not None and end.exit_code for end in inits):
        return "Failed"
    if mains and len(ends) == len(mains):
        sidecars = [facts_of[c.name] for c in pod.spec.init_containers if c.restart_policy == "Always"]
        if any(f.running_since is not None for f in sidecars):
            return "Running"
        return "Failed" if any(end.exit_code for end in ends) else "Succeeded"
    if all(f.running_since is not None or f.last is not None or f.terminated is not None for f in mains):
        return "Running"
    return "Pending"


def uninitialized(pod: Pod, facts_of: Mapping[str, ContainerFacts]) -> list[str]:
    """Init containers that others wait for: those that have not succeeded, and sidecars that have not started."""
    return [c.name for c in pod.spec.init_containers if not _is_done(c, facts_of[c.name])]


def _is_done(container: Container, facts: ContainerFacts) -> bool:
    if container.restart_policy == "Always":
        return facts.started or facts.terminated is not None
    return facts.terminated is not None and facts.terminated.exit_code == 0


def _conditions(
    pod: Pod, facts: PodFacts, facts_of: Mapping[str, ContainerFacts], now: float
) -> list[Status]:
    unready = sorted(c.name for c in pod.apps if not facts_of[c.name].ready)
    containers_ready = facts.has_sandbox and not unready
    blame = _unready_blame(unready, phase(pod, facts_of))
    waits = uninitialized(pod, facts_of)
    incomplete = f"containers with incomplete status: [{' '.join(waits)}]"
    had = {c.type: c for c in pod.status.conditions}
    shut = [words for g in pod.spec.readiness_gates if (words := _shut(g.condition_type, had))]
    ready_blame = blame if not containers_ready else ("ReadinessGatesNotReady", ", ".join(shut))
    wanted = [
        _condition("PodScheduled", True),
        _condition("PodReadyToStartContainers", facts.has_sandbox, "SandboxNotReady", facts.problem),
        _condition("Initialized", not waits, "ContainersNotInitialized", incomplete),
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
        "image": facts.image or container.image,
        "imageID": facts.image_id or (f"{STANDIN_SCHEME}{container.image}" if facts.id else ""),
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
    told |= {"message": end.message} if end.message else {}
    return told | ({"signal": end.signal} if end.signal else {})
