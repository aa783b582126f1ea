"""Probes and answers as bytes: what is ours is read back, everything else is nothing; answers are never larger than questions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netloom.agent.path_mtu.packets import (
    ANSWER,
    ASK,
    ASK_UNCHECKED,
    LEAST,
    Probe,
    decode,
    encode_answer,
    encode_probe,
    payload_of,
)

TOKEN = bytes(range(16))


@given(st.integers(0, 9000), st.sampled_from([ASK, ASK_UNCHECKED]))
def test_a_probe_comes_back_as_it_was_and_its_answer_is_no_larger(size: int, kind: int):
    payload = encode_probe(TOKEN, size, kind)
    assert len(payload) == max(size, LEAST)
    probe = decode(payload)
    assert probe == Probe(kind, TOKEN, len(payload))
    answer = encode_answer(probe)
    assert len(answer) == LEAST <= len(payload)
    assert decode(answer) == Probe(ANSWER, TOKEN, len(payload))


@given(st.binary(max_size=200))
def test_anything_else_is_nothing(payload: bytes):
    assert decode(payload) is None


@given(st.integers(LEAST, 300), st.integers(1, 300))
def test_a_probe_that_was_cut_is_nothing(size: int, cut: int):
    assert decode(encode_probe(TOKEN, size)[:-cut]) is None


def test_a_packet_is_payload_and_headers():
    assert payload_of(1500, is_v6=False) == 1472
    assert payload_of(1500, is_v6=True) == 1452
