"""Who may refer to what in another namespace: ReferenceGrants, by the namespace that they are in.

Comes in: ReferenceGrants. Goes out: verdicts. Not here: what becomes of a reference that is not granted.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netloom.api.gateway import GROUP, ReferenceGrant, ReferenceGrantSpec, read_spec


class Referrer(msgspec.Struct, frozen=True, gc=False):
    """Whose spec has the reference."""

    kind: str
    namespace: str
    group: str = GROUP


class Grants:
    """All grants of a cluster."""

    def __init__(self, grants: Iterable[ReferenceGrant]) -> None:
        self._given: dict[str, set[tuple[str, str, str, str, str, str | None]]] = {}
        for grant in grants:
            spec = read_spec(grant, ReferenceGrantSpec).value
            into = self._given.setdefault(grant.metadata.namespace, set())
            into.update(
                (f.group, f.kind, f.namespace, t.group, t.kind, t.name) for f in spec.from_ for t in spec.to
            )

    def allows(self, referrer: Referrer, group: str, kind: str, namespace: str, name: str) -> bool:
        """Whether this object may be referred to: within a namespace always, across only where a grant says so."""
        if referrer.namespace == namespace:
            return True
        given = self._given.get(namespace)
        if not given:
            return False
        asks = (referrer.group, referrer.kind, referrer.namespace, group, kind)
        return (*asks, None) in given or (*asks, name) in given or (*asks, "") in given
