"""How much a pod may send and receive, as a value: from its annotations, and as the buckets that enforce it. Pure.

In: annotations of a pod, an MTU. Out: :class:`Bandwidth`, what is wrong, token buckets. Rules: the annotations and bounds are those of
kubelet (``kubernetes.io/ingress-bandwidth``, ``kubernetes.io/egress-bandwidth``: 1k to 1P bits a second), the units those of the CNI
capability ``bandwidth``. Not here: reading it from a runtime's call (``capabilities``), the kernel (``limits``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from netloom.api.quantity import parse
from netloom.program.tc import TokenBucket

INGRESS = "kubernetes.io/ingress-bandwidth"
EGRESS = "kubernetes.io/egress-bandwidth"
LEAST, MOST = 10**3, 10**15
"""Bits a second; kubelet refuses pods that ask for less or more."""

UNSAID_BURST = (1 << 32) - 1
"""Bits. Runtimes send this where nobody said anything (containerd, CRI-O): half a gigabyte at once would be no limit."""
_U32_MAX = (1 << 32) - 1
_FRAME = 14 + 4
"""Bytes of a frame beside the packet: Ethernet header and one VLAN tag."""
_PER_SECOND = 20
"""Unless somebody says otherwise a bucket holds what passes in a twentieth of a second, and as much may wait."""
_MOST_WAITING = 10
"""Packets that may wait at least, however slow it is."""


class Bandwidth(msgspec.Struct, frozen=True):
    """Limits of a pod's interface, as the conventions of CNI have them: rates in bits/s, bursts in bits; 0: none.

    Ingress is what the pod receives.
    """

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0

    def ingress(self, mtu: int) -> TokenBucket | None:
        """The bucket for what the pod receives; None where that is not limited. ``mtu`` in bytes."""
        return _bucket(self.ingress_rate, self.ingress_burst, mtu)

    def egress(self, mtu: int) -> TokenBucket | None:
        """The bucket for what the pod sends; None where that is not limited."""
        return _bucket(self.egress_rate, self.egress_burst, mtu)


class Misread(msgspec.Struct, frozen=True):
    """An annotation that cannot be used."""

    field: str
    problem: str
    hint: str


def read_annotations(annotations: Mapping[str, str]) -> tuple[Bandwidth, tuple[Misread, ...]]:
    """What the annotations of a pod ask for. One that cannot be used limits nothing, and is told."""
    rates: dict[str, int] = {}
    wrong: list[Misread] = []
    for name in (INGRESS, EGRESS):
        text = annotations.get(name)
        if text is None:
            continue
        value = parse(text)
        field = f"metadata.annotations[{name}]"
        if value is None:
            problem = f'"{text[:80]}" is no quantity: not limited'
            wrong.append(Misread(field, problem, "write bits a second, such as 10M"))
        elif not LEAST <= value <= MOST:
            problem = f"{text[:80]} bits a second is out of range: not limited"
            wrong.append(Misread(field, problem, "use 1k to 1P"))
        else:
            rates[name] = math.ceil(value)
    return Bandwidth(ingress_rate=rates.get(INGRESS, 0), egress_rate=rates.get(EGRESS, 0)), tuple(wrong)


def has_annotations(annotations: Mapping[str, str]) -> bool:
    """Whether a pod says anything about its bandwidth."""
    return INGRESS in annotations or EGRESS in annotations


def _bucket(rate: int, burst: int, mtu: int) -> TokenBucket | None:
    if rate <= 0:
        return None
    # rounded down, so that never more passes than was allowed
    bytes_a_second = max(rate // 8, 1)
    frame = mtu + _FRAME
    share = bytes_a_second // _PER_SECOND
    held = burst // 8 if 0 < burst < UNSAID_BURST else max(share, 2 * frame)
    held = min(max(held, frame), _U32_MAX)
    waiting = min(held + max(share, _MOST_WAITING * frame), _U32_MAX)
    return TokenBucket(bytes_a_second, held, waiting)
