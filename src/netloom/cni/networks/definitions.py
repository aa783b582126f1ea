"""NetworkAttachmentDefinitions and what they mean on this node: a network for a name. In: objects, files. Out: network lists.

Objects come from a watch; one that is missing there is asked for once, since a pod may be faster than the news of its network. An
object without a configuration means the file of the node whose network has its name (de-facto standard, section 3.2.1). Not here:
whether a pod may have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from netloom.api.networks import NetworkAttachmentDefinition
from netloom.cni.networks import configuration
from netloom.cni.networks.configuration import NetworkList
from netloom.errors import InvalidObject, NetloomError, NotFound, Unavailable
from netloom.units import ObjectKey

_SYNC_S = 5.0
"""How long an agent that has just started may take to read all definitions."""
_MAX_FILE = 1024 * 1024
_SUFFIXES = (".conf", ".conflist", ".json")

Fetch = Callable[[ObjectKey], Awaitable[NetworkAttachmentDefinition]]


class Watched(Protocol):
    """Objects that are followed (``kube.watch.Reflector``)."""

    @property
    def items(self) -> Mapping[ObjectKey, NetworkAttachmentDefinition]:
        """As they are now."""

    @property
    def synced(self) -> asyncio.Event:
        """All have been read once."""


class Definitions:
    """What networks there are.

    Args:
        watched: the objects.
        fetch: asks the API server for one; raises NotFound.
        config_dirs: where the node's own network configurations are.
    """

    def __init__(self, *, watched: Watched, fetch: Fetch, config_dirs: Sequence[str] = ()) -> None:
        self._watched = watched
        self._fetch = fetch
        self._config_dirs = tuple(config_dirs)

    async def network(self, key: ObjectKey, *, asked_by: str) -> NetworkList:
        """The network of a definition.

        Args:
            key: of the NetworkAttachmentDefinition.
            asked_by: pod and entry, for errors.

        Raises:
            InvalidObject: it is not there, or its configuration cannot be used.
            Unavailable: the API server would have to be asked, and does not answer.
        """
        found = await self._find(key, asked_by)
        subject = f"NetworkAttachmentDefinition {key}"
        if found.spec.config.strip():
            return configuration.read(found.spec.config, subject=subject, field="spec.config", name=key.name)
        return self._from_files(key, subject)

    async def _find(self, key: ObjectKey, asked_by: str) -> NetworkAttachmentDefinition:
        if not self._watched.synced.is_set():
            try:
                async with asyncio.timeout(_SYNC_S):
                    await self._watched.synced.wait()
            except TimeoutError as error:
                raise Unavailable(
                    f"{asked_by}: NetworkAttachmentDefinition {key} is not known: the API server has not told any yet",
                    "try again",
                ) from error
        found = self._watched.items.get(key)
        if found is not None:
            return found
        try:
            return await self._fetch(key)
        except NotFound as error:
            raise InvalidObject(
                asked_by,
                "",
                f"there is no NetworkAttachmentDefinition {key}",
                "make it, or correct the annotation",
            ) from error
        except Unavailable:
            raise
        except NetloomError as error:
            raise InvalidObject(
                asked_by, "", f"NetworkAttachmentDefinition {key}: {error.problem}", error.hint
            ) from error

    def _from_files(self, key: ObjectKey, subject: str) -> NetworkList:
        for directory in self._config_dirs:
            for path in _files(Path(directory)):
                if (network := _named(path, key.name)) is not None:
                    return network
        raise InvalidObject(
            subject,
            "spec.config",
            f"is empty, and no file in {', '.join(self._config_dirs) or 'any directory'} configures a network {key.name}",
            "write the configuration into the object, or put the file on each node",
        )


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(
            p for p in directory.iterdir() if p.suffix in _SUFFIXES and p.stat().st_size <= _MAX_FILE
        )
    except OSError:
        return []


def _named(path: Path, name: str) -> NetworkList | None:
    """The network of a file, if it has this name; files that cannot be read are others' business."""
    try:
        content = path.read_bytes()
        body: Any = msgspec.json.decode(content)
    except (OSError, msgspec.DecodeError, UnicodeError):
        return None
    if not isinstance(body, dict) or body.get("name") != name:
        return None
    return configuration.read(content, subject=str(path), field="file", name=name)
