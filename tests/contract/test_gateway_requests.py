"""What HAProxy does with requests that a rule has taken: shares, filters, CORS, timeouts, retries, copies."""

from __future__ import annotations

import asyncio
import collections

import msgspec
import pytest
from aiohttp import ClientSession
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
    share,
    source,
)

from netloom.model.gateways.entrances import INGRESS
from netloom.model.gateways.matching import Request, location_of
from netloom.model.gateways.plan import (
    Cors,
    Door,
    HeaderChange,
    Host,
    Mirror,
    Outliers,
    PathChange,
    Redirect,
    Rewrite,
    Rule,
    Traffic,
)


def shop(port: int, *rules: Rule) -> Door:
    return http_door(port, Host("shop.example", rules))


async def ask(port: int, path: str, *words: str) -> Answer:
    return await curl(f"http://127.0.0.1:{port}{path}", "-H", "Host: shop.example", "--path-as-is", *words)


async def test_requests_are_shared_by_weight():
    port = free_port()
    async with backend("a") as a, backend("b") as b, backend("c") as c, engine() as made:
        shares = (share("shop/a/80", 3), share("shop/b/80", 1), share("shop/c/80", 0))
        pools = [pool(f"shop/{one.name}/80", one.port) for one in (a, b, c)]
        await made.apply(plan([shop(port, rule("/", shares=shares))], *pools))
        url = f"http://127.0.0.1:{port}/[1-400]"
        await curl(url, "-H", "Host: shop.example")
        assert len(a.asked) + len(b.asked) == 400
        assert 250 < len(a.asked) < 350, "three quarters"
        assert c.asked == []


async def test_what_has_no_backend_is_answered():
    port = free_port()
    gone = rule("/gone", shares=(share("", 1),))
    empty = rule("/empty", to="shop/empty/80")
    async with engine() as made:
        rules = (
            gone,
            empty,
            rule("/nothing", shares=()),
            rule("/fault", fault=502),
            rule("/grpc", fault=500, is_grpc=True),
        )
        await made.apply(plan([shop(port, *rules)], pool("shop/empty/80")))
        wanted = {"/gone": 500, "/empty": 503, "/nothing": 500, "/fault": 502, "/other": 404}
        assert {path: (await ask(port, path)).status for path in wanted} == wanted
        call = await ask(port, "/grpc/x", "--http2-prior-knowledge")
        assert (call.status, call.header("grpc-status"), call.header("content-type")) == (
            200,
            "13",
            "application/grpc",
        )
        lost = await ask(port, "/other", "--http2-prior-knowledge", "-H", "content-type: application/grpc")
        assert (lost.header("grpc-status"), lost.header("content-type")) == ("12", "application/grpc")


async def test_a_path_is_rewritten_and_the_query_stays():
    port = free_port()
    table = [
        ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo", "/xyz", "/foo/", "/xyz/"),
        ("/foo", "", "/foo/bar", "/bar"),
        ("/foo", "", "/foo/", "/"),
        ("/foo", "", "/foo", "/"),
        ("/foo", "/", "/foo/", "/"),
        ("/foo", "/", "/foo", "/"),
        ("/", "/xyz", "/bar", "/xyz/bar"),
        ("/", "/xyz", "/", "/xyz/"),
    ]
    async with backend("a") as a, engine() as made:
        hosts = [
            Host(
                f"h{n}.example", (rule(prefix, rewrite=Rewrite("inside.example", PathChange(value, prefix))),)
            )
            for n, (prefix, value, _, _) in enumerate(table)
        ]
        whole = Host("whole.example", (rule("/", rewrite=Rewrite(path=PathChange("/all of%it"))),))
        await made.apply(plan([http_door(port, *hosts, whole)], pool("shop/web/80", a.port)))
        for n, (_, _, path, wanted) in enumerate(table):
            got = await curl(f"http://127.0.0.1:{port}{path}?a=1&b", "-H", f"Host: h{n}.example")
            assert (got.said["path"], got.said["host"]) == (f"{wanted}?a=1&b", "inside.example"), table[n]


