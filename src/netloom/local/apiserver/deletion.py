"""Deletion: at once, after a grace period, or when the last finalizer goes.

Comes in: records and DeleteOptions. Goes out: the object as it is afterwards. Not here: what hangs on the object (gc.py)
and the contents of namespaces (their controller). Source: meta/v1 DeleteOptions, core/v1 Pod terminationGracePeriodSeconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.clock import rfc3339
from netloom.local.apiserver import kinds, status, strategy
from netloom.local.apiserver.custom import names
from netloom.local.apiserver.history import Record, record_of
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.queries import DeleteOptions
from netloom.local.apiserver.validate_limits import SYSTEM_PRIORITIES

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_DEFAULT_GRACE_S = 30
_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class Deleted(msgspec.Struct, frozen=True):
    """The object after the deletion was asked for; ``gone``: it is no longer stored."""

    record: Record
    gone: bool


class Deletions:
    """Deletes objects of one store."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def check(self, live: Record, options: DeleteOptions) -> None:
        """Pass where the preconditions of a deletion hold.

        Raises:
            ApiError: 409.
        """
        _check_preconditions(live, options)

    def delete(self, live: Record, options: DeleteOptions) -> Deleted:
        """Delete one object, or note that it is to go.

        Raises:
            ApiError: 403 for a namespace or priority class that must stay, 409 for a precondition that does not hold.
            StorageError: it could not be written.
        """
        _check_preconditions(live, options)
        if live.kind is kinds.PRIORITY_CLASSES and live.name in SYSTEM_PRIORITIES:
            raise status.forbidden(
                live.kind, live.name, "this is a system priority class and cannot be deleted"
            )
        document = live.document()
        if live.kind is kinds.NAMESPACES:
            changed = self._mark_namespace(live, document)
        else:
            changed = self._mark(live, document, options)
        gone = strategy.is_finished(live.kind, document)
        if not changed and not gone:
            return Deleted(live, gone=False)
        if options.dry_run:
            return Deleted(record_of(live.kind, document, live.revision), gone)
        return Deleted(self._objects.rewrite(live, document), gone)

    def _mark(self, live: Record, document: dict[str, Any], options: DeleteOptions) -> bool:
        """Write the wish to delete into the document; True where that changes it."""
        metadata = document["metadata"]
        finalizers = _finalizers(list(metadata.get("finalizers") or ()), options)
        changed = finalizers != list(metadata.get("finalizers") or ())
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        grace = _grace_s(live, document, options)
        if live.deleting:
            before = int(metadata.get("deletionGracePeriodSeconds") or 0)
            if options.grace_s is None or grace >= before:
                return changed
            asked_at = self._objects.clock.wall()
        else:
            asked_at = self._objects.clock.wall()
            if "generation" in metadata:
                metadata["generation"] += 1
        if live.kind is kinds.CUSTOM_RESOURCE_DEFINITIONS and not live.deleting:
            names.hold(document, self._objects.now())
        metadata["deletionTimestamp"] = rfc3339(asked_at + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        return True

    def _mark_namespace(self, live: Record, document: dict[str, Any]) -> bool:
        if live.name in _IMMORTAL:
            raise status.forbidden(live.kind, live.name, "this namespace may not be deleted")
        if live.deleting:
            return False
        document["metadata"]["deletionTimestamp"] = self._objects.now()
        document.setdefault("status", {})["phase"] = "Terminating"
        return True


def _check_preconditions(live: Record, options: DeleteOptions) -> None:
    for what, asked, found in (
        ("UID", options.uid, live.uid),
        ("ResourceVersion", options.version, str(live.revision)),
    ):
        if asked and asked != found:
            why = f"Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}"
            raise status.conflict(live.kind, live.name, why)


def _finalizers(present: list[str], options: DeleteOptions) -> list[str]:
    kept = [f for f in present if f not in {FOREGROUND, ORPHAN}]
    match options.propagation:
        case "Foreground":
            return [*kept, FOREGROUND]
        case "Orphan":
            return [*kept, ORPHAN]
        case _:
            return present


def _grace_s(live: Record, document: dict[str, Any], options: DeleteOptions) -> int:
    """Only pods have a grace period, and only those that may be running somewhere."""
    if live.kind is not kinds.PODS:
        return 0
    spec = document["spec"]
    if not spec.get("nodeName") or (document.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return 0
    if options.grace_s is not None:
        return options.grace_s
    return int(spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S))
