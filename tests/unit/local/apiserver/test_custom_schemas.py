"""Structural schemas: what is pruned, filled in and refused; schemas that are none; and what holds for any document."""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.local.apiserver.test_custom_resources import SCHEMA, definition

from netloom.local.apiserver import bounds, defaults, schema, validate
from netloom.local.apiserver.custom import filling, formats, paths, patterns, structure, values
from netloom.local.apiserver.custom.cel import texts
from netloom.local.apiserver.custom.cel.syntax import CelError

GVK = "apiextensions.k8s.io/v1/CustomResourceDefinition"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(0, 2) | st.text(max_size=3) | st.sampled_from(["object", "array", "string"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["a", "type", "items", "properties", "default"]), below, max_size=3),
    max_leaves=8,
)  # fmt: skip


def obj(**properties):
    return {"type": "object", "properties": properties}


def told(of, value, old=values.UNSET):
    return [error.text for error in values.of_value(of, value, old, "spec")]


@pytest.mark.parametrize(
    ("of", "value", "said"),
    [
        ({"type": "string"}, None, '"null": spec in body must be of type string: "null"'),
        ({"type": "string", "nullable": True}, None, ""),
        ({"type": "string", "enum": ["a"]}, "b", 'Unsupported value: "b": supported values: "a"'),
        ({"type": "string", "minLength": 2}, "a", "should be at least 2 chars long"),
        ({"type": "string", "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
        ({"type": "string", "format": "ipv4"}, "::1", 'must be of type ipv4: "::1"'),
        ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00Z", ""),
        ({"type": "string", "format": "of-our-own"}, "x", ""),
        ({"type": "integer"}, 1.0, ""),
        ({"type": "integer"}, True, "must be of type integer"),
        ({"type": "integer", "format": "int32"}, 1 << 31, "must be of type int32"),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1, "should be greater than 1"),
        ({"type": "number", "maximum": 1.5}, 2, "should be less than or equal to 1.5"),
        ({"type": "number", "multipleOf": 0.1}, 0.3, ""),
        ({"type": "integer", "multipleOf": 3}, 4, "should be a multiple of 3"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, [], "should have at least 1 items"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["a", "b"], "must have at most 1 items"),
        (
            {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            ["a", "a"],
            'spec[1]: Duplicate value: "a"',
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": "x"}, "spec.a in body must be of type integer"),
        ({"type": "object", "minProperties": 1}, {}, "should have at least 1 properties"),
        ({"x-kubernetes-int-or-string": True}, "1", ""),
        ({"x-kubernetes-int-or-string": True}, [], "must be of type integer,string"),
        ({**obj(a={"type": "string"}), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {}, "Found none valid"),
        ({"type": "string", "anyOf": [{"minLength": 3}, {"pattern": "^b"}]}, "a", "at least one schema (anyOf)"),
        ({"type": "string", "not": {"enum": ["a"]}}, "a", "must not validate the schema (not)"),
        ({"type": "string", "allOf": [{"minLength": 3}]}, "a", "must validate all the schemas (allOf)"),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
            {"kind": "Pod"},
            "spec.apiVersion: Required value: must not be empty",
        ),
    ],
)  # fmt: skip
def test_values_are_held_against_their_schema(of, value, said):
    found = told(of, value)
    assert any(said in one for one in found) if said else found == [], found


def test_what_an_update_does_not_change_is_not_held_against_it():
    of = obj(a={"type": "string", "maxLength": 1}, b={"type": "string", "maxLength": 1})
    assert len(told(of, {"a": "xx", "b": "yy"}, {"a": "xx", "b": "y"})) == 1
    items = {
        "type": "array",
        "items": of,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["a"],
    }
    assert len(told(items, [{"a": "1", "b": "yy"}, {"a": "2", "b": "zz"}], [{"a": "2", "b": "zz"}])) == 1


def test_embedded_resources_and_open_places_keep_what_they_have():
    of = obj(
        pod={"type": "object", "x-kubernetes-embedded-resource": True, **obj(spec=obj(a={"type": "string"}))},
        free={"type": "object", "x-kubernetes-preserve-unknown-fields": True, **obj(deep=obj())},
    )
    sent = {
        "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "odd": 1}, "spec": {"a": "1", "b": 2}},
        "free": {"x": {"y": 1}, "deep": {"gone": 1}},
    }  # fmt: skip
    document = {"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x"}, **sent}
    kept = filling.pruned(of, document)
    assert kept["pod"] == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"a": "1"}}
    assert kept["free"] == {"x": {"y": 1}, "deep": {}}
    assert filling.unknown_fields(of, document) == ["pod.metadata.odd", "pod.spec.b", "free.deep.gone"]


