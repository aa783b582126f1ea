from __future__ import annotations

import pytest

from netloom.api.gateway import GatewaySpec
from netloom.api.gateway_routes import HTTPRouteSpec
from netloom.api.lenient import Unread, read


def test_what_is_sound_is_read_at_once():
    reading = read({"hostnames": ["a.example.org"]}, HTTPRouteSpec)
    assert reading.value.hostnames == ("a.example.org",)
    assert reading.unread == ()


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"rules": [{"matches": [{"path": {"value": 3}}]}]}, "spec.rules[0].matches[0].path.value"),
        ({"rules": [{}, 5]}, "spec.rules[1]"),
        ({"hostnames": "x"}, "spec.hostnames"),
        ({"hostnames": ["a", 5]}, "spec.hostnames[1]"),
        ({"rules": [{"backendRefs": [{"weight": "many"}]}]}, "spec.rules[0].backendRefs[0].weight"),
        ([], "spec"),
    ],
)
def test_what_cannot_be_read_is_named_and_everything_else_is_read(document, field):
    reading = read(document, HTTPRouteSpec)
    assert [one.field for one in reading.unread] == [field]
    assert reading.under(field) == reading.unread
    assert reading.under("spec.parentRefs") == ()


def test_numbers_of_a_list_stay_when_one_of_it_cannot_be_read():
    reading = read({"rules": [7, {"name": "b"}]}, HTTPRouteSpec)
    assert [rule.name for rule in reading.value.rules or ()] == ["", "b"]


def test_a_value_under_a_free_key_is_found():
    reading = read({"infrastructure": {"labels": {"a": 3, "b": "c"}}}, GatewaySpec)
    assert reading.value.infrastructure.labels == {"b": "c"}
    assert reading.unread == (Unread("spec.infrastructure.labels.a", "Expected `str`, got `int`"),)


def test_null_is_as_good_as_absent():
    assert read({"rules": [{"filters": None}]}, HTTPRouteSpec).unread == ()
    assert read(None, HTTPRouteSpec).value == HTTPRouteSpec()


def test_a_document_with_trouble_everywhere_is_given_up():
    reading = read({"hostnames": list(range(100))}, HTTPRouteSpec)
    assert reading.value == HTTPRouteSpec()
    assert len(reading.unread) <= 64
