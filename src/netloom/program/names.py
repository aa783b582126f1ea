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

FABRIC_LINK_PREFIX = "nl-"
"""Interfaces of fabrics: this, and a word."""

POD_ROUTE_PROTOCOL = 202
"""Routes to the pods of this node; a number of their own, so that a fabric's reconciliation never sees them."""

POD_SOURCE_TABLE = 202
"""Inside a pod whose default route goes through another interface: the routes of what has its first address as its source."""
POD_SOURCE_PRIORITY = 2020
"""Priority of the rules that ask that table."""

VXLAN_ROUTE_PROTOCOL = 203
"""Routes to the pods of other nodes through VXLAN."""

VXLAN_LINK = FABRIC_LINK_PREFIX + "vxlan"
"""The one VXLAN interface of a node."""

UDP_ROUTE_PROTOCOL = 204
"""Routes to the pods of other nodes through our own process."""

WIREGUARD_ROUTE_PROTOCOL = 205
"""Routes to the pods of other nodes through WireGuard."""

BLOCKED_ROUTE_PROTOCOL = 206
"""Routes that lead nowhere: to pods of nodes that may be reached encrypted only and have no key."""

GUARD_ROUTE_PROTOCOL = 207
"""Routes that lead nowhere for all addresses of pods: what no better route has must not leave in plain text."""

UDP_LINK = FABRIC_LINK_PREFIX + "udp"
"""The one TUN interface of our own tunnels."""

WIREGUARD_LINK = FABRIC_LINK_PREFIX + "wireguard"
"""The one WireGuard interface of a node."""

BRIDGE_LINK = FABRIC_LINK_PREFIX + "bridge"
"""The bridge of a node's pods, where they are on one."""

EGRESS_LINK = "netloom-egress"
"""The interface between nodes for what leaves by another node's address. Its name does not begin as those of pods and fabrics do: what comes
out of it has sources outside, or pods that no route of this node leads to."""

EGRESS_PORT = 8286
EGRESS_VNI = 4097
"""Its UDP port and VXLAN number, other than those of any fabric."""

EGRESS_ROUTE_PROTOCOL = 209
"""Routes and rules for what leaves by another node's address."""

EGRESS_RULE_PRIORITY = 2010
"""Of the rules that ask the tables of these routes, by mark."""

EGRESS_MARKS = 0x4E450000
"""What marks of these packets begin with; the lower 12 bits are the number of an address to leave by. Whole marks are compared, and they are
taken off before a packet leaves the node. A table of routes has the number of its mark."""
EGRESS_MARKS_MASK = 0xFFFFF000
EGRESS_ANSWERS = EGRESS_MARKS | 0xFFF
"""Mark of answers from outside, on their way back to the node of the pod."""


def exit_mark(number: int) -> int:
    """Mark and table of routes of an address to leave by."""
    return EGRESS_MARKS | number


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


def is_pod_link(name: str) -> bool:
    """True for a name that :func:`pod_link` can give."""
    digits = name.removeprefix(POD_LINK_PREFIX)
    return len(name) == 15 and digits != name and all(c in "0123456789abcdef" for c in digits)


def is_own_link(name: str) -> bool:
    """True for an interface that netloom made on a node: a pod's, its limits', or one of a fabric (``nl-vxlan``, ``nl-bridge`` ...)."""
    return (
        is_pod_link(name) or is_pod_relay(name) or name.startswith(FABRIC_LINK_PREFIX) or name == EGRESS_LINK
    )


STATIC_ROUTE_PROTOCOL = 208
"""Routes of the agent's configuration (``static_routes``)."""

BGP_ROUTE_PROTOCOL = 12
"""RTPROT_BIRD: routes that were learned by BGP. BIRD 2.0 writes no other number, so ours are those that have the metric, too."""
BGP_ROUTE_METRIC = 2010
"""Of these routes; a BIRD of somebody else's keeps to 32 where nobody says otherwise."""

POD_RELAY_PREFIX = "nb"
"""Interface of kind ``ifb`` that what a pod sends waits in where its bandwidth is limited: this and the digits of the pod's link."""


