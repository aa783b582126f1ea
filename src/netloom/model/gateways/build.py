"""What the gateways of a cluster do: from everything at once, or kept up to date change by change; both give the same.

Comes in: a ``GatewayView``, or ``GatewayChanges``. Goes out: ``Built``: the plan, desired statuses, findings. Not here: how one kind is read
(``listeners.py``, ``http_routes.py`` ...), the engine (``gateway/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.model.gateways.plan import Plan
from netloom.model.gateways.view import GatewayChanges, GatewayView
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
    """The part of ``.status`` that is ours, without ``lastTransitionTime``: ``status.py`` merges it into what is there."""
    findings: tuple[Finding, ...] = ()


class Gateways:
    """The gateways of a cluster, following it. An update costs what the change touches."""

    def __init__(self, view: GatewayView | None = None) -> None:
        self._built = compute(view or GatewayView())

    @property
    def built(self) -> Built:
        """What holds now; a value that no later update changes."""
        return self._built

    def update(self, changes: GatewayChanges) -> Built:
        """Take over what changed."""
        raise NotImplementedError(changes)


def compute(view: GatewayView) -> Built:
    """What this cluster's gateways do. This is the definition; ``Gateways.update`` is its optimisation."""
    raise NotImplementedError(view)
