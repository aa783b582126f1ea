"""Defined kinds as OpenAPI tells them: what ``kubectl explain`` and client generators read. Pure.

Comes in: a version of a defined kind. Goes out: its definition, in the words of OpenAPI 2 or 3. Not here: paths and lists (openapi.py). OpenAPI 2 has no words for nulls and
junctors: as from kube-apiserver, they are left out there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.custom.served import CustomKind

Document = dict[str, Any]
_ONLY_V3 = {
    "nullable",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "externalDocs",
    "example",
    "x-kubernetes-validations",
}
_V2_WORDS = {"type", "format", "description", "properties", "items", "additionalProperties", "required"}
_TYPE_META: Mapping[str, Document] = {
    "apiVersion": {
        "type": "string",
        "description": "Group and version of this representation of the object.",
    },
    "kind": {"type": "string", "description": "The kind of object."},
}


def name(kind: CustomKind) -> str:
    """The definition's name: ``stable.example.com/v1 CronTab`` is ``com.example.stable.v1.CronTab``."""
    return ".".join((*reversed(kind.group.split(".")), kind.version, kind.kind))


def digest(kind: CustomKind) -> str:
    """Another text for each schema of a kind."""
    content = msgspec.json.encode((kind.gvk, kind.plural, kind.version_data.schema), order="deterministic")
    return hashlib.sha256(content).hexdigest()


def document(kind: CustomKind, metadata: Document, *, v3: bool) -> Document:
    """The definition of a kind, its metadata told by a reference."""
    told = _told(kind.version_data.schema, v3=v3)
    properties = {**(told.get("properties") or {}), **_TYPE_META, "metadata": metadata}
    group_kind = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return {
        **told,
        "type": "object",
        "properties": dict(sorted(properties.items())),
        "x-kubernetes-group-version-kind": [group_kind],
    }


def _told(schema: Mapping[str, Any], *, v3: bool) -> Document:
    found: Document = {}
    for word, value in schema.items():
        if not v3 and (word in _ONLY_V3 or not (word in _V2_WORDS or word.startswith("x-"))):
            continue
        match word:
            case "properties":
                found[word] = {field: _told(member, v3=v3) for field, member in value.items()}
            case "items" | "additionalProperties" | "not" if isinstance(value, Mapping):
                found[word] = _told(value, v3=v3)
            case "additionalProperties":
                found[word] = {}
            case "allOf" | "anyOf" | "oneOf":
                found[word] = [_told(part, v3=v3) for part in value]
            case _:
                found[word] = value
    return found if v3 else _as_v2(schema, found)


def _as_v2(schema: Mapping[str, Any], found: Document) -> Document:
    """A place that may be null, or of several types, has no type in OpenAPI 2, as from kube-apiserver."""
    if schema.get("nullable"):
        for word in ("type", "items", "properties", "additionalProperties", "required"):
            found.pop(word, None)
    return found
