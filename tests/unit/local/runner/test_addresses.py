from ipaddress import ip_address

import pytest

from netloom.local.runner.addresses import NodeAddresses, choose, in_order
from netloom.units import Family

V4, V6 = Family.V4, Family.V6


def addresses(*texts):
    return [ip_address(text) for text in texts]


@pytest.mark.parametrize(
    ("families", "known", "there", "now"),
    [
        ([V4], ["192.0.2.1"], ["192.0.2.1", "192.0.2.9"], ["192.0.2.1"]),
        ([V4], ["192.0.2.9"], ["192.0.2.1", "192.0.2.9"], ["192.0.2.9"]),
        ([V4], ["192.0.2.1"], ["192.0.2.8", "192.0.2.9"], ["192.0.2.8"]),
        ([V4], ["192.0.2.1"], [], []),
        ([V4], ["192.0.2.1"], ["2001:db8::1"], []),
        ([V6, V4], ["2001:db8::1", "192.0.2.1"], ["192.0.2.1", "2001:db8::1"], ["2001:db8::1", "192.0.2.1"]),
        ([V4, V6], ["192.0.2.1"], ["192.0.2.1", "fe80::1", "2001:db8::1"], ["192.0.2.1", "2001:db8::1"]),
        ([V4, V6], ["192.0.2.1", "2001:db8::1"], ["fe80::1", "192.0.2.1"], ["192.0.2.1"]),
    ],
)
def test_a_node_keeps_its_address_as_long_as_it_has_it(families, known, there, now):
    assert list(choose(families, addresses(*known), addresses(*there))) == addresses(*now)


def test_addresses_of_a_pod_begin_with_the_family_of_the_node():
    both = ("10.244.1.5", "2001:db8::5")
    assert in_order(both, ("192.0.2.1",)) == both
    assert in_order(both, ("2001:db8::1", "192.0.2.1")) == both[::-1]
    assert in_order(both[:1], ("2001:db8::1",)) == both[:1]
    assert in_order(both, ()) == both


async def test_without_an_interface_nothing_is_followed():
    addresses = NodeAddresses(("192.0.2.1",))
    await addresses.run()
    assert addresses.now == ("192.0.2.1",)
