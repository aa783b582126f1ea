"""Kinds that are two ways to see the same objects: Events of two groups, autoscalers of two versions. Pure.

Comes in: a document as one kind. Goes out: a new one as the other; what both have stays. Not here: who asks for which
(custom/versions.py). Source: API references of events.k8s.io/v1 and core/v1 Event, autoscaling/v1 and v2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver.fielderrors import items, mapping
from netloom.local.apiserver.kind import Face

_EVENT = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""Fields of events.k8s.io/v1, and what core/v1 calls them."""
_WANTED, _NOW = "targetCPUUtilizationPercentage", "currentCPUUtilizationPercentage"
_BACK = {kept: seen for seen, kept in _EVENT.items()}


def as_kept(face: Face, document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of the face as the kind that is kept."""
    made = _autoscaler_kept(document) if face.group == "autoscaling" else _renamed(document, _EVENT)
    return {**made, "apiVersion": face.kept.api_version}


def as_face(face: Face, document: Mapping[str, Any]) -> dict[str, Any]:
    """A document that is kept, as the face shows it."""
    if document.get("apiVersion") == face.api_version:
        return dict(document)
    made = _autoscaler_seen(document) if face.group == "autoscaling" else _event_seen(document)
    return {**made, "apiVersion": face.api_version}


def _event_seen(document: Mapping[str, Any]) -> dict[str, Any]:
    made = _renamed(document, _BACK)
    if not made.get("eventTime") and made.get("deprecatedFirstTimestamp"):
        # the new kind demands a time, and clients with types cannot read an Event without one
        made["eventTime"] = made["deprecatedFirstTimestamp"].replace("Z", ".000000Z")
    return made


def _renamed(document: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(field, field): value for field, value in document.items()}


def _autoscaler_kept(document: Mapping[str, Any]) -> dict[str, Any]:
    """autoscaling/v1 knows one metric, the share of the requested processor time; others that were there are lost."""
    spec, status = dict(mapping(document.get("spec"))), dict(mapping(document.get("status")))
    share, is_now = spec.pop(_WANTED, None), status.pop(_NOW, None)
    if share is not None:
        spec["metrics"] = [_cpu("target", {"type": "Utilization", "averageUtilization": share})]
    if is_now is not None:
        status["currentMetrics"] = [_cpu("current", {"averageUtilization": is_now})]
    return _with_parts(document, spec, status)


def _autoscaler_seen(document: Mapping[str, Any]) -> dict[str, Any]:
    spec, status = dict(mapping(document.get("spec"))), dict(mapping(document.get("status")))
    share, is_now = (
        _share(spec.pop("metrics", None), "target"),
        _share(status.pop("currentMetrics", None), "current"),
    )
    for parts, field, value in ((spec, _WANTED, share), (status, _NOW, is_now)):
        if value is not None:
            parts[field] = value
    for field in ("currentReplicas", "desiredReplicas"):
        status.setdefault(field, 0)
    spec.pop("behavior", None)
    status.pop("conditions", None)
    return _with_parts(document, spec, status)


def _cpu(field: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": "cpu", field: value}}


def _share(metrics: object, field: str) -> object:
    for metric in map(mapping, items(metrics)):
        resource = mapping(metric.get("resource"))
        if resource.get("name") == "cpu":
            return mapping(resource.get(field)).get("averageUtilization")
    return None


def _with_parts(document: Mapping[str, Any], spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    parts = {"spec": spec, "status": status}
    return {**document, **{name: part for name, part in parts.items() if name in document}}
