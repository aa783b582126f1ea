"""ARP and neighbour discovery: what is read of frames, and what is written."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.announce import arp, ndp
from netloom.linux import link_probe
from netloom.linux.neighbour_filter import ADDRESSES_LIMIT, program
from netloom.units import Family

MAC, OTHER = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")
V4, V6 = ip_address("192.0.2.7"), ip_address("2001:db8::7")
ASKER4 = ip_address("192.0.2.1")


def asked4():
    """As a station's kernel asks for V4."""
    frame = link_probe.arp_probe(OTHER, V4)
    return frame[:28] + ASKER4.packed + frame[32:]


@pytest.mark.parametrize("frame", [asked4(), link_probe.arp_probe(OTHER, V4)])
def test_an_arp_request_is_read_and_its_answer_says_who_has_the_address(frame):
    packet = arp.read_arp(frame)
    assert packet is not None
    assert (packet.is_request, packet.sender_mac, packet.target) == (True, OTHER, V4)
    answer = arp.reply(packet, V4, MAC)
    assert answer[:12] == OTHER + MAC
    assert link_probe.claimed_by(answer, V4) == MAC.hex(":")
    read = arp.read_arp(answer)
    assert read is not None
    assert (read.is_request, read.sender, read.target) == (False, V4, packet.sender)


def test_announcements_of_ipv4_name_the_address_twice_as_request_and_as_reply():
    read = [arp.read_arp(frame) for frame in arp.announcements(V4, MAC)]
    assert [(p.is_request, p.sender_mac, p.sender, p.target) for p in read if p] == [
        (True, MAC, V4, V4),
        (False, MAC, V4, V4),
    ]


@pytest.mark.parametrize("probe", [True, False])
def test_a_solicitation_is_read_and_its_answer_overrides(probe):
    frame = link_probe.solicitation(OTHER, V6) if probe else solicitation(V6)
    message = ndp.read_ndp(frame)
    assert message is not None
    assert (message.is_solicitation, message.mac, message.target) == (True, OTHER, V6)
    answer = ndp.answer(message, MAC)
    assert link_probe.claimed_by(answer, V6) == MAC.hex(":")
    flags = int.from_bytes(answer[58:62])
    assert flags == (0x20000000 if probe else 0x60000000)
    read = ndp.read_ndp(answer)
    assert read is not None
    assert (read.is_solicitation, read.mac, read.target) == (False, MAC, V6)


def solicitation(target):
    """From an address, with its MAC as an option."""
    probe = link_probe.solicitation(OTHER, target)
    source = ip_address("2001:db8::1").packed
    text = probe[54:56] + bytes(2) + probe[58:] + bytes((1, 1)) + OTHER
    group = probe[38:54]
    text = text[:2] + ndp.checksum(source, group, text).to_bytes(2) + text[4:]
    return probe[:18] + len(text).to_bytes(2) + probe[20:22] + source + group + text


def test_an_unsolicited_advertisement_goes_to_all_nodes_and_overrides():
    frame = ndp.announcement(V6, MAC)
    assert frame[:6] == bytes.fromhex("333300000001")
    assert int.from_bytes(frame[58:62]) == 0x20000000
    assert ndp.read_ndp(frame) is not None


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (12, 0x81),  # an 802.1Q tag in the place of the type
        (15, 6),  # not Ethernet
        (16, 0x86),  # not IPv4
        (18, 8),  # a length of a MAC that is none
        (21, 3),  # RARP
        (22, 3),  # the sender's MAC is a group's
        (27, 0xFF),  # the sender's MAC is not the frame's
    ],
)
def test_arp_that_is_not_sound_is_nothing(at, value):
    frame = bytearray(asked4())
    frame[at] = value
    assert arp.read_arp(bytes(frame)) is None
    assert arp.read_arp(asked4()[:-1]) is None


@pytest.mark.parametrize(
    ("at", "value"), [(12, 0x81), (14, 0x40), (20, 17), (21, 64), (54, 133), (55, 1), (57, 0xAA), (19, 200)]
)
def test_discovery_that_is_not_sound_is_nothing(at, value):
    frame = bytearray(solicitation(V6))
    frame[at] = value
    assert ndp.read_ndp(bytes(frame)) is None


def test_options_without_a_length_and_of_a_group_are_refused():
    for spoiled in (bytes((1, 0)) + OTHER, bytes((1, 1)) + b"\x33" + OTHER[1:], bytes((1, 2)) + OTHER):
        frame = solicitation(V6)
        text = frame[54:78] + spoiled
        text = text[:2] + bytes(2) + text[4:]
        number = ndp.checksum(frame[22:38], frame[38:54], text).to_bytes(2)
        assert ndp.read_ndp(frame[:54] + text[:2] + number + text[4:]) is None


@given(
    st.binary(max_size=200),
    st.sampled_from((asked4(), solicitation(V6), ndp.announcement(V6, MAC))),
    st.data(),
)
def test_any_bytes_are_read_or_refused(noise, sound, data):
    at = data.draw(st.integers(0, len(sound)))
    for frame in (noise, sound[:at] + noise, sound[:at] + noise[:3] + sound[at + 3 :], sound[:at]):
        for found in (arp.read_arp(frame), ndp.read_ndp(frame)):
            assert found is None or found.target in (V4, V6, ASKER4) or len(frame) >= 42


# --- the filter, by its own rules


def passes(code, frame, *, packet_type=0, tagged=0):
    """What the kernel's machine would say; Linux' own loads are given as arguments."""
    extra = {0xFFFFF004: packet_type, 0xFFFFF030: tagged}
    accumulator, at = 0, 0
    while True:
        operation, yes, no, value = (
            int.from_bytes(code[at : at + 2], "little"),
            code[at + 2],
            code[at + 3],
            int.from_bytes(code[at + 4 : at + 8], "little"),
        )
        at += 8
        if operation == 0x06:
            return bool(value)
        if operation in (0x20, 0x28, 0x30):
            size = {0x20: 4, 0x28: 2, 0x30: 1}[operation]
            if value in extra:
                accumulator = extra[value]
            elif value + size > len(frame):
                return False
            else:
                accumulator = int.from_bytes(frame[value : value + size])
        else:
            is_so = accumulator == value if operation == 0x15 else accumulator > value
            at += 8 * (yes if is_so else no)


@pytest.mark.parametrize("others", [0, 3, ADDRESSES_LIMIT])
def test_the_filter_lets_in_what_is_about_our_addresses_only(others):
    four = program(Family.V4, [V4, *(ip_address(0xC6336400 + n) for n in range(others))])
    six = program(Family.V6, [V6, *(ip_address(0x20010DB8 << 96 | 0x100 + n) for n in range(others))])
    assert passes(four, asked4())
    assert passes(four, arp.announcements(V4, MAC)[1])
    assert passes(six, solicitation(V6))
    assert passes(six, ndp.announcement(V6, MAC))
    assert not passes(four, asked4(), packet_type=3)
    assert not passes(four, asked4(), packet_type=4)
    assert not passes(six, solicitation(V6), tagged=1)
    assert not passes(four, solicitation(V6))
    if others < ADDRESSES_LIMIT:
        assert not passes(four, link_probe.arp_probe(OTHER, ASKER4))
        assert not passes(six, solicitation(ip_address("2001:db8::8")))
    assert not passes(program(Family.V4, []), asked4())
