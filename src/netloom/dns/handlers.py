"""Who answers what: an ordered tuple of handlers, the first that has something to say ends it.

Comes in: a Query, and the Client who sent it. Goes out: an Answer, an Ask (somebody upstream must know), Later (the names of the cluster
are still to come), or None (not mine).
"""

from __future__ import annotations

from typing import Protocol

from netloom.dns.answers import BADVERS, LATER, NOTIMP, REFUSED, Answer, Ask, Later
from netloom.dns.clients import Client
from netloom.dns.records import OWN_NAME
from netloom.dns.wire import (
    CLASS_CHAOS,
    CLASS_IN,
    FIRST_META_TYPE,
    FIXED,
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
from netloom.model.names.records import RecordType

_REVERSE = (encode_name("in-addr.arpa"), encode_name("ip6.arpa"))
_VERSION_NAMES = (encode_name("version.bind"), encode_name("version.server"))
_VERSION = b"netloom"
"""What we are. Which release is for those who may ask the node."""


class Handler(Protocol):
    """One kind of names, or of queries."""

    def answer(self, query: Query, client: Client) -> Answer | Ask | Later | None:
        """What to say, or None to leave it to the next handler."""


class UnservedQueries:
    """Queries that nobody here answers: other opcodes and classes, zone transfers, unknown EDNS versions."""

    def answer(self, query: Query, client: Client) -> Answer | None:
        """The refusal, or None for a query that is served."""
        if query.edns is not None and query.edns.version != 0:
            return BADVERS
        if query.opcode != 0:
            return NOTIMP
        if query.type == TYPE_OPT:
            return Answer(Rcode.FORMERR)
        if query.klass == CLASS_CHAOS:
            return _of_ourselves(query)
        if query.klass != CLASS_IN or query.type in (TYPE_AXFR, TYPE_IXFR):
            return REFUSED
        return NOTIMP if FIRST_META_TYPE <= query.type < TYPE_ANY else None


def _of_ourselves(query: Query) -> Answer:
    """``version.bind`` of class CHAOS, as name servers answer it since BIND 4 (RFC 4892, section 2)."""
    if query.folded not in _VERSION_NAMES or query.type not in (RecordType.TXT, TYPE_ANY):
        return REFUSED
    data = bytes((len(_VERSION),)) + _VERSION
    fixed = FIXED.pack(RecordType.TXT, CLASS_CHAOS, 0, len(data))
    return Answer(Rcode.NOERROR, answers=1, body=OWN_NAME + fixed + data)


class ClusterNames:
    """Names under the cluster domain. While the zone is not synced, nothing is said of what exists."""

    def __init__(self, *, zone: Zone, cluster_domain: str) -> None:
        self._zone = zone
        self._domain = encode_name(cluster_domain)

    def answer(self, query: Query, client: Client) -> Answer | Ask | Later | None:
        """The zone's word; REFUSED where the agent feeds another domain than this server is configured for."""
        if not _is_within(query.folded, (self._domain,)):
            return None
        return (self._zone.answer(query) or REFUSED) if self._zone.synced else LATER


class ReverseNames:
    """Names of addresses. Those of pods and Services are the zone's; of others it may know some, the rest is not ours."""

    def __init__(self, *, zone: Zone) -> None:
        self._zone = zone

    def answer(self, query: Query, client: Client) -> Answer | Ask | Later | None:
        """The zone's word, or None for an address that it does not know."""
        if not _is_within(query.folded, _REVERSE):
            return None
        return self._zone.answer(query) if self._zone.synced else LATER


class OtherNames:
    """Everything else is for upstream servers, if the client wants us to ask them."""

    def answer(self, query: Query, client: Client) -> Answer | Ask:
        """An Ask; REFUSED to a client that did not ask for recursion."""
        return Ask(query.folded) if query.recursion_desired else REFUSED


def _is_within(folded: bytes, zones: tuple[bytes, ...]) -> bool:
    # Only at the beginning of a label: the bytes of a zone's name may also lie inside of a strange label.
    return any(folded.endswith(z) and len(folded) - len(z) in suffixes(folded) for z in zones)
