"""netloom.io/v1alpha1: BGPPeer, a router outside that nodes tell their routes to, and hear others' from.

Texts are as they were written; ``model/announcing/bgp_peers`` reads them. Definition: deploy/crds/bgppeers.yaml.
"""

from __future__ import annotations

import msgspec

from netloom.api.meta import KubeObject, LabelSelector

DEFAULT_ASN = 64512
"""Of our nodes where nobody says otherwise: the first number for private use (RFC 6996)."""
DEFAULT_PORT = 179
DEFAULT_HOLD_S = 90
"""RFC 4271 section 10."""
PASSWORD_KEY = "password"  # noqa: S105 - a name, no password
"""Of the Secret, where the reference names no other."""

COMMUNITIES_ANNOTATION = "netloom.io/bgp-communities"
"""Of a Service: communities of the routes to its addresses, with commas between them, in place of those of the pool."""
LOCAL_PREF_ANNOTATION = "netloom.io/bgp-local-pref"
"""Of a Service: the local preference of the routes to its addresses, in place of the pool's."""


class SecretKey(msgspec.Struct, frozen=True):
    """One value of a Secret."""

    name: str = ""
    namespace: str = ""
    key: str = PASSWORD_KEY


class Bfd(msgspec.Struct, frozen=True, rename="camel"):
    """Bidirectional forwarding detection with the peer (RFC 5880). Its being there turns it on."""

    min_rx_ms: int = 100
    min_tx_ms: int = 100
    multiplier: int = 3


class BGPPeerSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Who the peer is, which nodes talk to it, and how."""

    peer_address: str = ""
    peer_port: int = DEFAULT_PORT
    peer_asn: int = msgspec.field(name="peerASN", default=0)
    my_asn: int = msgspec.field(name="myASN", default=DEFAULT_ASN)
    node_selector: LabelSelector | None = None
    """Nodes that have the session; all where it is missing."""
    source_address: str = ""
    """Our end of the session; empty: as the kernel chooses."""
    hold_time_seconds: int = DEFAULT_HOLD_S
    keepalive_seconds: int = 0
    """0: a third of the hold time."""
    ebgp_multi_hop: bool = False
    """Whether the peer may be behind other routers."""
    password_secret_ref: SecretKey | None = None
    bfd: Bfd | None = None
    graceful_restart: bool = True
    address_families: tuple[str, ...] = ()
    """``IPv4`` and ``IPv6``: of which routes are told; empty: of the family of the peer's address."""


class BGPSession(msgspec.Struct, frozen=True, rename="camel"):
    """The session of one node, as that node says. ``state`` is a word of RFC 4271 section 8.2.2, or ``Refused``: it is not tried."""

    state: str = ""
    message: str = ""
    since: str = ""


class BGPPeerStatus(msgspec.Struct, frozen=True):
    """``nodes``: the session of each node that should have one."""

    nodes: dict[str, BGPSession] = {}


class BGPPeer(KubeObject, frozen=True):
    """netloom.io/v1alpha1 BGPPeer, of the whole cluster."""

    spec: BGPPeerSpec = BGPPeerSpec()
    status: BGPPeerStatus = BGPPeerStatus()
