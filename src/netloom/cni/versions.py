"""Versions of the CNI specification that we speak. Pure. Not here: their differences (``previous``, ``request``)."""

from __future__ import annotations

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Versions whose results we can write, oldest first."""


def is_older(version: str, than: str) -> bool:
    """True where one version of the specification is older than another; both are of :data:`VERSIONS`."""
    return VERSIONS.index(version) < VERSIONS.index(than)
