"""Fields that a body names twice."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.local.apiserver.conftest import Api

from netloom.local.apiserver.doubled import doubled_fields

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a": 1, "a": 2}', ["a"]),
        (b'{"spec": {"ports": [{"port": 1}, {"port": 2, "port": 3, "port": 4}]}}', ["spec.ports[1].port"]),
        (b'{"a": {"b": 1, "b": 1}, "a": {"c": 1, "c": 2}}', ["a", "a.c"]),
        (b"a: 1", []),
        (b"[" * 100_000, []),
    ],
)
def test_what_is_there_twice_is_told_by_its_path(body, found):
    assert doubled_fields(body) == found


@given(JSON)
def test_what_a_program_writes_has_nothing_twice(value):
    assert doubled_fields(json.dumps(value).encode()) == []


@given(st.binary(max_size=40))
def test_any_bytes_are_looked_at(data):
    doubled_fields(data)


async def test_strict_clients_are_refused_and_others_warned(api: Api) -> None:
    body = b'{"metadata": {"name": "one"}, "data": {"a": "1", "a": "2"}}'
    status = (await api("POST", "configmaps?fieldValidation=Strict", body)).refused(400, "BadRequest")
    assert 'strict decoding error: duplicate field "data.a"' in status["message"]
    made = await api("POST", "configmaps?fieldValidation=Warn", body)
    assert made.ok()["data"] == {"a": "2"}
    assert "duplicate field" in made.headers["Warning"]
