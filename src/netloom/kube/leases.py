"""Leases that one writer keeps: written whole where there is none yet. In: what is to be in it. Out: it is there. Not here: what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.errors import AlreadyExists, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import LEASES
from netloom.units import ObjectKey


async def keep_lease(
    client: KubeClient, key: ObjectKey, changes: Mapping[str, Any], whole: Mapping[str, Any]
) -> None:
    """Merge what is to be in a Lease, or make it.

    Args:
        client: an open client.
        key: of the Lease.
        changes: a merge patch.
        whole: the Lease, for where there is none.

    Raises:
        NetloomError: the API server did not take it.
    """
    try:
        await client.patch(LEASES, key, changes)
    except NotFound:
        try:
            await client.create(LEASES, whole)
        except AlreadyExists:
            await client.patch(LEASES, key, changes)
