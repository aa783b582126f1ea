"""The search path of the pod that asks, walked here: one reply in the place of up to five.

Comes in: a query, and who sent it. Goes out: an Answer for the first completion of the name that has records, under the name asked; an
Ask for a name outside of the cluster; or None where nothing is to be completed.

A resolver with ``search shop.svc.cluster.local svc.cluster.local cluster.local`` and ``ndots:5`` asks for ``web.other`` as
``web.other.shop.svc.cluster.local`` first. That name is not there; what the resolver would ask for next is tried here at once, in its
order, and what is found is given under the name that was asked. Nothing is found: that is NXDOMAIN, the truth about the name
asked, and the resolver goes its way to the end. A and AAAA agree, for it is the name that is looked for, not a type.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netloom.dns.answers import LATER, Answer, Ask, Kept, Later
from netloom.dns.clients import Client
from netloom.dns.handlers import Handler
from netloom.dns.wire import CD, MAX_NAME, TYPE_ANY, Query, Rcode, suffixes
from netloom.dns.zone import Zone


class SearchedNames:
    """Names that are the first completion by the asker's search path, and are not there.

    Args:
        zone: the names of the cluster.
        before: who answers names before anybody is asked upstream; they are asked for the name as it is, to be given under the one asked.
    """

    def __init__(self, *, zone: Zone, before: Sequence[Handler] = ()) -> None:
        self._zone = zone
        self._before = tuple(before)

    def answer(self, query: Query, client: Client) -> Answer | Ask | Later | None:
        """See the module. Whoever checks signatures (DO, CD) is told the plain truth: an answer under another name would not bear one."""
        path = client.path
        if path is None or not query.folded.endswith(path.first):
            return None
        if query.type == TYPE_ANY or query.flags & CD or (query.edns is not None and query.edns.dnssec_ok):
            return None
        end = len(query.folded) - len(path.first)
        starts = suffixes(query.folded)
        if not end or end not in starts:
            return None
        if not self._zone.synced:
            return LATER
        if not self._zone.is_within(path.first) or self._zone.exists(query.folded):
            return None
        return self._complete(query, client, query.folded[:end], starts.index(end) - 1)

    def _complete(self, query: Query, client: Client, name: bytes, dots: int) -> Answer | Ask | Later:
        path = client.path
        assert path is not None  # noqa: S101  answer() has looked
        tried: list[bytes] = []
        for domain in path.others:
            if not self._zone.is_within(domain):
                # The next one is for upstream servers, and after it may come others: the resolver goes on by itself.
                return self._nothing(query, tried)
            candidate = name + domain
            if len(candidate) > MAX_NAME:
                continue
            tried.append(candidate)
            if self._zone.has_records(candidate):
                return self._found(query, candidate, tried)
        # With so many dots the resolver has asked for the name as it is already; a single label it will ask for by itself.
        if dots >= path.ndots or not dots:
            return self._nothing(query, tried)
        itself = name + b"\0"
        if not self._zone.is_within(itself):
            return self._outside(query, client, itself, tried)
        tried.append(itself)
        return (
            self._found(query, itself, tried)
            if self._zone.has_records(itself)
            else self._nothing(query, tried)
        )

    def _outside(self, query: Query, client: Client, name: bytes, tried: list[bytes]) -> Answer | Ask | Later:
        for handler in self._before:
            said = handler.answer(msgspec.structs.replace(query, folded=name), client)
            if said is not None:
                return msgspec.structs.replace(said, kept=Kept.NOT) if isinstance(said, Answer) else said
        return Ask(name, owner=query.name) if query.recursion_desired else self._nothing(query, tried)

    def _found(self, query: Query, name: bytes, tried: list[bytes]) -> Answer | Ask:
        said = self._zone.answer(query, name, tuple(tried))
        return said if said is not None else self._nothing(query, tried)

    def _nothing(self, query: Query, tried: list[bytes]) -> Answer:
        return self._zone.deny(query, Rcode.NXDOMAIN, tuple(tried), Kept.FOR_PATH)
