"""Leases that nobody uses any more, seen so twice. Pure.

In: looks at the leases. Out: those that may be released. A pod that is gone, with an interface that is gone, is no proof: its
runtime may be about to make it anew, or what we looked at may be a moment old. Twice the same, some time apart, is.
Not here: looking, and releasing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from netloom.cni.ipam.lease import Attachment, Lease

APART_S = 60.0
"""What lies between the two looks, at least: longer than any ADD takes."""


class Observations:
    """What was seen before.

    Args:
        apart_s: seconds between the first look that counts and the last.
    """

    def __init__(self, *, apart_s: float = APART_S) -> None:
        self._apart_s = apart_s
        self._first: dict[Attachment, tuple[Lease, float]] = {}

    def take(self, unused: Iterable[Lease], now: float) -> list[Lease]:
        """These are not used, as of now (monotonic). Those that were not used either when they were seen first."""
        before, self._first = self._first, {}
        found = []
        for lease in unused:
            known = before.get(lease.attachment)
            first = known[1] if known is not None and known[0] == lease else now
            self._first[lease.attachment] = (lease, first)
            if now - first >= self._apart_s:
                found.append(lease)
        return found


def without_interface(
    leases: Collection[Lease], links: Collection[str], link_of: dict[Attachment, str]
) -> list[Lease]:
    """The leases whose interface is not there.

    Args:
        leases: all of this node.
        links: names of the interfaces that there are.
        link_of: the name of each attachment's interface on the node's side.
    """
    return [lease for lease in leases if link_of[lease.attachment] not in links]


def replaced(lease: Lease, leases: Iterable[Lease], missing: Collection[Attachment]) -> bool:
    """Whether the same pod has the same interface by another, later lease: of a sandbox that was made anew."""
    return any(
        other.pod == lease.pod
        and other.attachment.interface == lease.attachment.interface
        and other.attachment != lease.attachment
        and other.attachment not in missing
        and other.since >= lease.since
        for other in leases
        if lease.pod
    )
