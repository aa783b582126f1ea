"""What a PersistentVolumeClaim leads to: its volume, and where that lies. In: a claim's name; out: a hostPath. Asked of the API.

Volumes of type hostPath and local are known here; those of storage drivers are not.
"""

from __future__ import annotations

from typing import Any

from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import Resource
from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.spec import HostPath
from netloom.units import ObjectKey

CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", namespaced=True)
VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)


async def path_of(client: KubeClient, claim: ObjectKey) -> HostPath:
    """Where the claim's volume lies.

    Raises:
        MountFailed: there is none yet, or it is of a type that this node does not have.
    """
    spec = (await _get(client, CLAIMS, claim)).get("spec") or {}
    name = spec.get("volumeName")
    if not name:
        raise MountFailed(f"PersistentVolumeClaim is not bound: {str(claim)!r}")
    volume = await _get(client, VOLUMES, ObjectKey("", str(name)))
    source = volume.get("spec") or {}
    if "hostPath" in source:
        return HostPath(str(source["hostPath"]["path"]), "DirectoryOrCreate")
    if "local" in source:
        return HostPath(str(source["local"]["path"]))
    raise MountFailed(f"PersistentVolume {name}: this node has volumes of type hostPath and local only")


async def _get(client: KubeClient, resource: Resource, key: ObjectKey) -> dict[str, Any]:
    try:
        return await client.get(resource, key)
    except NotFound as error:
        raise MountFailed(f'{resource.kind.lower()} "{key.name}" not found') from error
    except NetloomError as error:
        raise MountFailed(f"{resource.kind} {key}: {error.problem}") from error
