"""Kernel settings as values: all that a node needs changed, and why. In: nothing. Out: types and the settings. Not here: writing them.

Nothing else of ``/proc/sys`` is touched, and of what concerns all interfaces only what no setting of our own interfaces can do. What is
not here on purpose:

- ``rp_filter``, strict or loose, whoever sets it: every address of a pod has a route out of the pod's own interface, and nodes speak to
  pods of others from an address whose route is the tunnel's; so answers go where questions came from.
- ``send_redirects``: a pod that reaches itself through a Service comes in and goes out by one interface, but of what is translated the
  kernel tells nobody a better way. On a bridge it matters (``fabric/l2``).
- ``accept_ra``: router advertisements of pods are dropped before anybody reads them (nftables chain ``anti-spoofing``).
- ``proxy_arp``, ``arp_filter``: nobody asks for neighbours on a pod's own interface, both sides know each other.
- ``accept_local``, ``route_localnet``: nothing is sent to a pod from a loopback address, or the other way round; NodePorts and host
  ports at localhost have a forwarder.
- ``log_martians``: what is dropped is counted in ``anti-spoofing``.
"""

from __future__ import annotations

import msgspec


class Setting(msgspec.Struct, frozen=True):
    """A file below ``/proc/sys`` and its text; ``optional`` where a kernel without it is fine (IPv6 switched off)."""

    path: str
    value: str
    optional: bool = False


class LinkSetting(msgspec.Struct, frozen=True):
    """One of an interface's IPv4 settings (``net.ipv4.conf.INTERFACE.name``)."""

    name: str
    value: int


NODE_SETTINGS = (
    # A node routes for its pods.
    Setting("net/ipv4/ip_forward", "1"),
    Setting("net/ipv6/conf/all/forwarding", "1", optional=True),
)
"""What the agent sets once on a node, before the first pod."""

POD_LINK_SETTINGS = (
    # Also where somebody has told new interfaces not to forward (net.ipv4.conf.default.forwarding).
    LinkSetting("forwarding", 1),
    # A question makes the kernel remember who asks. A pod that asks in many names would fill the table of neighbours for the whole
    # node; and it knows its next hop, so it has nothing to ask.
    LinkSetting("arp_ignore", 8),
)
"""What the node's side of a pod's interface gets as it is made."""
