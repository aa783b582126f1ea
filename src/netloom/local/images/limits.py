"""What an image may cost, and the error that says why one is refused. An archive comes from outside: each of its sizes is bounded."""

from __future__ import annotations

import msgspec

from netloom.errors import UsageError


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one image."""

    unpacked: int = 32 << 30
    """Bytes of all its files together."""
    entries: int = 2_000_000
    """Files, directories and links of all its layers together."""
    layers: int = 512
    document: int = 8 << 20
    """Bytes of a manifest or a configuration."""
    header: int = 1 << 20
    """Bytes of what comes before one entry of an archive: long names, extended attributes."""
    members: int = 100_000
    """Entries of the archive that holds the layers."""
    depth: int = 4
    """Indexes within indexes."""


class BadImage(UsageError):
    """What was given is no image, or none that can be used here; nothing of it was kept."""
