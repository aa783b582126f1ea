"""Lanes: for each meaning of "this rule, to this pool" one section, shared by all rules that mean the same.

Comes in: rules and shares. Goes out: ``Lane`` values, collected in ``Lanes``. Not here: which requests a rule takes (``routes.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netloom.gateway.haproxy import access, filters
from netloom.gateway.haproxy.answers import GRPC_TYPE, IS_GRPC, answer, grpc_files, grpc_lines
from netloom.gateway.haproxy.quote import argument, digest, label, name, word
from netloom.gateway.haproxy.told import CLIENT_HEADER, NOTHING_THERE, Lane
from netloom.model.gateways.plan import HeaderChange, Outliers, Pool, PoolProtocol, Rule, Share, Traffic
from netloom.model.provenance import Source

_RETRIED = (404, 408, 425, 500, 501, 502, 503, 504)
"""Status codes that HAProxy 2.6 can try again (``retry-on``)."""
_CONNECT_MS = 5_000
_PLAIN_TRAFFIC = Traffic()
_NO_CHANGE = HeaderChange()
_NEVER_ENDING = "timeout server 1h"
_ONCE_ONLY = "http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }"


class Lanes:
    """The lanes that are needed, and what they need.

    Args:
        pools: of the plan.
        refused: rules that HAProxy takes nothing of: their requests are answered with 500.
    """

    def __init__(self, pools: Mapping[str, Pool], refused: frozenset[Source | str] = frozenset()) -> None:
        self._pools = pools
        self._refused = refused
        self._plain: dict[str, str] = {}
        self.made: dict[str, Lane] = {}
        self.sources: dict[str, tuple[Source, ...]] = {}
        """By lane: rules that have it."""
        self.needs = access.Needs({}, {})
        self.looked: dict[str, None] = {}
        """Pools that were asked for, whether they are there or not."""

    def absorb(self, other: Lanes) -> None:
        """Take over what others have made."""
        self.made.update(other.made)
        self.needs.fronts.update(other.needs.fronts)
        self.needs.files.update(other.needs.files)
        for lane, sources in other.sources.items():
            self.sources[lane] = self.sources.get(lane, ()) + sources

    def of(self, rule: Rule, share: Share | None, scheme: str, port: int) -> str:
        """The lane of a rule's share.

        Args:
            rule: what becomes of requests.
            share: None: the rule has none.
            scheme: how requests come: ``http``, ``https``.
            port: of the listener.
        """
        if rule.source in self._refused:
            return self.answering(500, is_grpc=rule.is_grpc)
        if share is not None and share.pool and _is_plain(rule, share):
            found = self.plain(share.pool)
            if found is not None:
                self._belongs(found, rule)
                return found
        pool = self._pool(share.pool) if share is not None else None
        lines = tuple(self._lines(rule, share, pool, scheme, port))
        if rule.redirect is not None or rule.fault:
            pool = None
        lane = self._lane(lines, pool, rule.traffic.outliers, is_grpc=rule.is_grpc)
        self._belongs(lane, rule)
        return lane

    def plain(self, pool_key: str, protocol: str = "") -> str | None:
        """The lane that leads to a pool and does nothing else; None where there is no such pool."""
        found = self._plain.get(pool_key + protocol)
        if found is None and (pool := self._pool(pool_key)) is not None:
            lines = ("mode tcp", "timeout server 1h") if protocol else ()
            found = self._lane(lines, pool, None, is_grpc=False)
            self._plain[pool_key + protocol] = found
        return found

    def answering(self, status: int, *, is_grpc: bool = False) -> str:
        """The lane that answers everything with a status."""
        lines = (*(grpc_lines() if is_grpc else ()), answer(status, is_grpc=is_grpc))
        return self._lane(lines, None, None, is_grpc=is_grpc)

    def refusing(self) -> str:
        """The lane of connections that nobody takes: they are closed."""
        return self._lane(("mode tcp", "tcp-request content reject"), None, None, is_grpc=False)

    def nothing(self) -> None:
        """What every HAProxy has: the lane of requests that no rule takes."""
        self.made[NOTHING_THERE] = _nothing_there()
        self.needs.files.update(grpc_files())

    def _pool(self, key: str) -> Pool | None:
        self.looked[key] = None
        return self._pools.get(key)

    def _belongs(self, lane: str, rule: Rule) -> None:
        found = self.sources.get(lane, ())
        if rule.source not in found:
            self.sources[lane] = (*found, rule.source)

    def _lane(
        self, lines: tuple[str, ...], pool: Pool | None, outliers: Outliers | None, *, is_grpc: bool
    ) -> str:
        server = ""
        words = "answer"
        if pool is not None:
            is_stream = "mode tcp" in lines
            lines = lines if is_stream else (*lines, *_pool_lines(pool))
            server = self._server(
                pool, None if is_stream else outliers or pool.outliers, is_grpc=is_grpc, is_stream=is_stream
            )
            words = f"{pool.service}:{pool.port}"
        key = pool.key if pool is not None else ""
        made = f"b_{name(words)[:60]}_{digest(key, server, *lines)}"
        self.made.setdefault(made, Lane(made, lines, key, server, label(words)))
        return made

    def _lines(
        self, rule: Rule, share: Share | None, pool: Pool | None, scheme: str, port: int
    ) -> Iterator[str]:
        """In the order in which a request meets them."""
        is_grpc = rule.is_grpc
        traffic = rule.traffic
        if is_grpc:
            yield from grpc_lines()
        yield from access.allow_lines(traffic, is_grpc=is_grpc)
        if rule.fault:
            yield answer(rule.fault, is_grpc=is_grpc)
            return
        yield from access.rate_lines(traffic, self.needs, is_grpc=is_grpc)
        if rule.cors is not None:
            yield from filters.cors_lines(rule.cors)
        asked = self.plain(traffic.external.pool) if traffic.external is not None else None
        yield from access.later_lines(traffic, self.needs, asked, is_grpc=is_grpc)
        if rule.redirect is not None:
            yield from filters.redirect_lines(rule.redirect, scheme, port)
            return
        if pool is None:
            is_away = share is not None and bool(share.pool)
            yield answer(503 if is_away or (share is None and is_grpc) else 500, is_grpc=is_grpc)
            return
        yield from self._passing_lines(rule, share)

    def _passing_lines(self, rule: Rule, share: Share | None) -> Iterator[str]:
        """Of requests that go on to a pool."""
        changes = (rule,) if share is None else (rule, share)
        if any(filters.changes(change.request, CLIENT_HEADER) for change in changes):
            yield f"http-request set-header {CLIENT_HEADER} %[src]"
        for change in changes:
            yield from filters.header_lines("http-request", change.request)
        if rule.rewrite is not None:
            yield from filters.rewrite_lines(rule.rewrite)
        mirrors = [
            filters.mirror_line(mirror, lane)
            for mirror in rule.mirrors
            if (lane := self.plain(mirror.pool)) is not None
        ]
        if mirrors:
            yield filters.WAIT_FOR_A_BODY
            yield from mirrors
        for change in changes:
            yield from filters.header_lines("http-response", change.response)
        yield from _timeout_lines(rule)
        yield from _retry_lines(rule.traffic)

    def _server(self, pool: Pool, outliers: Outliers | None, *, is_grpc: bool, is_stream: bool) -> str:
        words: list[str] = []
        speaks_h2 = is_grpc or pool.protocol is PoolProtocol.H2C
        if pool.tls is not None:
            words.append(self._tls_words(pool, speaks_h2=speaks_h2, is_stream=is_stream))
        elif speaks_h2 and not is_stream:
            words.append("proto h2")
        if outliers is not None:
            words.append(
                f"check inter 1h fastinter {outliers.ejected_s}s downinter {outliers.ejected_s}s fall 100000 rise 1 "
                f"observe layer7 error-limit {outliers.errors} on-error mark-down"
            )
        return " ".join(words)

    def _tls_words(self, pool: Pool, *, speaks_h2: bool, is_stream: bool) -> str:
        tls = pool.tls
        assert tls is not None  # noqa: S101 - by the caller
        authorities = "@system-ca"
        if tls.authorities:
            authorities = f"authorities/{digest(tls.authorities)}.pem"
            self.needs.files[authorities] = tls.authorities
        # HAProxy verifies the name that it asks for: where the certificate has another, that one is asked for
        asked = tls.names[0] if tls.names else tls.hostname
        words = f"ssl verify required ca-file {authorities} sni {word(f'str({argument(asked)})')}"
        if is_stream:
            return words
        return f"{words} alpn {'h2' if speaks_h2 else 'http/1.1'}"


def _is_plain(rule: Rule, share: Share) -> bool:
    return (
        rule.redirect is None
        and rule.rewrite is None
        and rule.cors is None
        and not rule.mirrors
        and not rule.fault
        and not rule.is_grpc
        and rule.request_timeout_s is None
        and rule.backend_timeout_s is None
        and rule.traffic == _PLAIN_TRAFFIC
        and rule.request == _NO_CHANGE
        and rule.response == _NO_CHANGE
        and share.request == _NO_CHANGE
        and share.response == _NO_CHANGE
    )


def _pool_lines(pool: Pool) -> Iterator[str]:
    if pool.session_cookie:
        yield f"dynamic-cookie-key {digest('cookie', pool.key)}"
        yield f"cookie {word(name(pool.session_cookie))} insert indirect nocache httponly dynamic"


def _timeout_lines(rule: Rule) -> Iterator[str]:
    """HAProxy bounds how long nothing comes from a backend; that an answer drips for longer than the whole may take is not seen."""
    told = [limit for limit in (rule.request_timeout_s, rule.backend_timeout_s) if limit]
    if told:
        limit = max(int(min(told) * 1000), 1)
        yield f"timeout server {limit}"
        yield f"timeout connect {min(limit, _CONNECT_MS)}"
    elif rule.is_grpc or rule.request_timeout_s == 0 or rule.backend_timeout_s == 0:
        yield _NEVER_ENDING


def _retry_lines(traffic: Traffic) -> Iterator[str]:
    if traffic.retries is None:
        return
    yield f"retries {max(traffic.retries, 0)}"
    if traffic.retries > 0:
        codes = " ".join(str(code) for code in sorted(set(traffic.retry_on)) if code in _RETRIED)
        yield f"retry-on conn-failure empty-response response-timeout{' ' + codes if codes else ''}"
        yield _ONCE_ONLY


def _nothing_there() -> Lane:
    lines = (GRPC_TYPE, answer(404, is_grpc=True, condition=f"if {IS_GRPC}"), answer(404))
    return Lane(NOTHING_THERE, lines, "", "", "no route")
