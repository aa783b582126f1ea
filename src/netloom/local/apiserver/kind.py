"""What a served kind is: names, scope, verbs, subresources, generations. Pure.

Which kinds there are is in kinds.py and kinds_custom.py; what a kind's fields mean is elsewhere (defaults, validation, columns).
"""

from __future__ import annotations

import msgspec

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
WRITE = ("get", "patch", "update")


class Subresource(msgspec.Struct, frozen=True):
    """A part of an object under a path of its own; group and version only where its kind is of another group."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


class Kind(msgspec.Struct, frozen=True):
    """A kind as it is served. ``counts_generations``: ``metadata.generation`` follows the spec."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    selectable: tuple[str, ...] = ()
    counts_generations: bool = False

    @property
    def api_version(self) -> str:
        """Group and version, as documents of this kind say in ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def gvk(self) -> str:
        """ApiVersion and kind in one word, such as ``apps/v1/Deployment``; the key of schemas."""
        return f"{self.api_version}/{self.kind}"

    @property
    def qualified(self) -> str:
        """Plural and group in one word, such as ``deployments.apps``; the key of the store."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def recorded(self) -> tuple[str, ...]:
        """Fields whose values are noted with each object that is kept, so that objects can be selected by them."""
        return self.selectable

    @property
    def has_status(self) -> bool:
        """There is a status subresource: the main resource ignores status."""
        return self.subresource("status") is not None

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of this name, or None."""
        return next((s for s in self.subresources if s.name == name), None)


class Face(Kind, frozen=True, kw_only=True):
    """A second way to see the objects of another kind, which keeps them.

    Attributes:
        kept: the kind that the objects are stored as.
        renamed: fields of selectors, each with its name in the kind that is kept.
    """

    kept: Kind
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def qualified(self) -> str:
        """Where the objects are kept."""
        return self.kept.qualified


def status_of(kind: str) -> Subresource:
    """The status subresource of a kind."""
    return Subresource("status", kind, WRITE)


SCALE = Subresource("scale", "Scale", WRITE, "autoscaling", "v1")
