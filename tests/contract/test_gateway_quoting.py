"""Whatever users write means that text to HAProxy, and nothing else: values of headers, realms, paths, names, patterns."""

from __future__ import annotations

import asyncio

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.contract.gateway_world import backend, curl, engine, free_port, http_door, plan, pool, rule

from netloom.gateway.haproxy import quote
from netloom.model.gateways.plan import (
    BasicAuth,
    HeaderChange,
    Host,
    Match,
    PathKind,
    Rewrite,
    Traffic,
    ValueMatch,
)

HOSTILE = (
    '"', "'", "\\", "\n", "\r\n", "\t", " ", "#", "$HOME", "${HOME}", "%", "%[src]", "%%", "{", "}", "[", "]", "(", ")", ",", ";", "\\x41", "\0",
    "\x7f", "--", "-f", "-m", "!", "if", "unless", "or", "|", "<<", "é", "日本", "global\n  daemon\n", "]%[env(PATH)]", "a", "0", "/",
)  # fmt: skip
texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=3), max_size=6).map("".join)


@settings(
    max_examples=8, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)  # each is a process: none is made smaller
@given(st.lists(texts, min_size=8, max_size=20))
def test_hostile_values_are_values(values: list[str]):
    """Each value is set as a header, and asked for as a header and as a parameter."""

    async def check() -> None:
        port = free_port()
        async with backend("a") as a, engine() as made:
            hosts = []
            for n, value in enumerate(values):
                wanted = ValueMatch("x-given", value)
                asked = ValueMatch(value, value)
                match = Match(PathKind.PREFIX, "/one", "", (wanted,), (asked,))
                change = HeaderChange(set=(("x-set", value),))
                basic = Traffic(basic=BasicAuth(value, ((value, "$5$" + value),)))
                hosts.append(
                    Host(
                        f"h{n}.example",
                        (
                            rule(match=match, name=value),
                            rule("/set", request=change, response=change, name=value),
                            rule("/path" + value, fault=418, name=value),
                            rule("/basic", traffic=basic),
                            rule("/re", rewrite=Rewrite(value)),
                        ),
                    )
                )
            applied = await made.apply(plan([http_door(port, *hosts)], pool("shop/web/80", a.port)))
            # a basic user whose name or hash cannot be one may be refused; nothing else is
            assert all("userlist" in str(f) or "user" in str(f) for f in applied.findings), applied.findings
            for n, value in enumerate(values):
                got = await curl(f"http://127.0.0.1:{port}/set", "-H", f"Host: h{n}.example")
                seen = got.said["headers"].get("x-set", [""])[0]
                assert seen.encode("utf-8", "surrogateescape").decode() == quote.header_value(value)
                assert set(got.said["headers"]) <= {
                    "host", "user-agent", "accept", "x-set", "x-forwarded-for", "x-forwarded-proto",
                    "x-forwarded-host", "x-forwarded-port", "x-real-ip",
                }  # fmt: skip

    asyncio.run(check())


@given(texts)
def test_a_word_is_one_line_without_spaces(text: str):
    word = quote.word(text)
    assert word.isascii()
    assert not set(word) & set(" \t\r\n\0#$'")


@given(texts)
def test_a_label_stays_behind_its_key(text: str):
    label = quote.label(text)
    assert label
    assert "\n" not in label
    assert quote.name(text).replace("_", "a").replace(".", "a").replace("-", "a").isalnum() or not text
