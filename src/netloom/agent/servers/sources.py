"""Metrics of things that the agent has and that count nothing themselves.

Comes in: the thing, to be bound by whoever wires (``functools.partial``). Goes out: samples. What rooms count for themselves they tell
themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from netloom.metrics import Sample, gauge
from netloom.model.provenance import Finding


class NameFeed(Protocol):
    """Who tells the DNS process of changes (``agent/names.py``)."""

    @property
    def is_answered(self) -> bool:
        """A DNS process answers everything told so far."""

    @property
    def is_connected(self) -> bool:
        """A DNS process is connected that has had the whole set."""


def name_feed_samples(feed: NameFeed) -> Iterable[Sample]:
    """Whether the node's DNS process is there, and up to date."""
    text = "1 while the node's DNS process is connected and has had all names of the cluster."
    yield gauge("netloom_dns_feed_connected", text, feed.is_connected)
    text = "1 while the node's DNS process answers every change that it was told of."
    yield gauge("netloom_dns_feed_current", text, feed.is_answered)


def finding_samples(findings: Callable[[], Iterable[Finding]]) -> Iterable[Sample]:
    """How many fields of objects cannot be used as written, by kind of object."""
    kinds = Counter(finding.source.kind for finding in findings())
    text = "Fields of objects that cannot be used as written; the log says which and why."
    for kind in sorted({"Service", "EndpointSlice", "Node", *kinds}):
        yield gauge("netloom_findings", text, kinds[kind], kind=kind)
