"""Who may ask: allow lists, rates, sizes, basic authentication, tokens, a service that decides. Lines of a lane.

Comes in: the traffic policy of a rule. Goes out: lines, and the sections and files that they need. Not here: what becomes of a request that
may pass (``filters.py``, ``lanes.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from netloom.gateway.haproxy.answers import answer
from netloom.gateway.haproxy.quote import argument, digest, header_value, is_token, literal, word
from netloom.gateway.haproxy.told import Front
from netloom.model.gateways.plan import BasicAuth, ExternalAuth, Jwt, RateLimit, Traffic

_CIDRS_ON_A_LINE = 32
_RATE_TABLE = 100_000
_HELD = 14_000
"""Bytes of a body that surely fit into a buffer (16,384) beside the space for headers."""
_HMAC = ("HS256", "HS384", "HS512")
_SIGNATURES = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")


class Needs(msgspec.Struct):
    """What lines of lanes refer to, collected."""

    fronts: dict[str, Front]
    files: dict[str, str]

    def front(self, header: str, *lines: str) -> None:
        """A section that must be there."""
        self.fronts[header] = Front(header, lines)


def allow_lines(traffic: Traffic, *, is_grpc: bool) -> Iterator[str]:
    """Before anything else: where a request is from."""
    for start in range(0, len(traffic.allow), _CIDRS_ON_A_LINE):
        yield f"acl allowed src {' '.join(map(str, traffic.allow[start : start + _CIDRS_ON_A_LINE]))}"
    if traffic.allow:
        yield answer(403, is_grpc=is_grpc, condition="unless allowed")


def rate_lines(traffic: Traffic, needs: Needs, *, is_grpc: bool) -> Iterator[str]:
    """How many requests came from there."""
    if traffic.rate is not None:
        yield from _rate_lines(traffic.rate, traffic, needs, is_grpc=is_grpc)


def later_lines(traffic: Traffic, needs: Needs, asked: str | None, *, is_grpc: bool) -> Iterator[str]:
    """What is asked of requests that are no questions of browsers.

    Args:
        traffic: the policy.
        needs: gets what the lines refer to.
        asked: the lane of the service that decides; None: there is none.
        is_grpc: answers are statuses of gRPC.
    """
    if traffic.body_bytes is not None:
        yield from _body_lines(traffic.body_bytes, is_grpc=is_grpc)
    if traffic.basic is not None:
        yield from _basic_lines(traffic.basic, needs, is_grpc=is_grpc)
    if traffic.jwt is not None:
        yield from _jwt_lines(traffic.jwt, needs, is_grpc=is_grpc)
    if traffic.external is not None:
        yield from _external_lines(traffic.external, asked, is_grpc=is_grpc)


def _rate_lines(rate: RateLimit, traffic: Traffic, needs: Needs, *, is_grpc: bool) -> Iterator[str]:
    whose = traffic.source.subject if traffic.source is not None else ""
    period = max(rate.period_s, 1)
    table = f"t_{digest(whose, str(rate.requests), str(period))}"
    needs.front(
        f"backend {table}",
        f"stick-table type ipv6 size {_RATE_TABLE} expire {period}s store http_req_rate({period}s)",
    )
    yield f"http-request track-sc0 src table {table}"
    condition = f"if {{ sc_http_req_rate(0,{table}) gt {rate.requests} }}"
    yield answer(429, is_grpc=is_grpc, condition=condition, headers=f"hdr retry-after {period}")


def _body_lines(most: int, *, is_grpc: bool) -> Iterator[str]:
    """A length that is told is compared; where none is told, what fits into a buffer is waited for, and more must tell its length."""
    yield "acl has_length req.hdr(content-length) -m found"
    yield f"http-request wait-for-body time 10s at-least {min(most + 1, _HELD)} if !has_length"
    yield answer(413, is_grpc=is_grpc, condition=f"if {{ req.body_size gt {most} }}")
    if most >= _HELD:
        yield answer(411, is_grpc=is_grpc, condition=f"if !has_length {{ req.body_size ge {_HELD} }}")


def _basic_lines(basic: BasicAuth, needs: Needs, *, is_grpc: bool) -> Iterator[str]:
    users = tuple(
        f"user {word(name)} password {word(crypted)}"
        for name, crypted in basic.users
        # a name without a password, or nobody's, is nobody
        if name.strip("\0") and crypted.strip("\0")
    )
    userlist = f"u_{digest(*users)}"
    needs.front(f"userlist {userlist}", *users)
    if is_grpc:
        yield answer(401, is_grpc=True, condition=f"unless {{ http_auth({userlist}) }}")
    else:
        realm = word(literal(header_value(basic.realm) or "netloom"))
        yield f"http-request auth realm {realm} unless {{ http_auth({userlist}) }}"


def _jwt_lines(jwt: Jwt, needs: Needs, *, is_grpc: bool) -> Iterator[str]:
    if jwt.algorithm in _HMAC:
        key = argument(jwt.key)
    elif jwt.algorithm in _SIGNATURES:
        file = f"keys/{digest(jwt.key)}.pem"
        needs.files[file] = jwt.key
        key = file
    else:
        yield answer(500, is_grpc=is_grpc)
        return
    challenge = 'hdr www-authenticate "Bearer error=\\"invalid_token\\""'
    yield "http-request set-var(txn.bearer) http_auth_bearer"
    yield f"acl jwt_alg var(txn.bearer),jwt_header_query('$.alg') -m str -- {jwt.algorithm}"
    verify = word(f"var(txn.bearer),jwt_verify({jwt.algorithm},{key})")
    yield f"acl jwt_signed {verify} -m int 1"
    yield "http-request set-var(txn.now) date()"
    for claim in ("exp", "nbf"):
        yield f"http-request set-var(txn.{claim}) var(txn.bearer),jwt_payload_query('$.{claim}','int')"
    yield "acl jwt_over var(txn.exp),sub(txn.now) -m int le 0"
    yield "acl jwt_early var(txn.nbf),sub(txn.now) -m int gt 0"
    refused = ["!jwt_alg", "!jwt_signed", "jwt_over", "jwt_early"]
    if jwt.issuer:
        yield f"acl jwt_issuer var(txn.bearer),jwt_payload_query('$.iss') -m str -- {word(jwt.issuer)}"
        refused.append("!jwt_issuer")
    if jwt.audience:
        yield f"acl jwt_audience var(txn.bearer),jwt_payload_query('$.aud') -m str -- {word(jwt.audience)}"
        # HAProxy gives no arrays of a token: the audience is looked for in the text of it, between the brackets behind "aud"
        one = re.escape(msgspec.json.encode(jwt.audience).decode())
        listed = word(rf'"aud"\s*:\s*\[[^\]]*{one}[^\]]*\]')
        yield f"acl jwt_audience var(txn.bearer),word(2,.),ub64dec -m reg -- {listed}"
        refused.append("!jwt_audience")
    condition = "if " + " or ".join(refused)
    yield answer(401, is_grpc=is_grpc, condition=condition, headers="" if is_grpc else challenge)


def _external_lines(external: ExternalAuth, lane: str | None, *, is_grpc: bool) -> Iterator[str]:
    if lane is None:
        yield answer(500, is_grpc=is_grpc)
        return
    names = ",".join(name.lower() for name in external.response_headers if is_token(name)) or "-"
    yield f"http-request lua.netloom_ask {lane} {word(external.path or '/')} {word(names)}"
