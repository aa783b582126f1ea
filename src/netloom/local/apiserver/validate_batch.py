"""Rules for what runs to its end: Job and CronJob. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Not here: pod templates
(validate_workloads.py). Source: API reference of batch/v1; crontab(5) for schedules.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    required,
    too_many,
)
from netloom.local.apiserver.schedules import schedule_problem
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_workloads import template

_MAX_RULES = 20
_MAX_CODES = 255
_CRON_JOB_NAME = 52
_FIXED = (
    "selector",
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
)
_MOVABLE = ("nodeSelector", "tolerations", "affinity", "schedulingGates")
"""Where pods go may change while nothing of a suspended Job was started yet."""

Document = Mapping[str, Any]


def job(document: Document, old: Document | None) -> Errors:
    """A batch/v1 Job."""
    spec = mapping(document.get("spec"))
    yield from _job_spec("spec", spec)
    if spec.get("manualSelector") and old is None:
        if spec.get("selector") is None:
            yield required("spec.selector")
        yield from names.label_selector("spec.selector", spec.get("selector"))
    if old is not None:
        yield from _unchanged(spec, mapping(old.get("spec")), mapping(old.get("status")))


def _unchanged(spec: Document, before: Document, status: Document) -> Errors:
    for field in _FIXED:
        if (spec.get(field) or None) != (before.get(field) or None):
            yield invalid(f"spec.{field}", spec.get(field), "field is immutable")
    # an indexed Job grows and shrinks where both numbers go together
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if spec.get("completions") != before.get("completions") and not elastic:
        yield invalid("spec.completions", spec.get("completions"), "field is immutable")
    movable = bool(before.get("suspend")) and not status.get("startTime")
    if _fixed(spec, movable=movable) != _fixed(before, movable=movable):
        yield invalid("spec.template", "", "field is immutable")


def _fixed(spec: Document, *, movable: bool) -> Document:
    found = mapping(spec.get("template"))
    if not movable:
        return found
    pod = {name: value for name, value in mapping(found.get("spec")).items() if name not in _MOVABLE}
    return {"spec": pod}


def _job_spec(path: str, spec: Document) -> Errors:
    for field in (
        *("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"),
        *("backoffLimitPerIndex", "maxFailedIndexes"),
    ):
        yield from names.at_least(f"{path}.{field}", spec.get(field), 0)
    mode = spec.get("completionMode")
    yield from names.one_of(f"{path}.completionMode", mode, ("Indexed", "NonIndexed"))
    if mode == "Indexed" and spec.get("completions") is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    if mode != "Indexed":
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                yield invalid(f"{path}.{field}", spec[field], "requires indexed completion mode")
        if spec.get("successPolicy") is not None:
            yield invalid(f"{path}.successPolicy", "", "requires indexed completion mode")
    elif spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    replaced = spec.get("podReplacementPolicy")
    yield from names.one_of(f"{path}.podReplacementPolicy", replaced, ("Failed", "TerminatingOrFailed"))
    yield from template(f"{path}.template", spec.get("template"), ("OnFailure", "Never"))
    if spec.get("podFailurePolicy") is not None:
        yield from _failure_policy(path, spec)


def _failure_policy(path: str, spec: Document) -> Errors:
    pod = mapping(mapping(spec.get("template")).get("spec"))
    if pod.get("restartPolicy") != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid(f"{path}.template.spec.restartPolicy", pod.get("restartPolicy"), why)
    if spec.get("podReplacementPolicy") == "TerminatingOrFailed":
        yield forbidden(f"{path}.podReplacementPolicy", "must be Failed when podFailurePolicy is specified")
    containers = {
        mapping(one).get("name")
        for field in ("containers", "initContainers")
        for one in items(pod.get(field))
    }
    rules = items(mapping(spec["podFailurePolicy"]).get("rules"))
    if len(rules) > _MAX_RULES:
        yield too_many(f"{path}.podFailurePolicy.rules", len(rules), _MAX_RULES)
    for number, item in enumerate(rules):
        rule, here = mapping(item), f"{path}.podFailurePolicy.rules[{number}]"
        actions = ("Count", "FailIndex", "FailJob", "Ignore")
        yield from names.one_of(f"{here}.action", rule.get("action"), actions, needed=True)
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield invalid(f"{here}.action", "FailIndex", "requires the backoffLimitPerIndex to be set")
        conditions = items(rule.get("onPodConditions"))
        if (rule.get("onExitCodes") is not None) is bool(conditions):
            yield invalid(here, "", "specifying one of OnExitCodes and OnPodConditions is required")
        for position, one in enumerate(conditions):
            yield from _condition(f"{here}.onPodConditions[{position}]", mapping(one))
        if rule.get("onExitCodes") is not None:
            yield from _exit_codes(f"{here}.onExitCodes", mapping(rule["onExitCodes"]), containers)


def _condition(path: str, pattern: Document) -> Errors:
    yield from names.named(f"{path}.type", pattern.get("type"), names.qualified_name_problem)
    yield from names.one_of(
        f"{path}.status", pattern.get("status"), ("False", "True", "Unknown"), needed=True
    )


def _exit_codes(path: str, rule: Document, containers: set[object]) -> Errors:
    operator, codes = rule.get("operator"), items(rule.get("values"))
    yield from names.one_of(f"{path}.operator", operator, ("In", "NotIn"), needed=True)
    if rule.get("containerName") is not None and rule["containerName"] not in containers:
        why = "must be one of the container or initContainer names in the pod template"
        yield invalid(f"{path}.containerName", rule["containerName"], why)
    if not codes:
        yield invalid(f"{path}.values", codes, "at least one value is required")
    if len(codes) > _MAX_CODES:
        yield too_many(f"{path}.values", len(codes), _MAX_CODES)
    for number, code in enumerate(codes):
        if code in codes[:number]:
            yield duplicate(f"{path}.values[{number}]", code)
        elif code == 0 and operator == "In":
            yield invalid(f"{path}.values[{number}]", 0, "must not be 0 for the In operator")
    if codes != sorted(codes):
        yield invalid(f"{path}.values", codes, "must be ordered")


def cron_job(document: Document, old: Document | None) -> Errors:
    """A batch/v1 CronJob."""
    spec, name = mapping(document.get("spec")), str(mapping(document.get("metadata")).get("name", ""))
    if old is None and len(name) > _CRON_JOB_NAME:
        # eleven characters for the minute make the name of a Job
        yield invalid("metadata.name", name, f"must be no more than {_CRON_JOB_NAME} characters")
    schedule = spec.get("schedule")
    if not schedule:
        yield required("spec.schedule")
    elif problem := schedule_problem(str(schedule)):
        yield invalid("spec.schedule", schedule, problem)
    zone = spec.get("timeZone")
    if zone is not None and not _is_zone(str(zone)):
        yield invalid("spec.timeZone", zone, f"unknown time zone {zone}")
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from names.at_least(f"spec.{field}", spec.get(field), 0)
    policies = ("Allow", "Forbid", "Replace")
    yield from names.one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), policies, needed=True)
    made = mapping(mapping(spec.get("jobTemplate")).get("spec"))
    if made.get("manualSelector"):
        yield forbidden("spec.jobTemplate.spec.manualSelector", "must be nil or false")
    if made.get("selector") is not None:
        yield invalid("spec.jobTemplate.spec.selector", "", "`selector` will be auto-generated")
    yield from _job_spec("spec.jobTemplate.spec", made)


def _is_zone(name: str) -> bool:
    if not name or name == "Local":
        return False
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
