"""Claims: bound to a volume that fits, or to one that is made for them; kept while a pod uses them. In: claims, volumes, classes, Pods.

Out: both sides of the binding, new volumes, phases, Events. The choice is in plan.py. Not here: volumes that are given back (volumes.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from netloom.errors import AlreadyExists, NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Loaded, Pod
from netloom.local.controllers.storage import plan
from netloom.local.controllers.storage.objects import Claim, StorageClass, Volume
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_IN_USE = "kubernetes.io/pvc-protection"


class ClaimLoop:
    """Moves each claim on; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder) -> None:
        self._client = informers.client
        self._events = events
        self.queue: WorkQueue[ObjectKey] = WorkQueue("claims", self.sync)
        self.pods: WorkQueue[ObjectKey] = WorkQueue("ephemeral-claims", self.sync_pod)
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIMS, Claim)
        self._volumes = informers.of(PERSISTENT_VOLUMES, Volume)
        self._classes = informers.of(STORAGE_CLASSES, StorageClass)
        self._pods = informers.of(PODS, Pod)
        self._users = self._pods.index(claims_of)
        self._claims.on_change(self._claim_changed)
        self._volumes.on_change(self._volume_changed)
        self._classes.on_change(self._class_changed)
        self._pods.on_change(self._pod_changed)

    async def sync(self, key: ObjectKey) -> None:
        """Bring one claim a step further."""
        claim = self._claims.get(key)
        if claim is None:
            return
        if claim.is_terminating:
            await self._give_up(claim)
        elif _IN_USE not in claim.metadata.finalizers:
            finalizers = [*claim.metadata.finalizers, _IN_USE]
            await self._patch(
                claim,
                {"metadata": {"resourceVersion": claim.metadata.resource_version, "finalizers": finalizers}},
            )
        elif claim.spec.volume_name:
            await self._follow(claim)
        elif claim.spec.storage_class_name is None and (default := plan.default_class(self._all_classes())):
            await self._patch(claim, {"spec": {"storageClassName": default.metadata.name}})
        else:
            await self._find(claim)

    async def _give_up(self, claim: Claim) -> None:
        """Let a claim go that no pod uses any more."""
        if _IN_USE in claim.metadata.finalizers and not self._users_of(claim):
            finalizers = [f for f in claim.metadata.finalizers if f != _IN_USE]
            await self._patch(
                claim,
                {"metadata": {"resourceVersion": claim.metadata.resource_version, "finalizers": finalizers}},
            )

    async def _follow(self, claim: Claim) -> None:
        """The claim names its volume: bind the volume to it, or say that it is lost."""
        volume = self._volumes.get(ObjectKey("", claim.spec.volume_name))
        if volume is None:
            if claim.metadata.annotations.get(plan.BIND_COMPLETED):
                await self._say(claim, "Lost")
            return
        if volume.spec.claim_ref is None or plan.is_kept_for(volume, claim):
            await self._bind(claim, volume, chosen=False)
        elif claim.metadata.annotations.get(plan.BIND_COMPLETED):
            await self._say(claim, "Lost")
        else:
            text = f'volume "{volume.metadata.name}" already bound to a different claim.'
            self._tell(claim, "FailedBinding", text, warning=True)

    async def _find(self, claim: Claim) -> None:
        class_ = self._classes.get(ObjectKey("", claim.spec.storage_class_name or ""))
        waits = class_ is not None and class_.volume_binding_mode == plan.WAITS and not self._users_of(claim)
        volume = plan.volume_for(claim, self._volumes.items.values())
        if volume is not None and not (waits and volume.spec.claim_ref is None):
            await self._bind(claim, volume, chosen=True)
        elif waits:
            text = "waiting for first consumer to be created before binding"
            self._tell(claim, plan.WAITS, text)
        elif not claim.spec.storage_class_name:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._tell(claim, "FailedBinding", text)
        elif class_ is None:
            text = f'storageclass.storage.k8s.io "{claim.spec.storage_class_name}" not found'
            self._tell(claim, "ProvisioningFailed", text, warning=True)
        elif class_.provisioner == plan.PROVISIONER:
            await self._provision(claim, class_)
        else:
            text = (
                f"Waiting for a volume to be created either by the external provisioner {class_.provisioner!r} "
                "or manually by the system administrator. If volume creation is delayed, please verify that the "
                "provisioner is running and correctly registered."
            )
            self._tell(claim, "ExternalProvisioning", text)

    async def _provision(self, claim: Claim, class_: StorageClass) -> None:
        body = plan.provisioned(claim, class_)
        with contextlib.suppress(AlreadyExists):
            await self._client.create(PERSISTENT_VOLUMES, body)
            text = f"Successfully provisioned volume {body['metadata']['name']}"
            self._tell(claim, "ProvisioningSucceeded", text)

    async def _bind(self, claim: Claim, volume: Volume, *, chosen: bool) -> None:
        """Both sides say it: the volume first, so that no second claim takes it."""
        reference = volume.spec.claim_ref
        if reference is None or reference.uid != claim.uid:
            notes = {plan.BOUND_HERE: "yes"} if reference is None else {}
            body = {
                "metadata": {"resourceVersion": volume.metadata.resource_version, "annotations": notes},
                "spec": {"claimRef": plan.reference_to(claim)},
            }
            await self._client.patch(PERSISTENT_VOLUMES, volume.key, body)
        if volume.status.phase != "Bound":
            await self._client.patch(
                PERSISTENT_VOLUMES, volume.key, {"status": {"phase": "Bound"}}, subresource="status"
            )
        if plan.BIND_COMPLETED not in claim.metadata.annotations:
            notes = {plan.BIND_COMPLETED: "yes"} | ({plan.BOUND_HERE: "yes"} if chosen else {})
            body = {
                "metadata": {"resourceVersion": claim.metadata.resource_version, "annotations": notes},
                "spec": {"volumeName": volume.metadata.name},
            }
            await self._patch(claim, body)
        await self._say(claim, "Bound", volume)

    async def _say(self, claim: Claim, phase: str, volume: Volume | None = None) -> None:
        if claim.status.phase == phase:
            return
        status: dict[str, object] = {"phase": phase}
        if volume is not None:
            status |= {"accessModes": list(volume.spec.access_modes), "capacity": volume.spec.capacity}
        with contextlib.suppress(NotFound):
            await self._client.patch(
                PERSISTENT_VOLUME_CLAIMS, claim.key, {"status": status}, subresource="status"
            )

    async def _patch(self, claim: Claim, body: dict[str, object]) -> None:
        with contextlib.suppress(NotFound):
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim.key, body)

    async def sync_pod(self, key: ObjectKey) -> None:
        """Make the claims of a pod's ephemeral volumes; they go with the pod (core/v1 EphemeralVolumeSource)."""
        pod = self._pods.get(key)
        if pod is None or not pod.is_active:
            return
        for volume in pod.spec.volumes:
            if volume.ephemeral is None:
                continue
            name = f"{key.name}-{volume.name}"
            there = self._claims.get(ObjectKey(key.namespace, name))
            if there is None:
                body = plan.ephemeral_claim(pod, name, volume.ephemeral)
                with contextlib.suppress(AlreadyExists):
                    await self._client.create(PERSISTENT_VOLUME_CLAIMS, body)
            elif there.controller_uid != pod.uid:
                text = f'PVC "{there.key}" was not created for pod "{key}" (pod is not owner)'
                self._events.emit(
                    PODS, key, pod.uid, reason="EphemeralVolumeConflict", message=text, warning=True
                )

    def _all_classes(self) -> Iterable[StorageClass]:
        return self._classes.items.values()

    def _users_of(self, claim: Claim) -> list[Pod]:
        """Pods that use the claim and have not ended."""
        return [p for p in self._users.get(claim.key, {}).values() if not p.is_finished]

    def _tell(self, claim: Claim, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.emit(
            PERSISTENT_VOLUME_CLAIMS, claim.key, claim.uid, reason=reason, message=message, warning=warning
        )

    def _claim_changed(self, _old: Claim | None, new: Claim | None) -> None:
        if new is not None:
            self.queue.mark(new.key)

    def _volume_changed(self, old: Volume | None, new: Volume | None) -> None:
        """Its own claim looks at it; one that is free or gone, whoever waits for one."""
        for volume in (old, new):
            reference = volume.spec.claim_ref if volume is not None else None
            if reference is not None:
                self.queue.mark(ObjectKey(reference.namespace, reference.name))
        if new is not None and new.spec.claim_ref is None:
            self._mark_open()

    def _class_changed(self, _old: Loaded | None, new: Loaded | None) -> None:
        if new is not None:
            self._mark_open()

    def _mark_open(self) -> None:
        for key, claim in self._claims.items.items():
            if not claim.spec.volume_name:
                self.queue.mark(key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        if new is not None and old is None and any(v.ephemeral is not None for v in new.spec.volumes):
            self.pods.mark(new.key)
        if pod is not None and (old is None or new is None or old.is_finished != new.is_finished):
            for key in claims_of(pod):
                self.queue.mark(key)


def claims_of(pod: Pod) -> list[ObjectKey]:
    """Index of pods: the claims that they use, those of ephemeral volumes with them."""
    namespace = pod.metadata.namespace
    found = [
        ObjectKey(namespace, v.persistent_volume_claim.claim_name)
        for v in pod.spec.volumes
        if v.persistent_volume_claim is not None
    ]
    return found + [
        ObjectKey(namespace, f"{pod.metadata.name}-{v.name}")
        for v in pod.spec.volumes
        if v.ephemeral is not None
    ]
