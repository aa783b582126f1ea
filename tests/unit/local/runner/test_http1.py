from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.runner import http1
from netloom.local.runner.http1 import BadRequest, Body


def request(text: str) -> http1.Request:
    return http1.parse(text.replace("\n", "\r\n").encode())


def test_a_head_is_read():
    got = request("GET /a%20b/c?x=1&x=2&empty= HTTP/1.1\nHost: web\nX-List: a\nx-list: B, c\n")
    assert (got.method, got.path, got.segments) == ("GET", "/a b/c", ("a b", "c"))
    assert got.query == {"x": ["1", "2"], "empty": [""]}
    assert got.words("x-list") == ("a", "B", "c")
    assert got.tokens("x-list") == ("a", "b", "c")


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "Keep-Alive", True)],
)
def test_keeping_the_connection(version: str, connection: str, keeps: bool):
    header = f"Connection: {connection}\n" if connection else ""
    assert request(f"GET / HTTP/{version}\n{header}").keeps_alive is keeps


@pytest.mark.parametrize(
    "text",
    ["", "GET /", "get / HTTP/1.1", "GET / HTTP/2", "GET / HTTP/1.1\nno colon", "GET / HTTP/1.1\n : x"],
)
def test_what_is_no_head_is_refused(text: str):
    with pytest.raises(BadRequest):
        request(text)


@given(st.binary(max_size=300), st.integers(1, 40), st.booleans(), st.lists(st.integers(1, 50), max_size=8))
def test_bodies_end_where_they_end(content: bytes, cut: int, chunked: bool, sizes: list[int]):
    if chunked:
        wire, rest = b"", content
        for size in [*sizes, len(content)]:
            piece, rest = rest[:size], rest[size:]
            if piece:
                wire += f"{len(piece):x};note=1\r\n".encode() + piece + b"\r\n"
        wire += b"0\r\nTrailer: t\r\n\r\n"
        body = Body(request("POST / HTTP/1.1\nTransfer-Encoding: chunked\n"))
    else:
        wire = content
        body = Body(request(f"POST / HTTP/1.1\nContent-Length: {len(content)}\n"))
    buffer = bytearray()
    whole = wire + b"NEXT"
    for i in range(0, len(whole), cut):
        buffer += whole[i : i + cut]
        body.feed(buffer)
    assert (body.done, body.size, bytes(buffer)) == (True, len(content), b"NEXT")


@pytest.mark.parametrize("bad", [b"zz\r\n", b"x" * 2000])
def test_broken_chunks_are_refused(bad: bytes):
    body = Body(request("POST / HTTP/1.1\nTransfer-Encoding: chunked\n"))
    with pytest.raises(BadRequest):
        body.feed(bytearray(bad))
