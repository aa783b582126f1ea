"""Addresses, ports, protocols and keys as types. Identity is a type, never a string; text is made at the edge."""

from __future__ import annotations

import enum
import ipaddress
from typing import NewType

import msgspec

Addr = ipaddress.IPv4Address | ipaddress.IPv6Address
Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network
Port = NewType("Port", int)
NodeName = NewType("NodeName", str)


class Family(enum.Enum):
    """An IP family; the argument of one code path, never two copies of it."""

    V4 = "ip"
    V6 = "ip6"

    @property
    def bits(self) -> int:
        """Length of an address in bits."""
        return 32 if self is Family.V4 else 128

    @property
    def address_type(self) -> str:
        """EndpointSlice ``addressType`` of this family (discovery/v1)."""
        return "IPv4" if self is Family.V4 else "IPv6"


class Protocol(enum.Enum):
    """Transport protocol of a Service port (core/v1 Protocol); the value is what the API writes."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    @property
    def number(self) -> int:
        """IANA protocol number."""
        return {"TCP": 6, "UDP": 17, "SCTP": 132}[self.value]

    @property
    def word(self) -> str:
        """Lower-case name, as nft and CNI write it."""
        return self.value.lower()


class ObjectKey(msgspec.Struct, frozen=True, order=True):
    """Namespace and name of an object of a known kind; the namespace of cluster-scoped kinds is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class ServicePortKey(msgspec.Struct, frozen=True, order=True):
    """One port of one Service; ``port`` is its name, empty for the only unnamed one."""

    service: ObjectKey
    port: str
    protocol: Protocol

    def __str__(self) -> str:
        return (
            f"{self.service}:{self.port}/{self.protocol.word}"
            if self.port
            else f"{self.service}/{self.protocol.word}"
        )


def family_of(address: Addr | Cidr) -> Family:
    """The IP family of an address or network."""
    return Family.V4 if address.version == 4 else Family.V6


def parse_addr(text: str) -> Addr | None:
    """An address, or None when the text is none (zone ids and prefixes are refused)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else address


def parse_cidr(text: str) -> Cidr | None:
    """A network without host bits, or None when the text is none."""
    try:
        return ipaddress.ip_network(text, strict=True)
    except ValueError:
        return None
