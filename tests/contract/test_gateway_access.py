"""Who may ask, how much and how fast, as HAProxy sees to it; and what it does not let through at all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from ipaddress import ip_network

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tests.contract.gateway_world import (
    Answer,
    backend,
    curl,
    engine,
    free_port,
    http_door,
    plan,
    pool,
    rule,
    run,
    source,
)  # fmt: skip

from netloom.model.gateways.matching import Request, decide
from netloom.model.gateways.plan import (
    BasicAuth,
    Door,
    ExternalAuth,
    Host,
    Jwt,
    Match,
    PathKind,
    RateLimit,
    Rule,
    Traffic,
    ValueMatch,
)


def shop(port: int, *rules: Rule) -> Door:
    return http_door(port, Host("shop.example", rules))


async def ask(port: int, path: str, *words: str) -> Answer:
    return await curl(f"http://127.0.0.1:{port}{path}", "-H", "Host: shop.example", *words)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims: dict[str, object], secret: str = "", key: rsa.RSAPrivateKey | None = None) -> str:
    head = {"alg": "RS256" if key else "HS256", "typ": "JWT"}
    said = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    if key is not None:
        return f"{said}.{encoded(key.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
    return f"{said}.{encoded(hmac.digest(secret.encode(), said.encode(), hashlib.sha256))}"


NO_ALGORITHM = b'{"alg":"none"}'


async def test_names_and_passwords():
    port = free_port()
    _, crypted, _ = await run("openssl", "passwd", "-5", 'pa"ss:w #rd')
    users = (("ann o", crypted.decode().strip()),)
    async with backend("a") as a, engine() as made:
        one = rule("/", traffic=Traffic(basic=BasicAuth('the "shop" %[src]', users)))
        await made.apply(plan([shop(port, one)], pool("shop/web/80", a.port)))
        refused = await ask(port, "/")
        assert refused.status == 401
        assert "the" in (refused.header("www-authenticate") or "")
        assert (await ask(port, "/", "-u", 'ann o:pa"ss:w #rd')).status == 200
        assert (await ask(port, "/", "-u", "ann o:other")).status == 401


@pytest.mark.parametrize("kind", ["HS256", "RS256"])
async def test_tokens(kind: str):
    port = free_port()
    secret = "se,c)r'et\" \\ %[src] #"
    key = rsa.generate_private_key(65537, 2048)
    other = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwt = Jwt(kind, public.decode() if kind == "RS256" else secret, "https://issuer.example", 'the "shop"')
    now = int(time.time())
    good: dict[str, object] = {
        "iss": "https://issuer.example",
        "aud": 'the "shop"',
        "exp": now + 600,
        "nbf": now - 5,
    }

    def sign(claims: dict[str, object]) -> str:
        return token(claims, secret, key if kind == "RS256" else None)

    tokens = {
        sign(good): 200,
        sign({**good, "aud": ["x", 'the "shop"']}): 200,
        sign({k: v for k, v in good.items() if k != "nbf"}): 200,
        sign({**good, "exp": now - 1}): 401,
        sign({**good, "nbf": now + 600}): 401,
        sign({**good, "iss": "https://other.example"}): 401,
        sign({**good, "aud": "other"}): 401,
        token(good, "guess", other if kind == "RS256" else None): 401,
        # the public key used as a secret: the algorithm must be the one that was said
        token(good, public.decode()): 401,
        f"{encoded(NO_ALGORITHM)}.{encoded(json.dumps(good).encode())}.": 401,
    }
    async with backend("a") as a, engine() as made:
        await made.apply(plan([shop(port, rule("/", traffic=Traffic(jwt=jwt)))], pool("shop/web/80", a.port)))
        assert (await ask(port, "/")).status == 401
        found = [(await ask(port, "/", "-H", f"Authorization: Bearer {one}")).status for one in tokens]
        assert found == list(tokens.values())


async def test_a_service_that_decides():
    port = free_port()
    async with backend("a") as a, backend("judge") as judge, engine() as made:
        external = ExternalAuth("shop/judge/80", "/check", ("x-user",))
        judge.headers = {"x-user": "ann", "www-authenticate": "Custom"}
        pools = (pool("shop/web/80", a.port), pool("shop/judge/80", judge.port))
        await made.apply(plan([shop(port, rule("/", traffic=Traffic(external=external)))], *pools))
        got = await ask(port, "/x?y", "-H", "x-user: root", "-H", "cookie: c=1")
        assert got.status == 200
        assert got.said["headers"]["x-user"] == ["ann"], "not what the client says"
        seen = judge.asked[0]
        assert (seen["path"], seen["host"], seen["headers"]["cookie"]) == ("/check", "shop.example", ["c=1"])
        assert seen["headers"]["x-original-uri"] == ["/x?y"]
        said = ("X-Netloom-Method: OPTIONS", "X-NETLOOM-LANE: bnone", "x-netloom-more: 1")
        forged = await ask(port, "/", "-d", "x", *(word for one in said for word in ("-H", one)))
        assert (forged.status, forged.said["method"]) == (200, "POST")
        assert judge.asked[-1]["method"] == "POST", "asked as the client asks, not as it says that it does"
        for one in (forged.said, judge.asked[-1]):
            assert not [name for name in one["headers"] if name.startswith("x-netloom")]
        judge.statuses = [401]
        refused = await ask(port, "/")
        assert (refused.status, refused.header("www-authenticate")) == (401, "Custom")
        await made.apply(
            plan([shop(port, rule("/", traffic=Traffic(external=external)))], pools[0], pool("shop/judge/80"))
        )
        assert (await ask(port, "/")).status == 503, "where nobody decides, nobody passes"
        assert len(a.asked) == 2


async def test_rates_and_lists_of_clients():
    port = free_port()
    rate = Traffic(source=source("TrafficPolicy", "slow"), rate=RateLimit(5, 60))
    near = Traffic(allow=(*(ip_network(f"198.51.100.{n}/32") for n in range(40)), ip_network("127.0.0.0/8")))
    far = Traffic(allow=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))
    async with backend("a") as a, engine() as made:
        rules = (rule("/slow", traffic=rate), rule("/near", traffic=near), rule("/far", traffic=far))
        await made.apply(plan([shop(port, *rules)], pool("shop/web/80", a.port)))
        assert [(await ask(port, "/slow")).status for _ in range(7)] == [200] * 5 + [429] * 2
        assert (await ask(port, "/near")).status == 200
        assert (await ask(port, "/far")).status == 403


@pytest.mark.parametrize("most", [100, 40_000])
async def test_bodies_are_bounded(most: int, tmp_path):
    port = free_port()
    file = tmp_path / "body"
    async with backend("a") as a, engine() as made:
        bounded = rule("/", traffic=Traffic(body_bytes=most))
        await made.apply(plan([shop(port, bounded)], pool("shop/web/80", a.port)))
        file.write_bytes(b"x" * most)
        assert (await ask(port, "/", "--data-binary", f"@{file}")).status == 200
        file.write_bytes(b"x" * (most + 1))
        assert (await ask(port, "/", "--data-binary", f"@{file}")).status == 413
        for way in ((), ("--http2-prior-knowledge",)):
            chunked = await ask(
                port, "/", "-H", "Transfer-Encoding: chunked", "-T", str(file), "-X", "POST", *way
            )
            assert chunked.status in {411, 413}
        assert len(a.asked) == 1
        assert (await ask(port, "/")).status == 200


SMUGGLED = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: shop.example\r\nHost: other.example\r\n\r\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\rb\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\0b\r\n\r\n",
    "a path in the host": b"GET /admin HTTP/1.1\r\nHost: shop.example/public\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: -1\r\n\r\n",
    "a length with a sign": b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: +5\r\n\r\nhello",
}  # fmt: skip


async def talk(port: int, data: bytes) -> bytes:
    """Everything that comes back for these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_nothing_is_smuggled():
    port = free_port()
    async with backend("a") as a, engine() as made:
        rules = (rule("/admin", fault=403), rule("/"))
        await made.apply(plan([shop(port, *rules)], pool("shop/web/80", a.port)))
        for name, data in SMUGGLED.items():
            got = await talk(port, data)
            assert b"/smuggled" not in got, name
            assert not [one for one in a.asked if one["path"] in ("/smuggled", "/admin")], name
            if name not in ("length and chunks", "a folded header"):
                assert got.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 422", b"HTTP/1.1 501")), (
                    name,
                    got,
                )
        # a length beside chunks means nothing and is not passed on (RFC 9112, 6.3)
        assert not [
            one
            for one in a.asked
            if "content-length" in one["headers"] and "transfer-encoding" in one["headers"]
        ]


