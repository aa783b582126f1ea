"""ControllerRevisions: the states that a template has had, numbered, so that `kubectl rollout history` and `undo` can read them.

In: a StatefulSet or DaemonSet and the revisions of it; out: the revision of its template now, made or found again, and old ones
forgotten. Rules: apps/v1 ControllerRevision. Not here: which pods have which revision.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from netloom.errors import AlreadyExists, NotFound
from netloom.kube.resources import CONTROLLER_REVISIONS, Resource
from netloom.kube.status import Conflict
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import owner_reference
from netloom.local.controllers.ownership import claim
from netloom.local.controllers.rollout import template_hash
from netloom.local.controllers.workloads import ControllerRevision, DaemonSet, StatefulSet
from netloom.units import ObjectKey

POD_HASH = "controller-revision-hash"
"""Label of pods: of a StatefulSet's the name of their revision, of a DaemonSet's the hash in it."""

Versioned = StatefulSet | DaemonSet


def data_of(template: dict[str, Any]) -> dict[str, Any]:
    """What a revision keeps: the strategic merge patch that brings the template back."""
    return _said({"spec": {"template": template | {"$patch": "replace"}}})


def _said(document: dict[str, Any]) -> dict[str, Any]:
    """The document without its nulls, which say nothing and may be lost on the way."""
    return {k: _plain(v) for k, v in document.items() if v is not None}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return _said(value)
    return [_plain(v) for v in value] if isinstance(value, list) else value


def template_of(revision: ControllerRevision) -> dict[str, Any]:
    """The template that a revision keeps; empty where it is not one of ours."""
    found = ((revision.data or {}).get("spec") or {}).get("template") or {}
    return {k: v for k, v in found.items() if k != "$patch"}


def in_order(revisions: Sequence[ControllerRevision]) -> list[ControllerRevision]:
    """Oldest first, by number."""
    return sorted(revisions, key=lambda r: (r.revision, r.metadata.creation_timestamp or "", r.metadata.name))


def forgettable(
    revisions: Sequence[ControllerRevision], live: Collection[str], limit: int
) -> list[ControllerRevision]:
    """Revisions beyond ``spec.revisionHistoryLimit``, oldest first; those whose name is ``live`` do not count and stay."""
    dead = [r for r in in_order(revisions) if r.metadata.name not in live]
    return dead[: max(0, len(dead) - limit)]


class Revisions:
    """The revisions of the objects of one kind."""

    def __init__(self, informers: Informers, resource: Resource, hash_label: str) -> None:
        self._client = informers.client
        self._resource = resource
        self._hash_label = hash_label
        self._cache = informers.of(CONTROLLER_REVISIONS, ControllerRevision)
        self._by_owner = self._cache.index(_owner_of)
        self._orphans = self._cache.index(_orphans_of)

    async def of(self, owner: Versioned) -> list[ControllerRevision]:
        """Its revisions, after adopting and releasing; oldest first."""
        candidates = [
            *self._by_owner.get(owner.uid, {}).values(),
            *self._orphans.get(owner.metadata.namespace, {}).values(),
        ]
        return in_order(
            await claim(
                self._client,
                owner,
                owner_resource=self._resource,
                selector=owner.selector,
                resource=CONTROLLER_REVISIONS,
                candidates=candidates,
            )
        )

    async def current(
        self, owner: Versioned, revisions: Sequence[ControllerRevision]
    ) -> tuple[ControllerRevision, int | None]:
        """The revision of the template now, made where there is none yet, and the number of collisions of its name.

        A template that was there before gets its old revision back, with a new number.

        Args:
            owner: whose template it is.
            revisions: its own, oldest first.

        Raises:
            Conflict: the name is another's; the next turn tries another one, counted in ``status.collisionCount``.
        """
        data, number = data_of(owner.spec.template), max((r.revision for r in revisions), default=0) + 1
        same = [r for r in revisions if _said(r.data or {}) == data]
        collisions = owner.status.collision_count
        if not same:
            return await self._make(owner, data, number, collisions)
        newest = same[-1]
        if newest.uid == revisions[-1].uid:
            return newest, collisions
        return await self._renumber(newest, number), collisions

    async def forget(
        self, owner: Versioned, revisions: Sequence[ControllerRevision], live: Collection[str]
    ) -> None:
        """Delete what is beyond the limit of history."""
        for revision in forgettable(revisions, live, owner.spec.revision_history_limit):
            with contextlib.suppress(NotFound, Conflict):
                await self._client.delete(CONTROLLER_REVISIONS, revision.key, preconditions_uid=revision.uid)

    async def _renumber(self, revision: ControllerRevision, number: int) -> ControllerRevision:
        body = {"metadata": {"resourceVersion": revision.metadata.resource_version}, "revision": number}
        return msgspec.convert(
            await self._client.patch(CONTROLLER_REVISIONS, revision.key, body), ControllerRevision
        )

    async def _make(
        self, owner: Versioned, data: dict[str, Any], number: int, collisions: int | None
    ) -> tuple[ControllerRevision, int | None]:
        hash_ = template_hash(owner.spec.template, collisions)
        name = f"{owner.metadata.name}-{hash_}"
        template = owner.spec.template.get("metadata") or {}
        body = {
            "apiVersion": CONTROLLER_REVISIONS.api_version,
            "kind": CONTROLLER_REVISIONS.kind,
            "metadata": {
                "namespace": owner.metadata.namespace,
                "name": name,
                "labels": (template.get("labels") or {}) | {self._hash_label: hash_},
                "annotations": owner.metadata.annotations,
                "ownerReferences": [owner_reference(self._resource.api_version, self._resource.kind, owner)],
            },
            "data": data,
            "revision": number,
        }
        try:
            made = await self._client.create(CONTROLLER_REVISIONS, body)
            return msgspec.convert(made, ControllerRevision), collisions
        except AlreadyExists as error:
            key = ObjectKey(owner.metadata.namespace, name)
            there = msgspec.convert(await self._client.get(CONTROLLER_REVISIONS, key), ControllerRevision)
            if there.controller_uid == owner.uid and _said(there.data or {}) == data:
                return there, collisions  # ours; the cache has not seen it yet
            count = {"status": {"collisionCount": (collisions or 0) + 1}}
            await self._client.patch(self._resource, owner.key, count, subresource="status")
            raise Conflict(error.problem, "the next turn uses another name") from error


def _owner_of(revision: ControllerRevision) -> tuple[str, ...]:
    return (revision.controller_uid,) if revision.controller_uid else ()


def _orphans_of(revision: ControllerRevision) -> tuple[str, ...]:
    return () if revision.controller_uid else (revision.metadata.namespace,)
