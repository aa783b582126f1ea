"""What a change does to who reaches whom: ``netloom plan``. Pure.

Comes in: an estate and a change. Goes out: the reachability that is gained and lost, in few rows, each with why it was so and why it
will be otherwise. Nothing is changed anywhere. Not here: reading files or a cluster (``estate``), the text (``plan_text.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netloom.api.meta import KubeObject
from netloom.errors import NotFound
from netloom.model.inputs import ClusterFacts
from netloom.observe.estate.estate import Estate, Ref, applied, deleted
from netloom.observe.estate.scenes import survey
from netloom.observe.plan_rows import Row, Rows
from netloom.observe.plan_services import ServiceRow, ServiceRows
from netloom.observe.plan_sides import GAINED, LOST, Sides


class Change(msgspec.Struct, frozen=True):
    """Objects to apply, in order, and objects to delete; each with the file that says so, where one does."""

    apply: tuple[tuple[Ref, KubeObject], ...] = ()
    delete: tuple[Ref, ...] = ()
    files: Mapping[Ref, str] = {}


class ChangedObject(msgspec.Struct, frozen=True):
    """What becomes of one object."""

    action: str
    """``created``, ``changed`` or ``deleted``."""
    kind: str
    namespace: str
    name: str
    file: str = ""


class PlanReport(msgspec.Struct, frozen=True):
    """The whole answer."""

    objects: tuple[ChangedObject, ...]
    lost: tuple[Row, ...]
    gained: tuple[Row, ...]
    services_lost: tuple[ServiceRow, ...] = ()
    services_gained: tuple[ServiceRow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_lost(self) -> bool:
        """Somebody no longer reaches somebody."""
        return bool(self.lost or self.services_lost)

    @property
    def has_gained(self) -> bool:
        """Somebody newly reaches somebody."""
        return bool(self.gained or self.services_gained)


def plan(estate: Estate, change: Change, facts: ClusterFacts | None = None) -> PlanReport:
    """What a change would do.

    Args:
        estate: what is there.
        change: what would be applied and deleted.
        facts: the cluster's settings, where they are known.

    Raises:
        NotFound: an object to delete is not there.
    """
    for ref in change.delete:
        if estate.find(ref) is None and not any(ref == given for given, _ in change.apply):
            raise NotFound(
                f"{ref}: is not there, so it cannot be deleted", "see kubectl get, or correct the name"
            )
    after = deleted(applied(estate, change.apply), change.delete)
    surveyed = survey((estate, after), facts)
    sides = Sides(surveyed, (estate, after))
    rows = Rows(sides).all()
    services = ServiceRows(sides).all()
    return PlanReport(
        objects=tuple(_changed(estate, after, change)),
        lost=tuple(row for row in rows if row.effect == LOST),
        gained=tuple(row for row in rows if row.effect == GAINED),
        services_lost=tuple(row for row in services if row.effect == LOST),
        services_gained=tuple(row for row in services if row.effect == GAINED),
        notes=surveyed.notes,
    )


def _changed(before: Estate, after: Estate, change: Change) -> Iterator[ChangedObject]:
    refs = dict.fromkeys((*(ref for ref, _ in change.apply), *change.delete))
    for ref in refs:
        was, now = before.find(ref), after.find(ref)
        if was is not None and now is not None and meaning_of(was) == meaning_of(now):
            continue
        if was is now:
            continue
        action = "created" if was is None else "deleted" if now is None else "changed"
        yield ChangedObject(action, ref.kind, ref.namespace, ref.name, change.files.get(ref, ""))


def meaning_of(obj: KubeObject) -> tuple[object, ...]:
    """All of an object that could matter: not who wrote it, when, or what is noted on it."""
    rest = (getattr(obj, field) for field in obj.__struct_fields__ if field not in ("metadata", "status"))
    return (obj.metadata.labels, *rest)
