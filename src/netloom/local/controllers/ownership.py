"""Who controls an object: adopting orphans that match, letting go of own ones that no longer do. In: candidates; out: the own.

Rules: meta/v1 OwnerReference (one controller at most), and that a controller on its way out adopts nothing.
The garbage of gone owners is collected by the API server, not here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from netloom.api.selectors import Selector
from netloom.errors import NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import Resource
from netloom.local.controllers.objects import Loaded, owner_reference

T = TypeVar("T", bound=Loaded)


async def claim(
    client: KubeClient,
    owner: Loaded,
    *,
    owner_resource: Resource,
    selector: Selector,
    resource: Resource,
    candidates: Iterable[T],
) -> list[T]:
    """The candidates that the owner controls, after adopting and releasing.

    Args:
        client: an open client.
        owner: as last seen; it is read again before it adopts anything.
        owner_resource: its kind.
        selector: what the owner selects.
        resource: kind of the candidates.
        candidates: objects of the owner's namespace.

    Raises:
        Conflict: a candidate changed meanwhile; the next turn sees it.
    """
    own: list[T] = []
    may_adopt: bool | None = None
    for object_ in candidates:
        matches = selector.matches(object_.metadata.labels)
        if object_.controller_uid == owner.uid:
            if matches:
                own.append(object_)
            elif not owner.is_terminating:
                await _release(client, resource, object_, owner.uid)
        elif (
            not object_.controller_uid and matches and not owner.is_terminating and not object_.is_terminating
        ):
            if may_adopt is None:
                may_adopt = await _may_adopt(client, owner, owner_resource)
            if may_adopt and await _adopt(client, resource, object_, owner, owner_resource):
                own.append(object_)
    return own


async def _may_adopt(client: KubeClient, owner: Loaded, resource: Resource) -> bool:
    """The owner as the server has it now is the same one and stays: a cache may be behind its deletion."""
    try:
        metadata = (await client.get(resource, owner.key))["metadata"]
    except NotFound:
        return False
    return metadata.get("uid") == owner.uid and not metadata.get("deletionTimestamp")


async def _adopt(
    client: KubeClient, resource: Resource, object_: Loaded, owner: Loaded, owner_resource: Resource
) -> bool:
    reference = owner_reference(owner_resource.api_version, owner_resource.kind, owner)
    return await _set_owners(client, resource, object_, [*_others(object_, ""), reference])


async def _release(client: KubeClient, resource: Resource, object_: Loaded, owner_uid: str) -> None:
    await _set_owners(client, resource, object_, _others(object_, owner_uid))


async def _set_owners(
    client: KubeClient, resource: Resource, object_: Loaded, owners: list[dict[str, object]]
) -> bool:
    """Write the owners of exactly this object; False where it is gone."""
    metadata = {"resourceVersion": object_.metadata.resource_version, "ownerReferences": owners}
    with contextlib.suppress(NotFound):
        await client.patch(resource, object_.key, {"metadata": metadata})
        return True
    return False


def _others(object_: Loaded, without_uid: str) -> list[dict[str, object]]:
    bodies = (msgspec.to_builtins(o) for o in object_.metadata.owner_references if o.uid != without_uid)
    return [{k: v for k, v in body.items() if v is not None} for body in bodies]
