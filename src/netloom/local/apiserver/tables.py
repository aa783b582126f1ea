"""Answers in the shape that the client asked for: objects as they are, Tables, or metadata only.

Comes in: records and a View. Goes out: bytes. Lists of plain objects are joined from what is encoded already. Not here:
which columns (columns.py), HTTP. Source: meta/v1 Table, PartialObjectMetadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from netloom.clock import Clock
from netloom.local.apiserver.cells import Column
from netloom.local.apiserver.columns import sheet
from netloom.local.apiserver.custom.served import list_kind
from netloom.local.apiserver.custom.versions import is_kept, seen_raw
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.negotiate import View
from netloom.local.apiserver.status import bad_request

Include = Literal["Metadata", "Object", "None"]


def include_object(text: str) -> Include:
    """The ``includeObject`` parameter of a Table request.

    Raises:
        ApiError: 400, no such value.
    """
    match text:
        case "" | "Metadata":
            return "Metadata"
        case "Object" | "None":
            return text
        case _:
            raise bad_request(f'includeObject: "{text}" is none of None, Metadata, Object')


class Renderer:
    """Renders records of any kind for one request.

    Args:
        view: the shape to give them.
        include: what a Table row carries of its object.
        clock: for the age columns.
    """

    def __init__(self, view: View, *, include: Include, clock: Clock) -> None:
        self._view = view
        self._include = include
        self._clock = clock

    def is_plain(self, kind: Kind) -> bool:
        """Objects of this kind go out as they are stored."""
        return self._view.shape not in {"table", "metadata"} and is_kept(kind)

    def one(self, record: Record) -> bytes:
        """One object."""
        match self._view.shape:
            case "table":
                return self._table(record.kind, [record], str(record.revision), headers=True)
            case "metadata":
                return msgspec.json.encode(partial(record.document()))
            case _:
                return record.raw

    def many(
        self, kind: Kind, records: Sequence[Record], revision: int, continue_: str, remaining: int
    ) -> bytes:
        """A list at a revision; ``continue_`` and ``remaining`` where more is to come."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if continue_:
            metadata["continue"] = continue_
            if remaining:
                metadata["remainingItemCount"] = remaining
        match self._view.shape:
            case "table":
                return self._table(kind, records, str(revision), headers=True, metadata=metadata)
            case "metadata":
                items = b",".join(msgspec.json.encode(partial(r.document())) for r in records)
                return _list("meta.k8s.io/v1", "PartialObjectMetadataList", metadata, items)
            case _:
                return _list(kind.api_version, list_kind(kind), metadata, b",".join([r.raw for r in records]))

    def watched(self, kind: Kind, raw: bytes, *, first: bool) -> bytes:
        """The object of a watch event; Tables name their columns in the first one only."""
        if self._view.shape not in {"table", "metadata"}:
            return seen_raw(kind, raw)
        document = msgspec.json.decode(seen_raw(kind, raw))
        if self._view.shape == "metadata":
            return msgspec.json.encode(partial(document))
        version = document["metadata"].get("resourceVersion", "")
        return self._table_of(kind, [document], headers=first, metadata={"resourceVersion": version})

    def bookmark(self, kind: Kind, revision: int, *, initial_done: bool, first: bool) -> bytes:
        """The object of a bookmark: a revision up to which the client has seen everything."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_done:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self._view.shape == "table":
            return self._table_of(kind, [], headers=first, metadata=metadata)
        document = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return msgspec.json.encode(partial(document) if self._view.shape == "metadata" else document)

    def _table(
        self,
        kind: Kind,
        records: Sequence[Record],
        revision: str,
        *,
        headers: bool,
        metadata: dict[str, Any] | None = None,
    ) -> bytes:
        documents = [r.document() for r in records]
        return self._table_of(
            kind, documents, headers=headers, metadata=metadata or {"resourceVersion": revision}
        )

    def _table_of(
        self, kind: Kind, documents: Sequence[dict[str, Any]], *, headers: bool, metadata: dict[str, Any]
    ) -> bytes:
        now = self._clock.wall()
        wanted = sheet(kind)
        rows = [{"cells": wanted.cells(d, now), "object": self._row_object(d)} for d in documents]
        if self._include == "None":
            rows = [{"cells": row["cells"]} for row in rows]
        table = {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self._view.version}",
            "metadata": metadata,
            "columnDefinitions": [_definition(c) for c in wanted.columns] if headers else [],
            "rows": rows,
        }
        return msgspec.json.encode(table)

    def _row_object(self, document: dict[str, Any]) -> dict[str, Any]:
        return document if self._include == "Object" else partial(document)


def partial(document: dict[str, Any]) -> dict[str, Any]:
    """meta/v1 PartialObjectMetadata of a document."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": document["metadata"],
    }


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description or column.name,
        "priority": column.priority,
    }


def _list(api_version: str, kind: str, metadata: dict[str, Any], items: bytes) -> bytes:
    head = msgspec.json.encode({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    return b'%b,"items":[%b]}' % (head[:-1], items)
