"""What answers to probes mean. Pure. In: which peers there are, which packets were answered. Out: reports, and words for people.

Not here: packets and sockets (``questions``), when to ask (``prober``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

import msgspec

from netloom.model.provenance import Finding, Source
from netloom.model.routes.ways import DEVICES, PORTS, Way, node_address_in, overhead
from netloom.model.state import PeerRoute
from netloom.units import Addr, family_of


class Fault(enum.Enum):
    """What is wrong with the way to a peer; the value is the word in metrics and documents."""

    NONE = "none"
    SILENT = "silent"
    """Nobody answers even the smallest packet: the peer's agent is down, or its port is closed to us."""
    NARROW = "narrow"
    """The underlay carries less than both nodes' interfaces say."""
    BLOCKED = "blocked"
    """The underlay carries probes, the tunnel carries nothing."""
    CHECKSUM = "checksum"
    """The tunnel loses packets whose checksum the hardware should have filled in, and no others."""
    TUNNEL_NARROW = "tunnel-narrow"
    """The tunnel carries small packets and loses those of full size, which the underlay carries."""
    SEGMENTATION = "segmentation"
    """The tunnel loses packets that the hardware should have cut, and carries each of their size."""


class Target(msgspec.Struct, frozen=True):
    """One way to one node: where its agent is asked, and through the tunnel, if it is one, where again."""

    node: str
    via: Addr
    way: Way
    mtu: int
    """What a pod's packet may measure, bytes."""
    inner: Addr | None = None
    """The node's address among its pods, behind the tunnel."""

    @property
    def outer(self) -> int:
        """What a packet of full size measures on the underlay, bytes."""
        return self.mtu + overhead(self.way, family_of(self.via))


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered.

    ``carried`` is the largest packet on the underlay (bytes, IP header included; 0: none). The others are of the tunnel: a small packet
    whose checksum is left to the hardware, one without checksum, one of full size, several of full size for the hardware to cut.
    """

    carried: int = 0
    plain: bool = False
    unchecked: bool = False
    full: bool = False
    cut: bool = False


class PathReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one way was found to be."""

    node: str
    via: str
    way: str
    expected: int
    """What a pod's packet may measure by the nodes' own words, bytes."""
    carried: int
    """What it may measure in truth; 0 where nobody answered."""
    fault: str
    remedy: str = ""
    """What was done about it."""
    problem: str = ""
    """A sentence about it, and what to do; empty where nothing is wrong or nothing can be said."""


def targets_of(routes: Iterable[PeerRoute]) -> dict[tuple[str, Addr], Target]:
    """One target for each node and address; several ranges of a node are one way, and the narrowest one counts."""
    targets: dict[tuple[str, Addr], Target] = {}
    for route in routes:
        if route.way is Way.BLOCKED:
            continue
        key = (route.node, route.via)
        known = targets.get(key)
        inner = node_address_in(route.destination) if route.way.is_tunnel else None
        if known is None or known.way is not route.way or route.mtu < known.mtu:
            kept = known.inner if known is not None and known.way is route.way else None
            targets[key] = Target(route.node, route.via, route.way, route.mtu, kept or inner)
    return targets


def judge(target: Target, seen: Seen) -> tuple[Fault, int]:
    """What is wrong, and what a pod's packet may measure."""
    if not seen.carried:
        return Fault.SILENT, 0
    carried = min(seen.carried - overhead(target.way, family_of(target.via)), target.mtu)
    if not target.way.is_tunnel:
        return (Fault.NARROW if carried < target.mtu else Fault.NONE), carried
    if not seen.plain:
        return (Fault.CHECKSUM if seen.unchecked else Fault.BLOCKED), carried
    if carried < target.mtu:
        return Fault.NARROW, carried
    if not seen.full:
        return Fault.TUNNEL_NARROW, carried
    return (Fault.NONE if seen.cut else Fault.SEGMENTATION), carried


def finding(target: Target, fault: Fault, carried: int, own: Source, port: int) -> Finding | None:
    """A sentence about it, at this node's own Node; None where nothing is wrong, or nothing can be said."""
    where = f"the way to node {target.node} at {target.via}"
    device = DEVICES.get(target.way, "")
    outer = family_of(target.via)
    switch_off = f"ethtool -K {device} tx-checksum-ip-generic off"
    words: Mapping[Fault, tuple[str, str]] = {
        Fault.NARROW: (
            f"carries packets of {carried + overhead(target.way, outer)} bytes, not of {target.outer}: "
            f"a pod's packet may measure {carried} there, and not {target.mtu}",
            f"let the network between the nodes carry {target.outer} bytes, or set the nodes' interfaces to "
            f"{carried + overhead(target.way, outer)}",
        ),
        Fault.BLOCKED: (
            f"carries probes, but nothing through {device}",
            f"open UDP port {port or PORTS.get(target.way, 0)} between the nodes, or choose another tunnel_port",
        ),
        Fault.CHECKSUM: (
            f"loses packets through {device} whose checksum is left to the hardware, and only those",
            f"{switch_off}; the agent does it where tunnel_checksums is auto",
        ),
        Fault.TUNNEL_NARROW: (
            f"carries small packets through {device} and loses those of {target.mtu} bytes, although the underlay carries them",
            f"look for what drops or fragments UDP port {port or PORTS.get(target.way, 0)} on the way",
        ),
        Fault.SEGMENTATION: (
            f"loses packets through {device} that are left to the hardware to be cut into {target.mtu} bytes",
            f"{switch_off}; the agent does it where tunnel_checksums is auto",
        ),
    }
    if fault not in words:
        return None
    problem, hint = words[fault]
    return Finding(own.at("status.addresses"), f"{where} {problem}", hint)


def sizes(expected: int, outer_v6: bool) -> tuple[int, int]:
    """The smallest packet that any network carries, and the one that is expected here, bytes (RFC 791, RFC 8200 section 5)."""
    return min(1280 if outer_v6 else 576, expected), expected
