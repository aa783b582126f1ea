"""Places to listen at, as a configuration writes them."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from netloom.agent.servers.sockets import NodeSockets, Place, parse_place
from netloom.errors import KernelError


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("127.0.0.1:10249", "127.0.0.1", 10249),
        ("[::1]:0", "::1", 0),
        ("0.0.0.0:10256", None, 10256),
        ("[::]:10256", None, 10256),
    ],
)
def test_an_address_with_a_port(text, address, port):
    assert parse_place(text) == Place(address and ipaddress.ip_address(address), port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10249",
        ":10249",
        "127.0.0.1",
        "127.0.0.1:",
        "::1:80",
        "[127.0.0.1]:80",
        "127.0.0.1:65536",
        "a:1",
        "127.0.0.1:²",
    ],
)
def test_anything_else_is_none(text):
    assert parse_place(text) is None


def test_a_port_that_is_taken_is_an_error_that_says_so():
    sockets = NodeSockets()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place(ipaddress.ip_address("127.0.0.1"), taken.getsockname()[1])
        with pytest.raises(
            KernelError, match=r"listen at 127\.0\.0\.1:\d+ \(TCP\).*in use.*stop what listens there"
        ):
            sockets.listen(place)


def test_all_addresses_are_those_of_both_families():
    with NodeSockets().listen(Place(None, 0)) as sock:
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()
