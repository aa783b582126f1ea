"""What is recorded of addresses, as values: who has which, since when, and who had one before. Not here: the record (``store``)."""

from __future__ import annotations

import msgspec

from netloom.errors import Unavailable
from netloom.units import Addr


class Attachment(msgspec.Struct, frozen=True, order=True):
    """One interface of one container: the key under which CNI asks for and gives back (CNI_CONTAINERID, CNI_IFNAME)."""

    container: str
    interface: str

    def __str__(self) -> str:
        return f"{self.container}/{self.interface}"


class PortMapping(msgspec.Struct, frozen=True, order=True):
    """A port of the host that leads to one of the container (CNI capability ``portMappings``).

    ``protocol`` is ``tcp``, ``udp`` or ``sctp``; ``host_ip`` is empty where all of the host's addresses are meant.
    """

    host_port: int
    container_port: int
    protocol: str
    host_ip: str = ""


class Lease(msgspec.Struct, frozen=True):
    """Addresses that an attachment has, at most one of each family; ``pod`` is namespace/name, empty where there is none."""

    attachment: Attachment
    addresses: tuple[Addr, ...]
    pod: str = ""
    ports: tuple[PortMapping, ...] = ()
    since: float = 0.0
    """Seconds since the epoch; 0 where that is not known."""


class Holding(msgspec.Struct, frozen=True):
    """What is known of one address that was handed out at least once."""

    address: Addr
    attachment: Attachment | None
    """Who has it now; None where nobody on this node has."""
    pod: str
    """Who has it, or had it last."""
    since: float
    """Since when that is so; seconds since the epoch."""
    block: str = ""
    """The IPBlock with which another node took it over; empty where none did."""


class Usage(msgspec.Struct, frozen=True):
    """How many addresses of a range are in use, are kept back because they were until a while ago, and are with other nodes."""

    used: int
    quarantined: int
    lent: int


class Exhausted(Unavailable):
    """No address of a family is left; ``version`` is 4 or 6."""

    def __init__(self, problem: str, hint: str, *, version: int) -> None:
        self.version = version
        super().__init__(problem, hint)


class Taken(Unavailable):
    """The address that was asked for is not to be had now: ``holding`` says who has it, or had it until a moment ago."""

    def __init__(self, problem: str, hint: str, *, holding: Holding) -> None:
        self.holding = holding
        super().__init__(problem, hint)
