"""Runs containers of images on one node: finds images, makes bundles, starts, takes up again, forgets. In: specs; out: Runnings.

Not here: when what is started (a pod's life), and what each step consists of (the modules beside).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import msgspec

from netloom.clock import Clock
from netloom.errors import InvalidObject, NetloomError, NotFound
from netloom.linux import sysctl
from netloom.linux.namespaces import has_one_user
from netloom.local.images import references
from netloom.local.images.archive import RunConfig
from netloom.local.images.store import Image, ImageStore
from netloom.local.runner.crun import capabilities, conmon, document, logfile, seccomp
from netloom.local.runner.crun.container import CrunContainer
from netloom.local.runner.crun.document import Around
from netloom.local.runner.crun.places import Bundle, Places, Record
from netloom.local.runner.crun.users import user_of
from netloom.local.runner.running import ContainerSpec, Found, PullPolicy, Refused
from netloom.local.runner.sandbox import Sandbox, start_ticks
from netloom.local.runner.standins.feed import LogLine, ReadLog
from netloom.program.sysctl import Setting

log = logging.getLogger(__name__)

_UNPRIVILEGED_PORTS = "net/ipv4/ip_unprivileged_port_start"


class _Kept(msgspec.Struct, frozen=True):
    """What commands beside a container need to know of it, kept in its bundle."""

    image: RunConfig
    around: Around


class CrunRuntime:
    """Containers of one node.

    Args:
        state: the node's directory.
        images: the store.
        clock: the time.
        standins: whether a stand-in may take the place of an image that is not loaded.
    """

    def __init__(self, *, state: Path, images: ImageStore, clock: Clock, standins: bool = True) -> None:
        self._places = Places(state)
        self._images = images
        self._clock = clock
        self._standins = standins
        self._containers: dict[tuple[str, str], CrunContainer] = {}

    def is_present(self, image: str) -> bool:
        """Whether the image is loaded."""
        try:
            return self._images.find(image) is not None
        except NetloomError:
            return False

    async def find(self, image: str, pull: PullPolicy, *, standin: bool = True) -> Found | None:
        """The image, or None where a stand-in is to run in its place."""
        found = self._look(image)
        if found is not None:
            name = next(iter(found.names), found.id)
            with contextlib.suppress(InvalidObject):
                whole = str(references.parse(image))
                name = whole if whole in found.names else name
            return Found(image=name, id=found.id, size=found.size, user=found.run.user)
        if pull is PullPolicy.NEVER:
            raise Refused(
                "ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never'
            )
        if standin and self._standins:
            return None
        raise Refused(
            "ErrImagePull",
            f'failed to pull and unpack image "{references.parse(image)}": it is not loaded; '
            f"run: netloom image pull {image}",
        )

    async def start(self, spec: ContainerSpec, sandbox: Sandbox) -> CrunContainer:
        """Start a container in a pod's namespaces."""
        image = self._look(spec.image)
        if image is None:
            raise Refused("CreateContainerError", f'image "{spec.image}" is not loaded')
        try:
            bundle = self._places.bundle(spec)
        except OSError as error:
            raise Refused("CreateContainerError", f"{error.filename}: {error.strerror}") from error
        started = False
        try:
            made = await self._start(spec, sandbox, image, bundle)
            started = True
        except Refused:
            raise
        except NetloomError as error:
            raise Refused("CreateContainerError", str(error)) from error
        except OSError as error:
            raise Refused("CreateContainerError", f"{bundle.path.name}: {error.strerror}") from error
        finally:
            if not started:
                with contextlib.suppress(NetloomError):
                    await conmon.crun(self._places, "delete", "--force", spec.id)
                bundle.remove()
                bundle.log.unlink(missing_ok=True)
        self._containers[spec.pod_uid, spec.name] = made
        return made

    async def adopt(self, pod_uid: str) -> Mapping[str, CrunContainer]:
        """The newest life of each container of a pod that a runner before us started, by name."""
        found: dict[str, CrunContainer] = {}
        for name in self._places.names(pod_uid):
            for bundle in self._places.lives(pod_uid, name):
                record = bundle.read_record()
                kept = _read_kept(bundle)
                if record is None or kept is None:
                    bundle.remove()
                    continue
                made = self._container(record, bundle, kept)
                if (older := found.pop(name, None)) is not None:
                    await older.remove()
                found[name] = self._containers[pod_uid, name] = made
        return found

    async def read_log(self, wish: ReadLog) -> AsyncGenerator[tuple[LogLine, ...], None]:
        """A container's log in pieces, as they come."""
        lives = [b for b in self._places.lives(wish.uid, wish.container) if b.log.exists()]
        container = self._containers.get((wish.uid, wish.container))
        if wish.previous:
            newest = container.bundle.attempt if container is not None else -1
            lives = [b for b in lives if b.attempt < newest]
            if not lives:
                raise NotFound(f'previous terminated container "{wish.container}" not found')
        if not lives:
            raise NotFound(f"container {wish.container} has no log")
        over = container.over if container is not None else asyncio.Event()
        if container is None:
            over.set()  # it ended before a runner before us did, and nothing but the log is left
        async with contextlib.aclosing(
            logfile.read(
                lives[-1].log,
                over,
                tail=wish.tail,
                since=wish.since,
                follow=wish.follow and not wish.previous,
            )
        ) as pieces:
            async for lines in pieces:
                yield lines

    async def forget(self, pod_uid: str) -> None:
        """The pod is gone: end what still runs of it, and remove what is left, with the logs."""
        known = [key for key in self._containers if key[0] == pod_uid]
        if not known:
            await self.adopt(pod_uid)
        for key in [key for key in self._containers if key[0] == pod_uid]:
            with contextlib.suppress(NetloomError):
                await self._containers.pop(key).remove()
        self._places.forget(pod_uid)

    async def forget_all_but(self, pod_uids: frozenset[str]) -> None:
        """Clear what former runners left of pods that are no more."""
        for uid in self._places.pods():
            if uid not in pod_uids:
                await self.forget(uid)

    def _look(self, image: str) -> Image | None:
        try:
            return self._images.find(image)
        except InvalidObject as error:
            raise Refused(
                "InvalidImageName",
                f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": '
                "invalid reference format",
            ) from error

    async def _start(
        self, spec: ContainerSpec, sandbox: Sandbox, image: Image, bundle: Bundle
    ) -> CrunContainer:
        files = self._images.files(image.id)
        _set_sysctls(spec, sandbox)
        around = self._around(spec, sandbox, image, bundle)
        kept = _Kept(image.run, around)
        wanted = document.document(spec, image.run, around)
        bundle.config.write_bytes(msgspec.json.encode(wanted))
        (bundle.path / "kept.json").write_bytes(msgspec.json.encode(kept))
        held = self._images.hold(image.id)
        try:
            made = await conmon.create(spec, self._places, bundle, files, held, wanted["process"]["cwd"])
        finally:
            os.close(held)
        record = Record(
            spec=spec,
            image_id=image.id,
            started=self._clock.wall(),
            monitor=made.monitor,
            monitor_ticks=start_ticks(made.monitor),
            pid=made.pid,
            pid_ticks=start_ticks(made.pid),
        )
        bundle.write_record(record)
        container = self._container(record, bundle, kept)
        try:
            await conmon.start(spec, self._places)
        except BaseException:
            container.kill()
            raise
        return container

    def _around(self, spec: ContainerSpec, sandbox: Sandbox, image: Image, bundle: Bundle) -> Around:
        root = os.open(self._images.files(image.id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            user = user_of(spec, image.run.user, root)
        finally:
            os.close(root)
        names = capabilities.wanted(spec.security)
        other = next((c for c in self._containers.values() if c.spec.id == spec.join_pid_of), None)
        return Around(
            root=str(bundle.root),
            files=_files(spec, bundle),
            shm=str(self._places.shm(spec.pod_uid)),
            holder=sandbox.pid,
            other_pid=other.pid if other is not None else 0,
            user=user,
            seccomp=seccomp.profile(spec.security, names, self._places.profiles),
            is_one_user=has_one_user(),
        )

    def _container(self, record: Record, bundle: Bundle, kept: _Kept) -> CrunContainer:
        return CrunContainer(
            record=record,
            bundle=bundle,
            places=self._places,
            image=kept.image,
            around=kept.around,
            clock=self._clock,
        )


def _files(spec: ContainerSpec, bundle: Bundle) -> dict[str, str]:
    """Files of the container's own, made now: what everybody may read, and the one where it leaves its last words."""
    texts = {"hostname": f"{spec.hostname}\n", "resolv.conf": spec.resolv_conf, "hosts": spec.hosts}
    made = {}
    for name, text in texts.items():
        path = bundle.path / name
        path.write_text(text)
        path.chmod(0o644)
        made[f"/etc/{name}"] = str(path)
    bundle.message.touch()
    bundle.message.chmod(0o666)
    made[spec.termination_message_path] = str(bundle.message)
    return made


def _set_sysctls(spec: ContainerSpec, sandbox: Sandbox) -> None:
    """Settings of the pod's namespaces: its own, and low ports for everybody in it, as container runtimes give them.

    Raises:
        KernelError: there is no such setting, or it is not a pod's to change.
    """
    fd = sandbox.namespaces.net
    if fd is None or os.fstat(fd).st_ino == os.stat("/proc/self/ns/net").st_ino:
        return  # the node's network
    own = [
        Setting(name.replace(".", "/"), value)
        for name, value in spec.security.sysctls
        if name.startswith("net.")
    ]
    sysctl.write([Setting(_UNPRIVILEGED_PORTS, "0", optional=True), *own], fd)


def _read_kept(bundle: Bundle) -> _Kept | None:
    try:
        return msgspec.json.decode((bundle.path / "kept.json").read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None
