"""Rules for Deployments and ReplicaSets. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Not here: rules for pods
(validate_pods.py). Source: API reference of apps/v1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.api import selectors
from netloom.api.meta import LabelSelector
from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import forbidden, invalid, mapping, not_supported, required
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_pods import pod_spec

_PERCENT = re.compile(r"\d+%\Z")

Document = Mapping[str, Any]


def deployment(document: Document, old: Document | None) -> Errors:
    """An apps/v1 Deployment."""
    spec = mapping(document.get("spec"))
    yield from _workload(spec, mapping((old or {}).get("spec")), "deployment", updated=old is not None)
    yield from names.at_least("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"), 0)
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if isinstance(deadline, int):
        yield from names.at_least("spec.progressDeadlineSeconds", deadline, 0)
        if deadline <= ready:
            yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    yield from _strategy(mapping(spec.get("strategy")))


def replica_set(document: Document, old: Document | None) -> Errors:
    """An apps/v1 ReplicaSet."""
    before = mapping((old or {}).get("spec"))
    yield from _workload(mapping(document.get("spec")), before, "replica set", updated=old is not None)


def scale(document: Document) -> Errors:
    """An autoscaling/v1 Scale."""
    yield from names.at_least("spec.replicas", mapping(document.get("spec")).get("replicas"), 0)


def _workload(spec: Document, before: Document, what: str, *, updated: bool) -> Errors:
    yield from names.at_least("spec.replicas", spec.get("replicas"), 0)
    yield from names.at_least("spec.minReadySeconds", spec.get("minReadySeconds"), 0)
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    else:
        problems = list(names.label_selector("spec.selector", selector))
        yield from problems
        if not mapping(selector).get("matchLabels") and not mapping(selector).get("matchExpressions"):
            yield invalid("spec.selector", selector, f"empty selector is invalid for {what}")
        elif not problems:
            yield from _matches(selector, spec)
    if updated and selector != before.get("selector"):
        yield invalid("spec.selector", selector, "field is immutable")
    yield from _template(spec)


def _matches(selector: Json, spec: Document) -> Errors:
    labels = mapping(mapping(mapping(spec.get("template")).get("metadata")).get("labels"))
    compiled = selectors.from_selector(msgspec.convert(selector, LabelSelector))
    if not compiled.matches(labels):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _template(spec: Document) -> Errors:
    if spec.get("template") is None:
        yield required("spec.template")
        return
    template = mapping(spec["template"])
    meta, pod = mapping(template.get("metadata")), mapping(template.get("spec"))
    yield from names.labels("spec.template.metadata.labels", meta.get("labels"))
    yield from names.annotation_set("spec.template.metadata.annotations", meta.get("annotations"))
    yield from pod_spec("spec.template.spec", pod)
    policy = pod.get("restartPolicy")
    if policy in ("OnFailure", "Never"):
        yield not_supported("spec.template.spec.restartPolicy", policy, ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        yield forbidden(
            "spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in a workload is not supported"
        )


def _strategy(strategy: Document) -> Errors:
    path, kind = "spec.strategy", strategy.get("type")
    yield from names.one_of(f"{path}.type", kind, ("Recreate", "RollingUpdate"), needed=True)
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate" and rolling is not None:
        yield forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif kind == "RollingUpdate":
        values = mapping(rolling)
        for field in ("maxUnavailable", "maxSurge"):
            yield from _share(
                f"{path}.rollingUpdate.{field}",
                values.get(field),
                most=100 if field == "maxUnavailable" else None,
            )
        if all(values.get(field) in (0, "0%") for field in ("maxUnavailable", "maxSurge")):
            why = "may not be 0 when `maxSurge` is 0"
            yield invalid(f"{path}.rollingUpdate.maxUnavailable", values["maxUnavailable"], why)


def _share(path: str, value: Json, *, most: int | None) -> Errors:
    """A number of pods, or a percentage of them."""
    if isinstance(value, str):
        if not _PERCENT.match(value):
            yield invalid(path, value, "must be an integer or a percentage such as 25%")
        elif most is not None and int(value[:-1]) > most:
            yield invalid(path, value, f"must not be greater than {most}%")
    else:
        yield from names.at_least(path, value, 0)
