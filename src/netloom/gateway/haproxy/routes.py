"""Which requests a rule takes: hosts and paths become entries of one map, conditions on anything else become chains behind them.

Comes in: hosts with rules in order of precedence. Goes out: map entries, lines of conditions, shares. Not here: what becomes of requests
(``lanes.py``), how the host is found (``names.py``).

A key is host and path with ``/`` behind it for a prefix and ``/?`` for an exact path: a path holds no ``?``, so that the longest key that
a request's own (host, path, ``/?``) begins with is the most special path of the host that it matches. Behind each key stand all rules that can
match there, in order: mostly one without further conditions. Where others come first, the key leads to a chain, which asks them one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import msgspec

from netloom.gateway.haproxy.lanes import Lanes
from netloom.gateway.haproxy.quote import argument, digest, is_path, is_token, label, word
from netloom.gateway.haproxy.told import NOTHING_THERE
from netloom.model.gateways import paths
from netloom.model.gateways.plan import Host, Match, PathKind, Rule, Share
from netloom.model.provenance import Source

BUCKETS = 1000
"""Weights are exact where they add up to no more, and to a thousandth beyond."""


_PLAIN = re.compile(r"(?:[A-Za-z0-9/_-](?![?*{]))*")
"""Characters that stand for themselves, and surely do so once."""


class Shares:
    """Weighted choices: a number of buckets for each, and who has which; entries of a map."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        """The lane of each bucket of each choice."""
        self.totals: dict[str, str] = {}
        """The number of buckets of each choice."""

    def absorb(self, other: Shares) -> None:
        """Take over what others have made."""
        self.entries.update(other.entries)
        self.totals.update(other.totals)

    def add(self, choices: Sequence[tuple[str, int]]) -> str:
        """The name of a choice among lanes by weight."""
        name = f"w{digest(*(f'{lane} {weight}' for lane, weight in choices))}"
        if name not in self.totals:
            filled = buckets([weight for _, weight in choices])
            self.totals[name] = str(sum(filled))
            lanes = (lane for (lane, _), count in zip(choices, filled, strict=True) for _ in range(count))
            self.entries.update((f"{name}/{number}", lane) for number, lane in enumerate(lanes))
        return name


def buckets(weights: Sequence[int]) -> list[int]:
    """How many of the buckets each has: in the ratio of the weights, at most :data:`BUCKETS` together."""
    divisor = math.gcd(*weights)
    reduced = [weight // divisor for weight in weights]
    total = sum(reduced)
    if total <= BUCKETS:
        return reduced
    exact = [weight * BUCKETS / total for weight in reduced]
    counts = [max(int(share), 1) for share in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: exact[i] - int(exact[i]), reverse=True)
    for index in by_rest[: max(BUCKETS - sum(counts), 0)]:
        counts[index] += 1
    return counts


class HostTold(msgspec.Struct, frozen=True):
    """What one host of a door comes to."""

    entries: dict[str, str]
    """Of the door's map."""
    lines: tuple[str, ...]
    """Chains."""
    acls: dict[str, str]
    """Conditions by name."""
    queries: dict[str, str]
    """Query parameters that are looked at: variable and sample."""
    lines_of: dict[str, Source]


class _Candidate(msgspec.Struct, frozen=True):
    order: int
    rule: Rule
    is_open: bool
    """It takes every request of its path."""


