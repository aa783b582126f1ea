"""The route that HAProxy takes is the one that the plan's reference takes: any hosts, paths, conditions and orders of rules."""

from __future__ import annotations

import asyncio

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.contract.gateway_world import GATEWAY, HERE, engine, free_port, plan, pool, rule, source

from netloom.model.gateways.hostnames import covers, specificity
from netloom.model.gateways.matching import Action, Decision, Request, decide
from netloom.model.gateways.plan import (
    Door,
    HeaderChange,
    Host,
    Listener,
    Match,
    PathKind,
    Plan,
    Rule,
    Transport,
    ValueMatch,
)

PATHS = (
    "/",
    "/a%2fb",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/c",
    "/ab",
    "/a//b",
    "/b",
    "/b/a;x=1",
    "/%61",
    "/A",
    "/a.b",
    "/a?b",
)
SPELLINGS = (
    "//a", "///a///b/", "/%61//%62", "/a%2fb", "/a%2Fb", "/%2561", "/%7", "/%zz/%61", "/a/.", "/./a", "/../a", "/x/%2e%2E/a", "/a/..;x/b",
    "/a%2f..%2fb", "/a/..%5cb", "/a/...", "/.a", "/a..", "/a./b", "/%2e%2e%61",
)  # fmt: skip
PATTERNS = ("/a/.*", "/[ab]", "/a(/b)?", ".*c", "/a.b", "/a|/b")
VALUES = ("x", "y", "x y", "", "a,b", "%[src]", '"q"', "}", "-f", "\\", "a'b", "ü", "$HOME", "#1")
NAMES = ("x-one", "x-two")
KEYS = ("q", "q", "a,b)c", "n'1")
LISTENERS = ("", "*.example", "shop.example", "*.shop.example")
HOSTS = (
    "shop.example",
    "a.shop.example",
    "b.a.shop.example",
    "*.shop.example",
    "*.a.shop.example",
    "*.example",
    "x.test",
    "",
)
ASKED = (
    "shop.example", "SHOP.example:8080", "a.shop.example", "b.a.shop.example", "c.b.a.shop.example", "example", "y.example",
    "x.test", "x.test.", "192.0.2.1", "[2001:db8::1]:80", "zz.test",
)  # fmt: skip

value_matches = st.builds(
    ValueMatch, st.sampled_from(NAMES), st.sampled_from([v for v in VALUES if v.strip() == v]), st.just(False)
) | st.builds(ValueMatch, st.sampled_from(NAMES), st.sampled_from(("x|y", "[a-z]+", ".*")), st.just(True))
query_matches = st.builds(ValueMatch, st.sampled_from(KEYS), st.sampled_from(VALUES), st.just(False))
matches = st.builds(
    Match,
    st.sampled_from((PathKind.EXACT, PathKind.PREFIX, PathKind.PREFIX)),
    st.sampled_from(PATHS),
    st.sampled_from(("", "", "", "GET", "POST")),
    st.lists(value_matches, max_size=2, unique_by=lambda one: one.name).map(tuple) | st.just(()),
    st.lists(query_matches, max_size=2, unique_by=lambda one: one.name).map(tuple) | st.just(()),
) | st.builds(Match, st.just(PathKind.REGEX), st.sampled_from(PATTERNS), st.sampled_from(("", "GET")))
rules = st.lists(matches, max_size=7)
listeners = st.dictionaries(
    st.sampled_from(LISTENERS),
    st.dictionaries(st.sampled_from(HOSTS), rules, max_size=4),
    min_size=1,
    max_size=3,
)
requests = st.builds(
    lambda host, path, query, method, headers: Request(
        host=host, path=path.partition("?")[0], query=query, method=method, headers=tuple(headers.items())
    ),
    st.sampled_from(ASKED),
    st.sampled_from((*PATHS, "/a/b/", "/a/c", "/a/b/c/d", "/c", "/abc", *SPELLINGS)),
    st.lists(
        st.tuples(st.sampled_from(("q", "q", "a,b)c", "n'1")), st.sampled_from(("x", "x+y", "x%20y", "", "%25[src]", "a,b", "%22q%22")))
    ).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)),
    st.sampled_from(("GET", "POST")),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=2),
)  # fmt: skip


def door_of(described: dict[str, dict[str, list[Match]]], port: int) -> Door:
    """A door with these listeners; each rule marks what it takes with its name."""
    made: list[Listener] = []
    for hostname in sorted(described, key=specificity):
        hosts = []
        for name in sorted(described[hostname], key=specificity):
            if not covers(hostname, name):
                continue
            hosts.append(Host(name, tuple(_rules(hostname, name, described[hostname][name]))))
        made.append(Listener(hostname or "any", source("Gateway", "edge"), hostname, None, tuple(hosts)))
    return Door(GATEWAY, source("Gateway", "edge"), 80, Transport.HTTP, tuple(made), port)


def _rules(hostname: str, host: str, found: list[Match]) -> list[Rule]:
    named = [(f"{hostname}|{host}|{number}", match) for number, match in enumerate(found)]
    return [rule(match=m, name=name, request=HeaderChange(set=(("x-rule", name),))) for name, m in named]


class Marks:
    """A backend that answers with the mark of the rule, and a client with one connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                mark = next(
                    (line[8:] for line in head.split(b"\r\n") if line.lower().startswith(b"x-rule: ")), b"-"
                )
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(mark), mark))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def ask(port: int, wanted: list[Request]) -> list[str]:
    """For each request the mark of its rule, or the status."""
    found: list[str] = []
    reader, writer = await asyncio.open_connection(str(HERE), port)
    for one in wanted:
        target = f"{one.path}?{one.query}" if one.query else one.path
        lines = [f"{one.method} {target} HTTP/1.1", f"Host: {one.host}", "Content-Length: 0"]
        lines += [f"{name}: {value}" for name, value in one.headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        body = (await reader.readexactly(length)).decode()
        status = head.split()[1].decode()
        found.append(body if status == "200" else status)
    writer.close()
    return found


def expected(made: Plan, request: Request) -> str:
    found: Decision = decide(made, made.doors[0], request)
    if found.action is Action.FORWARD:
        assert found.rule is not None
        return found.rule.name
    return str(found.status)


@settings(max_examples=20, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(listeners, min_size=2, max_size=4), st.lists(requests, min_size=30, max_size=60))
def test_the_engine_decides_as_the_reference(described, wanted):
    async def check() -> None:
        backend = await asyncio.start_server(Marks().serve, str(HERE), 0)
        port = backend.sockets[0].getsockname()[1]
        ports = [free_port() for _ in described]
        doors = [door_of(one, at) for one, at in zip(described, ports, strict=True)]
        async with engine() as made:
            applied = await made.apply(plan(doors, pool("shop/web/80", port)))
            assert applied.findings == ()
            for door in doors:
                whole = plan([door], pool("shop/web/80", port))
                found = await ask(door.node_port or 0, wanted)
                for request, got in zip(wanted, found, strict=True):
                    assert got == expected(whole, request), request
        backend.close()

    asyncio.run(check())
