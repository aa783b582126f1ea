"""Cells of `kubectl get` for kinds that are kept for others: roles, storage, webhooks, quotas, ranges, priorities. Pure.

Comes in: documents and the time. Goes out: cells. Source: the columns that kubectl's users know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netloom.local.apiserver import kinds
from netloom.local.apiserver.cells import NONE, Document, Sheet, born, columns, meta, part, some
from netloom.local.apiserver.fielderrors import mapping
from netloom.local.apiserver.jsonvalue import Json

_UNSET = "<unset>"
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_DEFAULT = "storageclass.kubernetes.io/is-default-class"


def _created(d: Document, _now: float) -> list[Any]:
    return [meta(d)["name"], meta(d).get("creationTimestamp", "")]


def _fields(*paths: str, empty: str = "") -> Callable[[Document, float], list[Any]]:
    """Name, what is at these paths, and age."""

    def cells(d: Document, now: float) -> list[Any]:
        return [meta(d)["name"], *(_shown(part(d, *path.split(".")), empty) for path in paths), born(d, now)]

    return cells


def _shown(value: Json, empty: str) -> str:
    match value:
        case None | "":
            return empty
        case bool():
            return str(value).lower()
        case list():
            return ",".join(map(str, value)) or empty
        case _:
            return str(value)


def _counted(*path: str) -> Callable[[Document, float], list[Any]]:
    def cells(d: Document, now: float) -> list[Any]:
        return [meta(d)["name"], len(some(d, *path)), born(d, now)]

    return cells


def _binding(d: Document, now: float) -> list[Any]:
    role = mapping(d.get("roleRef"))
    subjects: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in map(mapping, some(d, "subjects")):
        place = f"{subject['namespace']}/" if subject.get("namespace") else ""
        subjects.setdefault(str(subject.get("kind")), []).append(f"{place}{subject.get('name')}")
    who = [", ".join(subjects[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [meta(d)["name"], f"{role.get('kind')}/{role.get('name')}", born(d, now), *who]


def _modes(modes: list[Any]) -> str:
    return ",".join(_MODES.get(str(mode), str(mode)) for mode in modes)


def _phase(d: Document) -> str:
    return "Terminating" if "deletionTimestamp" in meta(d) else str(part(d, "status", "phase") or "")


def _volume(d: Document, now: float) -> list[Any]:
    claim = mapping(part(d, "spec", "claimRef"))
    return [
        meta(d)["name"], part(d, "spec", "capacity", "storage") or "", _modes(some(d, "spec", "accessModes")),
        part(d, "spec", "persistentVolumeReclaimPolicy") or "", _phase(d),
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        part(d, "spec", "storageClassName") or "", part(d, "spec", "volumeAttributesClassName") or _UNSET,
        part(d, "status", "reason") or "", born(d, now), part(d, "spec", "volumeMode") or _UNSET,
    ]  # fmt: skip


def _claim(d: Document, now: float) -> list[Any]:
    bound = bool(part(d, "spec", "volumeName"))
    return [
        meta(d)["name"], _phase(d), part(d, "spec", "volumeName") or "",
        (part(d, "status", "capacity", "storage") or "") if bound else "",
        _modes(some(d, "status", "accessModes")) if bound else "", part(d, "spec", "storageClassName") or "",
        part(d, "spec", "volumeAttributesClassName") or _UNSET, born(d, now), part(d, "spec", "volumeMode") or _UNSET,
    ]  # fmt: skip


def _storage_class(d: Document, now: float) -> list[Any]:
    name = str(meta(d)["name"])
    if mapping(meta(d).get("annotations")).get(_DEFAULT) == "true":
        name += " (default)"
    grows = bool(d.get("allowVolumeExpansion"))
    words = [d.get(field) or _UNSET for field in ("provisioner", "reclaimPolicy", "volumeBindingMode")]
    return [name, *words, grows, born(d, now)]


def _csi_driver(d: Document, now: float) -> list[Any]:
    flags = [bool(part(d, "spec", f)) for f in ("attachRequired", "podInfoOnMount", "storageCapacity")]
    audiences = ",".join(str(mapping(t).get("audience")) for t in some(d, "spec", "tokenRequests")) or _UNSET
    modes = ",".join(map(str, some(d, "spec", "volumeLifecycleModes"))) or NONE
    return [
        meta(d)["name"],
        *flags,
        audiences,
        bool(part(d, "spec", "requiresRepublish")),
        modes,
        born(d, now),
    ]


def _quota(d: Document, now: float) -> list[Any]:
    hard, used = mapping(part(d, "status", "hard")), mapping(part(d, "status", "used"))
    shown: dict[bool, list[str]] = {True: [], False: []}
    for name in sorted(hard):
        shown[name.startswith("limits.")].append(f"{name}: {used.get(name, '0')}/{hard[name]}")
    return [meta(d)["name"], ", ".join(shown[False]), ", ".join(shown[True]), born(d, now)]


def _mutating_policy(d: Document, now: float) -> list[Any]:
    name, _, *more = _policy(d, now)
    return [name, len(some(d, "spec", "mutations")), *more]


def _policy(d: Document, now: float) -> list[Any]:
    kind = mapping(part(d, "spec", "paramKind"))
    shown = f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else _UNSET
    return [meta(d)["name"], len(some(d, "spec", "validations")), shown, born(d, now)]


def _policy_binding(d: Document, now: float) -> list[Any]:
    reference = mapping(part(d, "spec", "paramRef"))
    shown = _UNSET
    if reference:
        place = f"{reference['namespace']}/" if reference.get("namespace") else ""
        shown = f"{place}{reference.get('name') or '*'}"
    return [meta(d)["name"], part(d, "spec", "policyName") or "", shown, born(d, now)]


def _ip_address(d: Document, now: float) -> list[Any]:
    parent: Mapping[str, Any] = mapping(part(d, "spec", "parentRef"))
    words = (parent.get(field) for field in ("group", "resource", "namespace", "name"))
    return [meta(d)["name"], "/".join(str(w) for w in words if w), born(d, now)]


def _priority_class(d: Document, now: float) -> list[Any]:
    flags = [int(d.get("value") or 0), bool(d.get("globalDefault"))]
    return [meta(d)["name"], *flags, born(d, now), d.get("preemptionPolicy") or "PreemptLowerPriority"]


_ATTACHED = ("spec.attacher", "spec.source.persistentVolumeName", "spec.nodeName", "status.attached")
SHEETS = {
    kinds.ROLES.qualified: Sheet(columns("Name Created_At"), _created),
    kinds.CLUSTER_ROLES.qualified: Sheet(columns("Name Created_At"), _created),
    kinds.LIMIT_RANGES.qualified: Sheet(columns("Name Created_At"), _created),
    kinds.CUSTOM_RESOURCE_DEFINITIONS.qualified: Sheet(columns("Name Created_At"), _created),
    kinds.ROLE_BINDINGS.qualified: Sheet(columns("Name Role Age Users+ Groups+ ServiceAccounts+"), _binding),
    kinds.CLUSTER_ROLE_BINDINGS.qualified: Sheet(
        columns("Name Role Age Users+ Groups+ ServiceAccounts+"), _binding
    ),
    kinds.PERSISTENT_VOLUMES.qualified: Sheet(
        columns(
            "Name Capacity Access_Modes Reclaim_Policy Status Claim StorageClass VolumeAttributesClass Reason Age VolumeMode+"
        ),
        _volume,
    ),
    kinds.PERSISTENT_VOLUME_CLAIMS.qualified: Sheet(
        columns(
            "Name Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age VolumeMode+"
        ),
        _claim,
    ),
    kinds.STORAGE_CLASSES.qualified: Sheet(
        columns("Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion:boolean Age"),
        _storage_class,
    ),
    kinds.CSI_DRIVERS.qualified: Sheet(
        columns(
            "Name AttachRequired:boolean PodInfoOnMount:boolean StorageCapacity:boolean TokenRequests "
            "RequiresRepublish:boolean Modes Age"
        ),
        _csi_driver,
    ),
    kinds.CSI_NODES.qualified: Sheet(columns("Name Drivers:integer Age"), _counted("spec", "drivers")),
    kinds.CSI_STORAGE_CAPACITIES.qualified: Sheet(
        columns("Name StorageClassName Capacity Age"), _fields("storageClassName", "capacity")
    ),
    kinds.VOLUME_ATTACHMENTS.qualified: Sheet(
        columns("Name Attacher PV Node Attached Age"), _fields(*_ATTACHED)
    ),
    kinds.VOLUME_ATTRIBUTES_CLASSES.qualified: Sheet(columns("Name DriverName Age"), _fields("driverName")),
    kinds.MUTATING_WEBHOOK_CONFIGURATIONS.qualified: Sheet(
        columns("Name Webhooks:integer Age"), _counted("webhooks")
    ),
    kinds.VALIDATING_WEBHOOK_CONFIGURATIONS.qualified: Sheet(
        columns("Name Webhooks:integer Age"), _counted("webhooks")
    ),
    kinds.VALIDATING_ADMISSION_POLICIES.qualified: Sheet(
        columns("Name Validations:integer ParamKind Age"), _policy
    ),
    kinds.VALIDATING_ADMISSION_POLICY_BINDINGS.qualified: Sheet(
        columns("Name PolicyName ParamRef Age"), _policy_binding
    ),
    kinds.MUTATING_ADMISSION_POLICIES.qualified: Sheet(
        columns("Name Mutations:integer ParamKind Age"), _mutating_policy
    ),
    kinds.MUTATING_ADMISSION_POLICY_BINDINGS.qualified: Sheet(
        columns("Name PolicyName ParamRef Age"), _policy_binding
    ),
    kinds.RESOURCE_QUOTAS.qualified: Sheet(columns("Name Request Limit Age"), _quota),
    kinds.PRIORITY_CLASSES.qualified: Sheet(
        columns("Name Value:integer Global-Default:boolean Age PreemptionPolicy"), _priority_class
    ),
    kinds.RUNTIME_CLASSES.qualified: Sheet(columns("Name Handler Age"), _fields("handler")),
    kinds.IP_ADDRESSES.qualified: Sheet(columns("Name ParentRef Age"), _ip_address),
    kinds.SERVICE_CIDRS.qualified: Sheet(columns("Name CIDRs Age"), _fields("spec.cidrs")),
}
