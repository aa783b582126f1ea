"""Kubernetes' protobuf encoding of requests, read. Pure.

Comes in: a body of media type ``application/vnd.kubernetes.protobuf`` (client-go's typed clients send it since 1.32:
``kubectl create namespace``, ``kubectl drain``, controllers). Goes out: the plain document that JSON would have given.
Field numbers that are not known are skipped, as Kubernetes skips them: a newer client writes the zero of every field that
it knows. Answers stay JSON, which those clients accept too. Not here: writing protobuf. Source: runtime.Unknown of
apimachinery, the protobuf wire format, field numbers of protobuf_fields.json (written by tools/make_protobuf_fields.py).
"""

from __future__ import annotations

import base64
import functools
import importlib.resources
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from netloom.errors import InvalidObject
from netloom.local.apiserver import schema
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.schema import Node

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64


class FieldNumbers(msgspec.Struct, frozen=True):
    """The whole of protobuf_fields.json: for each type, its fields by number, in the notation of its generator."""

    source: str
    types: dict[str, dict[int, str]]


class Slot(msgspec.Struct, frozen=True):
    """What a number stands for: a field of the object, or a message (``inlined``: its type) whose fields are the object's.

    ``pointer``: Go writes the field only where it was set, so its zero counts; of all others it writes zeros, too.
    """

    name: str
    pointer: bool = False
    inlined: str = ""


class Undecodable(InvalidObject):
    """A body that is no Kubernetes protobuf, or whose bytes do not fit its kind (HTTP 400)."""

    def __init__(self, problem: str) -> None:
        super().__init__("request body", "", problem, "send it as application/json")


