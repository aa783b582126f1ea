"""Provenance: each thing in the model knows the object and field that it comes from."""

from __future__ import annotations

import msgspec

from netloom.api.meta import ObjectMeta


class Source(msgspec.Struct, frozen=True, order=True, gc=False):
    """An object, its generation, and a field path in it such as ``spec.ports[2].nodePort``."""

    kind: str
    namespace: str
    name: str
    uid: str = ""
    generation: int = 0
    field: str = ""

    def at(self, field: str) -> Source:
        """The same object, another field."""
        return Source(self.kind, self.namespace, self.name, self.uid, self.generation, field)

    @property
    def subject(self) -> str:
        """Kind and name: ``Service shop/cart``."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def __str__(self) -> str:
        return f"{self.subject}: {self.field}" if self.field else self.subject


class Finding(msgspec.Struct, frozen=True, order=True, gc=False):
    """Something in an object that we could not use as written; pure code returns it, the caller shows it."""

    source: Source
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        return (
            f"{self.source}: {self.problem}; {self.hint}" if self.hint else f"{self.source}: {self.problem}"
        )


def source_of(kind: str, meta: ObjectMeta, field: str = "") -> Source:
    """The source that names this object."""
    return Source(kind, meta.namespace, meta.name, meta.uid, meta.generation, field)
