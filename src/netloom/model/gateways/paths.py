r"""Paths of requests before anything is decided by them: one spelling for all that mean the same, so that no rule is walked around by another one.

Comes in: a path, or a query, as the client wrote it. Goes out: as rules see it, and backends (RFC 3986 section 6.2.2). Not here: which rule has it
(``matching.py``); how an engine does it (``gateway/haproxy/fronts.py``).
"""

from __future__ import annotations

import re

_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_SLASHES = re.compile(r"//+")
DOTS = r"(/|\\|%2F|%5C)\.\.?(;[^/]*)?(/|\\|%2F|%5C|$)"
"""A segment of dots, whatever a backend may take for the end of a segment: in paths as :func:`normal` gives them."""
_DOTS = re.compile(DOTS)


def normal(path: str) -> str:
    """Characters that need no encoding are not encoded, codes have capitals, slashes that follow each other are one."""
    return _SLASHES.sub("/", decoded(path))


def decoded(text: str) -> str:
    """Characters that need no encoding (RFC 3986 section 2.3) stand for themselves; the codes of all others have capitals. Once, not again."""
    return _ENCODED.sub(_one, text)


def is_refused(path: str) -> bool:
    """Whether a path, as :func:`normal` gives it, has a segment ``.`` or ``..``: clients resolve them, and nobody knows where backends end up."""
    return _DOTS.search(path) is not None


def _one(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()