def decode(body: bytes) -> dict[str, Any]:
    """The document in a body; times, quantities and numbers-or-strings as JSON has them, unset fields left out.

    Raises:
        Undecodable: no protobuf envelope, a kind that is not served, or bytes that do not fit the kind.
    """
    if not body.startswith(_MAGIC):
        raise Undecodable("no Kubernetes protobuf: it does not begin with k8s and a zero byte")
    envelope = _last(body[len(_MAGIC) :])
    if encoding := _text(envelope.get(3, b"")):
        raise Undecodable(f"content encoding {encoding!r} is not in use here")
    names = _last(_bytes(envelope.get(1, b"")))
    api_version, kind = _text(names.get(1, b"")), _text(names.get(2, b""))
    # options are encoded under the version of the resource that they are for
    gvk = "v1/DeleteOptions" if kind == "DeleteOptions" else f"{api_version}/{kind}"
    if not schema.known(gvk):
        raise Undecodable(f"kind {gvk} is not known")
    document = _message(schema.root(gvk), _bytes(envelope.get(2, b"")), gvk, _MAX_DEPTH)
    return {"apiVersion": api_version, "kind": kind, **document}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Undecodable("the body ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _entries(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number and raw value, of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise Undecodable(f"wire type {wire} is not in use")
        if at + length > len(data):
            raise Undecodable("the body ends in the middle of a field")
        yield number, data[at : at + length]
        at += length


def _last(data: bytes) -> dict[int, int | bytes]:
    return dict(_entries(data))


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Undecodable("a number stands where a text or message is due")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise Undecodable("a text is not UTF-8") from error


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise Undecodable("a text stands where a number is due")
    # two's complement of 64 bits, whatever the type in the API
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


@functools.cache
def _numbers() -> FieldNumbers:
    text = importlib.resources.files("netloom.local.apiserver").joinpath("protobuf_fields.json").read_bytes()
    return msgspec.json.decode(text, type=FieldNumbers)


@functools.cache
def slots(type_key: str) -> Mapping[int, Slot]:
    """What the numbers of a type stand for; empty for a type without known numbers."""
    found: dict[int, Slot] = {}
    for number, word in _numbers().types.get(type_key, {}).items():
        if word.startswith("+"):
            found[number] = Slot("", inlined=word[1:])
        else:
            found[number] = Slot(word.rstrip("?"), word.endswith("?"))
    return found


def _message(node: Node, data: bytes, path: str, depth: int, inlined: str = "") -> dict[str, Any]:
    if depth <= 0:
        raise Undecodable(f"{path}: nested too deeply")
    numbers = slots(inlined or node.type_key)
    document: dict[str, Any] = {}
    for number, raw in _entries(data):
        slot = numbers.get(number)
        if slot is None:
            continue
        if slot.inlined:
            _merge(document, _message(node, _bytes(raw), path, depth - 1, slot.inlined))
            continue
        member = node.fields.get(slot.name)
        if member is None:
            continue
        inner = f"{path}.{slot.name}"
        if member.shape == "list":
            document.setdefault(slot.name, []).extend(_items(member.element, raw, inner, depth))
        elif member.shape == "map":
            pair = _last(_bytes(raw))
            value = _mapped(member.element, pair.get(2, b""), inner, depth)
            document.setdefault(slot.name, {})[_text(pair.get(1, b""))] = value
        else:
            found = _value(member, raw, inner, depth)
            # JSON has the zeros of pointers and of required fields only
            counts = slot.pointer or (slot.name in node.required and member.shape != "int-or-string")
            if found or isinstance(found, dict) or (counts and found is not None):
                document[slot.name] = found
    return document


def _merge(document: dict[str, Any], more: dict[str, Any]) -> None:
    """A message may come in pieces: lists go on, maps are filled, of anything else the last counts."""
    for name, value in more.items():
        had = document.get(name)
        if isinstance(value, list) and isinstance(had, list):
            had.extend(value)
        elif isinstance(value, dict) and isinstance(had, dict):
            had.update(value)
        else:
            document[name] = value


def _items(node: Node, raw: int | bytes, path: str, depth: int) -> Iterator[Json]:
    if isinstance(raw, int) or node.shape not in ("int32", "int64"):
        yield _value(node, raw, path, depth)
        return
    at = 0
    while at < len(raw):  # packed
        number, at = _varint(raw, at)
        yield _number(number)


def _mapped(node: Node, raw: int | bytes, path: str, depth: int) -> Json:
    if node.shape == "list":
        # a map's value cannot be repeated, so lists are messages whose first field is: ExtraValue of authentication
        items = (item for number, item in _entries(_bytes(raw)) if number == 1)
        return [value for item in items for value in _items(node.element, item, path, depth)]
    return _value(node, raw, path, depth)


def _value(node: Node, raw: int | bytes, path: str, depth: int) -> Json:
    if node.shape == "object":
        return _message(node, _bytes(raw), path, depth - 1)
    scalar = _SCALARS.get(node.shape)
    return scalar(raw) if scalar else _special(node.shape, _bytes(raw))


def _special(shape: str, data: bytes) -> Json:
    fields = _last(data)
    if shape == "int-or-string":
        return _text(fields.get(3, b"")) if _number(fields.get(1, 0)) else _number(fields.get(2, 0))
    if shape in ("time", "microtime"):
        return (
            _time(_number(fields.get(1, 0)), _number(fields.get(2, 0)), micro=shape == "microtime")
            if fields
            else None
        )
    try:
        return msgspec.json.decode(_bytes(fields.get(1, b"")))  # FieldsV1: JSON within
    except msgspec.DecodeError as error:
        raise Undecodable("fieldsV1 is no JSON") from error


def _time(seconds: int, nanoseconds: int, *, micro: bool) -> str:
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, OSError, ValueError) as error:
        raise Undecodable(f"{seconds} is no time") from error
    return f"{text}.{nanoseconds // 1000:06}Z" if micro else f"{text}Z"


_SCALARS: Mapping[str, Callable[[int | bytes], Json]] = {
    "string": _text,
    "bool": lambda raw: bool(_number(raw)),
    "int32": _number,
    "int64": _number,
    "bytes": lambda raw: base64.b64encode(_bytes(raw)).decode(),
    "quantity": lambda raw: _text(_last(_bytes(raw)).get(1, b"")),
}
