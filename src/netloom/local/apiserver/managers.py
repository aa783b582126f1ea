"""Who owns which fields: ``metadata.managedFields`` as a table (meta/v1 ManagedFieldsEntry). Pure.

Comes in: documents. Goes out: managers with their sets, and back. Not here: what an apply or an update changes (apply.py).
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.local.apiserver import fieldset
from netloom.local.apiserver.fieldset import Paths
from netloom.local.apiserver.jsonvalue import Json

APPLY = "Apply"
UPDATE = "Update"
MAX_UPDATERS = 10
"""Most entries of operation Update; older ones are thrown together, as in kube-apiserver."""
_ANCIENT = "ancient-changes"

_METADATA_OF_THE_SERVER = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation",
                           "managedFields", "resourceVersion")  # fmt: skip
IDENTITY: Paths = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(("f:metadata", f"f:{n}") for n in _METADATA_OF_THE_SERVER),
    }
)
"""Fields that nobody owns: they name the object or are the server's own."""


class Manager(msgspec.Struct, frozen=True, order=True):
    """Who wrote, and in which way; ``api_version`` is empty for Apply, where it does not tell managers apart."""

    operation: str
    name: str
    subresource: str = ""
    api_version: str = ""

    @property
    def text(self) -> str:
        """For people: ``"kubectl-edit" using apps/v1``."""
        words = f'"{self.name}"'
        if self.subresource:
            words += f' with subresource "{self.subresource}"'
        return f"{words} using {self.api_version}" if self.operation == UPDATE else words


class Owned:
    """The fields of a manager, and when it last changed one (RFC 3339). Values: every change makes a new one.

    Most writes touch few of the managers, so fieldsV1 is decoded, and encoded, only where a change asks for it.
    """

    __slots__ = ("_fields", "_raw", "api_version", "time")

    def __init__(self, fields: Paths | None, time: str, api_version: str, *, raw: Json = None) -> None:
        self._fields = fields
        self._raw = raw
        self.time = time
        self.api_version = api_version

    @property
    def fields(self) -> Paths:
        """All paths."""
        if self._fields is None:
            self._fields = fieldset.decode(self._raw)
        return self._fields

    @property
    def fields_v1(self) -> Json:
        """The same as fieldsV1."""
        if self._raw is None:
            self._raw = fieldset.encode(self._fields or ())
        return self._raw

    def _has(self, path: fieldset.Path) -> bool:
        return path in self._fields if self._fields is not None else fieldset.holds(self._raw, path)

    def without(self, paths: Paths) -> Owned:
        """These fields taken away; itself where it has none of them."""
        if not any(self._has(path) for path in paths):
            return self
        return Owned(self.fields - paths, self.time, self.api_version)

    def written(self, paths: Paths, time: str) -> Owned:
        """These fields added, at this time."""
        if all(self._has(path) for path in paths):
            return Owned(self._fields, time, self.api_version, raw=self._raw)
        return Owned(self.fields | paths, time, self.api_version)

    @property
    def is_empty(self) -> bool:
        """It owns nothing."""
        return not self._raw if self._raw is not None else not self._fields


Table = dict[Manager, Owned]


def manager(operation: str, name: str, api_version: str, subresource: str) -> Manager:
    """The manager of a request."""
    return Manager(operation, name, subresource, api_version if operation == UPDATE else "")


def read(document: dict[str, Any] | None) -> Table:
    """The table of a document; entries that are not understood make it empty, as if there were none."""
    metadata = (document or {}).get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, dict) else None
    table: Table = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("operation") not in (APPLY, UPDATE):
            return {}
        version = str(entry.get("apiVersion", ""))
        who = manager(
            entry["operation"], str(entry.get("manager", "")), version, str(entry.get("subresource", ""))
        )
        owned = Owned(None, str(entry.get("time") or ""), version, raw=entry.get("fieldsV1") or {})
        before = table.get(who)
        table[who] = Owned(before.fields | owned.fields, owned.time, version) if before else owned
    return table


def entries(table: Table) -> list[dict[str, Any]]:
    """The table as managedFields: Apply before Update, then by time and name; managers without fields are left out."""
    capped = _capped({who: owned for who, owned in table.items() if not owned.is_empty})
    ordered = sorted(
        capped.items(),
        key=lambda e: (e[0].operation, e[1].time, e[0].name, e[1].api_version, e[0].subresource),
    )
    return [_entry(who, owned) for who, owned in ordered]


def _entry(who: Manager, owned: Owned) -> dict[str, Any]:
    entry: dict[str, Any] = {"manager": who.name, "operation": who.operation, "apiVersion": owned.api_version}
    if owned.time:
        entry["time"] = owned.time
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned.fields_v1}
    if who.subresource:
        entry["subresource"] = who.subresource
    return entry


def _capped(table: Table) -> Table:
    updaters = sorted(
        (who for who in table if who.operation == UPDATE), key=lambda who: (table[who].time, who)
    )
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return table
    kept = dict(table)
    # one more than the surplus, because what they are thrown into is an entry too
    for who in updaters[: surplus + 1]:
        owned = kept.pop(who)
        ancient = Manager(UPDATE, _ANCIENT, "", owned.api_version)
        before = kept.get(ancient, owned)
        kept[ancient] = Owned(before.fields | owned.fields, max(before.time, owned.time), owned.api_version)
    return kept


def is_reset(document: dict[str, Any]) -> bool:
    """Whether the writer asks to forget all managers: one empty entry."""
    metadata = document.get("metadata")
    return isinstance(metadata, dict) and metadata.get("managedFields") == [{}]


def with_entries(document: dict[str, Any], table: Table) -> dict[str, Any]:
    """The document with this table as its managedFields."""
    metadata = {
        name: value for name, value in (document.get("metadata") or {}).items() if name != "managedFields"
    }
    if written := entries(table):
        metadata["managedFields"] = written
    return {**document, "metadata": metadata}


def unmanaged(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """The document without the fields that nobody owns; what is left is compared."""
    if document is None:
        return None
    left = {name: value for name, value in document.items() if name not in ("apiVersion", "kind", "metadata")}
    metadata = document.get("metadata")
    if isinstance(metadata, dict):
        metadata = {n: v for n, v in metadata.items() if n not in _METADATA_OF_THE_SERVER}
    return {**left, "metadata": metadata} if metadata else left