class Routes:
    """Rules of a door, made into keys and chains.

    Args:
        lanes: gets the lanes of the rules.
        shares: gets weighted choices.
        scheme: how requests come.
        port: of the door, as clients dial it.
        refused: sources of rules that HAProxy took nothing of: what they could have taken is answered with 500.
    """

    def __init__(
        self,
        lanes: Lanes,
        shares: Shares,
        scheme: str,
        port: int,
        refused: frozenset[Source | str] = frozenset(),
    ) -> None:
        self._refused = refused
        self._lanes = lanes
        self._shares = shares
        self._scheme = scheme
        self._port = port

    def host(self, host: Host | None, pattern: str, listener: int) -> HostTold:
        """What a host comes to.

        Args:
            host: None: nothing is there, everything is answered with 404.
            pattern: its name, as the keys begin.
            listener: number of the listener that has it.
        """
        told = HostTold({}, (), {}, {}, {})
        rules = [self._asked(one) for one in host.rules] if host is not None else ()
        lines: list[str] = []
        table = _Table(rules)
        for path, is_exact in table.nodes():
            key = f"{pattern}{path}/?" if is_exact else f"{pattern}{path}/"
            found = table.candidates(path, is_exact=is_exact)
            told.entries[key] = self._value(found, listener, told, lines)
        return msgspec.structs.replace(told, lines=tuple(dict.fromkeys(lines)))

    def _asked(self, rule: Rule) -> Rule:
        """Of a rule that HAProxy refused the patterns may be why: its lane, which answers with 500, has all that they could have meant.

        Who comes after it is not asked: it may be without the policy that this one has.
        """
        if rule.source not in self._refused or not _has_pattern(rule.match):
            return rule
        return msgspec.structs.replace(rule, match=_widened(rule.match))

    def _value(self, found: list[_Candidate], listener: int, told: HostTold, lines: list[str]) -> str:
        """What a key leads to."""
        if not found:
            return f"{NOTHING_THERE} {listener} -"
        if found[0].is_open:
            return self._target(found[0].rule, listener)
        steps: list[tuple[str, str, Source | None]] = []
        for candidate in found:
            conditions = "" if candidate.is_open else " ".join(self._conditions(candidate.rule.match, told))
            steps.append((self._target(candidate.rule, listener), conditions, candidate.rule.source))
        if not found[-1].is_open:
            steps.append((f"{NOTHING_THERE} {listener} -", "", None))
        chain = f"c{digest(*(f'{value} {conditions}' for value, conditions, _ in steps))}"
        for value, conditions, source in steps:
            to = word(f"str({argument(value)})")
            line = (
                f"http-request set-var(txn.to) {to} if {{ var(txn.to) -m beg {chain} }} {conditions}".rstrip()
            )
            lines.append(line)
            if source is not None:
                told.lines_of[line] = source
        return f"{chain} {listener} -"

    def _target(self, rule: Rule, listener: int) -> str:
        """Where a rule sends requests: lane or choice, listener, and the rule's name for logs."""
        return f"{self._way(rule)} {listener} {label(rule.name)}"

    def _way(self, rule: Rule) -> str:
        shares: list[Share] = [share for share in rule.shares if share.weight > 0]
        if rule.redirect is not None or rule.fault or not shares:
            return self._lanes.of(rule, None, self._scheme, self._port)
        if len(shares) == 1:
            return self._lanes.of(rule, shares[0], self._scheme, self._port)
        ways = [(self._lanes.of(rule, share, self._scheme, self._port), share.weight) for share in shares]
        return self._shares.add(ways)

    def _conditions(self, match: Match, told: HostTold) -> Iterator[str]:
        """Names of conditions; each is an ``acl`` line of the door."""
        if match.path_kind is PathKind.REGEX:
            yield _acl(told, f"path -m reg -- {word(_whole(match.path))}")
        if match.method:
            yield _acl(told, f"method -m str -- {word(match.method)}")
        for one in match.headers:
            if not is_token(one.name):
                yield "FALSE"
                continue
            how = f"reg -- {word(_whole(one.value))}" if one.is_regex else f"str -- {word(one.value)}"
            yield _acl(told, f"req.fhdr({one.name}) -m {how}")
        for one in match.queries:
            variable = f"txn.q_{digest(one.name)}"
            told.queries[variable] = word(f"urlp({argument(one.name)}),url_dec(1)")
            how = f"reg -- {word(_whole(one.value))}" if one.is_regex else f"str -- {word(one.value)}"
            yield _acl(told, f"var({variable}) -m {how}")


def _has_pattern(match: Match) -> bool:
    values = (*match.headers, *match.queries)
    return match.path_kind is PathKind.REGEX or any(one.is_regex for one in values)


def _widened(match: Match) -> Match:
    """Without its patterns: it takes at least what the match takes."""
    if match.path_kind is PathKind.REGEX:
        match = msgspec.structs.replace(match, path=f"{_beginning(match.path)}.*")
    return msgspec.structs.replace(
        match,
        headers=tuple(one for one in match.headers if not one.is_regex),
        queries=tuple(one for one in match.queries if not one.is_regex),
    )


def _beginning(pattern: str) -> str:
    """What every path begins with that the pattern takes: of ``/a/b[0-9]+`` it is ``/a/b``."""
    plain = _PLAIN.match(pattern)
    return plain[0] if plain is not None and "|" not in pattern else ""


def _acl(told: HostTold, condition: str) -> str:
    name = f"a_{digest(condition)}"
    told.acls[name] = condition
    return name


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


class _Table:
    """Rules of a host by their paths."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._exact: dict[str, list[_Candidate]] = {}
        self._prefix: dict[str, list[_Candidate]] = {}
        self._anywhere: list[_Candidate] = []
        for order, rule in enumerate(rules):
            match = rule.match
            path = paths.normal(match.path)
            is_open = not (match.method or match.headers or match.queries)
            if match.path_kind is PathKind.REGEX:
                self._anywhere.append(_Candidate(order, rule, False))
            elif match.path_kind is PathKind.EXACT:
                if is_path(path):
                    self._exact.setdefault(path, []).append(_Candidate(order, rule, is_open))
            else:
                prefix = path.rstrip("/")
                if not prefix or is_path(prefix):
                    self._prefix.setdefault(prefix, []).append(_Candidate(order, rule, is_open))

    def nodes(self) -> Iterator[tuple[str, bool]]:
        """Paths at which something begins, and whether the path is the whole; all of the host always."""
        yield "", False
        yield from ((path, False) for path in self._prefix if path)
        yield from ((path, True) for path in self._exact)

    def candidates(self, path: str, *, is_exact: bool) -> list[_Candidate]:
        """Rules that can match here, in order, up to the first that surely does."""
        if is_exact:
            found = [*self._exact.get(path, ())]
            ways = _prefixes(path)
        else:
            found = []
            ways = _prefixes(f"{path}/")
        for prefix in ways:
            found += self._prefix.get(prefix, ())
        found += self._anywhere
        found.sort(key=lambda candidate: candidate.order)
        end = next((i for i, candidate in enumerate(found) if candidate.is_open), len(found))
        return found[: end + 1]


def _prefixes(path: str) -> Iterator[str]:
    """Prefixes, without ``/`` at their end, that cover a path."""
    yield ""
    at = path.find("/", 1)
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)
    if path != "/" and not path.endswith("/"):
        yield path
