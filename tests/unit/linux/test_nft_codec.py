"""The encoding of elements: what is written is read back, and complaints lead to the element."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.linux.netlink import attributes, decode
from netloom.linux.nft_codec import DELSETELEM, NEWSETELEM, decode_elements, encode_batch
from netloom.program.nft import (
    AddElements,
    AddTable,
    Container,
    DeleteElements,
    Field,
    Transaction,
    Verdict,
)
from netloom.units import Family

CONTAINERS = (
    Container(
        "endpoints", (Field.SLOT, Field.ADDRESS, Field.PROTOCOL, Field.PORT), data=(Field.ADDRESS, Field.PORT)
    ),
    Container("services", (Field.ADDRESS, Field.PROTOCOL, Field.PORT), verdicts=True),
    Container("peers", (Field.ADDRESS,)),
)
VERDICTS = st.sampled_from(
    [Verdict("goto", "balance-16"), Verdict("accept"), Verdict("drop"), Verdict("jump", "x")]
)


def atoms(fields, family):
    parts = {
        Field.SLOT: st.integers(0, 2**32 - 1),
        Field.ADDRESS: st.binary(min_size=family.bits // 8, max_size=family.bits // 8),
        Field.PROTOCOL: st.integers(0, 255),
        Field.PORT: st.integers(0, 65535),
    }
    return st.tuples(*(parts[field] for field in fields))


def contents(container, family):
    values = st.none()
    if container.verdicts:
        values = VERDICTS
    elif container.data:
        values = atoms(container.data, family)
    return st.dictionaries(atoms(container.key, family), values, min_size=1, max_size=900)


@given(st.data())
def test_what_is_encoded_is_decoded(data):
    family = data.draw(st.sampled_from(list(Family)))
    container = data.draw(st.sampled_from(CONTAINERS))
    elements = data.draw(contents(container, family))
    batch = encode_batch([Transaction(family, "t", (AddElements(container, tuple(elements.items())),))], 7)
    messages = list(decode(batch.datagram))
    assert sum(16 + len(message.body) for message in messages) == len(batch.datagram)
    assert [message.seq for message in messages] == list(range(7, 7 + len(messages)))
    read = {}
    for message in messages[1:-1]:
        assert message.type == NEWSETELEM
        read.update(decode_elements(container, family, message.body))
    assert read == elements


def test_deletions_carry_keys_only():
    container = CONTAINERS[0]
    key = (1, bytes(4), 6, 80)
    batch = encode_batch([Transaction(Family.V4, "t", (DeleteElements(container, (key,)),))], 1)
    message = list(decode(batch.datagram))[1]
    assert message.type == DELSETELEM
    peers = Container("as-a-set", container.key)
    assert list(decode_elements(peers, Family.V4, message.body)) == [(key, None)]


def test_a_slot_is_in_the_hosts_order_and_a_port_in_the_networks():
    """As numgen and the packet leave them in their registers."""
    key = (1, bytes([192, 0, 2, 1]), 17, 53)
    batch = encode_batch([Transaction(Family.V4, "t", (DeleteElements(CONTAINERS[0], (key,)),))], 1)
    wanted = struct.pack("=I", 1) + bytes([192, 0, 2, 1, 17, 0, 0, 0, 0, 53, 0, 0])
    assert wanted in batch.datagram


def test_a_complaint_leads_to_its_element():
    container = CONTAINERS[2]
    elements = tuple(((bytes([192, 0, 2, n]),), None) for n in range(200))
    ops = (AddElements(container, elements), DeleteElements(container, (elements[9][0],)))
    batch = encode_batch([Transaction(Family.V4, "t", ops)], 1)
    message = list(decode(batch.datagram))[1]
    place = 16 + message.body.index(elements[150][0][0])
    assert batch.operation(1, place) == "add element ip t peers { 192.0.2.150 }"
    assert batch.operation(1, None) == "add element ip t peers"
    assert batch.operation(2, 50) == "delete element ip t peers { 192.0.2.9 }"
    assert batch.operation(0, None) == batch.operation(3, None) == "nft batch"


def test_sequence_numbers_may_wrap():
    batch = encode_batch(
        [Transaction(Family.V4, "t", (DeleteElements(CONTAINERS[2], ((bytes(4),),)),))], 2**32 - 1
    )
    assert [batch.index(message.seq) for message in decode(batch.datagram)] == [0, 1, 2]


def test_what_only_the_program_can_encode_is_refused():
    with pytest.raises(TypeError, match="AddTable"):
        encode_batch([Transaction(Family.V4, "t", (AddTable(),))], 1)


def test_elements_of_another_shape_are_refused():
    batch = encode_batch(
        [Transaction(Family.V4, "t", (AddElements(CONTAINERS[2], (((bytes(4),), None),)),))], 1
    )
    body = list(decode(batch.datagram))[1].body
    with pytest.raises(ValueError, match="expected"):
        list(decode_elements(CONTAINERS[1], Family.V4, body))


@given(st.binary(max_size=200))
def test_nothing_that_comes_in_breaks_the_reader(noise):
    for container in CONTAINERS:
        try:
            list(decode_elements(container, Family.V4, noise))
        except ValueError:
            continue
        assert isinstance(attributes(noise, 4), dict)
