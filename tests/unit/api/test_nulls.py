from __future__ import annotations

from netloom.api.nulls import without_nulls


def test_nulls_are_left_out_of_objects_and_kept_in_lists():
    document = {"a": None, "b": {"c": None, "d": [None, {"e": None}]}}
    assert without_nulls(document) == {"b": {"d": [None, {}]}}
    assert document == {"a": None, "b": {"c": None, "d": [None, {"e": None}]}}
