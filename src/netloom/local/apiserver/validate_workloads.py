"""Rules for what keeps pods running: Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController, PodTemplate. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Not here: rules for pods
(validate_pods.py), what runs to its end (validate_batch.py). Source: API reference of apps/v1 and core/v1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.api import selectors
from netloom.api.meta import LabelSelector
from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import forbidden, invalid, items, mapping, not_supported, required
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


_STATEFUL_MUTABLE = (
    *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit"),
    *("persistentVolumeClaimRetentionPolicy", "minReadySeconds"),
)


def stateful_set(document: Document, old: Document | None) -> Errors:
    """An apps/v1 StatefulSet."""
    spec, before = mapping(document.get("spec")), mapping((old or {}).get("spec"))
    management = spec.get("podManagementPolicy")
    if management not in ("OrderedReady", "Parallel"):
        yield invalid("spec.podManagementPolicy", management, "must be 'OrderedReady' or 'Parallel'")
    yield from _stateful_strategy("spec.updateStrategy", mapping(spec.get("updateStrategy")))
    kept = mapping(spec.get("persistentVolumeClaimRetentionPolicy"))
    for field in ("whenDeleted", "whenScaled"):
        path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
        yield from names.one_of(path, kept.get(field), ("Delete", "Retain"))
    yield from names.at_least("spec.ordinals.start", mapping(spec.get("ordinals")).get("start"), 0)
    yield from names.at_least("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"), 0)
    yield from _workload(_with_claims(spec), {}, "statefulset", updated=False)
    if old is not None and {n: v for n, v in spec.items() if n not in _STATEFUL_MUTABLE} != {
        n: v for n, v in before.items() if n not in _STATEFUL_MUTABLE
    }:
        fields = ", ".join(f"'{field}'" for field in _STATEFUL_MUTABLE[:-1])
        yield forbidden(
            "spec",
            f"updates to statefulset spec for fields other than {fields} and '{_STATEFUL_MUTABLE[-1]}' are forbidden",
        )


def _with_claims(spec: Document) -> Document:
    """The spec as its pods will have it: what a container mounts may be a claim of the StatefulSet's."""
    template = mapping(spec.get("template"))
    pod = mapping(template.get("spec"))
    there = items(pod.get("volumes"))
    taken = {str(mapping(v).get("name")) for v in there}
    claims = (
        mapping(mapping(c).get("metadata")).get("name") for c in items(spec.get("volumeClaimTemplates"))
    )
    added = [{"name": name, "emptyDir": {}} for name in claims if name and str(name) not in taken]
    if not added:
        return spec
    return {**spec, "template": {**template, "spec": {**pod, "volumes": [*there, *added]}}}


def _stateful_strategy(path: str, strategy: Document) -> Errors:
    rolling = strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "OnDelete" if rolling is not None:
            yield invalid(f"{path}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")
        case "RollingUpdate":
            values = mapping(rolling)
            yield from names.at_least(f"{path}.rollingUpdate.partition", values.get("partition"), 0)
            most = values.get("maxUnavailable")
            yield from share(f"{path}.rollingUpdate.maxUnavailable", most, most=100)
            if most in (0, "0%"):
                yield invalid(f"{path}.rollingUpdate.maxUnavailable", most, "cannot be 0")
        case "OnDelete":
            pass
        case other:
            yield invalid(f"{path}.type", other, "must be 'RollingUpdate' or 'OnDelete'")


def daemon_set(document: Document, old: Document | None) -> Errors:
    """An apps/v1 DaemonSet."""
    spec, before = mapping(document.get("spec")), mapping((old or {}).get("spec"))
    yield from _workload(spec, before, "daemonset", updated=old is not None)
    yield from names.at_least("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"), 0)
    strategy, path = mapping(spec.get("updateStrategy")), "spec.updateStrategy"
    yield from names.one_of(f"{path}.type", strategy.get("type"), ("OnDelete", "RollingUpdate"), needed=True)
    if strategy.get("type") != "RollingUpdate":
        return
    values = mapping(strategy.get("rollingUpdate"))
    fewer, more = values.get("maxUnavailable"), values.get("maxSurge")
    for field in ("maxUnavailable", "maxSurge"):
        yield from share(f"{path}.rollingUpdate.{field}", values.get(field), most=100)
    none = (None, 0, "0%")
    if fewer in none and more in none:
        yield required(f"{path}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")
    elif fewer not in none and more not in none:
        yield invalid(
            f"{path}.rollingUpdate.maxSurge", more, "may not be set when maxUnavailable is non-zero"
        )


