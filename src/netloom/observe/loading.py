"""Objects of a cluster as the API server has them now.

In: a client, a kind. Out: structs by key; what cannot be decoded counts as not there, as in ``kube.watch``. Not here: following
changes (``follow.py``).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from netloom.api.meta import KubeObject
from netloom.api.nulls import without_nulls
from netloom.errors import NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import Resource
from netloom.units import ObjectKey

T = TypeVar("T", bound=KubeObject)


async def load_kind(
    client: KubeClient, resource: Resource, type_: type[T], fields: str = ""
) -> dict[ObjectKey, T]:
    """All objects of a kind (``fields``: a field selector); none where the API server does not have an optional kind.

    Raises:
        Unavailable: the API server does not answer.
    """
    try:
        items, _ = await client.list(resource, field_selector=fields)
    except NotFound:
        if not resource.is_optional:
            raise
        return {}
    found: dict[ObjectKey, T] = {}
    for item in items:
        try:
            obj = msgspec.convert(without_nulls(item), type_)
        except msgspec.ValidationError:
            continue
        found[obj.key] = obj
    return found