async def test_redirects_are_those_of_the_reference():
    port = free_port()
    redirects = [
        Redirect(301, "https"),
        Redirect(302, "", "other.example", 8443),
        Redirect(308, "https", port=443),
        Redirect(303, path=PathChange("/new/", "/r4")),
        Redirect(307, path=PathChange("/", "/r4")),
        Redirect(302, "http", path=PathChange("/whole")),
        Redirect(302, hostname="x.example"),
    ]
    rules = tuple(rule(f"/r{n}", redirect=one, shares=()) for n, one in enumerate(redirects))
    async with engine() as made:
        door = http_door(port, Host("shop.example", rules), port=8080)
        await made.apply(plan([door]))
        for n, one in enumerate(redirects):
            for path, query in ((f"/r{n}", ""), (f"/r{n}/x", "q=1&r"), (f"/r{n}/", "")):
                got = await ask(port, f"{path}?{query}" if query else path)
                wanted = location_of(one, door, Request(host="shop.example", path=path, query=query))
                assert (got.status, got.header("location")) == (one.status, wanted)


async def test_headers_are_removed_set_and_added():
    port = free_port()
    request = HeaderChange(
        ("x-gone",), (("x-set", 'a "%[src]" $HOME #\\ \u00e9'),), (("x-more", "2"), ("x-more", "3"))
    )
    response = HeaderChange(("x-secret",), (("x-told", "100%"),), ())
    of_share = HeaderChange(set=(("x-share", "yes"),))
    async with backend("a") as a, engine() as made:
        a.headers = {"x-secret": "1"}
        one = rule(
            "/", request=request, response=response, shares=(share(request=of_share, response=of_share),)
        )
        await made.apply(plan([shop(port, one)], pool("shop/web/80", a.port)))
        got = await ask(port, "/", "-H", "x-gone: 1", "-H", "x-more: 1", "-H", "x-forwarded-for: 192.0.2.9")
        headers = got.said["headers"]
        assert "x-gone" not in headers
        assert (
            headers["x-set"][0].encode("utf-8", "surrogateescape").decode() == 'a "%[src]" $HOME #\\ \u00e9'
        )
        assert headers["x-more"] == ["1", "2", "3"]
        assert headers["x-share"] == ["yes"]
        assert headers["x-forwarded-for"] == ["127.0.0.1"], "nobody says himself where he is from"
        assert headers["x-forwarded-proto"] == ["http"]
        assert got.header("x-secret") is None
        assert (got.header("x-told"), got.header("x-share")) == ("100%", "yes")


FORGED = (
    "X-Real-IP", "x-forwarded-for", "X-Forwarded-Host", "x-forwarded-port", "X-Forwarded-Proto", "X-Forwarded-Prefix",
    "X-Forwarded-Scheme", "X-Scheme", "X-Original-URI", "X-Original-Method", "Forwarded", "X_Forwarded_For", "x.real.ip",
)  # fmt: skip


@pytest.mark.parametrize(
    ("gateway", "outside", "path", "more"),
    [
        (None, 80, "/", {}),
        (None, 80, "/%41/../b", None),
        (None, 8080, "/a%62//", {"x-forwarded-port": ["8080"]}),
        (INGRESS, 80, "/", {"x-real-ip": ["127.0.0.1"], "x-forwarded-host": ["shop.example"], "x-forwarded-port": ["80"]}),
    ],
)  # fmt: skip
async def test_no_client_says_where_it_is_from(gateway, outside, path, more):
    port = free_port()
    async with backend("a") as a, engine() as made:
        of_route = rule("/", request=HeaderChange(set=(("x-forwarded-prefix", "/shop"),)))
        door = http_door(port, Host("shop.example", (of_route,)), port=outside)
        if gateway is not None:
            door = msgspec.structs.replace(door, gateway=gateway)
        await made.apply(plan([door], pool("shop/web/80", a.port)))
        got = await ask(
            port, path, "--path-as-is", *(word for name in FORGED for word in ("-H", f"{name}: forged"))
        )
        if more is None:
            assert got.status == 400
            return
        told = {k: v for k, v in got.said["headers"].items() if k not in ("host", "user-agent", "accept")}
        assert told == {
            "x-forwarded-for": ["127.0.0.1"],
            "x-forwarded-proto": ["http"],
            "x-forwarded-prefix": ["/shop"],
            **more,
        }


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (HeaderChange(set=(("X-Forwarded-For", "192.0.2.1"),)), ["192.0.2.1"]),
        (HeaderChange(add=(("x-forwarded-for", "192.0.2.1"),)), ["127.0.0.1", "192.0.2.1"]),
        (HeaderChange(remove=("X-Forwarded-For",)), None),
    ],
)  # fmt: skip
async def test_a_rule_has_the_last_word_on_the_clients_address(change, seen):
    port = free_port()
    async with backend("a") as a, engine() as made:
        door = http_door(port, Host("shop.example", (rule("/", request=change),)))
        await made.apply(plan([door], pool("shop/web/80", a.port)))
        headers = (await ask(port, "/", "-H", "x-forwarded-for: 192.0.2.9")).said["headers"]
        assert headers.get("x-forwarded-for") == seen


