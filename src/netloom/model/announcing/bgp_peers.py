"""BGPPeers, read: with whom a node talks BGP, and how. Pure.

Comes in: a BGPPeer. Goes out: what of it can be used, and Findings; a session that is not meant as written is not tried, for a wrong
one can draw traffic that nobody answers. The embedded API server refuses what is found here. Not here: what peers are told (``bgp.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from netloom.api.bgp import Bfd, BGPPeer, BGPPeerSpec, SecretKey
from netloom.api.selectors import Selector, from_selector
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.selecting import OPERATORS
from netloom.units import Addr, Family, family_of, parse_addr

FAMILIES = {"IPv4": Family.V4, "IPv6": Family.V6}
MOST_ASN = 2**32 - 2
"""4294967295 is reserved (RFC 7300)."""
_TRANSITION = 23456
"""AS_TRANS stands for numbers that old routers cannot write (RFC 6793 section 9)."""
_BFD_MS = (10, 60_000)
_BFD_TIMES = (2, 50)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A router to talk to. Times in seconds, those of ``bfd`` as the API has them."""

    name: str
    source: Source
    address: Addr
    port: int
    asn: int
    my_asn: int
    local: Addr | None
    """Our end; None: as the kernel chooses."""
    hold_s: int
    keepalive_s: int
    is_multi_hop: bool
    password: SecretKey | None
    bfd: Bfd | None
    is_graceful: bool
    families: tuple[Family, ...]
    nodes: Selector | None
    """Those that talk to it; None: all."""

    @property
    def is_internal(self) -> bool:
        """Whether it is of the same autonomous system: only then it hears of local preference."""
        return self.asn == self.my_asn

    def is_of(self, labels: Mapping[str, str]) -> bool:
        """Whether the node with these labels talks to it."""
        return self.nodes is None or self.nodes.matches(labels)


def read_peer(peer: BGPPeer) -> tuple[Peer | None, tuple[Finding, ...]]:
    """The peer; None where something of it cannot be meant, which the findings tell."""
    subject, spec = source_of("BGPPeer", peer.metadata), peer.spec
    address = parse_addr(spec.peer_address)
    findings = tuple(_findings(spec, subject, address))
    if address is None or findings:
        return None, findings
    families = tuple(FAMILIES[word] for word in spec.address_families) or (family_of(address),)
    return (
        Peer(
            name=peer.metadata.name,
            source=subject,
            address=address,
            port=spec.peer_port,
            asn=spec.peer_asn,
            my_asn=spec.my_asn,
            local=parse_addr(spec.source_address) if spec.source_address else None,
            hold_s=spec.hold_time_seconds,
            keepalive_s=spec.keepalive_seconds or spec.hold_time_seconds // 3,
            is_multi_hop=spec.ebgp_multi_hop,
            password=spec.password_secret_ref,
            bfd=spec.bfd,
            is_graceful=spec.graceful_restart,
            families=tuple(sorted(set(families), key=lambda family: family.bits)),
            nodes=None if spec.node_selector is None else from_selector(spec.node_selector),
        ),
        (),
    )


def _findings(spec: BGPPeerSpec, subject: Source, address: Addr | None) -> Iterator[Finding]:
    if address is None or _is_no_host(address):
        problem = f'"{spec.peer_address}" is no address of a router'
        yield Finding(subject.at("spec.peerAddress"), problem, "write one, such as 192.0.2.1 or 2001:db8::1")
    yield from _addresses(spec, subject, address)
    for field, number in (("peerASN", spec.peer_asn), ("myASN", spec.my_asn)):
        if not 1 <= number <= MOST_ASN or number == _TRANSITION:
            problem = f"{number} is the number of no autonomous system"
            yield Finding(subject.at(f"spec.{field}"), problem, f"use 1 to {MOST_ASN}, but not {_TRANSITION}")
    yield from _numbers(spec, subject)
    yield from _selector(spec, subject)
    for number, word in enumerate(spec.address_families):
        at = subject.at(f"spec.addressFamilies[{number}]")
        if word not in FAMILIES:
            yield Finding(at, f'"{word}" is no family', f"use {' or '.join(FAMILIES)}")
        elif word in spec.address_families[:number]:
            yield Finding(at, f"{word} is there twice", "write each family once")
    secret = spec.password_secret_ref
    if secret is not None:
        for name, text in (("name", secret.name), ("namespace", secret.namespace), ("key", secret.key)):
            if not text:
                at = subject.at(f"spec.passwordSecretRef.{name}")
                yield Finding(at, "is empty", "name the Secret, its namespace, and which of its values")


