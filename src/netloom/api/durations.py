"""Durations as Gateway API writes them (GEP-2257): ``1h30m``, ``500ms``. Text in, milliseconds out; nothing else."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}\Z")
_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def is_duration(text: str) -> bool:
    """Whether the text is a duration at all."""
    return _WHOLE.match(text) is not None


def milliseconds(text: str) -> int:
    """Length of a duration in milliseconds; what is none is none: 0, as an absent one."""
    if not _WHOLE.match(text):
        return 0
    return sum(int(count) * _MILLISECONDS[unit] for count, unit in _PART.findall(text))
