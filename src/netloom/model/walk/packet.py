"""Who sends, to whom, and the packet that follows from it. Values only."""

from __future__ import annotations

import enum

import msgspec

from netloom.model.walk.urls import Asked, Url
from netloom.units import Addr, Family, ObjectKey, Protocol, family_of


class OriginKind(enum.Enum):
    """Where a packet starts."""

    POD = "pod"
    NODE = "node"
    """A process of the node, or a pod in the node's network."""
    OUTSIDE = "outside"
    """A client that is no part of the cluster."""


class Origin(msgspec.Struct, frozen=True):
    """The sender."""

    kind: OriginKind
    text: str
    """In words: ``pod shop/web-1``."""
    addresses: tuple[Addr, ...] = ()
    """Empty for a client outside whose address nobody named."""
    node: str = ""
    pod: ObjectKey | None = None
    """Also set for a pod in the node's network."""
    note: str = ""
    """Why this one was taken, where the user named several (a Deployment)."""

    def address(self, family: Family) -> Addr | None:
        """The address that packets of a family carry as their source."""
        return next((a for a in self.addresses if family_of(a) is family), None)


class PodTarget(msgspec.Struct, frozen=True):
    """A pod, at its own address."""

    key: ObjectKey
    note: str = ""
    """Why this one was taken, where the user named several."""


class ServiceTarget(msgspec.Struct, frozen=True):
    """A Service, in whatever way it can be reached from where the sender is."""

    key: ObjectKey


class NodeTarget(msgspec.Struct, frozen=True):
    """A node, at its own address."""

    name: str


class NameTarget(msgspec.Struct, frozen=True):
    """A name that DNS is asked for."""

    name: str


class AddressTarget(msgspec.Struct, frozen=True):
    """An address, whoever has it."""

    address: Addr


class InternetTarget(msgspec.Struct, frozen=True):
    """Somewhere outside."""


class UrlTarget(msgspec.Struct, frozen=True):
    """A request, which a gateway may answer."""

    url: Url
    asked: Asked = Asked()


Target = PodTarget | ServiceTarget | NodeTarget | NameTarget | AddressTarget | InternetTarget | UrlTarget


class Destination(msgspec.Struct, frozen=True):
    """The receiver, as the user named it; ``resolve.py`` finds its addresses."""

    text: str
    target: Target
    port: int | str | None = None
    """A number, a port's name, or None: the only one there is."""
    protocol: Protocol | None = None


class Packet(msgspec.Struct, frozen=True):
    """The first packet of a connection. ``source`` is None for a client outside that has no address given."""

    source: Addr | None
    destination: Addr
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        return f"{endpoint_text(self.destination, self.port)}/{self.protocol.word}"


def endpoint_text(address: Addr, port: int) -> str:
    """Address and port as URLs write them (RFC 3986: IPv6 in brackets)."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
