"""The names that we are the authority of, and answers from them.

Comes in: record sets with a generation (feed.py), queries. Goes out: an Answer, an Ask (an alias leads elsewhere), or None
(not our name). An answer is made at the first query after a change and kept as bytes (prepared.py) until the next.
NXDOMAIN and NODATA are those of RFC 2308: a name that is in the zone's data exists, even without records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netloom.dns.answers import Answer, Ask, write_answer
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.records import Record, data_of
from netloom.dns.wire import (
    AA,
    CLASS_IN,
    FIXED,
    HEADER,
    TYPE_ANY,
    TYPE_CNAME,
    TYPE_SOA,
    Query,
    Rcode,
    encode_name,
    suffixes,
)
from netloom.model.names.records import RecordSet, RecordSets, RecordType

_CHAIN_LIMIT = 8
"""Aliases of the cluster that lead to each other; a longer chain is a loop."""
_ADDITIONAL_LIMIT = 128
"""SRV targets whose addresses go along."""
_ADDRESS_TYPES = (RecordType.A, RecordType.AAAA)


class Zone:
    """Everything that the agent said. Not synced until the first whole set has arrived."""

    def __init__(self, *, prepared: PreparedAnswers) -> None:
        self._prepared = prepared
        self._names: dict[bytes, RecordSets] = {}
        self._negative: dict[bytes, bytes] = {}
        self.synced = False
        """A whole set has arrived, so what is not here does not exist."""
        self.generation = 0
        """The agent's number of what is answered now."""

    def __len__(self) -> int:
        return len(self._names)

    def replace(self, generation: int, zones: Iterable[str], names: dict[bytes, RecordSets]) -> None:
        """Answer from this whole set from now on, and from nothing else.

        Raises:
            Malformed: a zone's name or its SOA record is none; nothing has changed.
        """
        negative = {}
        for zone in zones:
            apex = encode_name(zone)
            soa = next((s for s in names.get(apex, ()) if s.type == RecordType.SOA), None)
            if soa is not None:
                data = data_of(soa.type, soa.data[0])
                # RFC 2308, section 5: the ttl of a negative answer is the smaller of the SOA's own and its last number.
                ttl = min(soa.ttl, int.from_bytes(data[-4:], "big"))
                negative[apex] = FIXED.pack(TYPE_SOA, CLASS_IN, ttl, len(data)) + data
        self._names, self._negative = names, negative
        self._prepared.clear()
        self.synced, self.generation = True, generation

    def update(self, generation: int, upserts: Mapping[str, RecordSets], removals: Iterable[str]) -> None:
        """Take one change in.

        Raises:
            Malformed: a name is none; nothing has changed.
        """
        fresh = {encode_name(name): sets for name, sets in upserts.items()}
        gone = [encode_name(name) for name in removals]
        for name in gone:
            self._names.pop(name, None)
            self._prepared.forget(name)
        for name in fresh:
            self._prepared.forget(name)
        self._names.update(fresh)
        self._prepared.forget_passing()
        self.generation = generation

    def answer(self, query: Query) -> Answer | Ask | None:
        """What the zone says to a query of class IN; None where the name is not ours."""
        sets = self._names.get(query.folded)
        if sets is None:
            return self._missing(query, query.folded, ())
        alias = _of_type(sets, TYPE_CNAME)
        if alias is not None and query.type not in (TYPE_CNAME, TYPE_ANY):
            return self._follow(query, alias)
        return self._from_sets(query, query.folded, sets, ())

    def _follow(self, query: Query, alias: RecordSet) -> Answer | Ask | None:
        """An ExternalName: its target may be ours, too."""
        chain: list[Record] = []
        name = query.folded
        found: RecordSet | None = alias
        while found is not None:
            if len(chain) >= _CHAIN_LIMIT:
                return Answer(Rcode.SERVFAIL)
            target = encode_name(found.data[0])
            chain.append(Record(name, TYPE_CNAME, CLASS_IN, found.ttl, target))
            name = target
            sets = self._names.get(name)
            if sets is None:
                return self._missing(query, name, tuple(chain)) or Ask(name, tuple(chain))
            found = _of_type(sets, TYPE_CNAME)
        return self._from_sets(query, name, self._names[name], tuple(chain)) or Ask(name, tuple(chain))

    def _missing(self, query: Query, name: bytes, chain: tuple[Record, ...]) -> Answer | None:
        """NXDOMAIN where the name would be in a zone of ours."""
        answer = self._no_records(query, name, chain, Rcode.NXDOMAIN)
        if answer is not None:
            self._prepared.keep(query, answer, passing=True)
        return answer

    def _from_sets(
        self, query: Query, name: bytes, sets: RecordSets, chain: tuple[Record, ...]
    ) -> Answer | None:
        wanted = _of_type(sets, query.type)
        if query.type == TYPE_ANY and sets:
            wanted = sets[0]  # RFC 8482, section 4.1: one set is enough of an answer
        if wanted is None:
            answer = self._no_records(query, name, chain, Rcode.NOERROR)
        else:
            answer = self._positive(query, name, wanted, chain)
        if answer is not None:
            elsewhere = bool(chain) or (wanted is not None and wanted.type == RecordType.SRV)
            self._prepared.keep(query, answer, passing=elsewhere)
        return answer

    def _positive(self, query: Query, name: bytes, wanted: RecordSet, chain: tuple[Record, ...]) -> Answer:
        if not chain and wanted.type in _ADDRESS_TYPES:
            data = [data_of(wanted.type, text) for text in wanted.data]
            own = (0xC000 | HEADER.size).to_bytes(2, "big")
            head = own + FIXED.pack(wanted.type, CLASS_IN, wanted.ttl, len(data[0]))
            body = b"".join(head + address for address in data)
            stride = len(head) + len(data[0]) if len(data) > 1 else 0
            return Answer(Rcode.NOERROR, AA, len(data), body=body, stride=stride)
        records = _records(name, wanted)
        additional = self._targets(wanted) if wanted.type == RecordType.SRV else []
        return write_answer(query.name, (*chain, *records), additional=additional)

    def _targets(self, wanted: RecordSet) -> list[Record]:
        """Addresses of SRV targets (RFC 2782: servers should give them along)."""
        targets = dict.fromkeys(encode_name(text.rsplit(" ", 1)[1]) for text in wanted.data)
        records: list[Record] = []
        for target in list(targets)[:_ADDITIONAL_LIMIT]:
            for one in self._names.get(target, ()):
                if one.type in _ADDRESS_TYPES:
                    records += _records(target, one)
        return records

    def _no_records(self, query: Query, name: bytes, chain: tuple[Record, ...], rcode: int) -> Answer | None:
        """A negative answer with the SOA record of the innermost zone that the name is in; None where it is in none."""
        for at in suffixes(name):
            fixed = self._negative.get(name[at:])
            if fixed is None:
                continue
            if chain:
                soa = Record(
                    name[at:], TYPE_SOA, CLASS_IN, int.from_bytes(fixed[4:8], "big"), fixed[FIXED.size :]
                )
                return write_answer(query.name, chain, (soa,), rcode=rcode)
            pointer = (0xC000 | HEADER.size + at).to_bytes(2, "big")
            return Answer(rcode, AA, authority=1, body=pointer + fixed)
        return None


def _of_type(sets: RecordSets, type_: int) -> RecordSet | None:
    return next((s for s in sets if s.type == type_), None)


def _records(name: bytes, one: RecordSet) -> list[Record]:
    return [Record(name, one.type, CLASS_IN, one.ttl, data_of(one.type, text)) for text in one.data]
