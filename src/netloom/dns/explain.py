"""What a resolver in a pod would ask for a name, one expansion after the other, and where each answer comes from.

Comes in: the address of a pod, a name, a type. Goes out: an Explanation. The questions are answered by the same handlers as those of the
pod, and upstream servers are really asked. Not here: the socket (``linux/questions``).
"""

from __future__ import annotations

import ipaddress
import secrets

import msgspec

from netloom.clock import Clock
from netloom.dns.answers import Answer, Ask, Later, assemble
from netloom.dns.clients import Client, Clients, SearchPath
from netloom.dns.explanation import Expansion, Explanation, Question
from netloom.dns.records import expand, sections
from netloom.dns.server import STREAM_SIZE, QueryServer
from netloom.dns.texts import NAMES, record_text, type_text
from netloom.dns.wire import (
    CLASS_IN,
    HEADER,
    MAX_NAME,
    RD,
    Malformed,
    Query,
    Rcode,
    encode_name,
    name_text,
    parse_query,
)
from netloom.dns.zone import Zone
from netloom.errors import UsageError

_ORIGINS = {
    "UnservedQueries": "not served",
    "RewrittenNames": "rewritten by the configuration",
    "FixedNames": "fixed by the configuration",
    "SearchedNames": "the search path of the pod, walked here",
    "ClusterNames": "the cluster's names",
    "ReverseNames": "the cluster's names",
    "OtherNames": "",
}


class Explainer:
    """Answers questions about answers."""

    def __init__(self, *, server: QueryServer, clients: Clients, zone: Zone, clock: Clock) -> None:
        self._server = server
        self._clients = clients
        self._zone = zone
        self._clock = clock

    async def answer(self, words: str) -> Explanation:
        """The answer to a :class:`Question` as JSON.

        Raises:
            UsageError: it is none; names the field.
        """
        try:
            asked = msgspec.json.decode(words, type=Question)
            address = ipaddress.ip_address(asked.client).packed
        except (msgspec.MsgspecError, ValueError) as error:
            raise UsageError(f"dns question: {error}") from error
        kind = NAMES.get(asked.type.upper())
        if kind is None:
            raise UsageError(
                f"dns question: type {asked.type!r} is not known here", f"one of {', '.join(sorted(NAMES))}"
            )
        client = self._clients.at(address)
        if client is None:
            problem = "is neither a pod of this node nor the node itself: it gets no answer"
            return Explanation(asked.client, problem=problem)
        found = []
        for name in _candidates(asked.name, client.path):
            found.append(await self._ask(name, kind, client))
            if found[-1].rcode == Rcode.NOERROR.name and found[-1].records:
                break
        path = client.path
        return Explanation(
            asked.client,
            client.pod,
            tuple(map(name_text, (path.first, *path.others))) if path else (),
            path.ndots if path else 0,
            self._zone.generation,
            tuple(found),
        )

    async def _ask(self, name: bytes, kind: int, client: Client) -> Expansion:
        head = HEADER.pack(secrets.randbelow(1 << 16), RD, 1, 0, 0, 0)
        query = parse_query(head + name + kind.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big"))
        began = self._clock.monotonic()
        handler, said = self._server.decide(query, client)
        origin, server, age, stale = _ORIGINS.get(handler, handler), "", None, False
        if isinstance(said, Later):
            return Expansion(
                name_text(name), type_text(kind), "the agent has not told the cluster's names yet", "SERVFAIL"
            )
        if isinstance(said, Ask):
            was_kept = self._server.kept(query, said)
            answer = await self._server.ask_upstream(query, said)
            now_kept = self._server.kept(query, said)
            origin = ", ".join(filter(None, (origin, self._upstream_text(query, said))))
            if now_kept is not None:
                server, stale = now_kept.reply.server, now_kept.is_stale
            if was_kept is not None and not was_kept.is_stale:
                age = was_kept.age_s
        else:
            answer = said
        took = (self._clock.monotonic() - began) * 1000
        return Expansion(
            name_text(name),
            type_text(kind),
            origin,
            Rcode(answer.rcode).name if answer.rcode in Rcode.__members__.values() else str(answer.rcode),
            _records(query, answer),
            server,
            age,
            round(took, 3),
            stale,
        )

    def _upstream_text(self, query: Query, ask: Ask) -> str:
        return "upstream" if ask.name == query.folded else f"upstream, for {name_text(ask.name)}"


def _candidates(text: str, path: SearchPath | None) -> list[bytes]:
    """What a resolver asks for, in order (resolv.conf(5): search, ndots)."""
    try:
        itself = encode_name(text)
    except Malformed as error:
        raise UsageError(f"dns question: {error.problem}") from error
    if path is None or text.endswith("."):
        return [itself]
    domains = (path.first, *path.others)
    searched = [itself[:-1] + domain for domain in domains if len(itself) - 1 + len(domain) <= MAX_NAME]
    dots = text.count(".")
    return [itself, *searched] if dots >= path.ndots else [*searched, itself]


def _records(query: Query, answer: Answer) -> tuple[str, ...]:
    message = assemble(query, answer, STREAM_SIZE)
    found = sections(message, HEADER.size + len(query.question))
    return tuple(record_text(expand(message, where)) for where in found if where.section == 0)
