"""Keeps open what should be open: a set of keys, each with something that listens.

Comes in: the keys that are wanted, and how one is opened. Goes out: open listeners, and a finding for each that could not be opened.
A port that is taken stops no other; it is tried again when the caller says so. Not here: what the listeners do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, Protocol, TypeVar

from netloom.agent.servers.sockets import OUT_OF_DESCRIPTORS
from netloom.errors import KernelError
from netloom.model.provenance import Finding, Source

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

_AT_ONCE = 16
"""Listeners opened before the loop may turn to others; about a millisecond."""


class Listener(Protocol):
    """Something that listens."""

    def close(self) -> None:
        """Stop."""


class Listeners(Generic[K]):
    """A set of listeners; one task settles it.

    Args:
        open_one: opens the listener of a key; raises KernelError where it cannot.
        source_of: the object and field that want this key.
    """

    def __init__(
        self, *, open_one: Callable[[K], Awaitable[Listener]], source_of: Callable[[K], Source]
    ) -> None:
        self._open_one = open_one
        self._source_of = source_of
        self._wanted: set[K] = set()
        self._open: dict[K, Listener] = {}
        self._failed: dict[K, Finding] = {}
        self._missing: dict[K, None] = {}
        """Wanted and not tried yet; a dict for its order."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be opened, and why."""
        return tuple(self._failed.values())

    @property
    def open_count(self) -> int:
        """How many are open."""
        return len(self._open)

    @property
    def is_settled(self) -> bool:
        """Whether everything that is wanted is open or has been tried."""
        return not self._missing

    def listener_of(self, key: K) -> Listener | None:
        """The open listener of a key."""
        return self._open.get(key)

    def want(self, keys: Iterable[K]) -> None:
        """Exactly these should be open."""
        wanted = set(keys)
        for key in self._wanted - wanted:
            self.drop(key)
        for key in sorted(wanted - self._wanted, key=str):
            self.add(key)

    def add(self, key: K) -> None:
        """This one, too."""
        if key not in self._wanted:
            self._wanted.add(key)
            self._missing[key] = None

    def drop(self, key: K) -> None:
        """This one no more; it is closed at once."""
        self._wanted.discard(key)
        self._missing.pop(key, None)
        self._failed.pop(key, None)
        listener = self._open.pop(key, None)
        if listener is not None:
            listener.close()

    def retry(self) -> None:
        """What failed is tried again by the next :meth:`settle`."""
        self._missing.update(dict.fromkeys(self._failed))

    async def settle(self) -> tuple[Finding, ...]:
        """Open what is missing; the findings that are new."""
        new = []
        tried = 0
        while self._missing:
            key = next(iter(self._missing))
            del self._missing[key]
            tried += 1
            try:
                listener = await self._open_one(key)
            except KernelError as error:
                found = Finding(self._source_of(key), str(error))
                if self._failed.get(key) != found:
                    new.append(found)
                self._failed[key] = found
                if error.errno in OUT_OF_DESCRIPTORS:
                    # the others would fail as this one did, and each would be told of
                    self._failed.update(dict.fromkeys(self._missing, found))
                    self._missing.clear()
                continue
            self._keep(key, listener)
            if tried % _AT_ONCE == 0:
                await asyncio.sleep(0)  # lets others run between two batches
        return tuple(new)

    def close(self) -> None:
        """Close everything; nothing is wanted any more."""
        self.want(())

    def _keep(self, key: K, listener: Listener) -> None:
        if self._failed.pop(key, None) is not None:
            log.info("%s: listens now", self._source_of(key))
        if key in self._wanted:
            self._open[key] = listener
        else:  # it was dropped while it was opened
            listener.close()
