"""The fast path: from the bytes of a usual query to the bytes of its reply in one look-up.

Comes in: datagrams; answers that the zone made. Goes out: replies, or None where the query has to be read properly.
Only queries of the two usual shapes are known here: RD (and perhaps AD) set, one question, and nothing else or an OPT
record without options. What an answer depends on is the zone's to know; it says what to forget.
"""

from __future__ import annotations

from netloom.dns.answers import Answer, prepared_head
from netloom.dns.counters import Counters
from netloom.dns.wire import CLASS_IN, HEADER, PLAIN_UDP_SIZE, UDP_SIZE, Query, opt_record
from netloom.model.names.records import RecordType

_ONE_QUESTION = b"\0\1\0\0\0\0\0\0"
_ONE_QUESTION_AND_OPT = b"\0\1\0\0\0\0\0\1"
_PLAIN = frozenset(flags + _ONE_QUESTION for flags in (b"\1\0", b"\1\x20"))
_EDNS = frozenset(flags + _ONE_QUESTION_AND_OPT for flags in (b"\1\0", b"\1\x20"))
_OPT = opt_record()
_OPT_START = _OPT[:3]
_OPT_END = _OPT[5:]
_TAILS = tuple(int(t).to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big") for t in RecordType)
"""Type and class of the questions kept. Lower case leaves them as they are, so a whole question is folded at once."""
_LARGEST = UDP_SIZE - len(_OPT)
"""Larger replies would only ever be cut, and that is not done here."""
PASSING_LIMIT = 50_000

_Entry = tuple[bytes, bytes, bytes, int, int, int]
"""Head for a plain query and for one with OPT, body, length of the reply without OPT, stride, rcode."""


class PreparedAnswers:
    """Answers by question bytes in lower case."""

    def __init__(self, *, counters: Counters) -> None:
        self._counters = counters
        self._entries: dict[bytes, _Entry] = {}
        self._passing: set[bytes] = set()
        self._turn = 1

    def __len__(self) -> int:
        return len(self._entries)

    def reply(self, data: bytes) -> bytes | None:
        """The reply to a datagram, case of the question kept as asked; None where nothing is ready for it."""
        head = data[2:12]
        if head in _PLAIN:
            question = data[12:]
            entry = self._entries.get(question.lower())
            if entry is None or entry[3] > PLAIN_UDP_SIZE:
                return None
            start, _, body, _, stride, rcode = entry
            end = b""
        elif head in _EDNS and data[-11:-8] == _OPT_START and data[-6:] == _OPT_END:
            question = data[12:-11]
            entry = self._entries.get(question.lower())
            # Below 512 the size is not taken at its word, and the fast path leaves that to others.
            if entry is None or entry[3] + 11 > (data[-8] << 8 | data[-7]):
                return None
            _, start, body, _, stride, rcode = entry
            end = _OPT
        else:
            return None
        if stride:
            body = self._turned(body, stride)
        self._counters.prepared_hits += 1
        self._counters.rcodes[rcode] += 1
        return data[:2] + start + question + body + end

    def keep(self, query: Query, answer: Answer, *, passing: bool) -> None:
        """Have an answer ready from now on. ``passing`` ones are forgotten all together, with the next change."""
        tail = query.question[-4:]
        size = HEADER.size + len(query.question) + len(answer.body)
        if tail not in _TAILS or size > _LARGEST:
            return
        key = query.folded + tail
        if passing:
            if len(self._passing) >= PASSING_LIMIT:
                self.forget_passing()
            self._passing.add(key)
        heads = prepared_head(answer, edns=False), prepared_head(answer, edns=True)
        self._entries[key] = (*heads, answer.body, size, answer.stride, answer.rcode)

    def forget(self, folded: bytes) -> None:
        """The answers for one name are no longer right."""
        for tail in _TAILS:
            self._entries.pop(folded + tail, None)

    def forget_passing(self) -> None:
        """What depends on more than the name asked is no longer right."""
        for key in self._passing:
            self._entries.pop(key, None)
        self._passing.clear()

    def clear(self) -> None:
        """Nothing is right any more."""
        self._entries.clear()
        self._passing.clear()

    def _turned(self, body: bytes, stride: int) -> bytes:
        """The same records, another one first, so that clients that take the first spread over all."""
        # A plain count would go in step with clients that ask A and AAAA by turns.
        self._turn = self._turn * 1_103_515_245 + 12_345 & 0x7FFFFFFF
        at = (self._turn >> 8) % (len(body) // stride) * stride
        return body[at:] + body[:at]
