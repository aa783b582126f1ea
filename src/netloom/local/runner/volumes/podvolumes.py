"""The volumes of one pod: made before its containers, kept up to date, removed after them. In: the pod; out: mounts.

As a kubelet, only volumes that some container mounts are made. Those with a token are made when somebody will read them, since
a stand-in does not: each token is a request. Not here: the files (``payload``, ``atomic``), the places (``places``), how a
mount comes into a container (``view``, and the runtime of images).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from netloom.api.quantity import parse
from netloom.clock import Clock
from netloom.errors import KernelError, NetloomError
from netloom.kube.client import KubeClient
from netloom.linux import mounts
from netloom.linux.netns import run_in_async
from netloom.local.runner.env import expand
from netloom.local.runner.running import Mount
from netloom.local.runner.spec import Container, Pod
from netloom.local.runner.volumes import atomic, claims, payload, places
from netloom.local.runner.volumes.hostpaths import HostPaths
from netloom.local.runner.volumes.payload import MountFailed, Values
from netloom.local.runner.volumes.places import Places
from netloom.local.runner.volumes.spec import EmptyDir, HostPath, ProjectedSource, Volume, VolumeMount
from netloom.local.runner.volumes.tokens import Tokens
from netloom.local.runner.volumes.watched import Name, Watched
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_AGAIN_S = 10.0


class VolumeTools(msgspec.Struct, frozen=True, kw_only=True):
    """What the volumes of all pods of a node share."""

    client: KubeClient
    clock: Clock
    places: Places
    hosts: HostPaths
    watched: Watched
    allocatable: Mapping[str, str] = {}


class _Made(msgspec.Struct, frozen=True):
    """A volume that is there."""

    source: Path
    read_only: bool = False


class PodVolumes:
    """The volumes of one pod.

    Args:
        tools: of the node.
        pod: gives the pod as it is known now.
        addresses: gives those of the pod and of its node.
    """

    def __init__(
        self,
        *,
        tools: VolumeTools,
        pod: Callable[[], Pod],
        addresses: Callable[[], tuple[tuple[str, ...], tuple[str, ...]]],
    ) -> None:
        self._tools = tools
        self._pod = pod
        self._addresses = addresses
        self._tokens = Tokens(client=tools.client, clock=tools.clock)
        self._made: dict[str, _Made] = {}
        self._stale = asyncio.Event()

    def mark(self) -> None:
        """Something that files are made of has changed."""
        self._stale.set()

    async def prepare(self) -> None:
        """Make all volumes that some container mounts, but for those with tokens.

        Raises:
            MountFailed: one cannot be made now; the message names it.
        """
        for volume in self._wanted():
            source = volume.projection
            if volume.name not in self._made and not (source is not None and payload.needed_tokens(source)):
                await self._make(volume)

    def take_up(self) -> None:
        """Go on with what a runner before us wrote: it may be out of date by now."""
        for volume in self._wanted():
            if volume.projection is not None and (directory := self._directory(volume)).is_dir():
                self._made[volume.name] = _Made(directory, read_only=True)
        self.mark()

    async def mounts_of(self, container: Container, env: Mapping[str, str]) -> tuple[Mount, ...]:
        """Where its volumes lie, and where it wants them.

        Args:
            container: of the pod.
            env: its variables, for ``subPathExpr``.

        Raises:
            MountFailed: a volume cannot be made, or a subPath leads nowhere.
        """
        volumes = {volume.name: volume for volume in self._pod().spec.volumes}
        found = []
        for number, mount in enumerate(container.volume_mounts):
            if (volume := volumes.get(mount.name)) is None:
                raise MountFailed(f'volume "{mount.name}" is not in the pod')
            if mount.name not in self._made:
                await self._make(volume)
            made = self._made[mount.name]
            sub_path = mount.sub_path or expand(mount.sub_path_expr, env)
            source = self._sub_path(made, sub_path, container, number) if sub_path else made.source
            found.append(_mounted(mount, source, made))
        return tuple(found)

    async def run(self) -> None:
        """Keep what is made of values up to date, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._tokens.renew_s):
                    await self._stale.wait()
            except TimeoutError:
                pass
            self._stale.clear()
            for volume in self._wanted():
                if volume.name in self._made and volume.projection is not None:
                    try:
                        await self._write(volume, volume.projection)
                    except (NetloomError, OSError) as error:  # readers keep what they have, as with a kubelet
                        why = error.problem if isinstance(error, NetloomError) else repr(error)
                        log.info("volume %s of pod %s: %s", volume.name, self._pod().key, why)
                        await self._try_again_later()

    async def remove(self) -> None:
        """Remove all of them; what lies on the host stays."""
        uid = self._pod().uid
        self._made = {}
        await run_in_async(None, lambda: self._tools.places.remove(uid))

    def names(self) -> frozenset[Name]:
        """The ConfigMaps and Secrets that volumes show."""
        namespace = self._pod().metadata.namespace
        sources = [v.projection for v in self._wanted()]
        every = (name for s in sources if s is not None for name in payload.needed_maps(s))
        return frozenset((kind, ObjectKey(namespace, name)) for kind, name in every)

    async def _try_again_later(self) -> None:
        await asyncio.sleep(_AGAIN_S)
        self._stale.set()

    def _wanted(self) -> tuple[Volume, ...]:
        spec = self._pod().spec
        every = (*spec.init_containers, *spec.containers, *spec.ephemeral_containers)
        mounted = {m.name for c in every for m in c.volume_mounts}
        return tuple(v for v in spec.volumes if v.name in mounted)

    async def _make(self, volume: Volume) -> None:
        try:
            self._made[volume.name] = await self._made_of(volume)
        except (MountFailed, KernelError, OSError, TimeoutError) as error:
            why = error.problem if isinstance(error, NetloomError) else str(error) or "timed out"
            raise MountFailed(f'MountVolume.SetUp failed for volume "{volume.name}" : {why}') from error

    async def _made_of(self, volume: Volume) -> _Made:
        pod = self._pod()
        if (source := volume.projection) is not None:
            return _Made(await self._write(volume, source), read_only=True)
        if volume.empty_dir is not None:
            return _Made(self._empty(volume.name, volume.empty_dir))
        if volume.host_path is not None:
            return self._on_host(volume.name, volume.host_path)
        claim, read_only = "", False
        if volume.persistent_volume_claim is not None:
            claim = volume.persistent_volume_claim.claim_name
            read_only = volume.persistent_volume_claim.read_only
        elif volume.ephemeral is not None:
            claim = f"{pod.metadata.name}-{volume.name}"
        if not claim:
            raise MountFailed("this node does not have volumes of its type")
        path = await claims.path_of(self._tools.client, ObjectKey(pod.metadata.namespace, claim))
        made = self._on_host(volume.name, path)
        if (group := pod.spec.security_context.fs_group) is not None and not made.read_only:
            await run_in_async(None, lambda: atomic.give_to_group(made.source, group))
        return msgspec.structs.replace(made, read_only=made.read_only or read_only)

    async def _write(self, volume: Volume, source: ProjectedSource) -> Path:
        """Write its files as they are to be now; where they lie."""
        pod = self._pod()
        namespace = pod.metadata.namespace
        named = [(kind, ObjectKey(namespace, name)) for kind, name in payload.needed_maps(source)]
        maps = await self._tools.watched.data(named)
        tokens = {wish: await self._tokens.get(pod, wish) for wish in payload.needed_tokens(source)}
        pod_ips, host_ips = self._addresses()
        user = _only_user(pod)
        values = Values(
            maps={(kind, key.name): data for (kind, key), data in maps.items()},
            tokens=tokens,
            token_user=user,
            tokens_closed=user is not None or pod.spec.security_context.fs_group is not None,
            pod_ips=pod_ips,
            host_ips=host_ips,
            allocatable=self._tools.allocatable,
        )
        directory = self._directory(volume)
        self._tools.places.make(directory)
        atomic.write(
            directory, payload.files_of(pod, source, values), group=pod.spec.security_context.fs_group
        )
        return directory

    def _directory(self, volume: Volume) -> Path:
        """Where the files of a volume are that is made of values: in memory, unless all of it is a ConfigMap's."""
        return self._tools.places.volume(self._pod().uid, volume.name, in_memory=volume.config_map is None)

    def _empty(self, name: str, source: EmptyDir) -> Path:
        pod, in_memory = self._pod(), source.medium == "Memory"
        directory = self._tools.places.volume(pod.uid, name, in_memory=in_memory)
        limit = parse(source.size_limit) if source.size_limit is not None else None
        self._tools.places.make(directory, size=int(limit) if limit and in_memory else None)
        directory.chmod(0o777)
        if (group := pod.spec.security_context.fs_group) is not None:
            atomic.give_to_group(directory, group)
        return directory

    def _on_host(self, name: str, path: HostPath) -> _Made:
        place = self._tools.hosts.find(path.path, path.type)
        target = self._tools.places.staged(self._pod().uid, "host", name)
        if (fd := place.hold()) is not None:
            _show_held(fd, target)
            return _Made(target, place.read_only)
        if not place.hidden:
            return _Made(place.source, place.read_only)
        places.stage_without(place.source, target, place.hidden)
        return _Made(target, place.read_only)

    def _sub_path(self, made: _Made, path: str, container: Container, number: int) -> Path:
        """A part of a volume, held by a mount so that nobody can exchange it for a link (CVE-2017-1002101)."""
        target = self._tools.places.staged(self._pod().uid, "subpaths", container.name, str(number))
        fd = places.below(made.source, path)
        try:
            _show_held(fd, target)
        except (KernelError, OSError) as error:
            raise MountFailed(f'failed to prepare subPath for volumeMount "{path}" : {error}') from error
        return target


def _show_held(fd: int, target: Path) -> None:
    """Mount what a descriptor holds at a place, and close it."""
    try:
        mounts.umount(str(target))  # of a former life: what it led to may be another now
        places.stage(Path(f"/proc/self/fd/{fd}"), target)
    finally:
        os.close(fd)


def _mounted(mount: VolumeMount, source: Path, made: _Made) -> Mount:
    return Mount(
        source=str(source),
        target=mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}",
        read_only=mount.read_only or made.read_only,
        propagation=mount.mount_propagation,
    )


def _only_user(pod: Pod) -> int | None:
    """The user that all containers run as, where the pod says so and has no ``fsGroup``: tokens are his alone then."""
    context = pod.spec.security_context
    if context.fs_group is not None:
        return None
    users = {
        context.run_as_user if c.security_context.run_as_user is None else c.security_context.run_as_user
        for c in (*pod.spec.init_containers, *pod.spec.containers)
    }
    return next(iter(users)) if len(users) == 1 else None