async def test_a_rewrite_of_the_host_tells_which_was_asked():
    port = free_port()
    async with backend("a") as a, engine() as made:
        door = http_door(port, Host("shop.example", (rule("/", rewrite=Rewrite("inner.example", None)),)))
        await made.apply(plan([door], pool("shop/web/80", a.port)))
        headers = (await ask(port, "/", "-H", "x-forwarded-host: forged")).said["headers"]
        assert (headers["host"], headers["x-forwarded-host"]) == (["inner.example"], ["shop.example"])


async def test_questions_of_browsers_are_answered_here():
    port = free_port()
    cors = Cors(
        ("https://*.shop.example", "https://one.example"), ("GET", "PUT"), ("x-a", "x-b"), ("x-c",), 7, True
    )
    async with backend("a") as a, engine() as made:
        rules = (rule("/any", cors=Cors(("*",), ("*",), ("*",))), rule("/", cors=cors))
        await made.apply(plan([shop(port, *rules)], pool("shop/web/80", a.port)))
        words = ("-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT")
        got = await ask(port, "/", *words, "-H", "Origin: https://www.shop.example")
        assert got.status == 204
        told = {name: got.header(f"access-control-{name}") for name in (
            "allow-origin", "allow-methods", "allow-headers", "expose-headers", "max-age", "allow-credentials")}  # fmt: skip
        assert told == {
            "allow-origin": "https://www.shop.example", "allow-methods": "GET, PUT", "allow-headers": "x-a, x-b",
            "expose-headers": "x-c", "max-age": "7", "allow-credentials": "true",
        }  # fmt: skip
        for origin in (
            "https://shop.example.evil",
            "https://evil/.shop.example",
            "null",
            "https://one.example.x",
        ):
            other = await ask(port, "/", *words, "-H", f"Origin: {origin}")
            assert (other.status, other.header("access-control-allow-origin")) == (204, None)
        assert a.asked == []
        got = await ask(port, "/x", "-H", "Origin: https://one.example")
        assert (got.status, got.header("access-control-allow-origin")) == (200, "https://one.example")
        got = await ask(port, "/any", "-H", "Origin: https://one.example")
        assert got.header("access-control-allow-origin") == "*"


async def test_a_backend_that_takes_too_long_is_given_up():
    port = free_port()
    async with backend("a") as a, engine() as made:
        a.delay = asyncio.Event()
        rules = (
            rule("/all", request_timeout_s=0.2),
            rule("/try", request_timeout_s=2, backend_timeout_s=0.2),
        )
        call = rule("/call", backend_timeout_s=0.2, is_grpc=True, to="shop/web/80")
        await made.apply(plan([shop(port, *rules, call)], pool("shop/web/80", a.port)))
        assert [(await ask(port, path)).status for path in ("/all", "/try")] == [504, 504]


async def test_failures_are_tried_again():
    port = free_port()
    async with backend("a") as a, engine() as made:
        again = Traffic(retries=2, retry_on=(503, 418))
        await made.apply(
            plan([shop(port, rule("/r", traffic=again), rule("/"))], pool("shop/web/80", a.port))
        )
        a.statuses = [503, 503]
        assert (await ask(port, "/r")).status == 200
        assert len(a.asked) == 3
        a.statuses = [503, 503, 503]
        assert (await ask(port, "/r")).status == 503
        a.statuses = [503]
        assert (await ask(port, "/r", "-d", "x")).status == 503, "nobody knows whether it may be said twice"
        a.statuses = [503]
        assert (await ask(port, "/")).status == 503


async def test_an_endpoint_with_errors_is_left_alone_for_a_while():
    port = free_port()
    async with backend("a") as a, backend("b") as b, engine() as made:
        one = rule("/", traffic=Traffic(outliers=Outliers(3, 30)))
        await made.apply(plan([shop(port, one)], pool("shop/web/80", a.port, b.port)))
        a.statuses = [500] * 1000
        await curl(f"http://127.0.0.1:{port}/[1-20]", "-H", "Host: shop.example")
        assert len(a.asked) == 3
        assert len(b.asked) == 17


