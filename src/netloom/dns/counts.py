"""What a DNS process has counted, as values: for its agent's metrics and for people. Pure.

Comes in: counters, queries by name. Goes out: DnsCounts, and Prometheus samples of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from netloom.dns.wire import HEADER, Malformed, Rcode, name_text, skip_name
from netloom.metrics import Distribution, Kind, Sample, counter, gauge

NAMES_LIMIT = 4096
"""Names that are counted; when there are more, those that were asked for least make room."""
NAMES_SHOWN = 100


class NameCount(msgspec.Struct, frozen=True):
    """How often a name was asked for, and how often the answer was that it is not there or cannot be had."""

    name: str
    queries: int
    failures: int = 0


class DnsCounts(msgspec.Struct, frozen=True):
    """Since the process began."""

    counts: dict[str, int]
    upstream_seconds: Distribution
    reply_seconds: Distribution
    names: tuple[NameCount, ...] = ()
    """Those that were asked for most, the first one most."""
    cache_entries: int = 0
    cache_bytes: int = 0
    zone_names: int = 0
    down: tuple[str, ...] = ()
    """Upstream servers that do not answer."""


class NameCounts:
    """Queries by name, within bounds."""

    def __init__(self) -> None:
        self._counts: dict[bytes, list[int]] = {}

    def note(self, name: bytes, rcode: int, number: int = 1) -> None:
        """So many queries for a name (on the wire, lower case) were answered so."""
        count = self._counts.get(name)
        if count is None:
            if len(self._counts) >= NAMES_LIMIT:
                self._make_room()
            count = self._counts[name] = [0, 0]
        count[0] += number
        if rcode != Rcode.NOERROR:
            count[1] += number

    def note_prepared(self, key: bytes, rcode: int, number: int) -> None:
        """The same for a query that was answered from bytes that were ready; ``key`` is the query without its id."""
        start = HEADER.size - 2
        try:
            self.note(key[start : skip_name(key, start)], rcode, number)
        except Malformed:
            return

    def most(self, number: int) -> tuple[NameCount, ...]:
        """Those that were asked for most."""
        found = sorted(self._counts.items(), key=lambda item: (-item[1][0], item[0]))[:number]
        return tuple(NameCount(name_text(name), count[0], count[1]) for name, count in found)

    def _make_room(self) -> None:
        kept = sorted(self._counts.items(), key=lambda item: -item[1][0])[: NAMES_LIMIT // 2]
        self._counts = dict(kept)


_HELP = {
    "udp_queries": "Queries by UDP.",
    "tcp_queries": "Queries by TCP.",
    "prepared_hits": "Queries answered from bytes that were ready.",
    "cache_hits": "Queries for names outside of the cluster answered from the cache.",
    "cache_misses": "Queries for names outside of the cluster that were not in the cache.",
    "forwarded": "Questions sent upstream.",
    "prefetched": "Questions sent upstream before the answer that is kept ends.",
    "stale": "Queries answered with what was true before, because nobody upstream said anything.",
    "upstream_retries": "Questions sent to one more upstream server.",
    "upstream_failures": "Questions that no upstream server answered.",
    "refused_busy": "Queries refused because too many waited for upstream servers.",
    "malformed": "Messages that are no query.",
    "dropped": "Replies and connections that were dropped.",
    "strangers": "Queries of those whom this node does not serve.",
    "floods": "Clients that had to be limited.",
    "faults": "Defects of the server that a query brought to light.",
}


def samples_of(counts: DnsCounts) -> Iterator[Sample]:
    """As Prometheus has them."""
    for name, help_text in _HELP.items():
        if name in counts.counts:
            yield counter(f"netloom_dns_{name}_total", help_text, counts.counts[name])
    for name, value in counts.counts.items():
        if name.startswith("rcode_"):
            rcode = _rcode_text(int(name.removeprefix("rcode_")))
            yield counter("netloom_dns_replies_total", "Replies by response code.", value, rcode=rcode)
    yield from _of_names(counts.names)
    text = "Time until an upstream server answered."
    yield Sample("netloom_dns_upstream_seconds", text, Kind.HISTOGRAM, counts.upstream_seconds)
    text = "Time from taking a query to its reply, without upstream servers."
    yield Sample("netloom_dns_reply_seconds", text, Kind.HISTOGRAM, counts.reply_seconds)
    yield gauge("netloom_dns_cache_entries", "Upstream answers that are kept.", counts.cache_entries)
    yield gauge("netloom_dns_cache_bytes", "About what they take.", counts.cache_bytes)
    yield gauge("netloom_dns_zone_names", "Names of the cluster.", counts.zone_names)
    yield gauge("netloom_dns_upstreams_down", "Upstream servers that do not answer.", len(counts.down))


def _of_names(names: Iterable[NameCount]) -> Iterator[Sample]:
    queries = "Queries for the names that are asked for most."
    failures = "Queries for these names that were answered with an error."
    for one in names:
        labels = (("name", one.name),)
        yield Sample("netloom_dns_name_queries_total", queries, Kind.COUNTER, one.queries, labels)
        yield Sample("netloom_dns_name_failures_total", failures, Kind.COUNTER, one.failures, labels)


def _rcode_text(number: int) -> str:
    return Rcode(number).name if number in {int(one) for one in Rcode} else str(number)
