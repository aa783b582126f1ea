"""The kinds that a server serves now: those that it has from the start, and those that CustomResourceDefinitions define.

Comes in: kinds that are established, changed or gone (custom/controller.py). Goes out: what a path or a document names. Not here: what
the kinds are (kinds.py, custom/served.py) and who may ask.
"""

from __future__ import annotations

from collections.abc import Sequence

from netloom.local.apiserver import kinds
from netloom.local.apiserver.kind import Kind


class Registry:
    """All kinds of one server. Those from the start never change."""

    def __init__(self) -> None:
        self._defined: dict[str, tuple[Kind, ...]] = {}
        self._all = kinds.ALL
        self._by_path: dict[tuple[str, str], Kind] = {}
        self._by_type: dict[tuple[str, str], Kind] = {}

    @property
    def all(self) -> tuple[Kind, ...]:
        """Every kind, each version of a defined one for itself; a new tuple after each change."""
        return self._all

    @property
    def defined(self) -> tuple[Kind, ...]:
        """Those that come from definitions."""
        return self._all[len(kinds.ALL) :]

    def at(self, api_version: str, plural: str) -> Kind | None:
        """The kind served at this group, version and plural, or None."""
        return kinds.at(api_version, plural) or self._by_path.get((api_version, plural))

    def of(self, api_version: str, kind: str) -> Kind | None:
        """The kind that a document or an owner reference names, or None."""
        return kinds.of(api_version, kind) or self._by_type.get((api_version, kind))

    def versions(self, qualified: str) -> tuple[Kind, ...]:
        """The versions of a defined kind that are served, such as ``crontabs.stable.example.com``; none where it is not defined."""
        return self._defined.get(qualified, ())

    def define(self, qualified: str, versions: Sequence[Kind]) -> None:
        """Serve these versions of a defined kind instead of those before; none at all where there is none."""
        self._defined.pop(qualified, None)
        if versions:
            self._defined[qualified] = tuple(versions)
        found = tuple(kind for name in sorted(self._defined, key=_by_group) for kind in self._defined[name])
        self._all = (*kinds.ALL, *found)
        self._by_path = {(kind.api_version, kind.plural): kind for kind in found}
        self._by_type = {(kind.api_version, kind.kind): kind for kind in found}


def _by_group(qualified: str) -> tuple[str, str]:
    plural, _, group = qualified.partition(".")
    return group, plural