def pod_relay(link: str) -> str:
    """Name of that interface for a pod's link."""
    return POD_RELAY_PREFIX + link.removeprefix(POD_LINK_PREFIX)


def link_of_relay(relay: str) -> str:
    """The pod's link that such an interface belongs to."""
    return POD_LINK_PREFIX + relay.removeprefix(POD_RELAY_PREFIX)


def is_pod_relay(name: str) -> bool:
    """True for a name that :func:`pod_relay` can give."""
    return name.startswith(POD_RELAY_PREFIX) and is_pod_link(link_of_relay(name))


def pod_mac(address: Addr) -> str:
    """MAC of a pod interface, a function of its first address: locally administered, unicast, unique on the node."""
    low = address.packed[-4:]
    return "0a:58:" + ":".join(f"{byte:02x}" for byte in low)


def vtep_mac(underlay: Addr) -> str:
    """MAC of the VXLAN interface of the node with this underlay address: whoever knows the one knows the other.

    Locally administered, unicast. Of IPv4 the address itself, of IPv6 a digest; two nodes of a thousand have one in common
    with a chance of 1 in two million, and the fabric says so.
    """
    low = underlay.packed if len(underlay.packed) == 4 else hashlib.sha256(underlay.packed).digest()[:5]
    return ":".join(f"{byte:02x}" for byte in (b"\x0e\x4e"[: 6 - len(low)] + low))


def vtep_link_local(underlay: Addr) -> Addr:
    """The link-local address by which that interface is the next hop of routes, from its MAC (RFC 4291 appendix A)."""
    mac = bytes.fromhex(vtep_mac(underlay).replace(":", ""))
    identifier = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


# --- nftables: tables, chains, maps, marks ---------------------------------------------------------------------------

NFT_TABLE = "netloom"
"""The one nftables table of each family, ``ip`` and ``ip6``. Everything in it is ours; nobody else may rely on it."""

NFT_UDP_TABLE = "netloom-udp"
NFT_WIREGUARD_TABLE = "netloom-wireguard"
"""The table of each family that a tunnel has for itself: the address that the node's own packets have inside, and where packets
may travel encrypted only, what drops the others."""
NFT_EGRESS_TABLE = "netloom-egress"
"""The table of each family for what leaves by gateways; it is there as long as there are such."""
NFT_EGRESS_PODS = "pods"
"""Map from a pod that leaves by gateways to what they say of it, as a mark for a moment."""
NFT_EGRESS_WAYS = "ways"
"""Map from that and a destination to the mark of the address to leave by."""
NFT_EGRESS_SOURCES = "sources"
"""Map from mark to address, of addresses that this node has; ``held`` are their marks, ``held-addresses`` they themselves."""
NFT_EGRESS_HELD = "held"
NFT_EGRESS_HELD_ADDRESSES = "held-addresses"
NFT_EGRESS_REMOTE = "remote"
"""Pods of other nodes that leave here."""
NFT_EGRESS_INSIDE = "inside"
"""Ranges of the cluster."""
NFT_EGRESS_ENDS = "ends"
"""Other nodes' ends of the tunnels."""
NFT_EGRESS_CHOOSE = "choose"
NFT_EGRESS_CHOSEN = "chosen"
NFT_EGRESS_LEAVING = "leaving"
NFT_EGRESS_NONE = "none"
NFT_EGRESS_TRANSLATE = "translate"
NFT_EGRESS_SENT = "sent"
NFT_EGRESS_ARRIVALS = "arrivals"
NFT_TUNNEL_SOURCE = "source"
NFT_ONLY_INSIDE_IN = "only-inside-in"
NFT_ONLY_INSIDE_OUT = "only-inside-out"

MASQUERADE_MARK = 0x1000
"""Bit of the packet mark between our DNAT and our postrouting chain, taken off there. Free of kube-proxy's 0x4000 and
0x8000, portmap's 0x2000, Cilium's 0x0f00 and Calico's upper half."""

NFT_BRIDGE_TABLE = "netloom-bridge"
"""A table of its own for pods that are on a bridge: who may send from where. The other one is replaced as a whole at times."""
NFT_STATIONS = "stations"
"""The MAC and address of each of these pods."""

