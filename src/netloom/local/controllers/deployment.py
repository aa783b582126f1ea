"""Deployments: a ReplicaSet for each template, sized step by step. In: Deployments, ReplicaSets, Pods; out: ReplicaSets, status.

All decisions are in rollout.py; this file reads caches and writes. `kubectl rollout` (status, history, undo, pause, resume,
restart) works on what is written here: revision annotations, conditions, counts, observedGeneration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from netloom.api.selectors import from_selector
from netloom.clock import Clock
from netloom.errors import AlreadyExists, NetloomError, NotFound, Unavailable
from netloom.kube.events import EventRecorder
from netloom.kube.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from netloom.kube.status import Conflict
from netloom.local.controllers import rollout
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Deployment, Pod, ReplicaSet, owner_reference, status_body
from netloom.local.controllers.ownership import claim
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_REST_S = 0.02
"""Pods become ready in bursts; a status for each of them would be a write for each of them."""


class DeploymentLoop:
    """Moves each Deployment on; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._events = events
        self._clock = clock
        self._deployments = informers.of(DEPLOYMENTS, Deployment)
        self._sets = informers.of(REPLICA_SETS, ReplicaSet)
        self._pods = informers.of(PODS, Pod)
        self._by_owner = self._sets.index(lambda s: (s.controller_uid,) if s.controller_uid else ())
        self._orphans = self._sets.index(lambda s: () if s.controller_uid else (s.metadata.namespace,))
        self._by_uid = self._deployments.index(lambda d: (d.uid,))
        self._in = self._deployments.index(lambda d: (d.metadata.namespace,))
        self._sets_by_uid = self._sets.index(lambda s: (s.uid,))
        self._pods_by_owner = self._pods.index(lambda p: (p.controller_uid,) if p.controller_uid else ())
        self.queue: WorkQueue[ObjectKey] = WorkQueue("deployment", self.sync, rest_s=_REST_S)
        self._deployments.on_change(self._deployment_changed)
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one Deployment a step further; seconds until its deadline must be looked at."""
        d = self._deployments.get(key)
        if d is None:
            return None
        sets = await claim(
            self._client,
            d,
            owner_resource=DEPLOYMENTS,
            selector=from_selector(d.spec.selector),
            resource=REPLICA_SETS,
            candidates=[
                *self._by_owner.get(d.uid, {}).values(),
                *self._orphans.get(key.namespace, {}).values(),
            ],
        )
        seen = d.status
        d = self._with_pause(d)
        new = rollout.current(d, sets)
        rolling = not (d.spec.paused or d.is_terminating or rollout.is_scaling(d, sets))
        if d.is_terminating:
            pass
        elif rolling:
            d, new, sets = await self._roll(d, new, sets)
        else:
            sets = await self._scale(d, new, sets)
        return await self._settle(d, seen, new, sets, rolling=rolling)

    async def _settle(
        self,
        d: Deployment,
        seen: object,
        new: ReplicaSet | None,
        sets: Sequence[ReplicaSet],
        *,
        rolling: bool,
    ) -> float | None:
        """Write the status if it differs from the one ``seen``, forget old sets; when to look again."""
        now = self._clock.wall()
        new = next((s for s in sets if new is not None and s.uid == new.uid), None)
        status = rollout.status_of(d, new, sets, now, rolling=rolling)
        if not d.is_terminating and (d.spec.paused or rollout.is_complete(d, status)):
            for rs in rollout.forgettable(d, _without(sets, new)):
                with contextlib.suppress(NotFound):
                    await self._client.delete(REPLICA_SETS, rs.key, preconditions_uid=rs.uid)
        if status != seen:
            with contextlib.suppress(NotFound):
                await self._client.patch(DEPLOYMENTS, d.key, status_body(status), subresource="status")
        wait = rollout.deadline_in(msgspec.structs.replace(d, status=status), now)
        return wait + 1 if wait else None

    async def _roll(
        self, d: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet]
    ) -> tuple[Deployment, ReplicaSet | None, list[ReplicaSet]]:
        old = _without(sets, new)
        if d.spec.strategy.type == "Recreate" and self._has_pods(old):
            zero = {s.uid: 0 for s in old if s.spec.replicas > 0}
            return d, new, await self._resize(d, sets, zero)
        d, new = await self._ensure_current(d, new, old)
        sets = [*old, new]
        grown = {new.uid: rollout.size_of_new(d, sets, new.spec.replicas)}
        sets = await self._resize(d, sets, grown, annotate=(new,))
        new = sets[-1]
        if d.spec.strategy.type == "RollingUpdate":
            sets = await self._resize(d, sets, rollout.sizes_of_old(d, new, sets[:-1]))
        return d, new, sets

    async def _scale(
        self, d: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet]
    ) -> list[ReplicaSet]:
        if new is not None:
            d, new = await self._ensure_current(d, new, _without(sets, new))
        sizes = rollout.scaled(d, new, _without(sets, new))
        return await self._resize(d, sets, sizes, annotate=[s for s in sets if s.spec.replicas > 0])

    async def _ensure_current(
        self, d: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]
    ) -> tuple[Deployment, ReplicaSet]:
        """The ReplicaSet of the template, made or brought up to date, and the revision written to both."""
        revision = max((rollout.revision_of(s) for s in old), default=0) + 1
        now = self._clock.wall()
        if new is None:
            new = await self._create(d, old, revision)
            reason, text = "NewReplicaSetCreated", f'Created new replica set "{new.metadata.name}"'
            status = rollout.with_condition(
                d.status, rollout.PROGRESSING, "True", reason, text, now, touch=True
            )
            d = msgspec.structs.replace(d, status=status)
        else:
            new = await self._refresh(d, new, revision)
            if rollout.condition_of(d.status, rollout.PROGRESSING) is None:
                reason, text = "FoundNewReplicaSet", f'Found new replica set "{new.metadata.name}"'
                status = rollout.with_condition(d.status, rollout.PROGRESSING, "True", reason, text, now)
                d = msgspec.structs.replace(d, status=status)
        shown = new.metadata.annotations.get(rollout.REVISION, "")
        if shown != d.metadata.annotations.get(rollout.REVISION):
            await self._client.patch(
                DEPLOYMENTS, d.key, {"metadata": {"uid": d.uid, "annotations": {rollout.REVISION: shown}}}
            )
        return d, new

    async def _refresh(self, d: Deployment, rs: ReplicaSet, revision: int) -> ReplicaSet:
        annotations = rollout.annotations_of_set(d, rs.metadata.annotations, revision)
        if annotations == rs.metadata.annotations and rs.spec.min_ready_seconds == d.spec.min_ready_seconds:
            return rs
        body = {
            "metadata": {"resourceVersion": rs.metadata.resource_version, "annotations": annotations},
            "spec": {"minReadySeconds": d.spec.min_ready_seconds},
        }
        return msgspec.convert(await self._client.patch(REPLICA_SETS, rs.key, body), ReplicaSet)

    async def _create(self, d: Deployment, old: Sequence[ReplicaSet], revision: int) -> ReplicaSet:
        hash_ = rollout.template_hash(d.spec.template, d.status.collision_count)
        body = set_body(d, hash_, revision, rollout.size_of_new(d, old, 0))
        try:
            created = await self._client.create(REPLICA_SETS, body)
        except AlreadyExists as error:
            await self._collided(d, ObjectKey(d.metadata.namespace, body["metadata"]["name"]))
            raise Conflict(error.problem, "the next turn sees it") from error
        except (NotFound, Unavailable):
            raise
        except NetloomError as error:
            await self._refused(d, error)
            raise
        rs = msgspec.convert(created, ReplicaSet)
        if rs.spec.replicas:
            self._tell_size(d, rs, 0, rs.spec.replicas)
        return rs

    async def _collided(self, d: Deployment, key: ObjectKey) -> None:
        """The name is taken. If it is not simply ours, unseen yet, the next turn uses another name."""
        there = msgspec.convert(await self._client.get(REPLICA_SETS, key), ReplicaSet)
        if there.controller_uid == d.uid and rollout.same_template(there.spec.template, d.spec.template):
            return
        count = (d.status.collision_count or 0) + 1
        await self._client.patch(
            DEPLOYMENTS, d.key, {"status": {"collisionCount": count}}, subresource="status"
        )

    async def _refused(self, d: Deployment, error: NetloomError) -> None:
        """Say in the status why there is no ReplicaSet."""
        text = f"Failed to create new replica set: {error.problem}"
        self._events.emit(
            DEPLOYMENTS, d.key, d.uid, reason="ReplicaSetCreateError", message=text, warning=True
        )
        status = rollout.with_condition(
            d.status, rollout.PROGRESSING, "False", "ReplicaSetCreateError", text, self._clock.wall()
        )
        if status != d.status:
            await self._client.patch(DEPLOYMENTS, d.key, status_body(status), subresource="status")

    async def _resize(
        self,
        d: Deployment,
        sets: Sequence[ReplicaSet],
        sizes: Mapping[str, int],
        *,
        annotate: Sequence[ReplicaSet] = (),
    ) -> list[ReplicaSet]:
        """Give the sets their sizes; those of ``annotate`` note the Deployment's size even if their own stays."""
        noted = rollout.size_annotations(d)
        also = {s.uid for s in annotate}
        result = []
        for rs in sets:
            size = sizes.get(rs.uid, rs.spec.replicas)
            stale = rs.uid in also and not noted.items() <= rs.metadata.annotations.items()
            if size == rs.spec.replicas and not stale:
                result.append(rs)
                continue
            body = {
                "metadata": {"resourceVersion": rs.metadata.resource_version, "annotations": noted},
                "spec": {"replicas": size},
            }
            result.append(msgspec.convert(await self._client.patch(REPLICA_SETS, rs.key, body), ReplicaSet))
            if size != rs.spec.replicas:
                self._tell_size(d, rs, rs.spec.replicas, size)
        return result

    def _with_pause(self, d: Deployment) -> Deployment:
        """The Deployment with its Progressing condition saying that it was paused or resumed."""
        known = rollout.condition_of(d.status, rollout.PROGRESSING)
        if known is not None and known.reason == rollout.TIMED_OUT:
            return d
        is_noted = known is not None and known.reason == rollout.PAUSED
        if d.spec.paused == is_noted:
            return d
        reason, text = (
            (rollout.PAUSED, "Deployment is paused")
            if d.spec.paused
            else (rollout.RESUMED, "Deployment is resumed")
        )
        now = self._clock.wall()
        status = rollout.with_condition(d.status, rollout.PROGRESSING, "Unknown", reason, text, now)
        return msgspec.structs.replace(d, status=status)

    def _has_pods(self, sets: Sequence[ReplicaSet]) -> bool:
        """Old pods that still run, those that are being stopped included (strategy Recreate)."""
        return any(s.spec.replicas > 0 for s in sets) or any(
            not p.is_finished for s in sets for p in self._pods_by_owner.get(s.uid, {}).values()
        )

    def _tell_size(self, d: Deployment, rs: ReplicaSet, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        text = f"Scaled {way} replica set {rs.metadata.name} from {before} to {after}"
        self._events.emit(DEPLOYMENTS, d.key, d.uid, reason="ScalingReplicaSet", message=text)

    def _deployment_changed(self, _old: Deployment | None, new: Deployment | None) -> None:
        if new is not None:
            self.queue.mark(new.key)

    def _set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        for rs in (old, new):
            if rs is None:
                continue
            if rs.controller_uid:
                for key in self._by_uid.get(rs.controller_uid, {}):
                    self.queue.mark(key)
            elif rs is new:
                for key, d in self._in.get(rs.metadata.namespace, {}).items():
                    if from_selector(d.spec.selector).matches(rs.metadata.labels):
                        self.queue.mark(key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Only Recreate waits for pods: for the last old one to be gone."""
        if old is None or (new is not None and not new.is_finished):
            return
        for rs in self._sets_by_uid.get(old.controller_uid, {}).values():
            for key, d in self._by_uid.get(rs.controller_uid, {}).items():
                if d.spec.strategy.type == "Recreate":
                    self.queue.mark(key)


def _without(sets: Sequence[ReplicaSet], one: ReplicaSet | None) -> list[ReplicaSet]:
    return [s for s in sets if one is None or s.uid != one.uid]


def set_body(d: Deployment, hash_: str, revision: int, size: int) -> dict[str, Any]:
    """The ReplicaSet of a Deployment's template; its selector is the Deployment's, narrowed by the hash."""
    template = d.spec.template
    metadata = template.get("metadata") or {}
    labels = (metadata.get("labels") or {}) | {rollout.HASH_LABEL: hash_}
    selector = msgspec.to_builtins(d.spec.selector)
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "namespace": d.metadata.namespace,
            "name": f"{d.metadata.name}-{hash_}",
            "labels": labels,
            "annotations": rollout.annotations_of_set(d, {}, revision) | rollout.size_annotations(d),
            "ownerReferences": [owner_reference(DEPLOYMENTS.api_version, DEPLOYMENTS.kind, d)],
        },
        "spec": {
            "replicas": size,
            "minReadySeconds": d.spec.min_ready_seconds,
            "selector": {
                "matchLabels": selector["matchLabels"] | {rollout.HASH_LABEL: hash_},
                **(
                    {"matchExpressions": selector["matchExpressions"]} if selector["matchExpressions"] else {}
                ),
            },
            "template": template | {"metadata": metadata | {"labels": labels}},
        },
    }
