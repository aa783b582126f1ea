"""BIRD's configuration under any input: nothing that was written by users gets in, order does not matter, and names stay."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.announce.bgp.config import password_problem, protocol_of, render
from netloom.api.bgp import Bfd, BGPPeer, BGPPeerSpec, SecretKey
from netloom.api.core import Node, Service
from netloom.api.load_balancers import BgpAnnouncement, LoadBalancerPool, LoadBalancerPoolSpec
from netloom.api.meta import LabelSelector, ObjectMeta
from netloom.errors import UsageError
from netloom.model.announcing.bgp import Outside, speech
from netloom.model.announcing.view import Duty
from netloom.model.provenance import Source

NODE = msgspec.convert(
    {
        "metadata": {"name": "node-1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    },
    type=Node,
)
VIP = ipaddress.ip_address("203.0.113.1")
TEXT = st.text(max_size=12) | st.sampled_from(
    ["192.0.2.1", "2001:db8::1", '"; }', "}\nprotocol", "64512:1", "1:2:3", "no-export", "fe80::1%eth0", ""]
)
NUMBER = st.integers(-(2**33), 2**33)
LINE = re.compile(
    r"[a-z0-9 :;{}()\[\],./+'\"A-Z_=~-]*"  # what our own words consist of
)
SECRET = st.none() | st.just(SecretKey("bgp", "x"))
SPEC = st.builds(
    BGPPeerSpec,
    peer_address=TEXT,
    peer_port=NUMBER,
    peer_asn=NUMBER | st.just(64513),
    my_asn=NUMBER | st.just(64512),
    source_address=TEXT,
    hold_time_seconds=st.integers(-5, 100),
    keepalive_seconds=st.integers(-5, 100),
    password_secret_ref=SECRET,
    bfd=st.none() | st.builds(Bfd, st.integers(0, 200), st.integers(0, 200), st.integers(0, 60)),
    address_families=st.lists(st.sampled_from(["IPv4", "IPv6"]) | TEXT, max_size=3).map(tuple),
)
PEERS = st.lists(
    st.builds(lambda name, spec: BGPPeer(metadata=ObjectMeta(name=name), spec=spec), TEXT, SPEC), max_size=4
)
POOL = st.builds(
    BgpAnnouncement,
    communities=st.lists(TEXT, max_size=3).map(tuple),
    large_communities=st.lists(TEXT, max_size=3).map(tuple),
    local_pref=st.none() | NUMBER,
)
ANNOTATIONS = st.fixed_dictionaries(
    {}, optional={"netloom.io/bgp-communities": TEXT, "netloom.io/bgp-local-pref": TEXT}
)


def outside(announcement: BgpAnnouncement, annotations: dict[str, str]) -> Outside:
    service = Service(metadata=ObjectMeta(namespace="shop", name="web", annotations=annotations))
    pool = LoadBalancerPool(
        metadata=ObjectMeta(name="outside"),
        spec=LoadBalancerPoolSpec(cidrs=("203.0.113.0/24",), bgp=announcement),
    )
    source = Source("Service", "shop", "web")
    duty = Duty(address=VIP, candidates=("node-1",), bgp=True, users=(service.key,), source=source)
    return Outside(duties={VIP: duty}, pools={pool.key: pool}, services={service.key: service})


@given(PEERS, POOL, ANNOTATIONS, st.data())
def test_whatever_is_written_the_words_are_ours_and_in_one_order(peers, announcement, annotations, data):
    said = outside(announcement, annotations)
    spoken = speech(NODE, peers, said)
    passwords = {peer.name: "secret" for peer in spoken.peers}
    text = render(spoken, passwords=passwords)
    for line in text.splitlines():
        assert LINE.fullmatch(line), line
    assert text.count("{") == text.count("}")
    assert text.count("protocol ") == 2 + len({f for p in spoken.peers for f in p.families}) + len(
        spoken.peers
    )
    if len({peer.metadata.name for peer in peers}) == len(peers):
        shuffled = data.draw(st.permutations(peers))
        assert render(speech(NODE, shuffled, said), passwords=passwords) == text


@given(PEERS)
def test_a_peer_is_used_or_there_is_a_finding_about_it(peers):
    spoken = speech(NODE, peers, Outside())
    used = {peer.source.name for peer in spoken.peers}
    told = {finding.source.name for finding in spoken.findings}
    assert {peer.metadata.name for peer in peers} == used | told


@given(st.text(max_size=60))
def test_a_name_in_bird_is_a_name_and_no_two_peers_have_the_same(name):
    assert re.fullmatch(r"peer:[a-z0-9.-]{1,40}", protocol_of(name))
    assert len(protocol_of(name)) < 64  # SYM_MAX_LEN of BIRD 2.0


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("correct horse battery staple", ""),
        ("~!#$%&'()*+,-./:;<=>?@[]^_`{|}", ""),
        ("", "is empty"),
        ('a"b', "has a quotation mark, or a character that is not printable ASCII"),
        ("a\nb", "has a quotation mark, or a character that is not printable ASCII"),
        ("päss", "has a quotation mark, or a character that is not printable ASCII"),
        ("x" * 81, "is longer than 80 bytes"),
    ],
)
def test_passwords(password, problem):
    assert password_problem(password) == problem


def test_a_password_that_cannot_be_written_is_never_written():
    spec = BGPPeerSpec(peer_address="192.0.2.1", peer_asn=64513, password_secret_ref=SecretKey("bgp", "x"))
    spoken = speech(NODE, [BGPPeer(metadata=ObjectMeta(name="switch"), spec=spec)], Outside())
    with pytest.raises(UsageError, match="BGPPeer switch: its password has a quotation mark") as caught:
        render(spoken, passwords={"switch": 'sec"ret'})
    assert "sec" not in str(caught.value).replace("password", "")
    assert "neighbor" not in render(spoken, passwords={})


def test_a_path_is_written_as_it_is_or_not_at_all():
    spoken = speech(NODE, [], Outside())
    assert 'log "/run/netloom/bird.log" ' in render(spoken, passwords={}, log=Path("/run/netloom/bird.log"))
    with pytest.raises(UsageError, match="choose another directory"):
        render(spoken, passwords={}, log=Path('/run/"; x'))


def test_labels_say_which_nodes_talk_to_a_peer():
    spec = BGPPeerSpec(
        peer_address="192.0.2.1", peer_asn=64513, node_selector=LabelSelector(match_labels={"rack": "2"})
    )
    peer = BGPPeer(metadata=ObjectMeta(name="switch"), spec=spec)
    assert speech(NODE, [peer], Outside()).peers == ()
    there = msgspec.structs.replace(NODE, metadata=ObjectMeta(name="node-2", labels={"rack": "2"}))
    assert [p.name for p in speech(there, [peer], Outside()).peers] == ["switch"]


def test_a_node_without_ipv4_has_a_number_of_its_own():
    six = msgspec.convert(
        {
            "metadata": {"name": "node-6"},
            "status": {"addresses": [{"type": "InternalIP", "address": "2001:db8::6"}]},
        },
        type=Node,
    )
    number = speech(six, [], Outside()).router_id
    assert int(number) != 0
    assert number == speech(six, [], Outside()).router_id
    assert speech(NODE, [], Outside()).router_id == ipaddress.ip_address("192.0.2.11")
