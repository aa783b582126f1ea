"""Server-side apply, and the bookkeeping of owners for all other writes. Pure.

Comes in: the live document, what a manager applied or wrote, the time. Goes out: a new document with its
``metadata.managedFields``. Not here: defaults and validation of the result, storage, server-owned metadata (uid,
resourceVersion, ...: the caller puts them back). Source: "Server-Side Apply" of the Kubernetes API, KEP-555.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from netloom.api.nulls import without_nulls
from netloom.errors import NetloomError
from netloom.local.apiserver import fieldset, managers, schema
from netloom.local.apiserver.fieldset import Paths
from netloom.local.apiserver.managers import APPLY, UPDATE, Manager, Owned, Table
from netloom.local.apiserver.patch import BadPatch
from netloom.local.apiserver.schema import Node
from netloom.local.apiserver.status import Cause

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_BEFORE_FIRST_APPLY = "before-first-apply"
_KUBECTL = "kubectl"

Document = dict[str, Any]


class ApplyConflict(NetloomError):
    """Fields that other managers own would get other values; force takes them over (HTTP 409, reason Conflict).

    Args:
        causes: one per field, of reason FieldManagerConflict: who owns it, and its path.
        owned: the fields in question, by their managers.
    """

    def __init__(self, causes: tuple[Cause, ...], owned: dict[Manager, Paths]) -> None:
        self.causes = causes
        self.owned = owned
        super().__init__(_told(owned))


def _told(owned: dict[Manager, Paths]) -> str:
    count = sum(len(paths) for paths in owned.values())
    if count == 1:
        ((who, paths),) = owned.items()
        return f"Apply failed with 1 conflict: conflict with {who.text}: {fieldset.text(next(iter(paths)))}"
    lines = []
    for who, paths in sorted(owned.items()):
        lines.append(f"conflicts with {who.text}:")
        lines.extend(f"- {fieldset.text(path)}" for path in sorted(paths))
    return f"Apply failed with {count} conflicts: " + "\n".join(lines)


def apply(  # noqa: PLR0913, PLR0917 - what a request of server-side apply has
    gvk: str,
    live: Document | None,
    applied: Document,
    manager: str,
    force: bool,
    now: str,
    subresource: str = "",
    *,
    node: Node | None = None,
    has_status: bool = True,
) -> Document:
    """The document after a manager applied its configuration; ``live`` itself where nothing changes.

    Args:
        gvk: kind, such as ``apps/v1/Deployment``.
        live: the stored document, or None for a new object.
        applied: all fields that the manager wants, and no others.
        manager: the ``fieldManager`` of the request.
        force: take fields over from other managers.
        now: time of the request, RFC 3339 in UTC with seconds.
        subresource: ``status`` for the status subresource; empty for the object itself.
        node: how the kind's fields are typed, where the schema of all servers does not know it.
        has_status: status is written through its subresource only.

    Raises:
        BadPatch: 400, fields that the kind does not have, or list items without their keys.
        ApplyConflict: another manager owns a field to which this one gives another value, and force is not set.
    """
    node = node or schema.root(gvk)
    wanted = _configuration(gvk, node, applied, subresource)
    if has_status and not subresource and "status" in node.fields:
        wanted.pop("status", None)
    table = managers.read(live)
    if live is not None and not table:
        table = _owned_before(gvk, node, live, now)
    applying = _Applying(
        gvk, node, live, wanted, table, managers.manager(APPLY, manager, _version(gvk), subresource)
    )
    if not force and manager == _KUBECTL and live is not None and (conflicts := applying.conflicts()):
        # objects of client-side apply: what kubectl itself applied earlier is its own, whatever manager's name it had
        earlier = _last_applied(node, live)
        force = bool(earlier) and all(not paths - earlier for paths in conflicts.values())
    result = applying.run(force=force, now=now)
    return _with_last_applied(live, result, applied) if manager == _KUBECTL else result


def track_update(  # noqa: PLR0913, PLR0917 - what a write has
    gvk: str,
    live: Document | None,
    new: Document,
    manager: str,
    operation: str,
    subresource: str,
    now: str,
    *,
    node: Node | None = None,
) -> Document:
    """The written document with its managedFields: the writer owns what it changed, others lose what was taken from them.

    For create, update and all patches but apply (``operation`` is ``Update`` for all of them). ``live`` is None for a create; ``new`` is complete (status included, also
    where only another part was written). A writer may send managedFields itself (not through a subresource): they are taken
    as they are, and ``[{}]`` clears them. Entries keep their time unless their fields changed.
    """
    who = managers.manager(operation, manager, _version(gvk), subresource)
    if managers.is_reset(new) and not subresource:
        return managers.with_entries(new, {})
    sent: Table = {} if subresource else managers.read(new)
    table = sent or managers.read(live)
    node = node or schema.root(gvk)
    difference = fieldset.compare(node, managers.unmanaged(live), managers.unmanaged(new))
    if not difference:
        return managers.with_entries(new, table)
    written = difference.written
    lost = difference.written | difference.removed
    kept = {
        other: owned.without(difference.removed if other == who else lost) for other, owned in table.items()
    }
    if written:
        before = kept.get(who)
        kept[who] = before.written(written, now) if before else Owned(written, now, _version(gvk))
    return managers.with_entries(new, kept)


def _version(gvk: str) -> str:
    return gvk.rpartition("/")[0]


def _configuration(gvk: str, node: Node, applied: Document, subresource: str) -> Document:
    """What is applied, without what this request cannot set."""
    metadata = applied.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise BadPatch(400, "metadata.managedFields", "must be nil", "leave it out of what is applied")
    wanted: Document = without_nulls(applied)
    if problems := list(fieldset.problems(node, wanted)):
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        kind = f"{_version(gvk)}, Kind={gvk.rpartition('/')[2]}"
        told = problems[0] if len(problems) == 1 else "errors:" + "".join(f"\n  {p}" for p in problems)
        raise BadPatch(400, "", f"failed to create typed patch object ({name}; {kind}): {told}")
    if subresource == "status":
        return {n: v for n, v in wanted.items() if n in ("apiVersion", "kind", "metadata", "status")}
    return wanted


def _owned_before(gvk: str, node: Node, live: Document, now: str) -> Table:
    fields = fieldset.compare(node, None, managers.unmanaged(live)).added
    return {
        managers.manager(UPDATE, _BEFORE_FIRST_APPLY, _version(gvk), ""): Owned(fields, now, _version(gvk))
    }


class _Applying:
    """One apply: the merged document and the owners after it."""

    def __init__(
        self, gvk: str, node: Node, live: Document | None, wanted: Document, table: Table, who: Manager
    ) -> None:
        self._node = node
        self._version = _version(gvk)
        self._live = live
        self._who = who
        self._before = table
        fields = fieldset.paths_of(self._node, wanted) - managers.IDENTITY
        last = table.get(who)
        self._table = {**table, who: Owned(fields, last.time if last else "", self._version)}
        merged = fieldset.merge(self._node, live or {}, wanted)
        self._merged: Document = self._without_abandoned(merged, last.fields if last else frozenset())
        self._difference = fieldset.compare(
            self._node, managers.unmanaged(live), managers.unmanaged(self._merged)
        )

    def _without_abandoned(self, merged: Document, last: Paths) -> Document:
        """Without the fields that this manager applied before, no longer does, and nobody else owns."""
        if not last:
            return merged
        owned = frozenset[fieldset.Path]().union(*(o.fields for o in self._table.values()))
        kept = fieldset.with_named_parents(self._node, owned)
        pruned: Document = fieldset.without(
            self._node, merged, fieldset.with_named_parents(self._node, last) - kept - managers.IDENTITY
        )
        return pruned

    def conflicts(self) -> dict[Manager, Paths]:
        """Fields of other managers that would get another value."""
        written = self._difference.written
        found = {o: owned.fields & written for o, owned in self._before.items() if o != self._who}
        return {other: paths for other, paths in found.items() if paths}

    def run(self, *, force: bool, now: str) -> Document:
        """The document; raises ApplyConflict."""
        conflicts = self.conflicts()
        if conflicts and not force:
            raise ApplyConflict(tuple(_causes(conflicts)), conflicts)
        lost = self._difference.written | self._difference.removed
        table = {o: owned if o == self._who else owned.without(lost) for o, owned in self._table.items()}
        before = self._before.get(self._who)
        if (
            self._live is not None
            and not self._difference
            and before
            and before.fields == table[self._who].fields
        ):
            return self._live
        table[self._who] = Owned(table[self._who].fields, now, self._version)
        return managers.with_entries(self._merged, table)


def _causes(conflicts: dict[Manager, Paths]) -> Iterator[Cause]:
    for who, paths in sorted(conflicts.items()):
        for path in sorted(paths):
            yield Cause("FieldManagerConflict", f"conflict with {who.text}", fieldset.text(path))


def _annotation(document: Document | None) -> str | None:
    metadata = (document or {}).get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    value = annotations.get(_LAST_APPLIED) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else None


def _last_applied(node: Node, live: Document) -> Paths:
    """Fields that client-side apply set and that still have its values, by kubectl's annotation; none without one."""
    try:
        earlier = msgspec.json.decode(_annotation(live) or "", type=dict[str, Any])
    except msgspec.DecodeError:
        return frozenset()
    earlier = without_nulls(earlier)
    changed = fieldset.compare(node, earlier, live)
    annotation = frozenset({("f:metadata", "f:annotations", f"f:{_LAST_APPLIED}")})
    # a value that was changed since is no longer what the user of kubectl asked for
    return (fieldset.paths_of(node, earlier) - changed.modified - changed.removed) | annotation


def _with_last_applied(live: Document | None, result: Document, applied: Document) -> Document:
    """Keeps the annotation of client-side apply true where there is one, so that the user can go back."""
    if _annotation(live) is None or result is live:
        return result
    metadata = {
        n: v
        for n, v in applied.get("metadata", {}).items()
        if n not in ("managedFields", "creationTimestamp")
    }
    annotations = {n: v for n, v in (metadata.get("annotations") or {}).items() if n != _LAST_APPLIED}
    metadata = {**metadata, "annotations": annotations}
    told = msgspec.json.encode({**applied, "metadata": metadata}).decode() + "\n"
    stored = result["metadata"]
    return {
        **result,
        "metadata": {**stored, "annotations": {**stored.get("annotations", {}), _LAST_APPLIED: told}},
    }
