"""Kinds that other clusters have from CustomResourceDefinitions: their schemas and columns, as data.

Comes in: definitions.json beside this file (written by tools/crds/write.py, which writes deploy/crds from the same tables). Goes out:
structural schemas (apiextensions.k8s.io/v1) by apiVersion and kind in one word. Not here: what they mean (structural.py, tables.py).
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from typing import Any

import msgspec

Schema = Mapping[str, Any]


class ColumnData(msgspec.Struct, frozen=True, rename="camel"):
    """An additional column of `kubectl get`; ``json_path`` says where its cells come from."""

    name: str
    type: str
    json_path: str
    priority: int = 0


class Definition(msgspec.Struct, frozen=True):
    """What a CustomResourceDefinition says of a version of a kind."""

    schema: dict[str, Any]
    columns: tuple[ColumnData, ...]


@functools.cache
def all_definitions() -> Mapping[str, Definition]:
    """Every definition by its kind, such as ``gateway.networking.k8s.io/v1/Gateway``; read on first use."""
    content = importlib.resources.files("netloom.local.apiserver").joinpath("definitions.json").read_bytes()
    return msgspec.json.decode(content, type=dict[str, Definition])


def definition(gvk: str) -> Definition | None:
    """The definition of a kind; None for those that every API server has."""
    return all_definitions().get(gvk)
