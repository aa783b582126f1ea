"""resourceVersions compared. In: two of them, of one kind from one API server; out: which came first, where that can be said.

They are numbers that grow, as long as they come from one server and one kind (Kubernetes 1.35, KEP-5504). A server that writes
something else promises equality only, and then so do we.
"""

from __future__ import annotations


def is_number(version: str) -> bool:
    """Whether it can be compared with another by size: decimal digits, no leading zero."""
    return version.isascii() and version.isdecimal() and (version == "0" or version[0] != "0")


def reached(at: str, wanted: str) -> bool:
    """Whether a state as of ``at`` includes the object or event of version ``wanted``. Opaque versions only where equal."""
    if is_number(at) and is_number(wanted):
        return int(at) >= int(wanted)
    return at == wanted
