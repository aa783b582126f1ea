"""List and watch: typed objects that follow the API server. In: a resource and a struct; out: on_change, item by item.

A Reflector never forgets what it knew because the server is away, and never delivers a state that the server did not
have. Not here: what to do with a change (the callback marks keys), and sharing between readers.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from netloom.api.nulls import without_nulls
from netloom.clock import Clock, SystemClock
from netloom.errors import InvalidObject, NetloomError, NotFound, Unavailable
from netloom.kube.client import PAGE, KubeClient
from netloom.kube.resources import Resource
from netloom.kube.status import Expired, Status, from_status
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_WATCH_S = (240, 480)
_BACKOFF_S = (0.05, 10.0)
"""First and longest wait before the server is asked again; each wait is drawn from half to the whole of it."""
_SOUND_S = 5.0
"""A watch that lived this long was sound: its end starts the backoff anew."""
ABSENT_S = 60.0
"""How often a server is asked for an optional kind that it does not have; each time up to a half more."""
_SURELY_ABSENT_S = 20.0
"""A kind of which there were objects must be unknown to the server for so long before they count as gone."""


class Meta(msgspec.Struct, rename="camel"):
    """What every object has; read before the typed decoding, and for bookmarks."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _Keyed(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _RawList(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    items: list[msgspec.Raw] | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_keyed = msgspec.json.Decoder(_Keyed).decode
_decode_raw_list = msgspec.json.Decoder(_RawList).decode
_decode_status = msgspec.json.Decoder(Status).decode

T = TypeVar("T")
OnChange = Callable[[ObjectKey, T | None], None]
OnBad = Callable[[ObjectKey, InvalidObject], None]
OnSeen = Callable[[str], None]


