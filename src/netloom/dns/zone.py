"""The names that we are the authority of, and answers from them.

Comes in: record sets with a generation (feed.py), queries. Goes out: an Answer, an Ask (an alias leads elsewhere), or None (not our
name). NXDOMAIN and NODATA are those of RFC 2308: a name that is in the zone's data exists, even without records.
Not here: who asks, and what a search path completes (``search.py``).

A name's records are kept as the bytes of an answer (``records.pack``): 150,000 names are some 30 MB, and an answer is a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from netloom.dns.answers import Answer, Ask, Kept, write_answer
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.records import OWN_NAME, Record, packed_sets, records_of
from netloom.dns.wire import (
    AA,
    CLASS_IN,
    FIXED,
    HEADER,
    TYPE_ANY,
    TYPE_CNAME,
    TYPE_SOA,
    Malformed,
    Query,
    Rcode,
    encode_name,
    skip_name,
    suffixes,
)
from netloom.model.names.records import RecordType

_CHAIN_LIMIT = 8
"""Aliases of the cluster that lead to each other; a longer chain is a loop."""
_ADDITIONAL_LIMIT = 128
"""SRV targets whose addresses go along."""
_ADDRESS_TYPES = (RecordType.A, RecordType.AAAA)
_WILDCARD = b"\1*"
_ZONAL = b"\5_zone"
"""Wildcards are below this label only; other missing names are not searched for one."""
_RETIRED_AT_ONCE = 2_000


class Zone:
    """Everything that the agent said. Not synced until the first whole set has arrived."""

    def __init__(self, *, prepared: PreparedAnswers) -> None:
        self._prepared = prepared
        self._names: dict[bytes, bytes] = {}
        self._negative: dict[bytes, bytes] = {}
        self._retired: list[dict[bytes, bytes]] = []
        self._waiting: list[Callable[[], None]] = []
        self.synced = False
        """A whole set has arrived, so what is not here does not exist."""
        self.generation = 0
        """The agent's number of what is answered now."""

    def __len__(self) -> int:
        return len(self._names)

    def when_synced(self, call: Callable[[], None]) -> None:
        """Call this once, as soon as the first whole set has arrived."""
        if self.synced:
            call()
        else:
            self._waiting.append(call)

    def differs(self, name: bytes, packed: bytes) -> bool:
        """Whether answers for a name would change if it had these records."""
        return self._names.get(name) != packed

    def replace(
        self,
        generation: int,
        zones: Iterable[str],
        names: dict[bytes, bytes],
        changed: Sequence[bytes] | None = None,
    ) -> None:
        """Answer from this whole set from now on, and from nothing else.

        Args:
            generation: its number.
            zones: apexes of what is ours.
            names: packed record sets by name; kept, not copied.
            changed: of ``names``, those that are new or other than before, where the caller knows; all that is ready is forgotten
                otherwise.

        Raises:
            Malformed: a zone's name or its SOA record is none; nothing has changed.
        """
        negative = {}
        for zone in zones:
            apex = encode_name(zone)
            soa = next((body for t, _, body in packed_sets(names.get(apex, b"")) if t == TYPE_SOA), None)
            if soa is not None:
                negative[apex] = _negative_soa(soa)
        former, self._names = self._names, names
        if changed is None or negative != self._negative:
            self._prepared.clear()
        else:
            fresh = [name for name in changed if name not in former]
            if len(former) + len(fresh) != len(names):
                self._prepared.forget(former.keys() - names.keys())
            self._prepared.forget(changed)
        self._negative = negative
        self._retired.append(former)
        self.synced, self.generation = True, generation
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    def retire(self) -> bool:
        """Give back some of what former sets took; False where nothing is left. 300,000 objects at once would cost 20 ms."""
        if not self._retired:
            return False
        former = self._retired[-1]
        for _ in range(min(_RETIRED_AT_ONCE, len(former))):
            former.popitem()
        if not former:
            self._retired.pop()
        return bool(self._retired)

    def update(self, generation: int, upserts: Mapping[bytes, bytes], removals: Sequence[bytes]) -> None:
        """Take one change in."""
        for name in removals:
            self._names.pop(name, None)
        self._names.update(upserts)
        self._prepared.forget(removals)
        self._prepared.forget(upserts)
        self.generation = generation

    def is_within(self, name: bytes) -> bool:
        """Whether a name is in a zone of ours, or known in spite of that."""
        return name in self._names or any(name[at:] in self._negative for at in suffixes(name))

    def exists(self, name: bytes) -> bool:
        """Whether a name has records, or others end in it."""
        return self._find(name) is not None

    def has_records(self, name: bytes) -> bool:
        """Whether a name has any record itself."""
        return bool(self._find(name))

    def answer(self, query: Query, name: bytes = b"", depends: tuple[bytes, ...] = ()) -> Answer | Ask | None:
        """What the zone says to a query of class IN; None where the name is not ours.

        Args:
            query: its name is the owner of what is answered.
            name: answer with the records of this name, in lower case, in place of the one asked.
            depends: the names, this one among them, that led there.
        """
        own = query.folded
        packed = self._find(name or own)
        if packed is None:
            return self._missing(query, own, (), depends)
        alias = _of_type(packed, TYPE_CNAME)
        if alias is not None and query.type not in (TYPE_CNAME, TYPE_ANY):
            return self._follow(query, alias, depends)
        # What a wildcard gives is not kept: nobody would hear of it when the wildcard goes.
        kept = Kept.FOR_PATH if depends else Kept.FOR_ALL
        if not self._names.get(name or own) and _ZONAL in (name or own):
            kept = Kept.NOT
        return self._from_sets(query, packed, (), depends, kept)

    def plain(self, name: bytes, type_: int) -> Answer | None:
        """The answer to a question for a name (lower case) that has records, the same for all; None where it takes more than a look.

        That is for ``PreparedAnswers.source``: names that are not there, aliases, and SRV records, whose targets have addresses, are not.
        """
        packed = self._names.get(name)
        if not packed or type_ in (TYPE_ANY, RecordType.SRV):
            return None
        for found, count, body in packed_sets(packed):
            if found == TYPE_CNAME:
                return None
            if found == type_:
                stride = len(body) // count if type_ in _ADDRESS_TYPES and count > 1 else 0
                return Answer(Rcode.NOERROR, AA, count, body=body, stride=stride)
        return self._denial(name, Rcode.NOERROR, (), Kept.FOR_ALL)

    def deny(
        self, query: Query, rcode: int, depends: tuple[bytes, ...] = (), kept: Kept = Kept.NOT
    ) -> Answer:
        """A negative answer to a query, as far as the zone of its name has an SOA record."""
        answer = self._no_records(query, query.folded, (), rcode, depends, kept)
        return answer if answer is not None else Answer(rcode)

    def _find(self, name: bytes) -> bytes | None:
        packed = self._names.get(name)
        if not packed and _ZONAL in name:
            given = self._wildcard(name)
            packed = packed if given is None else given
        return packed

    def _wildcard(self, name: bytes) -> bytes | None:
        """The records of ``*`` at the nearest name above that has one.

        A zone's name may have dots, and those of others must not hide the wildcard: so not the closest encloser of RFC 4592 counts.
        """
        for at in suffixes(name)[1:-1]:
            given = self._names.get(_WILDCARD + name[at:])
            if given is not None:
                return given
        return None

    def _follow(self, query: Query, alias: bytes, depends: tuple[bytes, ...]) -> Answer | Ask | None:
        """An ExternalName: its target may be ours, too."""
        chain: list[Record] = []
        name = query.folded
        passed = list(depends)
        found: bytes | None = alias
        while found is not None:
            if len(chain) >= _CHAIN_LIMIT:
                return Answer(Rcode.SERVFAIL)
            record = next(records_of(name, found))
            chain.append(record)
            name = record.data
            passed.append(name)
            packed = self._find(name)
            if packed is None:
                return self._missing(query, name, tuple(chain), tuple(passed)) or Ask(name, tuple(chain))
            found = _of_type(packed, TYPE_CNAME)
        kept = Kept.FOR_PATH if depends else Kept.FOR_ALL
        said = self._from_sets(query, packed or b"", tuple(chain), tuple(passed), kept)
        return said or Ask(name, tuple(chain))

    def _missing(
        self, query: Query, name: bytes, chain: tuple[Record, ...], depends: tuple[bytes, ...]
    ) -> Answer | None:
        """NXDOMAIN where the name would be in a zone of ours."""
        kept = Kept.NOT if _ZONAL in name else Kept.FOR_PATH
        return self._no_records(query, name, chain, Rcode.NXDOMAIN, depends, kept)

    def _from_sets(
        self, query: Query, packed: bytes, chain: tuple[Record, ...], depends: tuple[bytes, ...], kept: Kept
    ) -> Answer | None:
        found = next(
            (one for one in packed_sets(packed) if query.type in (one[0], TYPE_ANY)), None
        )  # RFC 8482, section 4.1: to ANY, one set is enough of an answer
        if found is None:
            name = chain[-1].data if chain else query.folded
            return self._no_records(query, name, chain, Rcode.NOERROR, depends, kept)
        type_, count, body = found
        if not chain and type_ != RecordType.SRV:
            stride = len(body) // count if type_ in _ADDRESS_TYPES and count > 1 else 0
            return Answer(Rcode.NOERROR, AA, count, body=body, stride=stride, kept=kept, depends=depends)
        records = list(records_of(chain[-1].data if chain else query.folded, body))
        additional: list[Record] = []
        if type_ == RecordType.SRV:
            targets = tuple(dict.fromkeys(one.data[6:] for one in records))[:_ADDITIONAL_LIMIT]
            additional = self._addresses_of(targets)
            depends = (*depends, *targets)
        return write_answer(query.name, (*chain, *records), additional=additional, kept=kept, depends=depends)

    def _addresses_of(self, targets: Iterable[bytes]) -> list[Record]:
        """Addresses of SRV targets (RFC 2782: servers should give them along)."""
        return [
            record
            for target in targets
            for type_, _, body in packed_sets(self._names.get(target, b""))
            if type_ in _ADDRESS_TYPES
            for record in records_of(target, body)
        ]

    def _no_records(
        self,
        query: Query,
        name: bytes,
        chain: tuple[Record, ...],
        rcode: int,
        depends: tuple[bytes, ...],
        kept: Kept,
    ) -> Answer | None:
        """A negative answer with the SOA record of the innermost zone that the name is in; None where it is in none."""
        if not chain:
            return self._denial(name, rcode, depends, kept)
        for at in suffixes(name):
            fixed = self._negative.get(name[at:])
            if fixed is not None:
                ttl = int.from_bytes(fixed[4:8], "big")
                soa = Record(name[at:], TYPE_SOA, CLASS_IN, ttl, fixed[FIXED.size :])
                return write_answer(query.name, chain, (soa,), rcode=rcode, kept=kept, depends=depends)
        return None

    def _denial(self, name: bytes, rcode: int, depends: tuple[bytes, ...], kept: Kept) -> Answer | None:
        """The same for the name that was asked itself."""
        for at in suffixes(name):
            fixed = self._negative.get(name[at:])
            if fixed is None:
                continue
            pointer = (0xC000 | HEADER.size + at).to_bytes(2, "big")
            return Answer(rcode, AA, authority=1, body=pointer + fixed, kept=kept, depends=depends)
        return None


def _negative_soa(body: bytes) -> bytes:
    """What follows the owner name of the SOA record in negative answers, from the packed set at an apex.

    Raises:
        Malformed: it is no SOA record.
    """
    at = len(OWN_NAME)
    if len(body) < at + FIXED.size:
        raise Malformed("SOA record is cut short")
    _, _, ttl, length = FIXED.unpack_from(body, at)
    data = body[at + FIXED.size :]
    if (
        length != len(data)
        or skip_name(data, skip_name(data, 0, compressed=False), compressed=False) + 20 != length
    ):
        raise Malformed("SOA record is none")
    # RFC 2308, section 5: the ttl of a negative answer is the smaller of the SOA's own and its last number.
    return FIXED.pack(TYPE_SOA, CLASS_IN, min(ttl, int.from_bytes(data[-4:], "big")), length) + data


def _of_type(packed: bytes, type_: int) -> bytes | None:
    return next((body for t, _, body in packed_sets(packed) if t == type_), None)
