"""Cells of `kubectl get` for what makes pods, beside Deployments: StatefulSet, DaemonSet, Job, CronJob and their like. Pure.

Comes in: documents and the time. Goes out: cells. Source: the columns that kubectl's users know.
"""

from __future__ import annotations

from typing import Any

from netloom.local.apiserver import kinds
from netloom.local.apiserver.ages import age, seconds_of, span
from netloom.local.apiserver.cells import (
    NONE,
    Document,
    Sheet,
    born,
    columns,
    count,
    meta,
    part,
    selector_text,
    some,
    template,
    wanted,
)
from netloom.local.apiserver.fielderrors import mapping

_UNKNOWN = "<unknown>"
_NOT_SAID = "N/A"


def _stateful_set(d: Document, now: float) -> list[Any]:
    ready = f"{count(d, 'readyReplicas')}/{wanted(d)}"
    return [meta(d)["name"], ready, born(d, now), *template(d)[:2]]


def _daemon_set(d: Document, now: float) -> list[Any]:
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    nodes = selector_text(part(d, "spec", "template", "spec", "nodeSelector") or {})
    return [
        meta(d)["name"], *(count(d, field) for field in counts), count(d, "numberAvailable"), nodes, born(d, now),
        *template(d),
    ]  # fmt: skip


def _replication_controller(d: Document, now: float) -> list[Any]:
    return [
        meta(d)["name"], wanted(d), count(d, "replicas"), count(d, "readyReplicas"), born(d, now), *template(d)
    ]  # fmt: skip


def _pod_template(d: Document, _now: float) -> list[Any]:
    containers = some(d, "template", "spec", "containers")
    labels = selector_text(part(d, "template", "metadata", "labels") or {})
    return [
        meta(d)["name"],
        *(",".join(str(c.get(f, "")) for c in containers) for f in ("name", "image")),
        labels,
    ]


def _controller_revision(d: Document, now: float) -> list[Any]:
    owner = next((o for o in some(d, "metadata", "ownerReferences") if o.get("controller")), None)
    controller = NONE
    if owner is not None:
        group = str(owner.get("apiVersion", "")).rpartition("/")[0]
        kind = str(owner.get("kind", "")).lower()
        controller = f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return [meta(d)["name"], controller, int(d.get("revision") or 0), born(d, now)]


def _job(d: Document, now: float) -> list[Any]:
    return [meta(d)["name"], job_word(d), _completions(d), _duration(d, now), born(d, now), *template(d)]


def job_word(d: Document) -> str:
    """``Complete``, ``Failed``, ``Suspended`` ...: the state of a Job in one word."""
    true = {c.get("type") for c in some(d, "status", "conditions") if c.get("status") == "True"}
    for word in ("Complete", "Failed"):
        if word in true:
            return word
    if "deletionTimestamp" in meta(d):
        return "Terminating"
    for word in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if word in true:
            return word
    return "Running"


def _completions(d: Document) -> str:
    done, several = count(d, "succeeded"), part(d, "spec", "completions")
    if several is not None:
        return f"{done}/{several}"
    at_once = int(part(d, "spec", "parallelism") or 0)
    return f"{done}/1 of {at_once}" if at_once > 1 else f"{done}/1"


def _duration(d: Document, now: float) -> str:
    start = seconds_of(part(d, "status", "startTime"))
    if start is None:
        return ""
    end = seconds_of(part(d, "status", "completionTime"))
    return span((now if end is None else end) - start)


def _cron_job(d: Document, now: float) -> list[Any]:
    last = part(d, "status", "lastScheduleTime")
    made = {"spec": part(d, "spec", "jobTemplate", "spec") or {}}
    suspend = part(d, "spec", "suspend")
    return [
        meta(d)["name"], part(d, "spec", "schedule") or "", part(d, "spec", "timeZone") or NONE,
        "<unset>" if suspend is None else str(bool(suspend)), len(some(d, "status", "active")),
        age(last, now) if last else NONE, born(d, now), *template(made),
    ]  # fmt: skip


def _budget(d: Document, now: float) -> list[Any]:
    least, most = (part(d, "spec", field) for field in ("minAvailable", "maxUnavailable"))
    shown = [_NOT_SAID if value is None else str(value) for value in (least, most)]
    return [meta(d)["name"], *shown, count(d, "disruptionsAllowed"), born(d, now)]


def _autoscaler(d: Document, now: float) -> list[Any]:
    target = mapping(part(d, "spec", "scaleTargetRef"))
    least = part(d, "spec", "minReplicas")
    return [
        meta(d)["name"], f"{target.get('kind', '')}/{target.get('name', '')}", _targets(d),
        "<unset>" if least is None else str(least), int(part(d, "spec", "maxReplicas") or 0),
        count(d, "currentReplicas"), born(d, now),
    ]  # fmt: skip


def _targets(d: Document) -> str:
    shown, current = [], some(d, "status", "currentMetrics")
    for number, metric in enumerate(some(d, "spec", "metrics")):
        name = str(metric.get("type", ""))
        source = name[:1].lower() + name[1:]
        target = mapping(mapping(metric.get(source)).get("target"))
        now = (
            mapping(mapping(mapping(current[number]).get(source)).get("current"))
            if number < len(current)
            else {}
        )
        what = mapping(metric.get(source)).get("name")
        about = f"{what}: " if name in ("Resource", "ContainerResource") else ""
        if (share := target.get("averageUtilization")) is not None:
            has = now.get("averageUtilization")
            shown.append(f"{about}{_UNKNOWN if has is None else f'{has}%'}/{share}%")
        elif (average := target.get("averageValue")) is not None:
            shown.append(f"{about}{now.get('averageValue') or _UNKNOWN}/{average}{'' if about else ' (avg)'}")
        else:
            shown.append(f"{about}{now.get('value') or _UNKNOWN}/{target.get('value')}")
    return ", ".join(shown) or NONE


_WIDE = "Containers+ Images+ Selector+"
SHEETS = {
    kinds.STATEFUL_SETS.qualified: Sheet(columns("Name Ready Age Containers+ Images+"), _stateful_set),
    kinds.DAEMON_SETS.qualified: Sheet(
        columns(
            "Name Desired:integer Current:integer Ready:integer Up-to-date:integer Available:integer Node_Selector Age "
            + _WIDE
        ),
        _daemon_set,
    ),
    kinds.REPLICATION_CONTROLLERS.qualified: Sheet(
        columns(f"Name Desired:integer Current:integer Ready:integer Age {_WIDE}"), _replication_controller
    ),
    kinds.POD_TEMPLATES.qualified: Sheet(columns("Name Containers Images Pod_Labels"), _pod_template),
    kinds.CONTROLLER_REVISIONS.qualified: Sheet(
        columns("Name Controller Revision:integer Age"), _controller_revision
    ),
    kinds.JOBS.qualified: Sheet(columns(f"Name Status Completions Duration Age {_WIDE}"), _job),
    kinds.CRON_JOBS.qualified: Sheet(
        columns(f"Name Schedule Timezone Suspend Active:integer Last_Schedule Age {_WIDE}"), _cron_job
    ),
    kinds.POD_DISRUPTION_BUDGETS.qualified: Sheet(
        columns("Name Min_Available Max_Unavailable Allowed_Disruptions:integer Age"), _budget
    ),
    kinds.HORIZONTAL_POD_AUTOSCALERS.qualified: Sheet(
        columns("Name Reference Targets MinPods MaxPods:integer Replicas:integer Age"), _autoscaler
    ),
}
