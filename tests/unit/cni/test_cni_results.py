"""Results in the shape of each version, field by field; alone, and behind the results of other plugins."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.cni import previous, result
from netloom.cni.attach import PodInterface
from netloom.cni.capabilities import Dns
from netloom.cni.codes import CniError, Code
from netloom.cni.ipam.lease import Attachment
from netloom.cni.request import CniRequest
from netloom.cni.versions import VERSIONS, is_older

MADE = PodInterface(
    container="c1",
    interface="eth0",
    addresses=(ipaddress.ip_address("10.244.1.2"), ipaddress.ip_address("2001:db8:44:1::2")),
    mtu=1400,
)
HOST_LINK = MADE.host_link


def request(version: str, before: Any = None, dns: Dns | None = None, said: str | None = None) -> CniRequest:
    told = (
        None if before is None else previous.read(msgspec.Raw(json.dumps(before).encode()), said or version)
    )
    return CniRequest(
        command="ADD",
        version=version,
        network="netloom",
        attachment=Attachment("c1", "eth0"),
        netns_path="/run/netns/x",
        previous=told,
        dns=dns,
    )


def added(version: str, before: Any = None, dns: Dns | None = None) -> dict[str, Any]:
    answer = result.added(request(version, before, dns), MADE)
    assert answer.exit_code == 0
    document: dict[str, Any] = json.loads(answer.body)
    return document


def expected(version: str) -> dict[str, Any]:
    """Written out once for each shape that there ever was."""
    mtu = {"mtu": 1400} if version == "1.1.0" else {}
    v4, v6 = ({"version": "4"}, {"version": "6"}) if version.startswith("0.") else ({}, {})
    return {
        "cniVersion": version,
        "interfaces": [
            {"name": HOST_LINK, "mac": "ee:ee:ee:ee:ee:ee", **mtu},
            {"name": "eth0", "mac": "0a:58:0a:f4:01:02", "sandbox": "/run/netns/x", **mtu},
        ],
        "ips": [
            {"interface": 1, "address": "10.244.1.2/32", **v4},
            {"interface": 1, "address": "2001:db8:44:1::2/128", **v6},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}],
        "dns": {},
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_has_the_fields_of_its_version_and_no_others(version: str):
    assert added(version) == expected(version)


@pytest.mark.parametrize("version", VERSIONS)
def test_dns_has_what_was_wanted(version: str):
    dns = Dns(nameservers=("192.0.2.53",), search=("example.org",))
    assert added(version, dns=dns)["dns"] == {"nameservers": ["192.0.2.53"], "search": ["example.org"]}


RICH = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/x", "mtu": 65536},
        {"name": "vhost0", "socketPath": "/run/vhost.sock", "pciID": "0000:00:1f.6", "future": True},
    ],
    "ips": [
        {"address": "127.0.0.1/8", "interface": 0},
        {"address": "::1/128", "interface": 0, "gateway": "::1"},
    ],
    "routes": [
        {
            "dst": "198.51.100.0/24",
            "gw": "192.0.2.1",
            "mtu": 1200,
            "advmss": 1160,
            "priority": 5,
            "table": 9,
            "scope": 253,
        }
    ],
    "dns": {"nameservers": ["192.0.2.99"], "domain": "example.net"},
    "future": {"key": [1]},
}


def test_what_plugins_before_us_said_stays_whole_and_indices_move_on():
    joint = added("1.1.0", RICH)
    assert joint["interfaces"][:2] == RICH["interfaces"]
    assert joint["interfaces"][2:] == expected("1.1.0")["interfaces"]
    assert joint["ips"][:2] == RICH["ips"]
    assert [ip["interface"] for ip in joint["ips"]] == [0, 0, 3, 3]
    assert joint["routes"] == RICH["routes"] + expected("1.1.0")["routes"]
    assert joint["dns"] == RICH["dns"]
    assert joint["future"] == {"key": [1]}
    assert joint["cniVersion"] == "1.1.0"


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_fields_of_1_1_are_left_out_of_older_results(version: str):
    joint = added(version, RICH)
    assert joint["interfaces"][1] == {"name": "vhost0", "future": True}
    assert joint["routes"][0] == {"dst": "198.51.100.0/24", "gw": "192.0.2.1"}
    assert [ip.get("version") for ip in joint["ips"]] == (
        ["4", "6", "4", "6"] if is_older(version, "1.0.0") else [None] * 4
    )


def test_our_dns_counts_key_by_key():
    joint = added("1.0.0", RICH, Dns(nameservers=("192.0.2.53",)))
    assert joint["dns"] == {"nameservers": ["192.0.2.53"], "domain": "example.net"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_previous_result_may_be_of_the_first_versions(version: str):
    old = {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "192.0.2.7/24", "gateway": "192.0.2.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "ip6": {"ip": "2001:db8::7/64"},
        "dns": {"domain": "example.org"},
    }
    joint = added(version, old)
    assert [ip["address"] for ip in joint["ips"][:2]] == ["192.0.2.7/24", "2001:db8::7/64"]
    assert joint["ips"][0]["gateway"] == "192.0.2.1"
    assert joint["routes"][0] == {"dst": "0.0.0.0/0"}
    assert "ip4" not in joint
    assert joint["ips"][2]["interface"] == 1


def test_null_lists_are_empty_ones():
    joint = added(
        "1.0.0", {"cniVersion": "1.0.0", "interfaces": None, "ips": None, "routes": None, "dns": None}
    )
    assert joint == expected("1.0.0")


@pytest.mark.parametrize(
    ("before", "field"),
    [
        ([], "prevResult"),
        ({"cniVersion": "9.0.0"}, r"prevResult\.cniVersion"),
        ({"interfaces": {}}, r"\.interfaces"),
        ({"interfaces": [{"mac": "x"}]}, r"interfaces\[0\]"),
        ({"interfaces": [{"name": "a", "mtu": "big"}]}, r"\.mtu"),
        ({"ips": [{"address": "10.0.0.300/8"}]}, r"prevResult\.ips\[0\]\.address"),
        ({"ips": [{"address": "10.0.0.3/8", "interface": 4}]}, r"prevResult\.ips\[0\]\.interface"),
        ({"routes": [{}]}, r"routes\[0\]"),
        ({"dns": []}, r"\.dns"),
        ({"cniVersion": "0.2.0", "ip4": {}}, "`ip`"),
    ],
)
def test_a_previous_result_that_is_none_is_code_7_and_names_the_field(before: Any, field: str):
    with pytest.raises(CniError, match=field) as caught:
        added("1.0.0", before)
    assert caught.value.code == Code.INVALID_CONFIG


def test_version_and_errors_have_their_shapes():
    said = json.loads(result.versions("1.0.0").body)
    assert said == {"cniVersion": "1.0.0", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]}
    answer = result.failed("0.4.0", CniError(Code.INVALID_CONFIG, "name is missing", "write one"))
    assert answer.exit_code == 1
    assert json.loads(answer.body) == {
        "cniVersion": "0.4.0",
        "code": 7,
        "msg": "name is missing",
        "details": "write one",
    }
    assert "details" not in json.loads(result.failed("0.4.0", CniError(Code.INVALID_CONFIG, "x")).body)


entries = st.dictionaries(st.sampled_from(["future", "mtu", "table"]), st.integers(1, 9), max_size=2)


@given(
    st.sampled_from(VERSIONS),
    st.sampled_from(VERSIONS),
    st.lists(entries, max_size=3),
    st.lists(st.ip_addresses(), max_size=3),
)
def test_whatever_the_versions_the_joint_result_can_be_read_again(
    ours: str, theirs: str, extra: list[dict[str, int]], addresses: list[Any]
):
    before = {
        "cniVersion": theirs,
        "interfaces": [{"name": f"net{i}", "sandbox": "/x", **more} for i, more in enumerate(extra)],
        "ips": [{"address": f"{a}/{a.max_prefixlen}", "version": str(a.version)} for a in addresses],
        "routes": [{"dst": "0.0.0.0/0", **more} for more in extra],
    }
    joint = added(ours, before)
    again = previous.read(msgspec.Raw(json.dumps(joint).encode()), ours)
    assert [interface.ip for interface in again.addresses] == [*addresses, *MADE.addresses]
    assert again.sandbox_interface("eth0") is not None
    assert joint["cniVersion"] == ours
