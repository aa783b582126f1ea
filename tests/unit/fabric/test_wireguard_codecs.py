"""WireGuard's two languages: what is written, what is read, and that long lists go in pieces."""

from __future__ import annotations

import base64
import errno
import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from netloom.linux import wireguard, wireguard_uapi
from netloom.linux.netlink import attributes, iter_attributes
from netloom.program.wireguard import Endpoint, WireguardChange, WireguardPeer


def key(number: int) -> str:
    return base64.b64encode(number.to_bytes(32, "big")).decode()


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PEERS = st.builds(
    WireguardPeer,
    st.integers(1, 1 << 200).map(key),
    st.one_of(st.none(), st.builds(Endpoint, ADDRESSES, st.integers(1, 65535))),
    st.frozensets(ADDRESSES.map(ipaddress.ip_network), max_size=5),
)


@given(st.lists(PEERS, max_size=5, unique_by=lambda p: p.key))
def test_netlink_reads_what_it_writes(peers):
    bodies = list(wireguard.encode_change("nl-wireguard", WireguardChange(put=tuple(peers))))
    state = wireguard.decode_state(bodies)  # what the kernel shows has the same attributes
    assert {k: s.peer for k, s in state.peers.items()} == {p.key: p for p in peers}


def test_netlink_cuts_what_is_too_long_for_one_message():
    ranges = frozenset(ipaddress.ip_network(f"10.{i >> 8}.{i & 255}.0/24") for i in range(3000))
    peers = tuple(
        WireguardPeer(key(n), None, frozenset({ipaddress.ip_network(f"11.0.{n >> 8}.{n & 255}/32")}))
        for n in range(1, 900)
    )
    wide = WireguardPeer(key(5000), None, ranges)
    bodies = list(wireguard.encode_change("nl-wireguard", WireguardChange(put=(*peers, wide))))
    assert len(bodies) > 3
    assert max(map(len, bodies)) < 1 << 16
    state = wireguard.decode_state(bodies)
    assert {s.peer for s in state.peers.values()} == {*peers, wide}


def test_netlink_replaces_ranges_once_and_removes_after_it_has_put():
    one = WireguardPeer(key(1), None, frozenset({ipaddress.ip_network("10.1.0.0/24")}))
    (body,) = wireguard.encode_change("x", WireguardChange(put=(one,), remove=(key(2),), greet=(key(1),)))
    listed = [attributes(p) for _, p in iter_attributes(attributes(body)[8])]
    assert [(base64.b64encode(p[1]).decode(), p[3][0]) for p in listed] == [
        (key(1), 2),
        (key(2), 1),
        (key(1), 4),
        (key(1), 4),
    ]
    assert [p.get(5) for p in listed] == [None, None, b"\x01\x00", b"\x00\x00"]


def test_text_says_everything_in_order():
    at = Endpoint(ipaddress.ip_address("2001:db8::1"), 51820)
    one = WireguardPeer(key(1), at, frozenset({ipaddress.ip_network("10.1.0.0/24")}))
    change = WireguardChange(
        private_key=bytes(31) + b"\x05", port=7, put=(one,), remove=(key(2),), greet=(key(1),)
    )
    lines = wireguard_uapi.encode_change(change).decode().splitlines()
    assert lines == [
        "set=1",
        "private_key=" + "00" * 31 + "05",
        "listen_port=7",
        "public_key=" + "00" * 31 + "01",
        "replace_allowed_ips=true",
        "endpoint=[2001:db8::1]:51820",
        "allowed_ip=10.1.0.0/24",
        "public_key=" + "00" * 31 + "02",
        "remove=true",
        *["public_key=" + "00" * 31 + "01", "update_only=true", "persistent_keepalive_interval=1"],
        *["public_key=" + "00" * 31 + "01", "update_only=true", "persistent_keepalive_interval=0"],
        "",
    ]


def test_text_is_read():
    text = (
        "private_key=" + "00" * 32 + "\nlisten_port=51820\n"
        "public_key=" + "00" * 31 + "01\npreshared_key=" + "00" * 32 + "\nendpoint=192.0.2.1:5\n"
        "last_handshake_time_sec=3\nlast_handshake_time_nsec=500000000\nrx_bytes=7\ntx_bytes=8\n"
        "allowed_ip=10.1.0.0/24\nallowed_ip=2001:db8::/64\nprotocol_version=1\n"
        "public_key=" + "00" * 31 + "02\nerrno=0\n\n"
    )
    number, pairs = wireguard_uapi.decode_answer(text)
    state = wireguard_uapi.decode_state(pairs, "")
    assert number == 0
    assert state.port == 51820
    one = state.peers[key(1)]
    assert (one.handshake_s, one.received, one.sent) == (3.5, 7, 8)
    assert str(one.peer.endpoint) == "192.0.2.1:5"
    assert len(one.peer.allowed) == 2
    assert state.peers[key(2)].peer == WireguardPeer(key(2))


def test_an_answer_that_says_nothing_is_a_refusal():
    assert wireguard_uapi.decode_answer("")[0] == errno.EPROTO
    assert wireguard_uapi.decode_answer("errno=-22\n\n")[0] == errno.EINVAL
    assert wireguard_uapi.decode_answer("errno=x\n\n")[0] == errno.EPROTO
