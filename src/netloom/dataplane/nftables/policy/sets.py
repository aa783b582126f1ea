"""Peers as sets of the kernel: which set holds whom, in one family. Pure.

In: keys and members of the model's sets. Out: containers and their elements. The name of a set follows from what it selects, so rules
that select the same share one, and a restart finds it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from netloom.model.policy.state import Endpoint, EndpointPeers, Member, NetworkPeers, SetKey
from netloom.program import names
from netloom.program.nft import Container, Field, Key
from netloom.units import Addr, Cidr, Family, family_of

_PLACE = (Field.ADDRESS, Field.PROTOCOL, Field.PORT)


def container_of(key: SetKey) -> Container:
    """The set that holds these peers."""
    name = names.NFT_PEERS_PREFIX + digest(repr(key))
    if isinstance(key, EndpointPeers):
        return Container(name, _PLACE)
    if isinstance(key, NetworkPeers):
        return Container(name, (Field.SOURCE_RANGE,))
    return Container(name, (Field.ADDRESS,))


def elements_of(members: Iterable[Member], family: Family) -> set[Key]:
    """Those of one family."""
    found: set[Key] = set()
    for member in members:
        if isinstance(member, Endpoint):
            if family_of(member.address) is family:
                found.add((member.address.packed, member.protocol.number, member.port))
        elif family_of(member) is family:
            found.add(_element(member))
    return found


def digest(text: str) -> str:
    """Twelve hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _element(member: Addr | Cidr) -> Key:
    if isinstance(member, IPv4Network | IPv6Network):
        return (member[0].packed + member[-1].packed,)
    return (member.packed,)
