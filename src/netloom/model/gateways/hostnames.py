"""Host names of listeners and routes: which are names at all, which mean the same hosts, which is more specific.

Comes in: texts; empty is every host, ``*.example`` one or more labels before it (Gateway API, Hostname). Goes out: verdicts. Not here: what
hangs on a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_ADDRESS = re.compile(r"[0-9.]+")
_LONGEST = 253


def is_hostname(text: str) -> bool:
    """Whether this is a Hostname of Gateway API: RFC 1123, lower case, perhaps one wildcard label in front, and no address."""
    return 0 < len(text) <= _LONGEST and _NAME.fullmatch(text) is not None and not _ADDRESS.fullmatch(text)


def is_precise(text: str) -> bool:
    """Whether this is a Hostname without a wildcard."""
    return is_hostname(text) and not text.startswith("*")


def covers(pattern: str, name: str) -> bool:
    """Whether every host that ``name`` means is one that ``pattern`` means; both may be wildcards or empty."""
    if not pattern or pattern == name:
        return True
    return pattern.startswith("*") and bool(name) and name.endswith(pattern[1:])


def intersection(one: str, other: str) -> str | None:
    """The hosts that both mean, as one name; None where there are none. One of the two always is the answer."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def specificity(name: str) -> tuple[int, int, int]:
    """For sorting, most specific first: names, then wildcards with more labels, then any host (Gateway ``spec.listeners``)."""
    if not name:
        return 2, 0, 0
    if name.startswith("*"):
        return 1, -name.count("."), -len(name)
    return 0, 0, -len(name)


def rank(name: str) -> tuple[int, int]:
    """For rules of routes with overlapping names: characters of a name without wildcard, then characters (HTTPRoute ``hostnames``)."""
    return (0 if name.startswith("*") else -len(name)), -len(name)


def patterns_of(name: str) -> Iterator[str]:
    """Everything that covers this name, itself first, from special to general."""
    yield name
    if not name:
        return
    rest = name.removeprefix("*.") if name.startswith("*") else name
    while "." in rest:
        rest = rest.partition(".")[2]
        yield "*." + rest
    yield ""


def of_authority(text: str) -> str:
    """The host of a ``Host`` header or ``:authority``: in lower case, without port and final dot."""
    host = text.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].removesuffix(".")