def test_defaults_fill_what_is_missing_and_nulls_that_may_not_be():
    of = obj(
        a={"type": "string", "default": "x"},
        b={"type": "string", "default": "y", "nullable": True},
        c=obj(d={"type": "integer", "default": 1}),
        e={**obj(f={"type": "integer", "default": 2}), "default": {}},
    )
    assert filling.filled(of, {"a": None, "b": None, "c": {}}) == {
        "a": "x",
        "b": None,
        "c": {"d": 1},
        "e": {"f": 2},
    }


@pytest.mark.parametrize(
    ("of", "path", "said"),
    [
        ({"type": "string"}, ".type", "must be object at the root"),
        ({}, ".type", "must not be empty at the root"),
        (obj(a={}), ".properties[a].type", "must not be empty for specified object fields"),
        (obj(a={"type": "text"}), ".properties[a].type", "Unsupported value"),
        (obj(a={"type": "array"}), ".properties[a].items", "must be specified"),
        (obj(a={"type": "string", "pattern": "("}), ".properties[a].pattern", "must be a valid regular expression"),
        (obj(a={"type": "string", "pattern": "(?=a)"}), ".properties[a].pattern", "unsupported Perl syntax"),
        (obj(a={"type": "string", "default": 1}), ".properties[a].default", "must be of type string"),
        (obj(a={**obj(b={"type": "string"}), "default": {"c": 1}}), ".properties[a].default", "unspecified fields"),
        (obj(a={"type": "string", "$ref": "x"}), ".properties[a].$ref", "is not supported"),
        (obj(a={"type": "string", "anyOf": [{"type": "string"}]}), ".properties[a].anyOf[0].type", "to be structural"),
        ({**obj(), "anyOf": [obj(a={"minLength": 1})]}, ".anyOf[0].type", "to be structural"),
        ({**obj(), "anyOf": [{"properties": {"a": {"minLength": 1}}}]}, ".properties[a]", "because it is defined in"),
        (obj(metadata=obj(labels={"type": "object"})), ".properties[metadata].properties[labels]", "other than name"),
        (obj(a={"type": "array", "items": {"type": "string"}, "uniqueItems": True}), ".properties[a].uniqueItems", "quadratic"),
        (obj(a={**obj(b={"type": "string"}), "additionalProperties": {"type": "string"}}), ".properties[a].additionalProperties", "mutual exclusive"),
        (obj(a={"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": obj()}),
         ".properties[a].x-kubernetes-list-map-keys[0]", "must all be names of item properties"),
        (obj(a={"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": obj(k={"type": "string"})}),
         ".properties[a].items.properties[k].default", "must have a default or be a required property"),
        (obj(a={"type": "string", "x-kubernetes-validations": [{"rule": "self.("}]}),
         ".properties[a].x-kubernetes-validations[0].rule", "compilation failed"),
    ],
)  # fmt: skip
def test_schemas_that_are_not_structural_say_where(of, path, said):
    found = {error.field: error.text for error in structure.errors(of, "s")}
    assert said in found["s" + path], found


INT_OR_STRING = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}


@pytest.mark.parametrize(
    "of",
    [
        obj(a=INT_OR_STRING),
        obj(a={"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": INT_OR_STRING["anyOf"]}, {"pattern": "x"}]}),
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        obj(a={"x-kubernetes-preserve-unknown-fields": True}),
        {**obj(a={"type": "string"}, b={"type": "string"}), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        obj(metadata=obj(name={"type": "string", "maxLength": 20})),
        obj(a={"type": "array", "items": {"type": "string"}, "default": ["x"], "x-kubernetes-list-type": "set"}),
    ],
)  # fmt: skip
def test_structural_schemas_are_in_order(of):
    assert [error.text for error in structure.errors(of, "s")] == []


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("^a$", "a\n", False),
        (r"^\d$", "\u0663", False),
        (r"^[[:alpha:]_]+$", "ab_", True),
        (r"^[^]a]$", "b", True),
        (r"a\z", "a", True),
        (r"^(?i)ABC$", "abc", True),
        (r"^(a(?i)b|c)d$", "aBd", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"^\p{L}+$", "ab", True),
    ],
)
def test_patterns_are_those_of_re2(pattern, text, fits):
    assert (patterns.compiled(pattern).search(text) is not None) is fits