class Reflector(Generic[T]):
    """The objects of one kind as the server has them.

    Args:
        client: an open client.
        resource: which kind.
        type_: a msgspec struct with the fields that are read; unknown fields never become objects.
        on_change: called at once with the new object, or None where it is gone; a relist yields differences only.
        on_bad: called with the key of an object that cannot be decoded. Such an object counts as not there
            (so that a restart gives the same view); all others go on. None logs it.
        on_seen: called with the resourceVersion up to which everything has been delivered, after a list and after each
            piece of a watch that arrives; also where there was nothing to deliver (bookmarks, objects that cannot be decoded).
        namespace: only this namespace; empty means all.
        absent_s: how often a server is asked for an optional kind that it does not have. Then there are no objects, which is
            said once, and whoever waits for ``synced`` goes on.
        rng: jitter of the backoff.
    """

    def __init__(  # noqa: PLR0913 - a kind, a type, two callbacks and filters, all by keyword
        self,
        client: KubeClient,
        resource: Resource,
        type_: type[T],
        *,
        on_change: OnChange[T],
        on_bad: OnBad | None = None,
        on_seen: OnSeen | None = None,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        clock: Clock | None = None,
        rng: random.Random | None = None,
        page: int = PAGE,
        absent_s: float = ABSENT_S,
        surely_absent_s: float = _SURELY_ABSENT_S,
    ) -> None:
        self.items: dict[ObjectKey, T] = {}
        self.synced = asyncio.Event()
        self._client = client
        self._resource = resource
        self._on_change = on_change
        self._on_bad = on_bad or _log_bad
        self._on_seen = on_seen
        self._namespace = namespace
        self._selectors = {
            k: v for k, v in (("labelSelector", label_selector), ("fieldSelector", field_selector)) if v
        }
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._page = page
        self._version = ""
        self._seen = ""
        self._moved = asyncio.Event()
        self._decode = msgspec.json.Decoder(type_).decode
        self._failures = 0
        self._is_optional = resource.is_optional
        self._absent_s = absent_s
        self._surely_absent_s = surely_absent_s
        self._absent_since: float | None = None

    @property
    def seen(self) -> str:
        """The newest resourceVersion that ``items`` reflects, as the server wrote it; empty before the first list."""
        return self._seen

    @property
    def version(self) -> int:
        """The newest resourceVersion that ``items`` reflects, as a number; 0 before the first list."""
        return int(self._seen) if self._seen.isdecimal() else 0

    async def reached(self, version: int) -> None:
        """Wait until ``items`` reflects this resourceVersion: whoever wrote it may then read it."""
        while self.version < version:
            self._moved.clear()
            await self._moved.wait()

    async def run(self) -> None:
        """Follow the server until cancelled."""
        while True:
            started = self._clock.monotonic()
            try:
                if not self._version:
                    await self.relist()
                await self._watch()
                problem: NetloomError | None = None
            except Expired as error:
                self._version = ""
                problem = error
            except NetloomError as error:
                problem = error
            if self._is_optional and isinstance(problem, NotFound) and self._take_absence(problem):
                await asyncio.sleep(self._absent_s * (1.0 + 0.5 * self._rng.random()))
                continue
            if self._clock.monotonic() - started >= _SOUND_S:
                self._failures = 0
            self._tell(problem)
            self._failures += 1
            await asyncio.sleep(self._backoff())

    async def relist(self) -> None:
        """Fetch everything and deliver the differences: deletions first, then what is new or other."""
        found: dict[ObjectKey, T] = {}
        version = ""
        async for body in self._client.list_pages(
            self._resource,
            self._namespace,
            label_selector=self._selectors.get("labelSelector", ""),
            field_selector=self._selectors.get("fieldSelector", ""),
            page=self._page,
        ):
            page = _decode_raw_list(body)
            version = page.metadata.resource_version
            for raw in page.items or ():
                decoded = self._decode_object(raw)
                if decoded[1] is not None:
                    found[decoded[0]] = decoded[1]
        self._seen = version
        for key in [k for k in self.items if k not in found]:
            self._set(key, None)
        for key, item in found.items():
            if self.items.get(key) != item:
                self._set(key, item)
        self._version = version
        self._absent_since = None
        self._moved.set()
        self._tell_seen()
        self.synced.set()

    def _take_absence(self, problem: NotFound) -> bool:
        """The server does not have this kind. Whether that is so for good: then all objects that were known are gone."""
        now = self._clock.monotonic()
        is_news = self._absent_since is None
        since = self._absent_since = now if self._absent_since is None else self._absent_since
        if self.items and now - since < self._surely_absent_s:
            return False
        if is_news or self.items:
            log.info(
                "no %s here, asked again every %.0f s: %s", self._resource.plural, self._absent_s, problem
            )
        for key in list(self.items):
            self._set(key, None)
        self._version = ""
        self.synced.set()
        return True

    async def _watch(self) -> None:
        async for lines in self._client.watch_chunks(
            self._resource,
            self._namespace,
            version=self._version,
            timeout_s=self._rng.randint(*_WATCH_S),
            params=self._selectors,
        ):
            for line in lines:
                if line:
                    self.take(line)
            self._tell_seen()

    def take(self, line: bytes) -> None:
        """One line of a watch (meta/v1 WatchEvent).

        Raises:
            Expired: the server has dropped our resourceVersion; relist.
            Unavailable: the server reports an error, or the line is no event.
        """
        try:
            event = _decode_event(line)
            if event.type == "ERROR":
                status = _decode_status(event.object)
                raise from_status(status.code or 500, status, f"watch {self._resource.plural}")
            meta = _decode_keyed(event.object).metadata
        except msgspec.DecodeError as error:
            raise Unavailable(
                f"watch {self._resource.plural}: a line is no watch event: {error}",
                "look at the server or proxy",
            ) from error
        self._seen = meta.resource_version or self._seen
        if event.type in {"ADDED", "MODIFIED", "DELETED"}:
            key = ObjectKey(meta.namespace, meta.name)
            item = None if event.type == "DELETED" else self._decode_object(event.object)[1]
            if item is not None or key in self.items:
                self._set(key, item)
        self._version = self._seen
        self._moved.set()
        self._failures = 0

    def _decode_object(self, raw: msgspec.Raw) -> tuple[ObjectKey, T | None]:
        """Key and object; None where it cannot be decoded, which has then been reported."""
        try:
            try:
                item = self._decode(raw)
            except msgspec.ValidationError:
                # Most objects are decoded at once; null for an empty list is rare and worth a second look.
                raw = msgspec.Raw(msgspec.json.encode(without_nulls(msgspec.json.decode(raw))))
                item = self._decode(raw)
            # Typed structs keep their metadata in forms of their own; the key is read from the same bytes.
            meta = _decode_keyed(raw).metadata
        except msgspec.DecodeError as error:
            key = _key_at_any_price(raw)
            self._on_bad(key, InvalidObject(f"{self._resource.kind} {key}", *_field_and_problem(error)))
            return key, None
        return ObjectKey(meta.namespace, meta.name), item

    def _set(self, key: ObjectKey, item: T | None) -> None:
        if item is None:
            del self.items[key]
        else:
            self.items[key] = item
        self._on_change(key, item)

    def _tell_seen(self) -> None:
        if self._on_seen is not None:
            self._on_seen(self._seen)

    def _tell(self, problem: NetloomError | None) -> None:
        """Log the first failure of a row; the others are the same story."""
        if problem is None:
            return
        level = logging.WARNING if self._failures == 0 and not isinstance(problem, Expired) else logging.DEBUG
        log.log(level, "following %s: %s", self._resource.plural, problem)

    def _backoff(self) -> float:
        first, longest = _BACKOFF_S
        whole = min(longest, first * 2.0 ** min(self._failures - 1, 20))
        return whole * (0.5 + 0.5 * self._rng.random())


def _key_at_any_price(raw: msgspec.Raw) -> ObjectKey:
    try:
        meta = _decode_keyed(raw).metadata
    except msgspec.DecodeError:
        return ObjectKey("", "?")
    return ObjectKey(meta.namespace, meta.name)


def _field_and_problem(error: msgspec.DecodeError) -> tuple[str, str, str]:
    """The decoder says ``Expected `int`, got `str` - at `$.spec.ports[0].port```: path and words apart."""
    problem, _, path = str(error).partition(" - at ")
    return path.strip("`").removeprefix("$").removeprefix("."), problem, "mend the object"


def _log_bad(key: ObjectKey, error: InvalidObject) -> None:
    log.warning("left out %s: %s", key, error)
