"""Domain names as peers: which names a rule means, and which addresses they have.

Comes in: names that the node's DNS server has told a pod of, with their addresses. Goes out: whether a pattern covers a name. Nothing in
the API says which addresses a name has, so each node knows what its own pods were told. Source of the rule: ClusterNetworkPolicy
``egress[].to[].domainNames`` (policy.networking.k8s.io/v1alpha2): ``*.`` stands for one or more labels, the name itself not among them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netloom.units import Addr, ObjectKey


class KnownName(msgspec.Struct, frozen=True, gc=False):
    """A name that a pod of this node was told the addresses of; ``name`` is in lower case, without the final dot."""

    name: str
    addresses: tuple[Addr, ...]
    """Sorted."""

    @property
    def key(self) -> ObjectKey:
        """As inputs of the model are known: no namespace."""
        return ObjectKey("", self.name)


def covers(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns means this name; patterns are as ``DomainPeers.names`` has them."""
    return any(
        name.endswith(pattern[1:]) and len(name) > len(pattern) - 1
        if pattern.startswith("*.")
        else name == pattern
        for pattern in patterns
    )
