"""Rules for ephemeral containers: those that are added to a pod that runs, to look around in it. Pure.

Comes in: a pod, and the stored one. Goes out: FieldErrors. They come through ``pods/ephemeralcontainers`` only, and stay. Source: API
reference of core/v1 EphemeralContainer.
"""

from __future__ import annotations

from collections.abc import Mapping

from netloom.local.apiserver.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_containers import PodFacts, container
from netloom.local.apiserver.validate_names import Errors

FIELD = "ephemeralContainers"
_OTHERS = ("containers", "initContainers")
_NOT_THEIRS = (
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
)


def ephemeral_containers(spec: Mapping[str, Json], old: Mapping[str, Json] | None, facts: PodFacts) -> Errors:
    """All of a pod's; ``old`` is the stored ``spec``, None where the pod is created."""
    path = f"spec.{FIELD}"
    sent = items(spec.get(FIELD))
    if old is None and sent:
        yield forbidden(path, "cannot be set on create")
        return
    others = {mapping(c).get("name") for field in _OTHERS for c in items(spec.get(field))}
    seen: set[Json] = set()
    for number, item in enumerate(sent):
        value, here = mapping(item), f"{path}[{number}]"
        yield from container(here, value, facts, init=False)
        name, target = value.get("name"), value.get("targetContainerName")
        if name and name in others | seen:
            yield duplicate(f"{here}.name", name)
        seen.add(name)
        yield from _what_they_cannot(here, value)
        if target and target not in {mapping(c).get("name") for c in items(spec.get("containers"))}:
            yield invalid(f"{here}.targetContainerName", target, "is no container of the pod")
    yield from _kept(path, sent, items((old or {}).get(FIELD)))


def _what_they_cannot(here: str, value: Mapping[str, Json]) -> Errors:
    why = "cannot be set for an Ephemeral Container"
    for field in _NOT_THEIRS:
        if value.get(field):
            yield forbidden(f"{here}.{field}", why)
    for position, mount in enumerate(items(value.get("volumeMounts"))):
        for field in ("subPath", "subPathExpr"):
            if mapping(mount).get(field):
                yield forbidden(f"{here}.volumeMounts[{position}].{field}", why)


def _kept(path: str, sent: list[Json], before: list[Json]) -> Errors:
    """Those that are there stay as they are."""
    kept = {mapping(c).get("name"): c for c in sent}
    for one in before:
        name = mapping(one).get("name")
        if name not in kept:
            yield forbidden(path, f"existing ephemeral containers {[name]} may not be removed")
        elif kept[name] != one:
            yield invalid(path, name, "existing ephemeral containers may not be changed")
