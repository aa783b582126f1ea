"""Volumes: free, bound, released, and gone. In: volumes and claims; out: phases; directories of volumes that were made here.

Rules: core/v1 PersistentVolume (reclaim policies Retain and Delete). Not here: who gets a volume (claims.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from netloom.errors import NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from netloom.kube.status import Conflict
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.storage import plan
from netloom.local.controllers.storage.objects import Claim, Volume
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

_BOUND = "kubernetes.io/pv-protection"


class VolumeLoop:
    """Moves each volume on; one turn is :meth:`sync`.

    Args:
        informers: the shared caches.
        events: of the loop.
        directory: where the directories of provisioned volumes are; None: they are not removed.
    """

    def __init__(self, informers: Informers, events: EventRecorder, directory: Path | None) -> None:
        self._client = informers.client
        self._events = events
        self._directory = directory
        self.queue: WorkQueue[ObjectKey] = WorkQueue("volumes", self.sync)
        self._volumes = informers.of(PERSISTENT_VOLUMES, Volume)
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIMS, Claim)
        self._volumes.on_change(self._volume_changed)
        self._claims.on_change(self._claim_changed)

    async def sync(self, key: ObjectKey) -> None:
        """Bring one volume a step further."""
        volume = self._volumes.get(key)
        if volume is None:
            return
        phase = self._phase(volume)
        if volume.is_terminating:
            if phase != "Bound":
                await self._end(volume)
            return
        if _BOUND not in volume.metadata.finalizers:
            await self._finalizers(volume, [*volume.metadata.finalizers, _BOUND])
        elif phase == "Released" and volume.spec.persistent_volume_reclaim_policy == "Delete":
            await self._reclaim(volume)
        elif phase not in (volume.status.phase, "Bound"):
            await self._say(volume, phase)

    def _phase(self, volume: Volume) -> str:
        """What the volume is; Bound is said by whoever binds it."""
        reference = volume.spec.claim_ref
        if reference is None or not reference.uid:
            return "Available"
        claim = self._claims.get(ObjectKey(reference.namespace, reference.name))
        return "Bound" if claim is not None and claim.uid == reference.uid else "Released"

    async def _reclaim(self, volume: Volume) -> None:
        if not plan.is_ours(volume):
            text = "error getting deleter volume plugin for volume: no deletable volume plugin matched"
            if volume.status.phase != "Failed":
                self._events.emit(
                    PERSISTENT_VOLUMES,
                    volume.key,
                    volume.uid,
                    reason="VolumeFailedDelete",
                    message=text,
                    warning=True,
                )
                await self._say(volume, "Failed", text)
            return
        if volume.status.phase != "Released":
            await self._say(volume, "Released")
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(PERSISTENT_VOLUMES, volume.key, preconditions_uid=volume.uid)

    async def _end(self, volume: Volume) -> None:
        """Nobody is bound to it any more: what was made here for it goes, then it may go."""
        if (
            self._directory is not None
            and plan.is_ours(volume)
            and volume.spec.persistent_volume_reclaim_policy == "Delete"
        ):
            await asyncio.to_thread(shutil.rmtree, self._directory / volume.metadata.name, ignore_errors=True)
        if _BOUND in volume.metadata.finalizers:
            await self._finalizers(volume, [f for f in volume.metadata.finalizers if f != _BOUND])

    async def _finalizers(self, volume: Volume, finalizers: list[str]) -> None:
        metadata = {"resourceVersion": volume.metadata.resource_version, "finalizers": finalizers}
        with contextlib.suppress(NotFound):
            await self._client.patch(PERSISTENT_VOLUMES, volume.key, {"metadata": metadata})

    async def _say(self, volume: Volume, phase: str, message: str = "") -> None:
        status = {"phase": phase, "message": message or None}
        with contextlib.suppress(NotFound):
            await self._client.patch(PERSISTENT_VOLUMES, volume.key, {"status": status}, subresource="status")

    def _volume_changed(self, _old: Volume | None, new: Volume | None) -> None:
        if new is not None:
            self.queue.mark(new.key)

    def _claim_changed(self, old: Claim | None, new: Claim | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            for key, volume in self._volumes.items.items():
                if volume.spec.claim_ref is not None and volume.spec.claim_ref.uid == old.uid:
                    self.queue.mark(key)
