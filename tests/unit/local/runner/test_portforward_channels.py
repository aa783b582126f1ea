from __future__ import annotations

import pytest

from netloom.local.runner import http1
from netloom.local.runner.http1 import BadRequest, Request
from netloom.local.runner.streams.portforward_channels import MAX_PORTS, ports_of


def asked(query: str) -> Request:
    return http1.parse(f"GET /portForward/shop/web{query} HTTP/1.1\r\nhost: x\r\n\r\n".encode())


def test_ports_are_named_once_or_several_times():
    assert ports_of(asked("?ports=80")) == (80,)
    assert ports_of(asked("?ports=80,8080&ports=443")) == (80, 8080, 443)


@pytest.mark.parametrize(
    "query",
    ["", "?ports=", "?ports=0", "?ports=65536", "?ports=web", "?ports=-1", "?ports=80,", "?ports=%D9%A3",
     "?ports=" + ",".join(["80"] * (MAX_PORTS + 1))],
)  # fmt: skip
def test_what_is_no_port_is_told(query: str):
    with pytest.raises(BadRequest, match="ports"):
        ports_of(asked(query))
