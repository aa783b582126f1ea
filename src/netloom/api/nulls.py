"""Null in documents: Go writes an empty list or a missing struct as ``null``, and to a reader it means absent. Pure."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def without_nulls(value: T) -> T:
    """The JSON value without object members that are null; objects and lists are copied, elements of lists stay."""
    found: object = value
    if isinstance(value, dict):
        found = {name: without_nulls(member) for name, member in value.items() if member is not None}
    elif isinstance(value, list):
        found = [without_nulls(member) for member in value]
    return found  # type: ignore[return-value] # of the same shape
