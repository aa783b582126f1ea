"""What the server has done, in plain integers that metrics read later. One writer: the event loop."""

from __future__ import annotations

from netloom.metrics import Histogram

REPLY_S = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
"""Upper bounds of buckets, in seconds."""


class Counters:
    """Counts since the process began."""

    def __init__(self) -> None:
        self.udp_queries = 0
        self.tcp_queries = 0
        self.prepared_hits = 0
        """Queries answered from bytes that were ready, as far as they have been counted (``PreparedAnswers.settle``)."""
        self.cache_hits = 0
        self.cache_misses = 0
        self.forwarded = 0
        """Questions sent upstream; several clients that wait for the same one count once."""
        self.upstream_retries = 0
        self.upstream_failures = 0
        """Questions that no upstream answered."""
        self.prefetched = 0
        """Questions sent upstream although the answer was still good: it is used often and would end soon."""
        self.stale = 0
        """Queries answered with what was true before, because nobody upstream said anything."""
        self.reply_seconds = Histogram(REPLY_S)
        """From taking a query to its reply, or to the question for upstream servers that it comes to."""
        self.upstream_seconds = Histogram()
        """How long answers of upstream servers took."""
        self.refused_busy = 0
        """Queries answered SERVFAIL because too many were waiting for upstreams."""
        self.malformed = 0
        self.dropped = 0
        """Replies that the kernel did not take, and connections over the limit."""
        self.strangers = 0
        """Queries and connections of those whom this node does not serve."""
        self.floods = 0
        """Clients that had to be limited, each time anew."""
        self.limited_clients = 0
        """Clients that are limited now."""
        self.faults = 0
        """Defects of our own that a query brought to light."""
        self.rcodes = [0] * 24
        """Replies by rcode; BADVERS is 16."""
        self.feed_frames = 0
        self.feed_sets = 0
        """Whole record sets taken over from the agent."""

    def as_dict(self) -> dict[str, int]:
        """All counts by name, rcodes as ``rcode_N``; zeros of rcodes are left out."""
        counts = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        counts.update({f"rcode_{n}": count for n, count in enumerate(self.rcodes) if count})
        return counts