async def test_an_endpoint_comes_back_after_its_time():
    port = free_port()
    async with backend("a") as a, engine() as made:
        one = rule("/", traffic=Traffic(outliers=Outliers(2, 1)))
        await made.apply(plan([shop(port, one)], pool("shop/web/80", a.port)))
        a.statuses = [500] * 2
        assert [(await ask(port, "/")).status for _ in range(3)] == [500, 500, 503]
        async with asyncio.timeout(10):
            while (await ask(port, "/")).status != 200:
                pass


@pytest.mark.parametrize("body", ["", "hello " * 100])
async def test_copies_go_elsewhere_and_nobody_waits_for_them(body: str):
    port = free_port()
    async with backend("a") as a, backend("copy") as copy, engine() as made:
        copy.delay = asyncio.Event()
        mirrored = rule("/", mirrors=(Mirror("shop/copy/80"),))
        some = rule("/some", mirrors=(Mirror("shop/copy/80", 1, 2),))
        pools = (pool("shop/web/80", a.port), pool("shop/copy/80", copy.port))
        await made.apply(plan([shop(port, some, mirrored)], *pools))
        words = ("-d", body, "-X", "PATCH") if body else ("-G",)
        assert (await ask(port, "/x?y=1", *words)).said["name"] == "a"
        async with asyncio.timeout(5):
            while not copy.asked:
                await ask(port, "/other")
        seen = copy.asked[0]
        assert (seen["path"], seen["host"], seen["body"]) == ("/x?y=1", "shop.example", body)
        assert seen["method"] == ("PATCH" if body else "GET")
        assert not [name for name in seen["headers"] if name.startswith("x-netloom")]
        copy.delay.set()
        before = len(copy.asked)
        await curl(f"http://127.0.0.1:{port}/some/[1-100]", "-H", "Host: shop.example")
        async with asyncio.timeout(5):
            while len(copy.asked) - before < 20:
                await ask(port, "/none")
        assert len(copy.asked) - before < 80


async def test_a_cookie_keeps_a_client_with_its_endpoint_over_a_reload():
    port = free_port()
    async with backend("a") as a, backend("b") as b, engine() as made:
        both = pool("shop/web/80", a.port, b.port, session_cookie="STAY")
        await made.apply(plan([shop(port, rule("/"))], both))
        first = await ask(port, "/")
        cookie = (first.header("set-cookie") or "").split(";")[0]
        assert cookie.startswith("STAY=")
        names = collections.Counter(
            [(await ask(port, "/", "-H", f"Cookie: {cookie}")).said["name"] for _ in range(6)]
        )
        assert names == {first.said["name"]: 6}
        applied = await made.apply(plan([shop(port, rule("/x", fault=500), rule("/"))], both))
        assert applied.is_reloaded
        assert (await ask(port, "/", "-H", f"Cookie: {cookie}")).said["name"] == first.said["name"]


async def test_websockets_pass():
    port = free_port()
    async with backend("a") as a, engine() as made, ClientSession() as session:
        await made.apply(plan([shop(port, rule("/"))], pool("shop/web/80", a.port)))
        async with session.ws_connect(f"http://127.0.0.1:{port}/", headers={"Host": "shop.example"}) as ws:
            await ws.send_str("hello")
            assert await ws.receive_str() == "a: hello"
            assert (
                await made.apply(
                    plan([shop(port, rule("/x", fault=500), rule("/"))], pool("shop/web/80", a.port))
                )
            ).is_reloaded
            await ws.send_str("still there")
            assert await ws.receive_str() == "a: still there"


async def test_requests_are_told_with_the_name_of_their_route():
    port = free_port()
    async with backend("a") as a, engine() as made:
        named = rule("/x", name='GRPCRoute shop/"cart" rule 2', source=source())
        await made.apply(plan([shop(port, named)], pool("shop/web/80", a.port)))
        await ask(port, '/x?"y', "-H", 'User-Agent: "')
        await ask(port, "/none")
        lines = made.access_log.read_text().splitlines()
        assert len(lines) == 2
        words = lines[0].split(" ")
        assert (words[1], words[3], words[7], words[-1]) == ("127.0.0.1", "200", "{shop.example}", "2")
        assert lines[0].endswith(' 0 GRPCRoute shop/"cart" rule 2')
        assert '"GET /x?#22y HTTP/1.1"' in lines[0], lines[0]
        assert (lines[1].split(" ")[3], lines[1].split(" ")[-1]) == ("404", "-")