NFT_ANNOUNCED_TABLE = "netloom-announced"
"""A table of the speaker's: what comes for an announced address and is for nobody ends there."""
NFT_ANNOUNCED = "announced"
"""The addresses."""

LINKS_TABLE = "netloom-links"
"""Of a local cluster's own namespace, family bridge: between which nodes nothing passes, for somebody wants it so."""

NFT_SERVICES = "services"
NFT_NODE_PORTS = "node-ports"
"""Maps from frontend to label. All further maps of frontends are there for NodePorts, too, with ``NFT_NODE_PORT_PREFIX``."""
NFT_STAGES = "stages"
"""Further labels of frontends where it matters who asks."""
NFT_ENDPOINTS = "endpoints"
NFT_SOURCE_RANGES = "source-ranges"
NFT_DRAWS = "draws"
NFT_TARGETS = "targets"
"""Where backends are drawn by number: slot to number, number to backend."""
NFT_AFFINITY = "affinity"
"""Written by packets: the number of the backend that a client had last."""
NFT_HOLDS = "holds"
"""For how long it is remembered."""
NFT_HAIRPIN = "hairpin"
NFT_PEERS = "peers"
NFT_POD_RANGES = "pod-ranges"
NFT_OWN_POD_RANGES = "own-pod-ranges"
"""Sets of ranges of pods beside those that stand in rules: of all nodes, of this one."""
NFT_OWN_SOURCE = "own-source"
"""Set of pods that leave the cluster with their own address."""
NFT_LEAVING = "leaving"
"""Chain that gives what leaves the cluster the node's address, unless something says otherwise."""

NFT_NODE_PORT_PREFIX = "node-port-"
"""Chains of NodePorts, whose keys have no address, are named as those of the other frontends, with this before."""
NFT_HOLD_PREFIX = "hold-"
"""Chain that remembers a client's backend for the seconds that follow."""
NFT_FOREIGN = "foreign"
"""Chain that marks for masquerading what does not come from a pod of this node."""
NFT_BY_SOURCE = "by-source"
"""Chain that asks whether a client is inside (a pod of this node, the node itself) or outside."""
NFT_ADMISSION = "admission"
"""Chain that lets in only those whom ``loadBalancerSourceRanges`` names."""
NFT_HOST_PORT = "host-port"
"""Chain that serves host ports at a given address only where the node has it."""
NFT_SEND = "send"
"""Chain that sends a client to the backend whose number was found for it."""
NFT_POLICY_PREFIX = "policy-"
"""Chain of a distinct set of policies: this, the direction, and a digest of the set."""
NFT_POLICY_INGRESS = "policy-ingress"
NFT_POLICY_EGRESS = "policy-egress"
"""Maps from a pod's address to its chain."""
NFT_POLICED = "policed"
"""Pods that are in one of them."""
NFT_PEERS_PREFIX = "peers-"
"""Set of policy peers: this and a digest of what selects them."""
NFT_LOG_GROUP = 2010
"""Group of NFLOG for packets that a policy drops."""
NFT_DENIED_PREFIX = "netloom:"
"""What stands before the digest of the denying rule in these."""
NFT_SPOOFED = "anti-spoofing"
"""Chain that drops what a pod sends with an address that is not its own."""
NFT_INPUT = "filter-input"
NFT_POLICIES = "policies"
"""Chain that asks the policies of both ends."""

NFT_REFUSE = "refuse"
"""Chain that refuses a packet at once; also the verdict of frontends without endpoints."""
NFT_STRAY = "stray"
"""Chain for packets that still carry a Service address behind our NAT."""
NFT_NODE_SOURCE = "node-source"
"""Chain that gives a connection the node's address as its source."""
NFT_EDITION_PREFIX = "edition-"
"""Name of an empty chain: this and a digest of all that is not renewed in place. A table of another edition is replaced."""
NFT_DISPATCH = "services-dispatch"
"""Chain that looks a packet's Service up; the NAT hooks jump to it."""
NFT_PREROUTING = "nat-prerouting"
NFT_OUTPUT = "nat-output"
NFT_POSTROUTING = "nat-postrouting"
NFT_FORWARD = "filter-forward"
NFT_FILTER_OUTPUT = "filter-output"