def replication_controller(document: Document) -> Errors:
    """A core/v1 ReplicationController; its selector is labels, and may change."""
    spec = mapping(document.get("spec"))
    yield from names.at_least("spec.replicas", spec.get("replicas"), 0)
    yield from names.at_least("spec.minReadySeconds", spec.get("minReadySeconds"), 0)
    selector = mapping(spec.get("selector"))
    yield from names.labels("spec.selector", selector)
    labels = mapping(mapping(mapping(spec.get("template")).get("metadata")).get("labels"))
    if not selector:
        yield required("spec.selector")
    elif spec.get("template") is not None and not selector.items() <= labels.items():
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from template("spec.template", spec.get("template"), ("Always",))


def pod_template(document: Document) -> Errors:
    """A core/v1 PodTemplate."""
    if document.get("template") is not None:
        yield from template("template", document["template"], ("Always", "Never", "OnFailure"))


def controller_revision(document: Document, old: Document | None) -> Errors:
    """An apps/v1 ControllerRevision: what it keeps never changes."""
    if document.get("data") is None:
        yield required("data", "data is mandatory")
    if old is not None and document.get("data") != old.get("data"):
        yield invalid("data", "", "field is immutable")
    yield from names.at_least("revision", document.get("revision"), 0)


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
    yield from template("spec.template", spec.get("template"), ("Always",))


def _matches(selector: Json, spec: Document) -> Errors:
    labels = mapping(mapping(mapping(spec.get("template")).get("metadata")).get("labels"))
    compiled = selectors.from_selector(msgspec.convert(selector, LabelSelector))
    if not compiled.matches(labels):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def template(path: str, value: Json, policies: tuple[str, ...]) -> Errors:
    """A pod template that must be there; ``policies`` are the restart policies that make sense for its owner."""
    if value is None:
        yield required(path)
        return
    found = mapping(value)
    meta, pod = mapping(found.get("metadata")), mapping(found.get("spec"))
    yield from names.labels(f"{path}.metadata.labels", meta.get("labels"))
    yield from names.annotation_set(f"{path}.metadata.annotations", meta.get("annotations"))
    yield from pod_spec(f"{path}.spec", pod)
    policy = pod.get("restartPolicy")
    if policy in ("Always", "OnFailure", "Never") and policy not in policies:
        yield not_supported(f"{path}.spec.restartPolicy", policy, policies)
    if policies == ("Always",) and pod.get("activeDeadlineSeconds") is not None:
        yield forbidden(
            f"{path}.spec.activeDeadlineSeconds", "activeDeadlineSeconds in a workload is not supported"
        )
    if pod.get("ephemeralContainers"):
        yield forbidden(
            f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
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
            yield from share(
                f"{path}.rollingUpdate.{field}",
                values.get(field),
                most=100 if field == "maxUnavailable" else None,
            )
        if all(values.get(field) in (0, "0%") for field in ("maxUnavailable", "maxSurge")):
            why = "may not be 0 when `maxSurge` is 0"
            yield invalid(f"{path}.rollingUpdate.maxUnavailable", values["maxUnavailable"], why)


def share(path: str, value: Json, *, most: int | None) -> Errors:
    """A number of pods, or a percentage of them (at most ``most``, where there is a limit)."""
    if isinstance(value, str):
        if not _PERCENT.match(value):
            yield invalid(path, value, "must be an integer or a percentage such as 25%")
        elif most is not None and int(value[:-1]) > most:
            yield invalid(path, value, f"must not be greater than {most}%")
    else:
        yield from names.at_least(path, value, 0)
