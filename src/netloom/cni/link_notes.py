"""The note on the node's side of a pod's interface, for people and for GC: whose it is, and of which network (``ip link``, alias)."""

from __future__ import annotations

from netloom.program.links import Link

_IN_NETWORK = " in network "


def write(pod: str, network: str) -> bytes:
    """A pod's name has at most 317 characters, the kernel takes 255 bytes: what GC looks at must not be cut off."""
    named = f"{_IN_NETWORK}{network}" if network else ""
    room = 255 - len(named.encode())
    return f"netloom pod {pod}".strip().encode()[: max(room, 0)] + named.encode()


def network_of(link: Link) -> str:
    """Name of the network configuration that a pod's interface was made for; empty where that is not told."""
    return link.alias.rpartition(_IN_NETWORK)[2] if _IN_NETWORK in link.alias else ""
