"""Names in the kernel: short enough, told from others, the same each time."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from netloom.program.names import is_pod_link, pod_link, pod_mac


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=15))
def test_pod_links_fit_the_kernel_and_are_known_as_ours(container: str, interface: str):
    name = pod_link(container, interface)
    assert len(name) == 15
    assert is_pod_link(name)
    assert name == pod_link(container, interface)
    assert name != pod_link(container, interface + "x")


def test_container_and_interface_do_not_run_into_each_other():
    assert pod_link("ab", "c") != pod_link("a", "bc")


def test_other_names_are_not_ours():
    for name in (
        "nl",
        "nlmon0",
        "eth0",
        "nl0123456789ab",
        "nl0123456789abcg",
        "nlABCDEF0123456",
        "xl0123456789abc",
    ):
        assert not is_pod_link(name), name


@given(st.ip_addresses())
def test_pod_macs_are_unicast_and_locally_administered(address):
    mac = pod_mac(address)
    first = int(mac[:2], 16)
    assert len(mac) == 17
    assert not first & 1
    assert first & 2


def test_pod_macs_differ_for_neighbouring_addresses():
    assert pod_mac(ipaddress.ip_address("10.1.0.2")) == "0a:58:0a:01:00:02"
    assert pod_mac(ipaddress.ip_address("2001:db8::2")) != pod_mac(ipaddress.ip_address("2001:db8::3"))
