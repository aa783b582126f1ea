"""Kernel settings as values. In: nothing. Out: types and the settings of a node. Not here: reading or writing them."""

from __future__ import annotations

import msgspec


class Setting(msgspec.Struct, frozen=True):
    """A file below ``/proc/sys`` and its text; ``optional`` where a kernel without it is fine (IPv6 switched off)."""

    path: str
    value: str
    optional: bool = False


NODE_SETTINGS = (
    # A node routes for its pods.
    Setting("net/ipv4/ip_forward", "1"),
    Setting("net/ipv6/conf/all/forwarding", "1", optional=True),
    # A pod that reaches itself through a Service comes in and goes out on one interface; without this the kernel would
    # tell it of a "better" way (RFC 1812 section 5.2.7.2) that there is not. Interfaces made later inherit the default.
    Setting("net/ipv4/conf/all/send_redirects", "0"),
    Setting("net/ipv4/conf/default/send_redirects", "0"),
)
"""What the agent sets once on a node, before the first pod."""
