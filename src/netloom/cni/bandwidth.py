"""How much a pod may send and receive, as a value. Not here: reading it from a runtime's call (``capabilities``)."""

from __future__ import annotations

import msgspec


class Bandwidth(msgspec.Struct, frozen=True):
    """Limits of a pod's interface, as the conventions of CNI have them: rates in bits/s, bursts in bits; 0: none.

    Ingress is what the pod receives.
    """

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0
