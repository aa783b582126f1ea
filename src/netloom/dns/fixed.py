"""Names that the configuration itself answers: fixed addresses, and names that stand for others.

Comes in: a query. Goes out: an Answer, an Ask for the name that it stands for, or None for the next handler.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from netloom.dns.answers import LATER, SERVFAIL, Answer, Ask, Later, write_answer
from netloom.dns.clients import Client
from netloom.dns.config import Rewrite, RewriteKind
from netloom.dns.records import Record
from netloom.dns.wire import CLASS_IN, TYPE_ANY, Malformed, Query, Rcode, encode_name, name_text
from netloom.dns.zone import Zone
from netloom.model.names.records import RecordType
from netloom.model.names.reverse import reverse_name
from netloom.units import Addr

_TYPES = {4: RecordType.A, 6: RecordType.AAAA}


class FixedNames:
    """Names with addresses of their own, and the way back from these.

    Args:
        hosts: addresses by name (on the wire, lower case).
        ttl_s: of these records.
        reverse: whether addresses lead back to names; the first name that has one counts.
    """

    def __init__(self, hosts: Mapping[bytes, tuple[Addr, ...]], *, ttl_s: int, reverse: bool) -> None:
        self._records: dict[bytes, tuple[tuple[int, bytes], ...]] = {
            name: tuple((_TYPES[a.version], a.packed) for a in addresses) for name, addresses in hosts.items()
        }
        self._ttl_s = ttl_s
        if reverse:
            for name, addresses in hosts.items():
                for address in addresses:
                    back = encode_name(reverse_name(address))
                    self._records.setdefault(back, ((RecordType.PTR, name),))

    def answer(self, query: Query, client: Client) -> Answer | None:
        """The records; none of the type asked is NODATA."""
        records = self._records.get(query.folded)
        if records is None:
            return None
        found = [
            Record(query.name, type_, CLASS_IN, self._ttl_s, data)
            for type_, data in records
            if query.type in (type_, TYPE_ANY)
        ]
        return write_answer(query.name, found)


class RewrittenNames:
    """Names that are answered as if another had been asked, under the name that was asked.

    Args:
        zone: the names of the cluster.
        rewrites: with the compiled form of what they look for; the first that fits counts.
    """

    def __init__(self, *, zone: Zone, rewrites: Sequence[tuple[Rewrite, re.Pattern[str]]]) -> None:
        self._zone = zone
        self._rewrites = tuple(rewrites)

    def answer(self, query: Query, client: Client) -> Answer | Ask | Later | None:
        """What the other name has."""
        try:
            target = self._target(query)
        except Malformed:
            return SERVFAIL
        if target is None or target == query.folded:
            return None
        if not self._zone.synced:
            return LATER
        if self._zone.is_within(target):
            said = self._zone.answer(query, target, (target,))
            # no SOA record of ours can stand for a name outside, so that this is not kept by whoever hears it
            return said or Answer(Rcode.NOERROR if self._zone.exists(target) else Rcode.NXDOMAIN)
        return Ask(target, owner=query.name)

    def _target(self, query: Query) -> bytes | None:
        text = name_text(query.folded) if self._rewrites else ""
        for rewrite, pattern in self._rewrites:
            if (found := pattern.search(text)) is not None:
                return encode_name(_target(rewrite, found, text))
        return None


def _target(rewrite: Rewrite, found: re.Match[str], text: str) -> str:
    if rewrite.kind is RewriteKind.EXACT:
        return rewrite.target
    if rewrite.kind is RewriteKind.REGEX:
        target = rewrite.target
        for number, group in enumerate((found.group(0), *found.groups())):
            target = target.replace(f"{{{number}}}", group or "")
        return target
    return text[: found.start()] + rewrite.target.removesuffix(".") + text[found.end() :]
