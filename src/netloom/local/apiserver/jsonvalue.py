"""A decoded JSON value, as a type: object, list, string, number, boolean or null. Documents are raw (DESIGN, decision 11)."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = Any
"""Any JSON value; code that reads one checks its type first."""
