"""A running cluster's objects, read once; nothing is ever written.

Comes in: a client. Goes out: an Estate, and notes on what could not be used. A kind that the server does not serve is not there.
"""

from __future__ import annotations

import msgspec

from netloom.api.meta import KubeObject
from netloom.api.nulls import without_nulls
from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.observe.estate.estate import Estate
from netloom.observe.estate.kinds import KINDS, Kind
from netloom.units import ObjectKey


class Loaded(msgspec.Struct, frozen=True):
    """What a cluster has."""

    estate: Estate
    notes: tuple[str, ...] = ()


async def load_estate(client: KubeClient) -> Loaded:
    """Every kind that reachability depends on.

    Raises:
        Unavailable: the API server does not answer.
        NetloomError: it does not let us read pods, nodes, namespaces, Services, slices or NetworkPolicies.
    """
    objects: dict[str, dict[ObjectKey, KubeObject]] = {}
    notes: list[str] = []
    for kind in KINDS:
        try:
            items, _ = await client.list(kind.resource)
        except NotFound:
            continue
        except NetloomError as error:
            if not kind.is_optional or error.exit_code == 6:  # it does not answer at all
                raise
            notes.append(f"{kind.name}: cannot be read, so it is left out of account: {error.problem}")
            continue
        objects[kind.name] = _read(kind, items, notes)
    return Loaded(Estate(objects, is_live=True), tuple(notes))


def _read(kind: Kind, items: list[dict[str, object]], notes: list[str]) -> dict[ObjectKey, KubeObject]:
    found: dict[ObjectKey, KubeObject] = {}
    for item in items:
        try:
            obj = msgspec.convert(without_nulls(item), kind.type)
        except msgspec.ValidationError as error:
            notes.append(f"a {kind.name} of the cluster is left out of account: {error}")
            continue
        found[obj.key] = obj
    return found
