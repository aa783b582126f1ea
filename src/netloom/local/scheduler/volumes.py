"""What a pod's claims say about where it may go, and whether it may go anywhere yet. In: the caches of claims and volumes.

Every claim has to be bound first; a volume that is only on some nodes (``spec.nodeAffinity``) keeps its pods there. Not here: binding
(controllers/storage).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from netloom.kube.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Pod
from netloom.local.controllers.placement import NodeSelector
from netloom.local.controllers.storage.claims import claims_of
from netloom.local.controllers.storage.objects import Claim, Volume
from netloom.units import ObjectKey

_UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


class _Required(msgspec.Struct, frozen=True):
    """core/v1 VolumeNodeAffinity."""

    required: NodeSelector | None = None


class Volumes:
    """Claims and volumes as the scheduler sees them.

    Args:
        informers: the shared caches.
        on_change: called when a claim may have come to be bound.
    """

    def __init__(self, informers: Informers, on_change: Callable[[], None]) -> None:
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIMS, Claim)
        self._volumes = informers.of(PERSISTENT_VOLUMES, Volume)
        self._claims.on_change(lambda _old, _new: on_change())

    def objection(self, pod: Pod) -> str:
        """Why the pod can go to no node yet, as kube-scheduler words it; empty where all its claims are bound."""
        for key in claims_of(pod):
            claim = self._claims.get(key)
            if claim is None:
                return f'persistentvolumeclaim "{key.name}" not found'
            if claim.is_terminating:
                return f'persistentvolumeclaim "{key.name}" is being deleted'
            if claim.status.phase == "Lost":
                return f'persistentvolumeclaim "{key.name}" bound to non-existent persistentvolume'
            if claim.status.phase != "Bound":
                return _UNBOUND
        return ""

    def places(self, pod: Pod) -> tuple[NodeSelector, ...]:
        """Where its volumes are; nothing for those that are everywhere."""
        return tuple(self._places(claims_of(pod)))

    def _places(self, keys: Iterable[ObjectKey]) -> Iterable[NodeSelector]:
        for key in keys:
            claim = self._claims.get(key)
            volume = self._volumes.get(ObjectKey("", claim.spec.volume_name)) if claim is not None else None
            if volume is not None and volume.spec.node_affinity is not None:
                required = msgspec.convert(volume.spec.node_affinity, _Required).required
                if required is not None:
                    yield required
