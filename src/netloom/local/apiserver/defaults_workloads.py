"""Defaults of what makes pods: apps/v1, batch/v1, autoscaling/v2, ReplicationController and PodTemplate. Pure.

Comes in: a document, changed in place. Goes out: nothing. Not here: pod templates (defaults_pods.py), labels that need the uid
(strategy.py). Source: API references of these groups, field by field.
"""

from __future__ import annotations

from typing import Any

from netloom.local.apiserver.defaults_pods import Document, fill, member, object_at, objects, template

_ALL_RETRIES = 2**31 - 1
_CPU_SHARE = 80
_SCALE_UP = (
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
)
_SCALE_DOWN = ({"type": "Percent", "value": 100, "periodSeconds": 15},)


def _set(target: Document, values: dict[str, Any]) -> None:
    for field, value in values.items():
        target.setdefault(field, value)


def deployment(document: Document) -> None:
    """An apps/v1 Deployment."""
    spec = object_at(document, "spec")
    for field, value in (("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)):
        spec.setdefault(field, value)
    strategy = object_at(spec, "strategy")
    fill(strategy, {"type": "RollingUpdate"})
    if strategy["type"] == "RollingUpdate":
        rolling = object_at(strategy, "rollingUpdate")
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    template(spec)


def replica_set(document: Document) -> None:
    """An apps/v1 ReplicaSet."""
    spec = object_at(document, "spec")
    spec.setdefault("replicas", 1)
    template(spec)


def replication_controller(document: Document) -> None:
    """A core/v1 ReplicationController: without a selector it selects what its template makes."""
    spec = object_at(document, "spec")
    labels = _template_labels(spec)
    if labels and not spec.get("selector"):
        spec["selector"] = dict(labels)
    _inherit_labels(document, labels)
    spec.setdefault("replicas", 1)
    template(spec)


def _template_labels(spec: Document) -> Document:
    return member(member(member(spec, "template"), "metadata"), "labels")


def _inherit_labels(document: Document, labels: Document) -> None:
    """Without labels of its own, the object gets those of its pods."""
    metadata = object_at(document, "metadata")
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def stateful_set(document: Document) -> None:
    """An apps/v1 StatefulSet."""
    spec = object_at(document, "spec")
    fill(spec, {"podManagementPolicy": "OrderedReady"})
    _set(spec, {"replicas": 1, "revisionHistoryLimit": 10})
    strategy = object_at(spec, "updateStrategy")
    fill(strategy, {"type": "RollingUpdate"})
    if strategy["type"] == "RollingUpdate":
        object_at(strategy, "rollingUpdate").setdefault("partition", 0)
    fill(
        object_at(spec, "persistentVolumeClaimRetentionPolicy"),
        {"whenDeleted": "Retain", "whenScaled": "Retain"},
    )
    for claim in objects(spec.get("volumeClaimTemplates")):
        fill(claim, {"apiVersion": "v1", "kind": "PersistentVolumeClaim"})
        fill(object_at(claim, "spec"), {"volumeMode": "Filesystem"})
        fill(object_at(claim, "status"), {"phase": "Pending"})
    template(spec)


def daemon_set(document: Document) -> None:
    """An apps/v1 DaemonSet."""
    spec = object_at(document, "spec")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = object_at(spec, "updateStrategy")
    fill(strategy, {"type": "RollingUpdate"})
    if strategy["type"] == "RollingUpdate":
        _set(object_at(strategy, "rollingUpdate"), {"maxUnavailable": 1, "maxSurge": 0})
    template(spec)


def job(document: Document) -> None:
    """A batch/v1 Job: one pod to its end, unless it says more."""
    spec = object_at(document, "spec")
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    fill(spec, {"completionMode": "NonIndexed"})
    # with a limit for each index, the limit for all is out of the way
    several = spec.get("backoffLimitPerIndex") is not None
    _set(spec, {"backoffLimit": _ALL_RETRIES if several else 6, "suspend": False, "manualSelector": False})
    policy = spec.get("podFailurePolicy")
    fill(spec, {"podReplacementPolicy": "TerminatingOrFailed" if policy is None else "Failed"})
    for rule in objects(member(spec, "podFailurePolicy").get("rules")):
        for pattern in objects(rule.get("onPodConditions")):
            fill(pattern, {"status": "True"})
    _inherit_labels(document, _template_labels(spec))
    template(spec)


def cron_job(document: Document) -> None:
    """A batch/v1 CronJob; its Jobs get their defaults when they are made."""
    spec = object_at(document, "spec")
    fill(spec, {"concurrencyPolicy": "Allow"})
    _set(spec, {"suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1})
    template(member(member(spec, "jobTemplate"), "spec"))


def pod_template(document: Document) -> None:
    """A core/v1 PodTemplate."""
    template(document)


def horizontal_pod_autoscaler_v1(document: Document) -> None:
    """An autoscaling/v1 HorizontalPodAutoscaler."""
    _set(object_at(document, "spec"), {"minReplicas": 1, "targetCPUUtilizationPercentage": _CPU_SHARE})


def horizontal_pod_autoscaler(document: Document) -> None:
    """An autoscaling/v2 HorizontalPodAutoscaler."""
    spec = object_at(document, "spec")
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _CPU_SHARE}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if spec.get("behavior") is not None:
        behavior = object_at(spec, "behavior")
        for field, policies in (("scaleUp", _SCALE_UP), ("scaleDown", _SCALE_DOWN)):
            rules = object_at(behavior, field)
            fill(rules, {"selectPolicy": "Max"})
            _set(rules, {"policies": [dict(policy) for policy in policies]})
        behavior["scaleUp"].setdefault("stabilizationWindowSeconds", 0)
