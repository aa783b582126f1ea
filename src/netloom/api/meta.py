"""apimachinery meta/v1: ObjectMeta, owner references, and what every kind shares."""

from __future__ import annotations

import msgspec

from netloom.units import ObjectKey


class OwnerReference(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Who owns an object (meta/v1 OwnerReference)."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class ObjectMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Identity and labels of an object (meta/v1 ObjectMeta)."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()


class KubeObject(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every kind: its metadata."""

    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.metadata.namespace, self.metadata.name)


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """meta/v1 Condition: a named statement about an object; ``status`` is True, False or Unknown."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    """RFC 3339; when ``status`` was another before."""
    observed_generation: int = 0


class LabelSelectorRequirement(msgspec.Struct, frozen=True):
    """One expression of a label selector (meta/v1)."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(msgspec.Struct, frozen=True, rename="camel"):
    """meta/v1 LabelSelector; an empty one selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()
