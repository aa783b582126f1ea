"""What a frontend's label says: which chain its packets go to. Pure.

A label is a number in a packet's priority between the look-up of its frontend and the translation. nft writes it
``major:minor`` in hexadecimal: the minor half is the size of a class (``slots``), the major half are the flags below. It is
data, not a verdict: when a map's element leads to a chain, the kernel validates all chains behind all elements of that map
again for each change, which takes milliseconds with 10,000 Services.
"""

from __future__ import annotations

AFFINITY = 1 << 16
"""Clients stay with their backend (sessionAffinity)."""
OUTSIDE = 1 << 17
"""The pool for clients outside: slots from ``OUTSIDE_SLOTS`` on."""
FOREIGN = 1 << 18
"""The node's address becomes the source of what does not come from its pods."""
BY_SOURCE = 1 << 19
"""It depends on the client: the next label is that of ``INSIDE_STAGE`` or ``OUTSIDE_STAGE``."""
ADMISSION = 1 << 20
"""Only some are let in; for them the next label is that of ``ADMITTED_STAGE``."""
LOCAL = 1 << 22
"""Only where the address is one of the node's at this moment (hostPort with hostIP); else the packet is not ours."""
_END = 1 << 21
REFUSE = _END | 1
DROP = _END | 2
UNTRANSLATED = _END | 3
"""A server of this node answers at the address itself."""

INSIDE_STAGE = BY_SOURCE | 1
OUTSIDE_STAGE = BY_SOURCE | 2
ADMITTED_STAGE = ADMISSION | 1

OUTSIDE_SLOTS = 1 << 15
"""First slot of the pool for clients outside."""
BACKEND = 1 << 31
"""Bit of every number of a backend (``compile``), which no label has."""


def text(label: int) -> str:
    """As nft writes it: ``1:5``."""
    return f"{label >> 16:x}:{label & 0xFFFF:x}"


def size(label: int) -> int:
    """The class; 0 where the label leads to no class of its own."""
    return 0 if label & (_END | BY_SOURCE | ADMISSION) else label & 0xFFFF
