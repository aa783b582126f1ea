"""What the API server counts of itself, for ``/metrics``.

Comes in: each request with its answer; what is stored and watched, when somebody asks. Goes out: samples, under the names by which
kube-apiserver's are known. Labels are taken from what is served, never from a path alone: whoever asks nonsense makes no new series.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec
from aiohttp import web

from netloom.clock import Clock
from netloom.local.apiserver.registry import Registry
from netloom.local.apiserver.store import Store
from netloom.local.apiserver.watches import Hub
from netloom.metrics import Histogram, Sample, counter, gauge

_VERBS = {"POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE", "GET": "GET", "HEAD": "GET"}
_PARTS = frozenset(
    {"status", "scale", "log", "exec", "attach", "portforward", "proxy", "eviction", "binding", "finalize", "token",
     "ephemeralcontainers", "resize", "approval"}
)  # fmt: skip
_LONG = ("WATCH", "CONNECT")
"""Requests that go on for as long as somebody wants: their time says nothing."""


class Subject(msgspec.Struct, frozen=True):
    """What a request was about, in words of which there are few."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""

    def labels(self) -> dict[str, str]:
        """As labels of a sample."""
        return msgspec.structs.asdict(self)


class Measures:
    """Counts of one server.

    Args:
        registry: which kinds are served.
        store: what is kept.
        hub: who watches.
        clock: the time.
    """

    def __init__(self, *, registry: Registry, store: Store, hub: Hub, clock: Clock) -> None:
        self._registry = registry
        self._store = store
        self._hub = hub
        self._clock = clock
        self._began = clock.wall()
        self._requests: Counter[tuple[Subject, int]] = Counter()
        self._times: dict[Subject, Histogram] = {}
        self._inflight = 0

    def begin(self) -> float:
        """A request has come; the moment, for `end`."""
        self._inflight += 1
        return self._clock.monotonic()

    def end(self, request: web.Request, code: int, began: float) -> None:
        """It has been answered."""
        self._inflight -= 1
        subject = self._subject(request)
        self._requests[subject, code] += 1
        if subject.verb not in _LONG:
            self._times.setdefault(subject, Histogram()).observe(self._clock.monotonic() - began)

    def _subject(self, request: web.Request) -> Subject:
        verb = _VERBS.get(request.method, "OTHER")
        parts = request.path.strip("/").split("/")
        match parts:
            case ["api", version, *rest] if rest:
                group = ""
            case ["apis", group, version, *rest] if rest:
                pass
            case _:
                return Subject(verb)
        if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in {"status", "finalize"}:
            rest = rest[2:]
        api_version = f"{group}/{version}" if group else version
        if self._registry.at(api_version, rest[0]) is None:
            return Subject(verb)
        part = rest[2] if len(rest) > 2 and rest[2] in _PARTS else ""
        if verb == "GET" and request.query.get("watch", "false").lower() not in {"false", "0", "f"}:
            verb = "WATCH"
        elif part in {"log", "exec", "attach", "portforward", "proxy"}:
            verb = "CONNECT"
        elif len(rest) == 1 and verb in {"GET", "DELETE"}:
            verb = "LIST" if verb == "GET" else "DELETECOLLECTION"
        return Subject(verb, group, version, rest[0], part)

    def samples(self) -> Iterator[Sample]:
        """The page."""
        for (subject, code), count in self._requests.items():
            text = "Requests that were answered, by what they were about and the code of the answer."
            yield counter("apiserver_request_total", text, count, **subject.labels(), code=str(code))
        for subject, histogram in self._times.items():
            text = "Seconds until the answer, of requests that end by themselves."
            yield histogram.sample("apiserver_request_duration_seconds", text, **subject.labels())
        text = "Requests that are being answered; watches and streams among them."
        yield gauge("apiserver_current_inflight_requests", text, self._inflight)
        watched: Mapping[str, int] = self._hub.counts()
        for kind in {kind.qualified: kind for kind in self._registry.all}.values():
            text = "Objects that are stored."
            yield gauge("apiserver_storage_objects", text, self._store.count(kind), resource=kind.qualified)
            text = "Watches that are open."
            yield gauge(
                "apiserver_registered_watchers", text, watched.get(kind.qualified, 0), resource=kind.qualified
            )
        yield gauge("apiserver_storage_revision", "The newest resourceVersion.", self._store.revision)
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = used.ru_utime + used.ru_stime
        yield counter("process_cpu_seconds_total", "Seconds of CPU that this process has used.", spent)
        yield gauge("process_resident_memory_bytes", "Memory that this process has.", _resident())
        yield gauge("process_start_time_seconds", "When this server began, since the epoch.", self._began)


def _resident() -> int:
    try:
        with open("/proc/self/statm") as text:
            return int(text.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
