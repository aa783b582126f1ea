"""Pools: what is given out, and that it is never what is barred, reserved or taken."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.meta import ObjectMeta
from netloom.api.networks import AddressRange, NetworkPool, NetworkPoolSpec
from netloom.cni.networks.pools import choose, lease_name, read
from netloom.errors import InvalidObject


def pool(*cidrs, ranges=(), **spec):
    ranges = tuple(AddressRange(*r) for r in ranges)
    spec = {name: tuple(value) for name, value in spec.items()}
    made = NetworkPoolSpec(cidrs=tuple(cidrs), ranges=ranges, **spec)
    return read(NetworkPool(metadata=ObjectMeta(name="blue"), spec=made))


def every(segment):
    """All that is given out, one after the other."""
    taken = set()
    while (one := choose(segment, taken, seed="x")) is not None:
        assert one not in taken
        taken.add(one)
    return sorted(map(str, taken), key=ipaddress.ip_address)


def test_ends_gateways_and_what_is_reserved_are_not_given_out():
    (segment,) = pool("192.0.2.0/29", gateways=["192.0.2.1"], reserved=["192.0.2.4 - 192.0.2.5"]).segments
    assert every(segment) == ["192.0.2.2", "192.0.2.3", "192.0.2.6"]
    assert segment.size == 3


def test_reserved_addresses_may_be_asked_for_and_barred_ones_may_not():
    made = pool("192.0.2.0/29", gateways=["192.0.2.1"], reserved=["192.0.2.4"])
    allowed = [i for i in range(8) if made.segment_of(ipaddress.ip_address(f"192.0.2.{i}"))]
    assert allowed == [2, 3, 4, 5, 6]
    assert made.segment_of(ipaddress.ip_address("198.51.100.1")) is None
    assert made.segment_of(ipaddress.ip_address("2001:db8::1")) is None


def test_only_the_ranges_are_given_out():
    (segment,) = pool(
        "192.0.2.0/24", ranges=[("192.0.2.250", "192.0.2.255"), ("192.0.2.10", "192.0.2.11")]
    ).segments
    assert every(segment) == [f"192.0.2.{i}" for i in (10, 11, 250, 251, 252, 253, 254)]


@pytest.mark.parametrize(("cidr", "count"), [("192.0.2.0/31", 2), ("192.0.2.7/32", 1), ("2001:db8::/127", 2)])
def test_the_smallest_ranges_have_no_ends_to_spare(cidr, count):
    (segment,) = pool(cidr).segments
    assert len(every(segment)) == count


def test_both_families_and_several_ranges_of_one():
    made = pool("192.0.2.0/30", "198.51.100.0/30", "2001:db8::/126")
    assert [s.version for s in made.segments] == [4, 6]
    assert every(made.segments[0]) == ["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"]
    assert every(made.segments[1]) == ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
    assert made.prefix_of(ipaddress.ip_address("198.51.100.1")) == 30


def test_a_whole_v6_segment_is_no_work():
    (segment,) = pool("2001:db8::/32").segments
    assert choose(segment, {segment.cidrs[0][5]}, seed="x") in segment.cidrs[0]


def test_the_same_name_gives_the_same_address_and_others_give_others():
    (segment,) = pool("192.0.2.0/24").segments
    assert choose(segment, set(), seed="shop/a") == choose(segment, set(), seed="shop/a")
    assert len({choose(segment, set(), seed=f"shop/{i}") for i in range(20)}) > 10


def test_names_of_leases_tell_pools_and_addresses_apart():
    made = [
        lease_name(name, ipaddress.ip_address(address))
        for name in ("a", "a-1", "a-10-0")
        for address in ("10.0.0.1", "0.0.1.10", "1.10.0.0", "2001:db8::", "::a")
    ]
    assert len(set(made)) == len(made)
    assert all(name.strip("-") == name for name in made)


def test_a_pool_with_nothing_to_give_is_refused():
    with pytest.raises(InvalidObject, match="leaves no address"):
        pool("192.0.2.0/30", reserved=["192.0.2.0/30"])


_addresses = st.integers(0, 31).map(lambda i: f"192.0.2.{i}")
_spans = st.tuples(_addresses, _addresses).map(lambda p: sorted(p, key=ipaddress.ip_address))


@given(
    st.lists(_spans, max_size=3),
    st.lists(_addresses | _spans.map("-".join), max_size=4),
    st.lists(_addresses, max_size=1),
    st.sets(_addresses),
    st.text(max_size=5),
)
def test_what_is_chosen_is_of_the_pool_and_free(ranges, reserved, gateways, taken, seed):
    try:
        made = pool("192.0.2.0/27", ranges=ranges, reserved=reserved, gateways=gateways)
    except InvalidObject:
        return

    def within(address, span):
        first, _, last = span.partition("-")
        return ipaddress.ip_address(first) <= address <= ipaddress.ip_address(last or first)

    right = {
        address
        for address in list(ipaddress.ip_network("192.0.2.0/27"))[1:-1]
        if (not ranges or any(within(address, "-".join(r)) for r in ranges))
        and not any(within(address, r) for r in reserved)
        and str(address) not in gateways
    }
    (segment,) = made.segments
    assert segment.size == len(right)
    chosen = choose(segment, {ipaddress.ip_address(t) for t in taken}, seed=seed)
    free = {address for address in right if str(address) not in taken}
    assert chosen in free if free else chosen is None
