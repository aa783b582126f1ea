"""What the gateways' model comes to, as values.

Comes in: nothing. Goes out: ``Built``. Not here: how it is made (``build.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.model.gateways.plan import Plan
from netloom.model.provenance import Finding
from netloom.units import ObjectKey


class StatusKey(msgspec.Struct, frozen=True, order=True):
    """An object that has a status of ours."""

    kind: str
    """``HTTPRoute``, ``Gateway``, ``Ingress`` ..."""
    key: ObjectKey


class Built(msgspec.Struct, frozen=True):
    """What a cluster's objects come to."""

    plan: Plan = Plan()
    statuses: Mapping[StatusKey, dict[str, Any]] = {}
    """The part of ``.status`` that is ours, without ``lastTransitionTime``: the writer puts it in."""
    findings: tuple[Finding, ...] = ()