async def test_no_other_spelling_of_a_path_walks_around_a_rule():
    port = free_port()
    ways = {
        "/admin": 401, "//admin": 401, "/%61dmin": 401, "/%61%64min/x": 401, "/admin//x": 401,
        "/x/../admin": 400, "/./admin": 400, "/x/%2e%2e/admin": 400, "/x/.%2E/admin": 400, "/x/..;a=b/admin": 400, "/x/..": 400,
        "/x%2f..%2fadmin": 400, "/x\\..\\admin": 400,
        "/.well-known/x": 200, "/a..b/...": 200, "/a%2Fb?next=/../%61": 200,
    }  # fmt: skip
    async with backend("a") as a, engine() as made:
        guarded = rule("/admin", traffic=Traffic(basic=BasicAuth("shop", ())))
        door = shop(port, guarded, rule("/"))
        await made.apply(plan([door], pool("shop/web/80", a.port)))
        for path, status in ways.items():
            assert (await ask(port, path, "--path-as-is")).status == status, path
            found = decide(plan([door]), door, Request(host="shop.example", path=path.partition("?")[0]))
            assert found.status == (400 if status == 400 else 0), path
        assert [one["path"] for one in a.asked] == ["/.well-known/x", "/a..b/...", "/a%2Fb?next=/../a"]


