"""What came of a plan that an engine was given. Values only.

Comes in: nothing. Goes out: ``Applied``. Not here: how it is done (``engine.py``).
"""

from __future__ import annotations

import msgspec

from netloom.model.provenance import Finding


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """How a plan came into force."""

    commands: int = 0
    """Changes made while the engine ran on: of servers, map entries, certificates."""
    is_reloaded: bool = False
    """A new process took over; the old one finishes what it has begun."""
    findings: tuple[Finding, ...] = ()
    """What could not be done as the plan says, each with the object and field where they can be found. Everything else is in force."""
