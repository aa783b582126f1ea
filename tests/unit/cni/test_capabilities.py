"""What a runtime wants for one attachment: each capability, each other way to ask for the same, and each fault by its name."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.cni.bandwidth import Bandwidth
from netloom.cni.capabilities import Dns
from netloom.cni.codes import CniError, Code
from netloom.cni.ipam.lease import PortMapping
from netloom.cni.request import CniRequest, parse

POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0"


def ask(runtime: Any = None, arguments: str = POD, command: str = "ADD", **config: Any) -> CniRequest:
    document: dict[str, Any] = {"cniVersion": "1.0.0", "name": "netloom", **config}
    if runtime is not None:
        document["runtimeConfig"] = runtime
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": arguments,
        "CNI_PATH": "/opt/cni/bin",
    }
    return parse(variables, json.dumps(document).encode())


def addresses(*texts: str):
    return tuple(ipaddress.ip_address(text) for text in texts)


def test_nothing_wanted_is_nothing():
    wishes = ask().wishes
    assert (wishes.addresses, wishes.ranges, wishes.mac, wishes.ports, wishes.bandwidth, wishes.words) == (
        (), (), "", (), None, ()
    )  # fmt: skip


def test_port_mappings():
    told = [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 8080, "containerPort": 80, "protocol": "UDP", "hostIP": "2001:DB8::1"},
        {"hostPort": 53, "containerPort": 53, "hostIP": ""},
        {"hostPort": 9, "containerPort": 9, "protocol": "sctp", "hostIP": "0.0.0.0"},
    ]
    assert ask({"portMappings": told}).wishes.ports == (
        PortMapping(8080, 80, "tcp"),
        PortMapping(8080, 80, "udp", "2001:db8::1"),
        PortMapping(53, 53, "tcp"),
        PortMapping(9, 9, "sctp", "0.0.0.0"),
    )


def test_bandwidth_in_bits():
    told = {"ingressRate": 10**6, "ingressBurst": 10**5, "egressRate": 2 * 10**6, "egressBurst": 0}
    assert ask({"bandwidth": told}).wishes.bandwidth == Bandwidth(
        ingress_rate=10**6, ingress_burst=10**5, egress_rate=2 * 10**6
    )
    assert ask({"bandwidth": {"ingressRate": 0}}).wishes.bandwidth is None


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ({"runtime": {"ips": ["10.1.0.7/24", "2001:db8::7"]}}, ("10.1.0.7", "2001:db8::7")),
        ({"runtime": {"ips": ["2001:db8::7", "10.1.0.7"]}}, ("10.1.0.7", "2001:db8::7")),
        ({"args": {"cni": {"ips": ["10.1.0.8"]}}}, ("10.1.0.8",)),
        ({"arguments": "IP=10.1.0.9"}, ("10.1.0.9",)),
        ({"arguments": "IP=10.1.0.9/24, 2001:db8::9/64;MAC=0a:58:00:00:00:01"}, ("10.1.0.9", "2001:db8::9")),
        (
            {
                "runtime": {"ips": ["10.1.0.7"]},
                "args": {"cni": {"ips": ["10.1.0.8"]}},
                "arguments": "IP=10.1.0.9",
            },
            ("10.1.0.7",),
        ),
    ],
)
def test_requested_addresses(where: dict[str, Any], wanted: tuple[str, ...]):
    assert ask(**where).wishes.addresses == addresses(*wanted)


@pytest.mark.parametrize("text", ["0a:58:00:00:00:01", "0A-58-00-00-00-01", "0a58.0000.0001"])
def test_a_mac_in_all_its_forms(text: str):
    assert ask({"mac": text}).wishes.mac == "0a:58:00:00:00:01"
    assert ask(args={"cni": {"mac": text}}).wishes.mac == "0a:58:00:00:00:01"
    assert ask(arguments=f"MAC={text}").wishes.mac == "0a:58:00:00:00:01"


def test_ranges_are_exactly_those_addresses():
    told = [
        [
            {
                "subnet": "10.1.2.0/24",
                "rangeStart": "10.1.2.9",
                "rangeEnd": "10.1.2.14",
                "gateway": "10.1.2.12",
            },
            {"subnet": "10.1.3.0/29"},
        ],
        [{"subnet": "2001:db8::/64"}],
    ]
    chosen: dict[int, list[str]] = {4: [], 6: []}
    for piece in ask({"ipRanges": told}).wishes.ranges:
        if piece.network.version == 4:
            chosen[4] += [str(a) for block in piece.blocks() for a in block]
        else:
            chosen[6] += [str(piece.first), str(piece.last)]
    assert chosen[4] == [
        *(f"10.1.2.{i}" for i in (9, 10, 11, 13, 14)),
        *(f"10.1.3.{i}" for i in range(2, 7)),
    ]
    assert chosen[6] == ["2001:db8::2", "2001:db8::ffff:ffff:ffff:fffe"]


def test_dns_of_the_runtime_counts_before_that_of_the_configuration():
    told = {"servers": ["192.0.2.53"], "searches": ["example.org"], "options": ["ndots:5"]}
    plain = {"nameservers": ["192.0.2.99"], "domain": "example.net"}
    assert ask({"dns": told}, dns=plain).dns == Dns(("192.0.2.53",), "", ("example.org",), ("ndots:5",))
    assert ask(dns=plain).dns == Dns(("192.0.2.99",), "example.net")
    assert ask({"dns": {}}, dns=plain).dns == Dns(("192.0.2.99",), "example.net")
    assert ask(dns={}).dns is None


@pytest.mark.parametrize(
    ("runtime", "word"),
    [
        ({"aliases": ["web"]}, "aliases"),
        ({"aliases": {"netloom": ["web"]}}, "aliases"),
        ({"deviceID": "0000:00:1f.6"}, "deviceID"),
        ({"infinibandGUID": "c2:11:22:33:44:55:66:77"}, "infinibandGUID"),
        ({"io.kubernetes.cri.pod-annotations": {"a": "b"}}, "pod-annotations"),
    ],
)
def test_what_we_cannot_do_is_passed_over_with_a_word(runtime: dict[str, Any], word: str):
    request = ask(runtime)
    assert len(request.words) == 1
    assert word in request.words[0]


def test_null_is_as_if_it_were_not_there():
    request = ask(
        dict.fromkeys(["portMappings", "ipRanges", "bandwidth", "dns", "ips", "mac", "aliases", "other"])
    )
    assert request.wishes == ask().wishes


def test_unknown_keys_of_the_configuration_are_passed_over():
    request = ask(
        isGateway=True, bridge="cni0", capabilities={"mac": True}, args={"labels": {"a": "b"}, "cni": None}
    )
    assert request.words == ()
    assert ask(ipMasq=False).words[0].startswith("ipMasq")


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"runtime": {"portMappings": {}}}, "runtimeConfig.portMappings"),
    ({"runtime": {"portMappings": [{"hostPort": 1}]}}, "containerPort"),
    ({"runtime": {"portMappings": [{"hostPort": 0, "containerPort": 1}]}}, "portMappings[0].hostPort"),
    (
        {"runtime": {"portMappings": [{"hostPort": 1, "containerPort": 65536}]}},
        "portMappings[0].containerPort",
    ),
    (
        {"runtime": {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}]}},
        "[0].protocol",
    ),
    ({"runtime": {"portMappings": [{"hostPort": 1, "containerPort": 1, "hostIP": "x"}]}}, "[0].hostIP"),
    (
        {
            "runtime": {
                "portMappings": [{"hostPort": 1, "containerPort": 1}, {"hostPort": 1, "containerPort": 2}]
            }
        },
        "[1]",
    ),
    ({"runtime": {"bandwidth": {"ingressRate": -1}}}, "bandwidth.ingressRate"),
    ({"runtime": {"bandwidth": {"egressBurst": 1}}}, "bandwidth.egressBurst"),
    ({"runtime": {"bandwidth": {"egressRate": "10M"}}}, "runtimeConfig.bandwidth"),
    ({"runtime": {"ips": ["10.1.0.0.7"]}}, "runtimeConfig.ips[0]"),
    ({"runtime": {"ips": ["10.1.0.7", "10.1.0.8"]}}, "runtimeConfig.ips[1]"),
    ({"runtime": {"ips": ["224.0.0.1"]}}, "runtimeConfig.ips[0]"),
    ({"runtime": {"ips": ["fe80::1%eth0"]}}, "runtimeConfig.ips[0]"),
    ({"runtime": {"ips": ["10.1.0.7/33"]}}, "runtimeConfig.ips[0]"),
    ({"runtime": {"ips": "10.1.0.7"}}, "runtimeConfig.ips"),
    ({"runtime": {"mac": "0a:58"}}, "runtimeConfig.mac"),
    ({"runtime": {"mac": "01:00:5e:00:00:01"}}, "runtimeConfig.mac"),
    ({"runtime": {"mac": "ee:ee:ee:ee:ee:ee"}}, "runtimeConfig.mac"),
    ({"runtime": {"ipRanges": [{"subnet": "10.1.0.0/24"}]}}, "runtimeConfig.ipRanges"),
    ({"runtime": {"ipRanges": [[{"subnet": "10.1.0.1/24"}]]}}, "ipRanges[0][0].subnet"),
    ({"runtime": {"ipRanges": [[{"subnet": "10.1.0.0/31"}]]}}, "ipRanges[0][0].subnet"),
    ({"runtime": {"ipRanges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}]]}}, "[0][0].rangeStart"),
    (
        {
            "runtime": {
                "ipRanges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}]]
            }
        },
        "[0][0].rangeStart",
    ),
    ({"runtime": {"ipRanges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "2001:db8::/64"}]]}}, "ipRanges[0]"),
    ({"runtime": {"ipRanges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]}}, "ipRanges[1]"),
    ({"runtime": {"dns": {"servers": ["dns.example.org"]}}}, "runtimeConfig.dns.servers[0]"),
    ({"runtime": []}, "runtimeConfig"),
    ({"runtime": {"deviceID": 5}}, "runtimeConfig.deviceID"),
    ({"dns": {"nameservers": ["x"]}}, "dns.nameservers[0]"),
    ({"dns": []}, "dns"),
    ({"args": {"cni": {"ips": [1]}}}, "args.cni.ips"),
    ({"args": {"cni": {"mac": "x"}}}, "args.cni.mac"),
    ({"mtu": 100}, "mtu"),
    ({"name": "a/b"}, "name"),
    ({"name": "n" * 201}, "name"),
]


@pytest.mark.parametrize(("told", "field"), FAULTS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_fault_is_code_7_and_named(told: dict[str, Any], field: str):
    with pytest.raises(CniError) as caught:
        ask(**told)
    assert caught.value.code == Code.INVALID_CONFIG
    assert field in caught.value.problem


@pytest.mark.parametrize(("told", "field"), FAULTS, ids=lambda v: v if isinstance(v, str) else "")
def test_del_cleans_up_behind_all_of_them(told: dict[str, Any], field: str):
    assert ask(command="DEL", **told).attachment.container == "c1"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("IP=x", "IP"),
        ("MAC=x", "MAC"),
        ("nonsense", "nonsense"),
        ("=1", "NAME=value"),
        ("K8S_POD_NAMESPCE=shop", "K8S_POD_NAMESPCE"),
        ("IgnoreUnknown=perhaps", "IgnoreUnknown"),
    ],
)
def test_a_fault_of_the_arguments_is_code_4_and_named(arguments: str, word: str):
    with pytest.raises(CniError, match="CNI_ARGS") as caught:
        ask(arguments=arguments)
    assert caught.value.code == Code.INVALID_ENVIRONMENT
    assert word in caught.value.problem
    assert ask(arguments=arguments, command="DEL").command == "DEL"


@pytest.mark.parametrize("ignore", ["1", "true", "T"])
def test_unknown_arguments_are_passed_over_where_that_is_asked_for(ignore: str):
    request = ask(arguments=f"IgnoreUnknown={ignore};LABELS=a=b;")
    assert "LABELS" in request.words[0]


def test_a_pod_has_a_namespace_and_a_name():
    assert ask().pod == "shop/cart-0"
    podman = ask(arguments="IgnoreUnknown=1;K8S_POD_NAME=brave_hopper")
    assert (podman.pod, podman.note) == ("", "brave_hopper")


def test_addresses_of_another_ipam_plugin_are_refused_by_key_and_value():
    with pytest.raises(CniError, match="host-local") as caught:
        ask(ipam={"type": "host-local", "subnet": "10.1.0.0/24"})
    assert caught.value.code == Code.UNSUPPORTED_FIELD
    assert "ipam.type" in caught.value.problem
    with pytest.raises(CniError, match="ipam"):
        ask(ipam={"type": ["host-local"]})
    assert ask(ipam={}).command == ask(ipam={"type": "netloom"}).command == "ADD"


def fault_of(*told: Any, **more: Any) -> CniError | None:
    try:
        ask(*told, **more)
    except CniError as error:
        return error
    return None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["10.1.0.7", "tcp", "eth0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["portMappings", "bandwidth", "ips", "mac", "ipRanges", "dns", "aliases", "deviceID", "infinibandGUID"]
FIELDS = ["subnet", "rangeStart", "hostPort", "containerPort", "protocol", "hostIP", "ingressRate", "servers"]
shaped = values | st.lists(st.dictionaries(st.sampled_from(FIELDS), values, max_size=4), max_size=2)


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=10), shaped, max_size=4))
def test_whatever_a_runtime_wants_is_a_request_or_an_error_that_names_it(runtime: dict[str, Any]):
    fault = fault_of(runtime)
    assert fault is None or (fault.code == Code.INVALID_CONFIG and "runtimeConfig" in fault.problem)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "cniVersion",
                "name",
                "mtu",
                "ipMasq",
                "ipam",
                "dns",
                "args",
                "runtimeConfig",
                "prevResult",
                "cni.dev/valid-attachments",
            ]
        ),
        values,
    ),
    st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]),
)
def test_whatever_a_configuration_says_is_a_request_or_a_numbered_error(config: dict[str, Any], command: str):
    fault = fault_of(command=command, **config)
    assert fault is None or (fault.code in {1, 2, 4, 6, 7} and fault.problem)