@pytest.mark.parametrize(
    "pattern", ["(", "[", r"(a)\1", "(?!a)", "(?<=a)b", "a\\", "[[:word", "x" * 10_001, "^(a+)+$"]
)
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(patterns.BadPattern):
        patterns.compiled(pattern)


DOCUMENT = {"a": {"b": [{"n": 1, "t": "x"}, {"n": 2, "t": "y"}], "c-d": 3, "e.f": 4}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (".a.b[0].n", [1]),
        (".a.b[*].n", [1, 2]),
        (".a.b[-1].n", [2]),
        (".a.b[0,1].n", [1, 2]),
        (".a.b[1:].n", [2]),
        ('.a.b[?(@.t=="y")].n', [2]),
        (".a.b[?(@.n>1)].t", ["y"]),
        ("..n", [1, 2]),
        ("{.a.c-d}", [3]),
        (r".a.e\.f", [4]),
        (".a['e.f']", [4]),
        (".none.x", []),
    ],
)
def test_paths_find_values(text, found):
    assert paths.path(text).values(DOCUMENT) == found


@pytest.mark.parametrize("text", [".a[", ".a[x]", ".a[?(@.b", "..", ".a[0:1:0]"])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(paths.BadPath):
        paths.path(text)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("uuid", "0b1a4e1c-6b6f-4b39-8f1d-0d8d0f2b9a11", "x"),
        ("cidr", "192.0.2.0/24", "192.0.2.0"),
        ("email", "a@example.org", "a"),
        ("hostname", "a.example.org", "a b"),
        ("byte", "aGk=", "a"),
        ("duration", "1h30m", "1"),
        ("date", "2026-01-02", "2026-13-01"),
        ("mac", "00:00:5e:00:53:01", "00:00"),
        ("uri", "https://example.org", "example"),
    ],
)
def test_formats_are_looked_at(name, good, bad):
    assert formats.fits(name, good)
    assert not formats.fits(name, bad)


@given(JSON)
def test_what_is_pruned_has_nothing_unknown_and_filling_twice_changes_nothing(spec):
    document = {"apiVersion": "a/v1", "kind": "A", "metadata": {}, "spec": spec}
    before = copy.deepcopy(document)
    kept = filling.filled(SCHEMA, filling.pruned(SCHEMA, document))
    assert document == before
    assert filling.unknown_fields(SCHEMA, kept) == []
    assert filling.filled(SCHEMA, filling.pruned(SCHEMA, kept)) == kept
    list(values.of_value(SCHEMA, kept, values.UNSET, ""))


def places(value, path=()):
    yield path
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, member in members:
        yield from places(member, (*path, name))


PLACES = list(places(definition()["spec"]))[1:]


@given(st.sampled_from(PLACES), JSON)
def test_whatever_a_definition_says_it_is_taken_or_refused(place, value):
    """A type that cannot be read is told by schema.type_errors (400); all else by rules (422)."""
    document = json.loads(json.dumps(definition()))
    here = document["spec"]
    for step in place[:-1]:
        here = here[step]
    here[place[-1]] = value
    if not schema.type_errors(GVK, document):
        validate.validate(GVK, defaults.set_defaults(GVK, document), None)


STEPS = [
    ".a",
    ".b",
    "[0]",
    "[*]",
    "..",
    "['a']",
    "[?(@.n==1)]",
    "[?(@.t)]",
    "[1:]",
    ".",
    "[",
    "]",
    "*",
    "{",
    "}",
    "$",
    "\\",
    "x",
]


@given(st.lists(st.sampled_from(STEPS), max_size=6).map("".join), JSON)
def test_any_path_leads_somewhere_in_anything_or_is_none(text, document):
    with contextlib.suppress(paths.BadPath):
        paths.path(text).values({"a": document, "b": [document]})


@given(st.text(alphabet="ab()[]{}|*+?^$\\.:=-pQEzdiP<>!1,", max_size=12), st.text(max_size=5))
def test_any_pattern_finds_something_or_is_none(pattern, text):
    with contextlib.suppress(patterns.BadPattern):
        patterns.compiled(pattern).search(text)


def test_a_pattern_is_not_tried_on_a_long_text():
    text = "a" * (bounds.LONGEST_TEXT + 1)
    found = [error.text for error in values._of_text({"pattern": "a"}, text, "spec.a")]
    assert "is longer than the" in found[0]
    with pytest.raises(CelError, match="is longer than the"):
        texts._find(text, "a")
