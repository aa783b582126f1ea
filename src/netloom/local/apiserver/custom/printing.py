"""Cells of `kubectl get` for defined kinds. Pure.

Comes in: the columns of a version, documents. Goes out: cells, the name before them. Not here: the paths (paths.py). Source: apiextensions.k8s.io/v1
CustomResourceColumnDefinition; kube-apiserver prints the first value of integer, number, boolean and date columns, all values of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from netloom.local.apiserver.ages import age
from netloom.local.apiserver.custom import paths
from netloom.local.apiserver.custom.served import ColumnData
from netloom.local.apiserver.jsonvalue import Json


def cells(columns: Sequence[ColumnData]) -> Callable[[Mapping[str, Any], float], list[Any]]:
    """The function that fills these columns, the name before them."""
    wanted = [(column.type, paths.path(column.json_path)) for column in columns]

    def filled(document: Mapping[str, Any], now: float) -> list[Any]:
        return [
            document["metadata"]["name"],
            *(_cell(type_, path.values(document), now) for type_, path in wanted),
        ]

    return filled


def _cell(type_: str, values: list[Json], now: float) -> Json:
    if not values:
        return None
    if type_ == "string":
        return ",".join(map(_text, values))
    if type_ == "date":
        return age(values[0], now)
    is_number = isinstance(values[0], int | float) and not isinstance(values[0], bool)
    if type_ == "integer":
        return int(values[0]) if is_number else None
    fits = is_number if type_ == "number" else isinstance(values[0], bool)
    return values[0] if fits else None


def _text(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
