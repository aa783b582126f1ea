"""Names of definitions: who has which in a group, and what a definition's status says of it. Pure.

Comes in: a definition, the names that others have. Goes out: accepted names and the conditions ``NamesAccepted`` and ``Established``. Source:
apiextensions.k8s.io/v1 CustomResourceDefinitionStatus, with the reasons that kube-apiserver gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.kind import Kind

Condition = dict[str, Any]
NAMES_ACCEPTED = "NamesAccepted"
ESTABLISHED = "Established"
TERMINATING = "Terminating"
CONFORMANT = "KubernetesAPIApprovalPolicyConformant"
APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


class Taken(msgspec.Struct, frozen=True):
    """Names that are in use in a group: those of resources (plural, singular, short), those of kinds and lists."""

    resources: frozenset[str]
    kinds: frozenset[str]


def taken(group: str, own: str, kinds: Iterable[Kind], accepted: Iterable[Mapping[str, Any]]) -> Taken:
    """What others have: kinds that are there from the start, and accepted names of definitions of the same group.

    Args:
        group: the group.
        own: plural and group of the one that asks; its own names are no conflict.
        kinds: kinds from the start.
        accepted: ``status.acceptedNames`` of the group's other definitions.
    """
    resources: set[str] = set()
    types: set[str] = set()
    for kind in kinds:
        if kind.group == group and kind.qualified != own:
            resources |= {kind.plural, kind.singular, *kind.short_names}
            types |= {kind.kind, f"{kind.kind}List"}
    for names in accepted:
        resources |= {names.get("plural", ""), names.get("singular", ""), *(names.get("shortNames") or ())}
        types |= {names.get("kind", ""), names.get("listKind", "")}
    return Taken(frozenset(resources - {""}), frozenset(types - {""}))


def accepted(
    wanted: Mapping[str, Any], before: Mapping[str, Any], others: Taken
) -> tuple[dict[str, Any], Condition]:
    """The names that a definition may have, and the condition that says so; those it had already it keeps."""
    found = {name: value for name, value in before.items() if value not in ("", [], None)}
    refused: list[tuple[str, str]] = []
    for field, reason, used in (
        ("plural", "PluralConflict", others.resources),
        ("singular", "SingularConflict", others.resources),
        ("shortNames", "ShortNamesConflict", others.resources),
        ("kind", "KindConflict", others.kinds),
        ("listKind", "ListKindConflict", others.kinds),
    ):
        value = wanted.get(field)
        clashing = sorted(used.intersection([value] if isinstance(value, str) else value or ()))
        if clashing:
            refused.append((reason, ", ".join(f'"{one}" is already in use' for one in clashing)))
        elif value:
            found[field] = value
        else:
            found.pop(field, None)
    if wanted.get("categories"):
        found["categories"] = wanted["categories"]
    else:
        found.pop("categories", None)
    if refused:
        # the last one found is the one that is told, as by kube-apiserver
        return found, _condition(NAMES_ACCEPTED, "False", *refused[-1])
    return found, _condition(NAMES_ACCEPTED, "True", "NoConflicts", "no conflicts found")


def established(names: Condition, before: Condition | None) -> Condition:
    """A definition is established once its names are accepted, and stays so."""
    if before is not None and before.get("status") == "True":
        return before
    if names["status"] == "True":
        return _condition(ESTABLISHED, "True", "InitialNamesAccepted", "the initial names have been accepted")
    return _condition(ESTABLISHED, "False", "NotAccepted", "not all names are accepted")


def approved(definition: Mapping[str, Any]) -> Condition | None:
    """Whether a definition in a group of Kubernetes' own was approved; None in other groups."""
    group = str(definition["spec"]["group"])
    if not is_protected(group):
        return None
    said = (definition["metadata"].get("annotations") or {}).get(APPROVAL, "")
    if said.startswith("unapproved"):
        return _condition(CONFORMANT, "False", "UnapprovedAnnotation", f'not approved: "{said}"')
    return _condition(CONFORMANT, "True", "ApprovedAnnotation", f"approved in {said}")


def is_protected(group: str) -> bool:
    """The group is one of Kubernetes' own, in which definitions say who approved them."""
    return any(group == end or group.endswith(f".{end}") for end in _PROTECTED)


def hold(definition: dict[str, Any], now: str) -> None:
    """Mark a definition that is to go, in place: it stays until its objects are gone."""
    why = "CustomResourceDefinition marked for deletion; CustomResource deletion will be initiated soon"
    pending = _condition(TERMINATING, "True", "InstanceDeletionPending", why)
    metadata, status = definition["metadata"], definition.setdefault("status", {})
    if FINALIZER not in (metadata.get("finalizers") or ()):
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]
    status["conditions"] = with_condition(list(status.get("conditions") or ()), pending, now)


def going(count: int) -> Condition:
    """Objects are being deleted, and some are held."""
    if not count:
        return _condition(TERMINATING, "False", "InstanceDeletionCompleted", "removed all instances")
    why = f"CustomResource deletion is in progress; {count} of them still there"
    return _condition(TERMINATING, "True", "InstanceDeletionInProgress", why)


def _condition(type_: str, status: str, reason: str, message: str) -> Condition:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of this type, or None."""
    return next((one for one in conditions if one.get("type") == type_), None)


def with_condition(conditions: list[Condition], new: Condition, now: str) -> list[Condition]:
    """The conditions with a new one in place of the old; its time changes with its status only."""
    old = find(conditions, new["type"])
    since = old.get("lastTransitionTime", now) if old and old.get("status") == new["status"] else now
    new = {**{k: v for k, v in new.items() if k != "lastTransitionTime"}, "lastTransitionTime": since}
    if old is None:
        return [*conditions, new]
    return [new if one is old else one for one in conditions]


def is_established(definition: Mapping[str, Any]) -> bool:
    """Objects of this definition can be made."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    found = find(conditions, ESTABLISHED)
    return found is not None and found["status"] == "True"