async def test_a_rule_that_is_refused_lets_nobody_past_its_policy():
    port = free_port()
    guard = Traffic(basic=BasicAuth("shop", ()))
    matches = (
        Match(PathKind.REGEX, "/admin/x?("),
        Match(PathKind.PREFIX, "/api", "POST", (ValueMatch("x-kind", "1"), ValueMatch("x-of", "(", True))),
    )
    wanted = {
        ("/admin/x1",): 500, ("/admin/x",): 500, ("/admin/",): 500, ("/admin",): 200, ("/",): 200,
        ("/api/x",): 200, ("/api/x", "-X", "POST"): 200, ("/api/x", "-X", "POST", "-H", "x-kind: 1"): 500,
    }  # fmt: skip
    async with backend("a") as a, engine() as made:
        rules = (
            rule(match=match, traffic=guard, source=source(field=f"spec.rules[{n}]"))
            for n, match in enumerate(matches)
        )
        applied = await made.apply(plan([shop(port, *rules, rule("/"))], pool("shop/web/80", a.port)))
        assert {one.source.field for one in applied.findings} == {"spec.rules[0]", "spec.rules[1]"}
        for words, status in wanted.items():
            assert (await ask(port, *words)).status == status, words


async def test_slow_clients_and_large_headers_are_bounded():
    port = free_port()
    async with backend("a") as a, engine(request_s=1) as made:
        await made.apply(plan([shop(port, rule("/"))], pool("shop/web/80", a.port)))
        large = await ask(port, "/", "-H", f"x-large: {'x' * 30_000}")
        assert large.status in {400, 431}
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: shop.ex")
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()
        assert a.asked == []
        assert (await ask(port, "/")).status == 200
