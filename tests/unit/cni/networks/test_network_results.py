"""Results of plugins in all versions of the specification."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.cni.codes import CniError
from netloom.cni.networks.configuration import VERSIONS
from netloom.cni.networks.results import convert, read

NEWEST = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "br0", "mac": "aa:00:00:00:00:01", "mtu": 1400},
        {"name": "net1", "mac": "aa:00:00:00:00:02", "sandbox": "/run/netns/x", "mtu": 1400},
    ],
    "ips": [
        {"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 1},
        {"address": "2001:db8::5/64", "interface": 1},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1300}, {"dst": "2001:db8:1::/48"}],
    "dns": {"nameservers": ["10.1.0.53"]},
}


def test_a_result_in_the_oldest_shape():
    assert convert(NEWEST, "0.2.0") == {
        "cniVersion": "0.2.0",
        "ip4": {
            "ip": "10.1.0.5/24",
            "gateway": "10.1.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
        },
        "ip6": {"ip": "2001:db8::5/64", "gateway": "", "routes": [{"dst": "2001:db8:1::/48"}]},
        "dns": {"nameservers": ["10.1.0.53"]},
    }


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_addresses_say_their_version_before_1_0(version):
    made = convert(NEWEST, version)
    assert made["cniVersion"] == version
    assert ("version" in made["ips"][0]) == version.startswith("0.")
    assert "mtu" not in made["interfaces"][1]
    assert "mtu" not in made["routes"][0]


@pytest.mark.parametrize("version", VERSIONS)
def test_addresses_and_routes_survive_any_version(version):
    there = read(convert(NEWEST, version), plugin="x")
    assert [str(a.address) for a in there.addresses] == ["10.1.0.5/24", "2001:db8::5/64"]
    assert [str(r.destination) for r in there.routes] == ["0.0.0.0/0", "2001:db8:1::/48"]
    assert there.dns == {"nameservers": ["10.1.0.53"]}
    inside = there.of_pod("net1")
    assert (inside is None) == (version in {"0.1.0", "0.2.0"})


def test_what_go_writes_for_empty_lists_is_read():
    there = read(
        {"cniVersion": "0.4.0", "interfaces": None, "ips": None, "routes": None, "dns": {}}, plugin="x"
    )
    assert there.addresses == ()


@pytest.mark.parametrize(
    "result",
    [{"ips": [{"address": "10.0.0.1000/8"}]}, {"ips": [5]}, {"ips": {"a": 1}}, {"routes": [{"dst": "x"}]}],
)
def test_what_is_no_result_is_refused(result):
    with pytest.raises(CniError, match="plugin bridge: its result cannot be read"):
        read({"cniVersion": "1.0.0", **result}, plugin="bridge")


_json = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["address", "dst", "ip"]), inner)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["cniVersion", "ips", "routes", "interfaces", "ip4", "dns"]), _json))
def test_any_answer_is_read_or_refused(body):
    with contextlib.suppress(CniError):
        read(json.loads(json.dumps(body)), plugin="x")
