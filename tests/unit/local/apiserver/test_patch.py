"""JSON patch by the examples of RFC 6902 and what it must refuse; merge patch by the table of RFC 7386."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.apiserver.patch import BadPatch, json_patch, merge_patch, merge_patch_object, same

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=12,
)


def without_nulls(value):
    """Merge patches cannot say null in an object."""
    if isinstance(value, dict):
        return {n: without_nulls(v) for n, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


PLAIN = VALUES.map(without_nulls)


def difference(old, new):
    """The merge patch from one document to another."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch = {n: None for n in old if n not in new}
    for name, value in new.items():
        if name not in old:
            patch[name] = value
        elif not same(old[name], value):
            patch[name] = difference(old[name], value)
    return patch


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_table_of_rfc_7386(target, patch, result):
    assert merge_patch(target, patch) == result


@given(PLAIN, PLAIN)
def test_a_merge_patch_leads_from_any_document_to_any_other(old, new):
    before = copy.deepcopy(old)
    assert same(merge_patch(old, difference(old, new)), new)
    assert old == before


@given(VALUES, VALUES)
def test_merging_twice_is_merging_once(document, patch):
    once = merge_patch(document, patch)
    assert same(merge_patch(once, patch), once)


def test_a_merge_patch_of_an_object_must_be_an_object():
    with pytest.raises(BadPatch, match="must be an object, not a list") as refused:
        merge_patch_object({}, [])
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("document", "operations", "result"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
        ({"foo": [1]}, [{"op": "add", "path": "/foo/1", "value": 2}], {"foo": [1, 2]}),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"foo": [1, 2, 3]}, [{"op": "move", "from": "/foo/0", "path": "/foo/2"}], {"foo": [2, 3, 1]}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a/b": 1, "m~n": 2}, [{"op": "test", "path": "/a~1b", "value": 1}, {"op": "remove", "path": "/m~0n"}], {"a/b": 1}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
        ({"a": 1}, [{"op": "add", "path": "/b", "value": None}], {"a": 1, "b": None}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"a": 1}, [{"op": "add", "path": "/a", "value": 2, "extra": 0}], {"a": 2}),
    ],
)  # fmt: skip
def test_json_patch_operations(document, operations, result):
    before = copy.deepcopy(document)
    assert json_patch(document, operations) == result
    assert document == before


@pytest.mark.parametrize(
    ("operations", "code", "told"),
    [
        ({"op": "add"}, 400, "must be a list of operations, not an object"),
        (["add"], 400, r"\[0\]: an operation must be an object"),
        ([{"path": "/a"}], 400, r"\[0\]\.op: unknown operation None"),
        ([{"op": ["add"], "path": "/a"}], 400, "unknown operation"),
        ([{"op": "spam", "path": "/a"}], 400, "one of add, remove, replace"),
        ([{"op": "add", "path": "/a"}], 400, "add needs 'value'"),
        ([{"op": "move", "path": "/a"}], 400, "move needs 'from'"),
        ([{"op": "remove", "path": 3}], 400, r"\[0\]\.path: must be a JSON pointer"),
        ([{"op": "remove", "path": "a"}], 400, "begin it with /"),
        ([{"op": "remove", "path": "/nope"}], 422, "there is no 'nope'"),
        ([{"op": "replace", "path": "/nope", "value": 1}], 422, "there is no 'nope'"),
        ([{"op": "replace", "path": "/l/2", "value": 1}], 422, "there is no '2'"),
        ([{"op": "replace", "path": "/l/-", "value": 1}], 422, "there is no '-'"),
        ([{"op": "add", "path": "/l/3", "value": 1}], 422, "no place '3'"),
        ([{"op": "add", "path": "/l/01", "value": 1}], 422, "no place '01'"),
        ([{"op": "add", "path": "/l/-1", "value": 1}], 422, "no place '-1'"),
        ([{"op": "add", "path": "/s/x", "value": 1}], 422, "no place 'x'"),
        ([{"op": "add", "path": "/x/y", "value": 1}], 422, "there is no 'x'"),
        ([{"op": "test", "path": "/s", "value": "other"}], 422, "not the tested one"),
        ([{"op": "test", "path": "/n", "value": True}], 422, "not the tested one"),
        ([{"op": "move", "from": "/o", "path": "/o/x"}], 422, "cannot be moved into itself"),
        ([{"op": "remove", "path": ""}], 422, "whole document cannot be removed"),
        ([{"op": "replace", "path": "", "value": 3}], 422, "is a number, not an object"),
        ([{"op": "add", "path": "/a", "value": 1}] * 10_001, 413, "at most 10000"),
    ],
)
def test_json_patch_refuses(operations, code, told):
    document = {"l": [1, 2], "s": "text", "n": 1, "o": {}}
    before = copy.deepcopy(document)
    with pytest.raises(BadPatch, match=told) as refused:
        json_patch(document, operations)
    assert refused.value.code == code
    assert document == before


def test_a_failing_operation_undoes_those_before_it():
    document = {"a": 1}
    with pytest.raises(BadPatch):
        json_patch(document, [{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/a"}])
    assert document == {"a": 1}


def test_copied_values_are_independent():
    result = json_patch(
        {"a": {"x": 1}},
        [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "add", "path": "/b/x", "value": 2}],
    )
    assert result == {"a": {"x": 1}, "b": {"x": 2}}
