"""What a node tells by BGP: who announces what, one route for several addresses, ranges of pods."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from netloom.api.bgp import BGPPeer
from netloom.api.core import Node
from netloom.model.announcing.bgp import Outside, speech
from netloom.model.announcing.communities import read_community, read_large_community, read_local_pref
from netloom.model.announcing.elect import elected
from netloom.model.announcing.view import Duty
from netloom.model.provenance import Source
from netloom.units import ObjectKey

ADDRESS = ipaddress.ip_address("203.0.113.1")
NODES = ("node-1", "node-2", "node-3")
PEER = msgspec.convert(
    {"metadata": {"name": "switch"}, "spec": {"peerAddress": "192.0.2.1", "peerASN": 64513}}, type=BGPPeer
)


def tellers(**what) -> list[str]:
    """Nodes that announce the address."""
    duty = Duty(address=ADDRESS, candidates=NODES, source=Source("Service", "shop", "web"), **what)
    found = []
    for name in (*NODES, "node-4"):
        node = msgspec.convert({"metadata": {"name": name}}, type=Node)
        if speech(node, [PEER], Outside(duties={ADDRESS: duty})).announced:
            found.append(name)
    return found


def test_all_that_may_serve_an_address_announce_it():
    assert tellers(bgp=True, users=(ObjectKey("shop", "web"),)) == list(NODES)
    assert tellers(bgp=False, users=(ObjectKey("shop", "web"),)) == []


def test_an_address_that_pods_leave_by_is_announced_by_the_node_that_knows_their_connections():
    assert tellers(bgp=True) == [elected(str(ADDRESS), NODES)]


@pytest.mark.parametrize(
    ("text", "short", "large", "preference"),
    [
        ("65000:100", (65000, 100), None, None),
        ("65536:1", None, None, None),
        ("4294967295:0:1", None, (4294967295, 0, 1), None),
        ("4294967296:0:1", None, None, None),
        ("no-export", (65535, 65281), None, None),
        ("200", None, None, 200),
        ("4294967296", None, None, None),
        ("-1", None, None, None),
        ("1:", None, None, None),
        ("", None, None, None),
        ("1:2:3:4", None, None, None),
        ("\u0661:1", None, None, None),
    ],
)
def test_words(text, short, large, preference):
    assert read_community(text) == short
    assert read_large_community(text) == large
    assert read_local_pref(text) == preference
