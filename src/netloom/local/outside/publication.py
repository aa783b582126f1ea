"""Ports of the host that lead to a Service: ``[127.0.0.1:]8080:shop/web:80``, read. Pure."""

from __future__ import annotations

import re

import msgspec

from netloom.errors import UsageError
from netloom.units import Addr, ObjectKey, parse_addr

HOST = "127.0.0.1"
_TEXT = re.compile(
    r"(?:(?P<host>[0-9.]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>\d+):(?P<namespace>[^/:]+)/(?P<service>[^/:]+):(?P<to>\d+)"
)


class Publication(msgspec.Struct, frozen=True):
    """A port of the host, and the port of a Service's LoadBalancer address that it leads to."""

    host: Addr
    port: int
    service: ObjectKey
    service_port: int

    def __str__(self) -> str:
        return f"{self.place} to Service {self.service} port {self.service_port}"

    @property
    def text(self) -> str:
        """As ``read_publication`` reads it."""
        return f"{self.place}:{self.service}:{self.service_port}"

    @property
    def place(self) -> str:
        """Where it listens: ``127.0.0.1:8080``."""
        host = f"[{self.host}]" if self.host.version == 6 else str(self.host)
        return f"{host}:{self.port}"


def read_publication(text: str) -> Publication:
    """What a publication says.

    Raises:
        UsageError: it is none.
    """
    match = _TEXT.fullmatch(text)
    host = parse_addr((match["host"] or HOST).strip("[]")) if match else None
    if match is None or host is None:
        raise UsageError(
            f"--publish {text!r}: no port of the host and a Service's port",
            "write it as 8080:shop/web:80, or 127.0.0.1:8080:shop/web:80",
        )
    ports = int(match["port"]), int(match["to"])
    for port in ports:
        if not 1 <= port <= 65535:
            raise UsageError(f"--publish {text!r}: port {port} is out of range", "use 1 to 65535")
    return Publication(host, ports[0], ObjectKey(match["namespace"], match["service"]), ports[1])
