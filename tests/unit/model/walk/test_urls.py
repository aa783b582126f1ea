"""URLs as destinations of a walk."""

from __future__ import annotations

import pytest

from netloom.errors import UsageError
from netloom.model.walk.urls import Asked, Url, read_asked, read_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Shop.Example/cart?a=1&b=", Url("https", "shop.example", 443, "/cart", "a=1&b=")),
        ("http://shop.example", Url("http", "shop.example", 80, "/")),
        ("http://shop.example.:8080/a/", Url("http", "shop.example", 8080, "/a/")),
        ("https://[2001:db8::9]:8443/x", Url("https", "2001:db8::9", 8443, "/x")),
        ("wss://192.0.2.9/live", Url("wss", "192.0.2.9", 443, "/live")),
    ],
)
def test_a_url_is_taken_apart(text: str, url: Url):
    assert read_url(text) == url
    assert read_url(str(url)) == url


def test_parameters_keep_their_order_and_empty_values():
    assert read_url("http://shop.example/?b=2&a=&b=1").queries == (("b", "2"), ("a", ""), ("b", "1"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ftp://shop.example/", "no scheme 'ftp'"),
        ("http://", "neither a name nor an address"),
        ("http://shop example/", "neither a name nor an address"),
        ("http://me:secret@shop.example/", "names a user"),
        ("http://shop.example:99999/", "no URL"),
        ("http://shop.example:0/", "no port 0"),
        ("http://[2001:db8::/", "no URL"),
    ],
)
def test_what_is_no_url_is_said(text: str, problem: str):
    with pytest.raises(UsageError, match=problem):
        read_url(text)


def test_method_and_headers():
    assert read_asked("post", ["X-Canary: always", "accept:"]) == Asked(
        "POST", (("x-canary", "always"), ("accept", ""))
    )


@pytest.mark.parametrize("header", ["no colon", ": value", "a b: c", "a: b\nc: d"])
def test_what_is_no_header_is_said(header: str):
    with pytest.raises(UsageError, match="no header"):
        read_asked("GET", [header])


def test_what_is_no_method_is_said():
    with pytest.raises(UsageError, match="no method"):
        read_asked("GET /", [])
