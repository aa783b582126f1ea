"""Conditions as the model says them. Values only.

Comes in: what is to be said. Goes out: a condition. Not here: when it is true (``gateway_status.py``, ``route_status.py``), the time of its last
transition and what other controllers say (``controller/status_parts.py``).
"""

from __future__ import annotations

from typing import Any

CONTROLLER = "netloom.io/gateway"
"""GatewayClass ``spec.controllerName`` of ours, and the name that our entries of ``parents`` and ``ancestors`` have."""
_LONGEST_MESSAGE = 32768
"""meta/v1 Condition ``message``."""

Condition = dict[str, Any]


def condition(type_: str, is_true: bool, reason: str, message: str, generation: int) -> Condition:
    """A meta/v1 Condition without ``lastTransitionTime``, which the writer puts in."""
    return {
        "type": type_,
        "status": "True" if is_true else "False",
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "observedGeneration": generation,
    }
