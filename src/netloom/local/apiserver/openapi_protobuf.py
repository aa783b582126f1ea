"""``/openapi/v2`` as protobuf, the only form of it that client-go reads: kubectl validates lists (``kind: List``) by it. Pure.

Comes in: the document as JSON has it (openapi.py). Goes out: its bytes as an ``openapi.v2.Document``, with all types and without
paths: clients take what can be done from discovery and from v3. Field numbers are those of OpenAPIv2.proto in gnostic-models.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.local.apiserver import kinds, openapi
from netloom.local.apiserver.jsonvalue import Json

ASKED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""As clients ask for it; no proper media type (RFC 6838, section 4.2: no ``@`` in names), so it is answered under another name."""
MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""As kube-apiserver answers it."""

_BYTES = 2
_DOCUMENT = {"swagger": 1, "info": 2, "paths": 8, "definitions": 9}
_INFO = {"title": 1, "version": 2}
_TEXTS = {"$ref": 1, "format": 2, "description": 4}
_REQUIRED, _ADDITIONAL, _TYPE, _ITEMS, _PROPERTIES, _EXTENSION = 19, 21, 22, 23, 25, 31


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _named(name: str, value: bytes) -> bytes:
    """NamedSchema and NamedAny: a name, and what has it."""
    return _field(1, name) + _field(2, value)


def _any(value: Json) -> bytes:
    """An Any whose text is YAML, of which JSON is a subset."""
    return _field(2, msgspec.json.encode(value))


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = []
    for word, value in schema.items():
        match word:
            case "$ref" | "format" | "description":
                parts.append(_field(_TEXTS[word], value))
            case "type":
                parts.append(_field(_TYPE, _field(1, value)))
            case "required":
                parts += [_field(_REQUIRED, name) for name in value]
            case "items":
                parts.append(_field(_ITEMS, _field(1, _schema(value))))
            case "additionalProperties":
                parts.append(_field(_ADDITIONAL, _field(1, _schema(value))))
            case "properties":
                parts.append(_field(_PROPERTIES, _schemas(value)))
            case _ if word.startswith("x-"):
                parts.append(_field(_EXTENSION, _named(word, _any(value))))
            case _:
                raise ValueError(
                    f"OpenAPI word {word!r} has no place in OpenAPIv2.proto here; add its number"
                )
    return b"".join(parts)


def _schemas(named: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Properties and Definitions: schemas by name."""
    return b"".join(_field(1, _named(name, _schema(schema))) for name, schema in named.items())


def encode(document: Mapping[str, Any]) -> bytes:
    """A Swagger 2.0 document of types as an ``openapi.v2.Document``.

    Raises:
        ValueError: a schema uses a word that this encoder has no number for.
    """
    info = b"".join(_field(number, document["info"][word]) for word, number in _INFO.items())
    parts = {
        "swagger": document["swagger"],
        "info": info,
        "paths": b"",
        "definitions": _schemas(document["definitions"]),
    }
    return b"".join(_field(_DOCUMENT[word], value) for word, value in parts.items())


@functools.lru_cache(maxsize=2)
def v2_document(served: openapi.Served = kinds.ALL) -> bytes:
    """``/openapi/v2`` as protobuf: all kinds."""
    return encode(msgspec.json.decode(openapi.v2_document(served)))
