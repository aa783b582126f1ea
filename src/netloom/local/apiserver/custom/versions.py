"""Versions of a defined kind: kept in one, read and written in any; and faces of a kind (faces.py). Pure.

Comes in: records and documents. Goes out: the same in another version. For other kinds nothing changes. Not here: which versions
there are (served.py). Source: apiextensions.k8s.io/v1 CustomResourceConversion; strategy ``None`` changes ``apiVersion`` only, and fields
that the other version does not have are lost, as in kube-apiserver. Strategy ``Webhook`` is refused when it would be needed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.local.apiserver import status
from netloom.local.apiserver.custom.filling import filled, pruned
from netloom.local.apiserver.custom.served import CustomKind
from netloom.local.apiserver.defaults import set_defaults
from netloom.local.apiserver.faces import as_face, as_kept
from netloom.local.apiserver.history import Record, record_of
from netloom.local.apiserver.kind import Face, Kind


def is_kept(kind: Kind) -> bool:
    """Objects of this kind are kept in just this version, so they go out as they are."""
    return not isinstance(kind, Face) and (not isinstance(kind, CustomKind) or kind.stored is None)


def to_store(kind: Kind, document: dict[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """The version that is kept, and the document in it.

    Raises:
        ApiError: 500, the definition wants a webhook for that.
    """
    if isinstance(kind, Face):
        return kind.kept, as_kept(kind, document)
    if not isinstance(kind, CustomKind) or kind.stored is None:
        return kind, document
    _demand_none(kind, kind.stored)
    if isinstance(kind.stored, CustomKind):
        return kind.stored, kept_as(kind.stored, document)
    return kind.stored, set_defaults(kind.stored.gvk, {**document, "apiVersion": kind.stored.api_version})


def seen_as(kind: Kind, record: Record) -> Record:
    """The record in the version that the client asks for.

    Raises:
        ApiError: 500, the definition wants a webhook for that.
    """
    if is_kept(kind) or record.kind.api_version == kind.api_version:
        return record
    return record_of(kind, read(kind, record.document()), record.revision)


def seen_raw(kind: Kind, raw: bytes) -> bytes:
    """The same for an encoded document."""
    if is_kept(kind):
        return raw
    return msgspec.json.encode(read(kind, msgspec.json.decode(raw)))


def read(kind: Kind, document: dict[str, Any]) -> dict[str, Any]:
    """A kept document as one of this version: without fields that it does not have, with its defaults."""
    if isinstance(kind, Face):
        return as_face(kind, document)
    if not isinstance(kind, CustomKind):
        return document
    if document.get("apiVersion") != kind.api_version:
        _demand_none(kind, kind)
        document["apiVersion"] = kind.api_version
    schema = kind.version_data.schema
    return filled(schema, pruned(schema, document))


def _demand_none(kind: CustomKind, wanted: Kind) -> None:
    if kind.version_data.converts_by_webhook:
        stored = kind.stored or kind
        raise status.internal(
            f"conversion webhook for {kind.kind} to {wanted.api_version} is not called by this server: "
            f"use {stored.api_version}, the version that is stored"
        )


def kept_as(kind: CustomKind, document: dict[str, Any]) -> dict[str, Any]:
    """What the store has of an object, under a definition that changed: in the version that is kept now."""
    schema = kind.version_data.schema
    return filled(schema, pruned(schema, {**document, "apiVersion": kind.api_version}))
