"""The ConfigMaps and Secrets that pods of this node refer to, each followed by a watch of its own. In: names; out: their data.

A node may read what its pods name and nothing else, so that each is asked for by its name, once for all pods that name it. Who
names it hears of each change. Values are never logged.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Iterable, Mapping

import msgspec

from netloom.api.meta import ObjectMeta
from netloom.kube.client import KubeClient
from netloom.kube.resources import CONFIG_MAPS, SECRETS
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

Name = tuple[str, ObjectKey]
"""Kind (``ConfigMap``, ``Secret``), namespace and name."""
_SYNC_S = 10.0


class Keeper(msgspec.Struct, frozen=True, rename="camel"):
    """A ConfigMap or a Secret, as far as it is read."""

    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}


class _Followed:
    """One object and who wants it."""

    def __init__(self, reflector: Reflector[Keeper], task: asyncio.Task[None]) -> None:
        self.reflector = reflector
        self.task = task
        self.wanted_by: set[str] = set()


class Watched:
    """All that are followed.

    Args:
        client: with room for a connection for each.
        on_change: hears the uid of each pod that wants an object which changed.
    """

    def __init__(self, *, client: KubeClient, on_change: Callable[[str], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._followed: dict[Name, _Followed] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled; nothing can be wanted before."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    def want(self, uid: str, names: Iterable[Name]) -> None:
        """Follow these for a pod, and no others any more."""
        wanted = frozenset(names)
        for name in [n for n, f in self._followed.items() if uid in f.wanted_by and n not in wanted]:
            followed = self._followed[name]
            followed.wanted_by.discard(uid)
            if not followed.wanted_by:
                followed.task.cancel()
                del self._followed[name]
        for name in wanted:
            self._follow(name).wanted_by.add(uid)

    async def data(self, names: Iterable[Name]) -> dict[Name, Mapping[str, bytes]]:
        """The data of those that are there; waits until the API has said so of each.

        Raises:
            TimeoutError: it does not answer.
        """
        found: dict[Name, Mapping[str, bytes]] = {}
        async with asyncio.timeout(_SYNC_S):
            for name in names:
                followed = self._follow(name)
                await followed.reflector.synced.wait()
                item = followed.reflector.items.get(name[1])
                if item is not None:
                    found[name] = _bytes(name[0], item)
        return found

    def _follow(self, name: Name) -> _Followed:
        followed = self._followed.get(name)
        if followed is None:
            assert self._group is not None  # noqa: S101 - nothing is wanted before run()
            kind, key = name
            reflector = Reflector(
                self._client,
                SECRETS if kind == "Secret" else CONFIG_MAPS,
                Keeper,
                on_change=lambda key, item: self._changed(name),
                namespace=key.namespace,
                field_selector=f"metadata.name={key.name}",
            )
            task = self._group.create_task(reflector.run(), name=f"watch {kind} {key}")
            followed = self._followed[name] = _Followed(reflector, task)
        return followed

    def _changed(self, name: Name) -> None:
        followed = self._followed.get(name)
        if followed is not None and followed.reflector.synced.is_set():
            for uid in followed.wanted_by:
                self._on_change(uid)


def _bytes(kind: str, item: Keeper) -> dict[str, bytes]:
    if kind == "Secret":
        return {key: _decoded(text) for key, text in item.data.items()}
    plain = {key: text.encode() for key, text in item.data.items()}
    return plain | {key: _decoded(text) for key, text in item.binary_data.items()}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
