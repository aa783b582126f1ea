"""Who answers what: an ordered tuple of handlers, the first that has something to say ends it.

Comes in: a Query. Goes out: an Answer, an Ask (somebody upstream must know), or None (not mine).
A handler for the search path of the asking pod would stand before ``ClusterNames``.
"""

from __future__ import annotations

from typing import Protocol

from netloom.dns.answers import BADVERS, NOTIMP, REFUSED, SERVFAIL, Answer, Ask
from netloom.dns.wire import (
    CLASS_IN,
    FIRST_META_TYPE,
    TYPE_ANY,
    TYPE_AXFR,
    TYPE_IXFR,
    TYPE_OPT,
    Query,
    Rcode,
    encode_name,
    suffixes,
)
from netloom.dns.zone import Zone

_REVERSE = (encode_name("in-addr.arpa"), encode_name("ip6.arpa"))


class Handler(Protocol):
    """One kind of names, or of queries."""

    def answer(self, query: Query) -> Answer | Ask | None:
        """What to say, or None to leave it to the next handler."""


class UnservedQueries:
    """Queries that nobody here answers: other opcodes and classes, zone transfers, unknown EDNS versions."""

    def answer(self, query: Query) -> Answer | Ask | None:
        """The refusal, or None for a query that is served."""
        if query.edns is not None and query.edns.version != 0:
            return BADVERS
        if query.opcode != 0:
            return NOTIMP
        if query.type == TYPE_OPT:
            return Answer(Rcode.FORMERR)
        if query.klass != CLASS_IN or query.type in (TYPE_AXFR, TYPE_IXFR):
            return REFUSED
        if FIRST_META_TYPE <= query.type < TYPE_ANY:
            return NOTIMP
        return None


class ClusterNames:
    """Names under the cluster domain. While the zone is not synced, nothing is said of what exists: SERVFAIL."""

    def __init__(self, *, zone: Zone, cluster_domain: str) -> None:
        self._zone = zone
        self._domain = encode_name(cluster_domain)

    def answer(self, query: Query) -> Answer | Ask | None:
        """The zone's word; REFUSED where the agent feeds another domain than this server is configured for."""
        if not _is_within(query.folded, (self._domain,)):
            return None
        return (self._zone.answer(query) or REFUSED) if self._zone.synced else SERVFAIL


class ReverseNames:
    """Names of addresses. Those of pods and Services are the zone's; of others it may know some, the rest is not ours."""

    def __init__(self, *, zone: Zone) -> None:
        self._zone = zone

    def answer(self, query: Query) -> Answer | Ask | None:
        """The zone's word, or None for an address that it does not know; SERVFAIL while it cannot tell these apart."""
        if not _is_within(query.folded, _REVERSE):
            return None
        return self._zone.answer(query) if self._zone.synced else SERVFAIL


class OtherNames:
    """Everything else is for upstream servers, if the client wants us to ask them."""

    def answer(self, query: Query) -> Answer | Ask | None:
        """An Ask; REFUSED to a client that did not ask for recursion."""
        return Ask(query.folded) if query.recursion_desired else REFUSED


def _is_within(folded: bytes, zones: tuple[bytes, ...]) -> bool:
    # Only at the beginning of a label: the bytes of a zone's name may also lie inside of a strange label.
    return any(folded.endswith(z) and len(folded) - len(z) in suffixes(folded) for z in zones)
