"""The ways from a node to another one's pods, and what each way costs a packet.

Comes in: what this node and a peer are. Goes out: the way, or what forbids all of them. Not here: whose pods are where
(``peers.py``), and how a way is built (a fabric does).
"""

from __future__ import annotations

import base64
import binascii
import enum
import ipaddress
from collections.abc import Sequence

import msgspec

from netloom.units import Addr, Cidr, Family, family_of

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

KEY_ANNOTATION = "netloom.io/wireguard-key"
"""Annotation of a Node: its public key, 32 bytes in base64 (as ``wg pubkey`` writes it). Written by the node's agent."""
UNDERLAY_ANNOTATION = "netloom.io/underlay"
"""Annotation of a Node: how it is connected (:class:`Underlay` as JSON). Written by the node's agent."""
FABRIC_ANNOTATION = "netloom.io/fabric"
"""Annotation of a Node: the fabric that its agent builds (:class:`FabricSettings` as JSON). Written by the node's agent."""

MIN_MTU = 1280
"""What IPv6 asks of every link, bytes (RFC 8200 section 5)."""
DEFAULT_MTU = 1500


class FabricKind(enum.Enum):
    """What joins the nodes of a cluster. The values are the words of ``--fabric``."""

    HOSTGW = "hostgw"
    L2 = "l2"
    VXLAN = "vxlan"
    UDP = "udp"
    WIREGUARD = "wireguard"
    BGP = "bgp"


class Way(enum.Enum):
    """How packets for one peer's pods travel."""

    DIRECT = "direct"
    """As they are: the peer's node is the next hop."""
    BGP = "bgp"
    """As they are, by whom the routers outside say (BGP)."""
    VXLAN = "vxlan"
    """In VXLAN (RFC 7348)."""
    UDP = "udp"
    """In UDP, by a process of ours: for networks that drop all else."""
    WIREGUARD = "wireguard"
    """Encrypted."""
    BLOCKED = "blocked"
    """Not at all: they may travel encrypted only, and the peer has no key."""

    @property
    def is_plain(self) -> bool:
        """The underlay sees packets as pods send them."""
        return self in (Way.DIRECT, Way.BGP)

    @property
    def is_tunnel(self) -> bool:
        """The underlay sees packets between nodes, not between pods."""
        return self in (Way.VXLAN, Way.UDP, Way.WIREGUARD)


_HEADERS = {Way.VXLAN: 8 + 8 + 14, Way.UDP: 8, Way.WIREGUARD: 8 + 32}
"""Bytes between the outer IP header and the inner one: UDP and VXLAN with an Ethernet header; UDP; UDP and WireGuard's
type, receiver, counter and tag."""
_IP_HEADER = {Family.V4: 20, Family.V6: 40}


class FabricSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all nodes of a cluster must agree on, so that they understand each other's packets."""

    fabric: FabricKind = FabricKind.HOSTGW
    direct: bool = True
    port: int = 0
    vni: int = 4096

    def __str__(self) -> str:
        tunnel = TUNNELS.get(self.fabric)
        words = [self.fabric.value]
        if tunnel is not None:
            words.append(f"port {self.port or PORTS[tunnel]}")
        if tunnel is Way.VXLAN:
            words.append(f"VNI {self.vni}")
        return ", ".join(words)


class Segment(msgspec.Struct, frozen=True):
    """A network that an interface of a node is part of, and the node's address there."""

    device: str
    interface: Interface


class Underlay(msgspec.Struct, frozen=True):
    """How a node is connected, as its agent read it from the kernel: its networks, and the MTU (bytes) of its own address."""

    segments: tuple[Segment, ...] = ()
    mtu: int = DEFAULT_MTU


DEVICES = {Way.VXLAN: "nl-vxlan", Way.UDP: "nl-udp", Way.WIREGUARD: "nl-wireguard"}
"""The interface of each tunnel on every node."""
BRIDGE = "nl-bridge"
"""The interface that pods of a node share where the fabric is ``l2``; it has the node's address among its pods."""
PORTS = {Way.VXLAN: 4789, Way.UDP: 8285, Way.WIREGUARD: 51820}
"""UDP ports of the tunnels where nobody says otherwise (RFC 7348 section 8 for VXLAN; the others as their users know them)."""


def overhead(way: Way, outer: Family) -> int:
    """Bytes that a way adds to each packet when the outer header is of this family."""
    return _HEADERS[way] + _IP_HEADER[outer] if way in _HEADERS else 0


def pod_mtu(fabric: FabricKind, outer: Family, underlay_mtu: int) -> int:
    """What the interfaces of pods are set to, bytes: full-size packets of theirs pass on every way of the fabric."""
    return underlay_mtu - overhead(TUNNELS.get(fabric, Way.DIRECT), outer)


TUNNELS = {FabricKind.VXLAN: Way.VXLAN, FabricKind.UDP: Way.UDP, FabricKind.WIREGUARD: Way.WIREGUARD}
"""Fabrics that encapsulate, and how."""


def node_address_in(pod_cidr: Cidr) -> Addr:
    """The node's own address among its pods: the first after the range's own (``cni/ipam`` gives it to no pod).

    It is on the device of a tunnel, and routes through it name it as their source, so that answers to the node's own packets
    come back through the tunnel; on a bridge it is the pods' gateway. Policies take it for the node.
    """
    return pod_cidr.network_address + 1


def device_towards(via: Addr, segments: Sequence[Segment]) -> str:
    """The interface with the narrowest network that an address is on; empty where there is none."""
    near = [s for s in segments if via.version == s.interface.version and via in s.interface.network]
    near.sort(key=lambda s: s.interface.network.prefixlen, reverse=True)
    return near[0].device if near else ""


def is_near(via: Addr, segments: Sequence[Segment]) -> bool:
    """Whether an address is on a network of this node's own."""
    return any(via.version == s.interface.version and via in s.interface.network for s in segments)


def read_key(text: str) -> str:
    """A public key in base64, in its one right spelling; empty where the text is none (Curve25519: 32 bytes, RFC 7748)."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return base64.b64encode(raw).decode() if len(raw) == 32 and any(raw) else ""


def write_underlay(underlay: Underlay) -> str:
    """The text of the annotation."""
    networks = [[s.device, str(s.interface)] for s in underlay.segments]
    return msgspec.json.encode({"mtu": underlay.mtu, "segments": networks}).decode()


def write_fabric(settings: FabricSettings) -> str:
    """The text of the annotation."""
    return msgspec.json.encode(settings).decode()


def read_fabric(text: str) -> FabricSettings | None:
    """What :func:`write_fabric` wrote; None where the text is something else."""
    try:
        return msgspec.json.decode(text, type=FabricSettings)
    except msgspec.MsgspecError:
        return None


class _Written(msgspec.Struct):
    mtu: int = DEFAULT_MTU
    segments: tuple[tuple[str, str], ...] = ()


def read_underlay(text: str) -> Underlay | None:
    """What :func:`write_underlay` wrote; None where the text is something else."""
    try:
        written = msgspec.json.decode(text, type=_Written)
        segments = tuple(Segment(device, ipaddress.ip_interface(at)) for device, at in written.segments)
    except (msgspec.MsgspecError, ValueError):
        return None
    if not MIN_MTU <= written.mtu <= 65535:
        return None
    return Underlay(segments, written.mtu)


def outer_family(addresses: Sequence[Addr]) -> Family:
    """The family that carries the tunnels of a node with these InternalIPs: that of the first."""
    return family_of(addresses[0]) if addresses else Family.V4
