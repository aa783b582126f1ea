"""What `kubectl get pods` shows: how many containers are ready, one word for the state, restarts, addresses. Pure.

Comes in: a Pod document. Goes out: its cells. Source: core/v1 PodStatus; the words that kubectl's users know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netloom.local.apiserver.ages import age, seconds_of
from netloom.local.apiserver.jsonvalue import Json

_NONE = "<none>"
Status = Mapping[str, Any]


def cells(pod: Mapping[str, Any], now: float) -> list[Any]:
    """Name, ready, status, restarts, age; then IP, node, nominated node, readiness gates."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    status: Status = pod.get("status") or {}
    inits = _statuses(status, "initContainerStatuses")
    mains = _statuses(status, "containerStatuses")
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    helpers = [s for s in inits if s.get("name") in sidecars]
    ready = sum(bool(s.get("ready")) for s in (*helpers, *mains))
    addresses = status.get("podIPs") or ()
    gates = spec.get("readinessGates") or ()
    return [
        metadata["name"],
        f"{ready}/{len(spec.get('containers') or ()) + len(sidecars)}",
        state_word(pod),
        _restarts([*helpers, *mains] if _is_initialised(status) else inits, now),
        age(metadata.get("creationTimestamp"), now),
        (addresses[0].get("ip") if addresses else status.get("podIP")) or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"{sum(_condition(status, g.get('conditionType')) for g in gates)}/{len(gates)}" if gates else _NONE,
    ]


def state_word(pod: Mapping[str, Any]) -> str:
    """``Running``, ``CrashLoopBackOff``, ``Init:0/2``, ``Terminating`` ...: the most telling word there is."""
    status: Status = pod.get("status") or {}
    if "deletionTimestamp" in pod["metadata"]:
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    phase = status.get("phase", "Unknown")
    if phase in {"Succeeded", "Failed"} and status.get("reason"):
        return str(status["reason"])
    return _init_word(pod, status) or _main_word(status) or str(status.get("reason") or phase)


def _init_word(pod: Mapping[str, Any], status: Status) -> str:
    wanted = (pod.get("spec") or {}).get("initContainers") or ()
    sidecars = {c.get("name") for c in wanted if c.get("restartPolicy") == "Always"}
    for index, container in enumerate(_statuses(status, "initContainerStatuses")):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if container.get("name") in sidecars and container.get("started"):
            continue
        if ended is not None:
            return f"Init:{_end_word(ended)}"
        reason = waiting.get("reason")
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        return f"Init:{index}/{len(wanted)}"
    return ""


def _main_word(status: Status) -> str:
    word, running = "", False
    for container in reversed(_statuses(status, "containerStatuses")):
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            word = str(waiting["reason"])
        elif ended is not None:
            word = _end_word(ended)
        elif container.get("ready") and state.get("running") is not None:
            running = True
    if word == "Completed" and running:
        return "Running" if _condition(status, "Ready") else "NotReady"
    return word


def _end_word(ended: Mapping[str, Any]) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _restarts(statuses: Sequence[Status], now: float) -> str:
    total = sum(int(s.get("restartCount") or 0) for s in statuses)
    ends = [((s.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for s in statuses]
    last = max((str(e) for e in ends if seconds_of(e) is not None), default="")
    return f"{total} ({age(last, now)} ago)" if total and last else str(total)


def _is_initialised(status: Status) -> bool:
    return _condition(status, "Initialized") or bool(_statuses(status, "containerStatuses"))


def _statuses(status: Status, field: str) -> list[Status]:
    found = status.get(field)
    return found if isinstance(found, list) else []


def _condition(status: Status, type_: Json) -> bool:
    return any(c.get("type") == type_ and c.get("status") == "True" for c in status.get("conditions") or ())
