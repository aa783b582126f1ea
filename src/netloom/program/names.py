"""Every name, number and mark that netloom puts into a kernel, so that what is ours can be told from what is not. Pure.

Names of past releases stay here when they change, so that an upgrade can clean up.
"""

from __future__ import annotations

import hashlib
import ipaddress

from netloom.units import Addr, Family

# --- links, routes, neighbours ---------------------------------------------------------------------------------------

POD_LINK_PREFIX = "nl"
"""Host side of a pod's veth pair: this and 13 hexadecimal digits, 15 characters in all (IFNAMSIZ less the zero)."""

FABRIC_ROUTE_PROTOCOL = 201
"""Routes to the pods of other nodes. Routing protocol numbers above 192 are free for the administrator (rt_protos)."""

POD_ROUTE_PROTOCOL = 202
"""Routes to the pods of this node; a number of their own, so that a fabric's reconciliation never sees them."""

HOST_SIDE_MAC = "ee:ee:ee:ee:ee:ee"
"""MAC of the host side of every pod: the pod's permanent neighbour entry needs no look-up. Locally administered."""

POD_GATEWAYS: dict[Family, Addr] = {
    Family.V4: ipaddress.IPv4Address("169.254.1.1"),
    Family.V6: ipaddress.IPv6Address("fe80::1"),
}
"""The next hop of a pod's default route. No interface has it: a permanent neighbour entry gives the MAC."""


def pod_link(container_id: str, interface: str) -> str:
    """Name of the host side of a pod interface, a function of the CNI attachment alone: DEL finds it without a record."""
    digest = hashlib.sha256(f"{container_id}/{interface}".encode()).hexdigest()
    return POD_LINK_PREFIX + digest[: 15 - len(POD_LINK_PREFIX)]


def pod_mac(address: Addr) -> str:
    """MAC of a pod interface, a function of its first address: locally administered, unicast, unique on the node."""
    low = address.packed[-4:]
    return "0a:58:" + ":".join(f"{byte:02x}" for byte in low)


# --- nftables: tables, chains, maps, marks ---------------------------------------------------------------------------
