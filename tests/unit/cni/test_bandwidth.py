"""Bandwidth as annotations say it, and the buckets that enforce it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.cni.bandwidth import EGRESS, INGRESS, UNSAID_BURST, Bandwidth, read_annotations


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10M", 10_000_000),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1P", 10**15),
        ("1.5M", 1_500_000),
        ("1000500m", 1001),
    ],
)
def test_quantities_are_bits_a_second(text, rate):
    assert read_annotations({INGRESS: text}) == (Bandwidth(ingress_rate=rate), ())
    assert read_annotations({EGRESS: text}) == (Bandwidth(egress_rate=rate), ())


@pytest.mark.parametrize("text", ["", "fast", "10 M", "10MB", "-1M", "999", "0", "1.1P", "1E"])
def test_what_cannot_be_used_limits_nothing_and_is_told(text):
    limits, (wrong,) = read_annotations({INGRESS: text, EGRESS: "1M"})
    assert limits == Bandwidth(egress_rate=1_000_000)
    assert wrong.field == f"metadata.annotations[{INGRESS}]"
    assert "not limited" in wrong.problem
    assert wrong.hint


@given(
    st.integers(8, 10**15),
    st.sampled_from([0, 1, 10_000, 10**9, UNSAID_BURST, 2**62]),
    st.integers(68, 65535),
)
def test_a_bucket_never_lets_more_pass_than_was_said_and_always_a_packet(rate, burst, mtu):
    bucket = Bandwidth(ingress_rate=rate, ingress_burst=burst).ingress(mtu)
    assert bucket is not None
    assert 0 < bucket.rate * 8 <= rate
    assert mtu + 14 <= bucket.burst <= bucket.queue < 2**32
    if 0 < burst < UNSAID_BURST:
        assert bucket.burst <= max(burst // 8, mtu + 18)
    else:
        assert bucket.burst <= max(rate // 8 // 20, 2 * (mtu + 18))
    assert Bandwidth(ingress_rate=rate).egress(mtu) is None
