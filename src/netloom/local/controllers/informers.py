"""Typed caches shared by all loops: one list and watch a kind, many readers. In: a client; out: items, indexes, handlers.

Not here: which kinds exist (main.py asks for them) and what a change means (handlers).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from netloom.kube.client import KubeClient
from netloom.kube.resources import Resource
from netloom.kube.watch import Reflector
from netloom.local.controllers.objects import Loaded
from netloom.units import ObjectKey

T = TypeVar("T", bound=Loaded)
Handler = Callable[[T | None, T | None], None]
"""Called with the object before and after; None where it did not or does not exist."""


class Informer(Generic[T]):
    """The objects of one kind, indexes over them, and who wants to hear of changes."""

    def __init__(
        self, client: KubeClient, resource: Resource, type_: type[T], *, field_selector: str = ""
    ) -> None:
        self.resource = resource
        self.items: dict[ObjectKey, T] = {}
        self._handlers: list[Handler[T]] = []
        self._indexes: list[tuple[Callable[[T], Iterable[Hashable]], dict[Hashable, dict[ObjectKey, T]]]] = []
        self._reflector: Reflector[T] = Reflector(
            client, resource, type_, on_change=self._changed, field_selector=field_selector
        )

    @property
    def synced(self) -> asyncio.Event:
        """Set once the first list has been delivered."""
        return self._reflector.synced

    @property
    def version(self) -> int:
        """The newest resourceVersion that the cache reflects."""
        return self._reflector.version

    def on_change(self, handler: Handler[T]) -> None:
        """Call the handler for every change from now on; it must only mark keys."""
        self._handlers.append(handler)

    def index(self, by: Callable[[T], Iterable[Hashable]]) -> Mapping[Hashable, Mapping[ObjectKey, T]]:
        """A view that is kept up to date: value of ``by`` -> objects; the same for who asks again. Ask before run()."""
        known = next((view for other, view in self._indexes if other is by), None)
        if known is not None:
            return known
        view: dict[Hashable, dict[ObjectKey, T]] = {}
        self._indexes.append((by, view))
        return view

    def get(self, key: ObjectKey) -> T | None:
        """The object as last seen."""
        return self.items.get(key)

    async def reached(self, version: int) -> None:
        """Wait until the cache reflects this resourceVersion."""
        await self._reflector.reached(version)

    async def run(self) -> None:
        """Follow the server until cancelled."""
        await self._reflector.run()

    def _changed(self, key: ObjectKey, new: T | None) -> None:
        old = self.items.get(key)
        if new is None:
            self.items.pop(key, None)
        else:
            self.items[key] = new
        for by, view in self._indexes:
            if old is not None:
                for value in by(old):
                    bucket = view[value]
                    bucket.pop(key, None)
                    if not bucket:
                        del view[value]
            if new is not None:
                for value in by(new):
                    view.setdefault(value, {})[key] = new
        for handler in self._handlers:
            handler(old, new)


class Informers:
    """One informer a kind; whoever asks for a kind again gets the same one."""

    def __init__(self, client: KubeClient) -> None:
        self.client = client
        self._by_resource: dict[Resource, Informer[Any]] = {}
        self._selected: dict[tuple[Resource, str], Informer[Any]] = {}

    def of(self, resource: Resource, type_: type[T], *, field_selector: str = "") -> Informer[T]:
        """The informer of this kind, or of those of its objects that a field selector selects."""
        found = self._selected.get((resource, field_selector))
        if found is None:
            found = Informer(self.client, resource, type_, field_selector=field_selector)
            self._selected[resource, field_selector] = found
            if not field_selector:
                self._by_resource[resource] = found
        return found

    async def run(self) -> None:
        """Follow all kinds until cancelled."""
        async with asyncio.TaskGroup() as group:
            for (resource, _), informer in self._selected.items():
                group.create_task(informer.run(), name=f"informer-{resource.plural}")

    async def synced(self) -> None:
        """Wait until every kind has been listed once."""
        for informer in self._selected.values():
            await informer.synced.wait()

    async def reached(self, version: int) -> None:
        """Wait until every cache reflects this resourceVersion."""
        for informer in self._selected.values():
            await informer.reached(version)
