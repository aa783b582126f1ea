"""What is in force on this node: the newest generation of each EndpointSlice, and how long turns take.

Plain numbers, read by status and metrics; nothing here waits or writes.
"""

from __future__ import annotations

from collections import deque

from netloom.engine.pending import count
from netloom.model.inputs import Changes
from netloom.units import ObjectKey

_KEPT = 1024


class Acks:
    """Counts turns and remembers the resourceVersion in force for each EndpointSlice."""

    def __init__(self) -> None:
        self.turns = 0
        self.changes = 0
        self.slices: dict[ObjectKey, str] = {}
        self.durations_s: deque[float] = deque(maxlen=_KEPT)
        """Seconds from taking changes to the kernel's answer, of the last turns."""

    def applied(self, changes: Changes, *, began: float, ended: float) -> None:
        """These changes are in force."""
        self.turns += 1
        self.changes += count(changes)
        self.durations_s.append(ended - began)
        for key, slice_ in changes.slices.items():
            if slice_ is None:
                self.slices.pop(key, None)
            else:
                self.slices[key] = slice_.metadata.resource_version