def _addresses(spec: BGPPeerSpec, subject: Source, address: Addr | None) -> Iterator[Finding]:
    if not spec.source_address:
        return
    own = parse_addr(spec.source_address)
    if own is None or _is_no_host(own):
        problem = f'"{spec.source_address}" is no address of a node'
        yield Finding(subject.at("spec.sourceAddress"), problem, "write one, or leave the field out")
    elif address is not None and own.version != address.version:
        problem = f"{own} is of another family than the peer, {address}"
        yield Finding(subject.at("spec.sourceAddress"), problem, "use one of the peer's family")


def _numbers(spec: BGPPeerSpec, subject: Source) -> Iterator[Finding]:
    hold, keepalive = spec.hold_time_seconds, spec.keepalive_seconds
    if not 1 <= spec.peer_port <= 65535:
        yield Finding(subject.at("spec.peerPort"), f"{spec.peer_port} is no port", "use 1 to 65535")
    if hold != 0 and not 3 <= hold <= 65535:
        hint = "use 0 or 3 to 65535 (RFC 4271 section 4.2)"
        yield Finding(subject.at("spec.holdTimeSeconds"), f"{hold} is no hold time", hint)
    elif keepalive < 0 or keepalive > hold:
        problem = f"{keepalive} is not between 0 and the hold time, {hold}"
        yield Finding(subject.at("spec.keepaliveSeconds"), problem, "leave it out for a third of that")
    if spec.bfd is not None:
        given = (
            ("minRxMs", spec.bfd.min_rx_ms, _BFD_MS),
            ("minTxMs", spec.bfd.min_tx_ms, _BFD_MS),
            ("multiplier", spec.bfd.multiplier, _BFD_TIMES),
        )
        for name, value, bounds in given:
            if not bounds[0] <= value <= bounds[1]:
                problem = f"{value} is out of bounds"
                yield Finding(subject.at(f"spec.bfd.{name}"), problem, f"use {bounds[0]} to {bounds[1]}")


def _selector(spec: BGPPeerSpec, subject: Source) -> Iterator[Finding]:
    expressions = () if spec.node_selector is None else spec.node_selector.match_expressions
    for number, expression in enumerate(expressions):
        field = subject.at(f"spec.nodeSelector.matchExpressions[{number}]")
        if expression.operator not in OPERATORS:
            yield Finding(field, f'"{expression.operator}" is no operator', f"use {', '.join(OPERATORS)}")
        elif expression.operator in OPERATORS[:2] and not expression.values:
            yield Finding(field, f"{expression.operator} without values", "write some")


def _is_no_host(address: Addr) -> bool:
    return address.is_multicast or address.is_unspecified or address.is_loopback


def duplicates(peers: Sequence[Peer]) -> Iterator[Finding]:
    """Peers that one node would talk to twice at one address: the first by name counts."""
    taken: dict[tuple[Addr, int], Peer] = {}
    for peer in sorted(peers, key=lambda one: one.name):
        first = taken.setdefault((peer.address, peer.port), peer)
        if first is not peer:
            problem = f"{peer.address} is the peer of {first.source.subject} on the same node already"
            yield Finding(
                peer.source.at("spec.peerAddress"), problem, "keep one of them, or part their nodes"
            )
