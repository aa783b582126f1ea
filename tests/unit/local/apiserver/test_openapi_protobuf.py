"""The protobuf form of OpenAPI v2, read back by the rules of the wire format alone."""

from __future__ import annotations

import json

import pytest

from netloom.local.apiserver import openapi, openapi_protobuf


def entries(data: bytes) -> list[tuple[int, bytes]]:
    """Number and value of each field; all of ours have a length."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return value

    while at < len(data):
        key = varint()
        assert key & 7 == 2
        size = varint()
        found.append((key >> 3, data[at : at + size]))
        assert len(found[-1][1]) == size
        at += size
    return found


def only(data: bytes, number: int) -> bytes:
    (value,) = [v for n, v in entries(data) if n == number]
    return value


def named(data: bytes) -> dict[str, bytes]:
    return {only(pair, 1).decode(): only(pair, 2) for number, pair in entries(data) if number == 1}


def read(schema: bytes) -> dict:
    """A schema as JSON has it."""
    found: dict = {}
    for number, value in entries(schema):
        match number:
            case 1 | 2 | 4:
                found[{1: "$ref", 2: "format", 4: "description"}[number]] = value.decode()
            case 19:
                found.setdefault("required", []).append(value.decode())
            case 21:
                found["additionalProperties"] = read(only(value, 1))
            case 22:
                found["type"] = only(value, 1).decode()
            case 23:
                found["items"] = read(only(value, 1))
            case 25:
                found["properties"] = {name: read(inner) for name, inner in named(value).items()}
            case 31:
                found[only(value, 1).decode()] = json.loads(only(only(value, 2), 2))
            case _:
                pytest.fail(f"field {number} is none of ours")
    return found


def test_all_types_come_back_whole():
    wanted = json.loads(openapi.v2_document())["definitions"]
    document = openapi_protobuf.v2_document()
    assert only(document, 1) == b"2.0"
    found = {name: read(schema) for name, schema in named(only(document, 9)).items()}
    assert found == wanted


def test_a_word_without_a_number_is_not_dropped_in_silence():
    document = {
        "swagger": "2.0",
        "info": {"title": "t", "version": "v"},
        "definitions": {"x": {"pattern": "a"}},
    }
    with pytest.raises(ValueError, match="pattern"):
        openapi_protobuf.encode(document)
