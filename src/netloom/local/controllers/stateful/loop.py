"""StatefulSets: pods by number, their claims, revisions and status. In: StatefulSets, Pods, claims, revisions; out: writes.

All decisions are in plan.py and identity.py; this file reads caches and writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from netloom.clock import Clock
from netloom.errors import AlreadyExists, NetloomError, NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from netloom.kube.status import Conflict
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Pod
from netloom.local.controllers.owned import OwnedPods
from netloom.local.controllers.podwrites import LOOK_AGAIN_S, PodWrites
from netloom.local.controllers.revisions import POD_HASH, Revisions, template_of
from netloom.local.controllers.stateful import identity, plan
from netloom.local.controllers.storage.objects import Claim
from netloom.local.controllers.workloads import ControllerRevision, StatefulSet, StatefulSetStatus
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

HASH_LABEL = "controller.kubernetes.io/hash"


class StatefulSetLoop:
    """Moves each StatefulSet on; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._events = events
        self._clock = clock
        self.queue: WorkQueue[ObjectKey] = WorkQueue("statefulset", self.sync)
        self._sets = informers.of(STATEFUL_SETS, StatefulSet)
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIMS, Claim)
        self._writes = PodWrites(self._client, events, informers.of(PODS, Pod), STATEFUL_SETS)
        self._owned = OwnedPods(informers, STATEFUL_SETS, StatefulSet, self.queue, self._writes.forget)
        self._revisions = Revisions(informers, STATEFUL_SETS, HASH_LABEL)

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring one StatefulSet a step further; seconds until it must be looked at again."""
        s = self._sets.get(key)
        if s is None:
            return None
        if not self._writes.is_caught_up(s.uid):
            return LOOK_AGAIN_S
        pods = await self._owned.claim(s, lambda p: identity.ordinal_of(s, p) is not None)
        revisions = await self._revisions.of(s)
        if s.is_terminating:
            return None
        update, collisions = await self._revisions.current(s, revisions)
        current = next((r for r in revisions if r.metadata.name == s.status.current_revision), update)
        row, now = plan.row_of(s, pods), self._clock.wall()
        status = plan.status_of(s, row, current.metadata.name, update.metadata.name, collisions, now)
        if status != s.status:
            await self._say(s, status)
        await self._claims_follow(s, row)
        failures = await self._take(s, plan.steps(s, row, update.metadata.name, now), current, update)
        live = {current.metadata.name, update.metadata.name, status.current_revision}
        live |= {p.metadata.labels.get(POD_HASH, "") for p in pods}
        await self._revisions.forget(s, [*revisions, update], live)
        if failures:
            raise failures[0]
        return plan.next_look(s, pods, now)

    async def _say(self, s: StatefulSet, status: StatefulSetStatus) -> None:
        with contextlib.suppress(NotFound):
            await self._client.patch(
                STATEFUL_SETS, s.key, {"status": msgspec.to_builtins(status)}, subresource="status"
            )

    async def _take(
        self,
        s: StatefulSet,
        steps: Sequence[plan.Step],
        current: ControllerRevision,
        update: ControllerRevision,
    ) -> list[NetloomError]:
        """All steps at once: where order matters there is one only."""
        results = await asyncio.gather(
            *(self._step(s, step, current, update) for step in steps), return_exceptions=True
        )
        failures = []
        for result in results:
            if isinstance(result, NetloomError):
                failures.append(result)
            elif isinstance(result, BaseException):
                raise result
        return failures

    async def _step(
        self, s: StatefulSet, step: plan.Step, current: ControllerRevision, update: ControllerRevision
    ) -> None:
        if step.pod is None:
            await self._create(s, step.ordinal, current, update)
        elif step.verb == "label":
            labels = {"metadata": {"labels": identity.missing_labels(s, step.ordinal, step.pod)}}
            self._writes.saw(s, await self._client.patch(PODS, step.pod.key, labels))
        else:
            if step.verb == "recreate":
                text = (
                    f"StatefulSet {s.key} is recreating {step.pod.status.phase} Pod {step.pod.metadata.name}"
                )
                self._tell(s, f"Recreating{step.pod.status.phase}Pod", text, warning=True)
            await self._delete(s, step.pod)

    async def _create(
        self, s: StatefulSet, ordinal: int, current: ControllerRevision, update: ControllerRevision
    ) -> None:
        """Make a pod, after its claims."""
        wanted = plan.revision_for(s, ordinal, current.metadata.name, update.metadata.name)
        revision = current if wanted == current.metadata.name else update
        name = identity.pod_name(s, ordinal)
        try:
            await self._make_claims(s, ordinal)
            body = identity.pod_body(s, ordinal, template_of(revision), wanted)
            self._writes.saw(s, await self._client.create(PODS, body))
        except NetloomError as error:
            text = f"create Pod {name} in StatefulSet {s.metadata.name} failed error: {error.problem}"
            self._tell(s, "FailedCreate", text, warning=True)
            raise
        self._tell(s, "SuccessfulCreate", f"create Pod {name} in StatefulSet {s.metadata.name} successful")

    async def _delete(self, s: StatefulSet, pod: Pod) -> None:
        what = f"delete Pod {pod.metadata.name} in StatefulSet {s.metadata.name}"
        try:
            await self._client.delete(PODS, pod.key, preconditions_uid=pod.uid)
            self._writes.goes(s, pod)
        except (NotFound, Conflict):
            return
        except NetloomError as error:
            self._tell(s, "FailedDelete", f"{what} failed error: {error.problem}", warning=True)
            raise
        self._tell(s, "SuccessfulDelete", f"{what} successful")

    async def _make_claims(self, s: StatefulSet, ordinal: int) -> None:
        for body in identity.claim_bodies(s, ordinal):
            name = body["metadata"]["name"]
            there = self._claims.get(ObjectKey(s.metadata.namespace, name))
            if there is not None and there.is_terminating:
                raise Conflict(f"PersistentVolumeClaim {there.key} is being deleted", "it is made anew then")
            if there is not None:
                continue
            with contextlib.suppress(AlreadyExists):
                await self._client.create(PERSISTENT_VOLUME_CLAIMS, body)
                pod = identity.pod_name(s, ordinal)
                text = f"create Claim {name} Pod {pod} in StatefulSet {s.metadata.name} success"
                self._tell(s, "SuccessfulCreate", text)

    async def _claims_follow(self, s: StatefulSet, row: plan.Row) -> None:
        """Whose end a claim goes with is what the retention policy says, before any pod is deleted."""
        for ordinal, pod in (*((n, None) for n in row.there), *row.beyond):
            for _, name in identity.claims_of(s, ordinal):
                claim = self._claims.get(ObjectKey(s.metadata.namespace, name))
                if claim is None or claim.is_terminating:
                    continue
                owners = identity.owners_of_claim(s, pod, identity.foreign_owners(s, claim.metadata))
                if {o["uid"] for o in owners} == {o.uid for o in claim.metadata.owner_references}:
                    continue
                metadata = {"resourceVersion": claim.metadata.resource_version, "ownerReferences": owners}
                with contextlib.suppress(NotFound):
                    await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim.key, {"metadata": metadata})

    def _tell(self, s: StatefulSet, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.emit(STATEFUL_SETS, s.key, s.uid, reason=reason, message=message, warning=warning)
