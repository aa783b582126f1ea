"""Network interfaces and their addresses as values. In: nothing. Out: types. Not here: netlink."""

from __future__ import annotations

import ipaddress

import msgspec

from netloom.units import Addr

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
"""An address together with the prefix length of its network, as ``ip address add`` takes it."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An interface as the kernel has it.

    ``peer_index`` and ``peer_nsid`` tell where the other end of a veth pair is: the index there, and the kernel's number
    of that namespace (None where it is this one or unknown).
    """

    index: int
    name: str
    mac: str = ""
    mtu: int = 0
    up: bool = False
    running: bool = False
    """Packets pass: the other side is up, too, and the kernel has taken note of it, which it does a little later."""
    kind: str = ""
    master: int | None = None
    peer_index: int | None = None
    peer_nsid: int | None = None
    alias: str = ""


class LinkAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address on an interface, as the kernel has it; ``tentative`` while duplicate detection runs (RFC 4862)."""

    device: str
    interface: Interface
    tentative: bool = False


class Veth(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of interfaces to be made: ``name`` here, ``peer`` in another namespace or here.

    MACs are chosen by the kernel where empty, the MTU (bytes) where 0.
    """

    name: str
    peer: str
    mac: str = ""
    peer_mac: str = ""
    mtu: int = 0


class Vxlan(msgspec.Struct, frozen=True, kw_only=True):
    """A VXLAN interface (RFC 7348) with static entries only: it learns nothing, floods nothing and asks nobody.

    ``local`` is the source of outer packets, and its family the only one that they have. Of the outer UDP checksum: none with IPv4
    (RFC 7348 section 5), always with IPv6. Outer packets may be fragmented on the way where the network is narrower than it says.
    """

    name: str
    vni: int
    local: Addr
    port: int
    mac: str
    mtu: int


class Bridge(msgspec.Struct, frozen=True, kw_only=True):
    """A bridge without spanning tree and without multicast snooping."""

    name: str
    mac: str
    mtu: int


class BridgePort(msgspec.Struct, frozen=True, kw_only=True):
    """How a bridge treats one of its ports.

    An ``isolated`` port reaches the bridge itself and ports that are not isolated (Linux 4.18). A ``locked`` one takes frames only
    from MACs that have an entry for it (5.18). ``learning``: entries come from what is received; ``flood``: frames for unknown MACs,
    groups and everybody go out of it.
    """

    device: str
    isolated: bool = False
    locked: bool = False
    learning: bool = True
    flood: bool = True
