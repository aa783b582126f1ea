"""Clusters of IPv6 alone, and of both families with IPv6 first: whole ones, asked from inside their pods."""

import json
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

V6_FIRST = "fd00:10:244::/48,10.244.0.0/16"
API = """
import ssl, base64
context = ssl.create_default_context(cadata=base64.b64decode(ARGUMENTS[0]).decode())
seen = {}
for host in ARGUMENTS[1:]:
    with socket.create_connection((host, 443), timeout=5) as tcp, context.wrap_socket(tcp, server_hostname=host) as tls:
        tls.sendall(b"GET /version HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        said = b""
        while piece := tls.recv(65536):
            said += piece
        seen[host] = said.split(b"\\r\\n")[0].decode()
tell(seen)
"""


def all_right(report):
    assert report["wrong"] == []
    assert set(report["checks"]) == {"pod", "localhost", "service-name", "service-address", "node-port"}
    assert all(kind["asked"] and not kind["wrong"] for kind in report["checks"].values()), report["checks"]


def demo(command, name, *words):
    command.down(name)
    done = command.netloom("demo", "--name", name, "--output", "json", *words, check=False, timeout=180)
    assert done.returncode in (0, 8), done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def both(command):
    """A cluster of both families, IPv6 first, with what its demo reported."""
    report = demo(command, "both", "--pod-cidr", V6_FIRST)
    place = command.place("both", "shop")
    place.report = report
    yield place
    place.close()
    command.down("both")


@pytest.fixture(scope="module")
def six(command, upstream):
    """A cluster that has IPv6 and nothing else."""
    command.down("six")
    command.up("six", "--ip-family", "ipv6", "--dns-upstream", upstream.address, "-f", "examples/shop")
    place = command.place("six", "shop")
    yield place
    place.close()
    command.down("six")


def ca_of(place):
    path = Path(place.command.home) / "clusters" / place.cluster / "kubeconfig"
    return json.loads(path.read_text())["clusters"][0]["cluster"]["certificate-authority-data"]


def versions(addresses):
    return [ip_address(address).version for address in addresses]


def test_every_pod_service_and_node_answers_in_each_family(both):
    all_right(both.report)
    # those of the shop: another test here makes a pod of its own
    pods = [pod for pod in both.get("pods")["items"] if pod["metadata"].get("ownerReferences")]
    ports = sum(len(c.get("ports", ())) for p in pods for c in p["spec"]["containers"])
    assert both.report["checks"]["pod"]["asked"] == len(pods) * ports * 2
    assert both.report["checks"]["node-port"]["asked"] == len(pods) * 3 * 2


def test_the_first_family_comes_first_everywhere(both):
    for node in both.get("nodes")["items"]:
        internal = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
        assert versions(internal) == [6, 4]
        ranges = [ip_network(text) for text in node["spec"]["podCIDRs"]]
        assert [(r.version, r.prefixlen) for r in ranges] == [(6, 64), (4, 24)]
        assert node["spec"]["podCIDR"] == str(ranges[0])
    for pod in both.get("pods")["items"]:
        status = pod["status"]
        addresses = [a["ip"] for a in status["podIPs"]]
        assert versions(addresses) == versions(a["ip"] for a in status["hostIPs"]) == [6, 4]
        assert (status["podIP"], status["hostIP"]) == (addresses[0], status["hostIPs"][0]["ip"])
    services = {s["metadata"]["name"]: s["spec"] for s in both.get("services")["items"]}
    assert services["catalog"]["ipFamilies"] == ["IPv6"]  # says nothing of families
    assert services["cart"]["ipFamilies"] == ["IPv6", "IPv4"]  # prefers both
    assert versions(services["cart"]["clusterIPs"]) == [6, 4]


def test_the_api_server_is_reached_in_both_families_under_its_own_names(both):
    pod = both.pod("web")
    addresses = both.command.place(both.cluster, "default").get("service", "kubernetes")["spec"]["clusterIPs"]
    assert versions(addresses) == [6, 4]
    seen = both.python(pod, API, ca_of(both), "kubernetes.default.svc.cluster.local", *addresses)
    assert set(seen.values()) == {"HTTP/1.1 200 OK"}, seen


def test_pods_know_their_addresses_and_ask_dns_in_both_families(both):
    both.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "told"},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "c",
                        "image": "example/c",
                        "env": [
                            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"status.{field}"}}}
                            for name, field in (("POD", "podIPs"), ("NODE", "hostIPs"), ("FIRST", "podIP"))
                        ],
                    }
                ],
            },
        }
    )
    both("wait", "pod/told", "--for=condition=Ready", "--timeout=30s")
    status = both.get("pod", "told")["status"]
    code = """
import os
servers = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
found = {f: sorted({a[4][0] for a in socket.getaddrinfo("cart", 80, f)}) for f in (socket.AF_INET, socket.AF_INET6)}
tell([servers, {k: os.environ[k] for k in ("POD", "NODE", "FIRST")}, found[socket.AF_INET6] + found[socket.AF_INET]])
"""
    servers, told, cart = both.python("told", code)
    assert versions(servers) == [6, 4]
    assert cart == both.get("service", "cart")["spec"]["clusterIPs"]
    assert told["POD"] == ",".join(a["ip"] for a in status["podIPs"])
    assert told["NODE"] == ",".join(a["ip"] for a in status["hostIPs"])
    assert told["FIRST"] == status["podIP"]
    both("delete", "pod", "told", "--wait=false")


def test_a_cluster_without_ipv4(six):
    for pod in six.get("pods")["items"]:
        assert versions(a["ip"] for a in pod["status"]["podIPs"]) == [6]
    report = json.loads(six.command.netloom("check", "--name", six.cluster, "-o", "json", check=False).stdout)
    assert {result["status"] for result in report["results"]} == {"holds"}, report
    assert len(report["results"]) > 80
    (line,) = json.loads(six.command.netloom("status", "--name", six.cluster, "--output", "json").stdout)
    assert (line["families"], line["problems"]) == (["IPv6"], [])


def test_names_and_the_api_server_without_ipv4(six):
    pod = six.pod("web")
    code = """
servers = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
outside = sorted({a[4][0] for a in socket.getaddrinfo("www.example.org", 80, socket.AF_INET)})
inside = sorted({a[4][0] for a in socket.getaddrinfo("cart", 80)})
tell([servers, outside, inside])
"""
    servers, outside, inside = six.python(pod, code)
    assert versions(servers) == [6]
    assert outside == ["192.0.2.80"]  # asked for over IPv6, by way of the host
    assert inside == six.get("service", "cart")["spec"]["clusterIPs"]
    address = six.command.place(six.cluster, "default").get("service", "kubernetes")["spec"]["clusterIP"]
    seen = six.python(pod, API, ca_of(six), "kubernetes.default", address)
    assert set(seen.values()) == {"HTTP/1.1 200 OK"}, seen


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("--ip-family", "dual", "--pod-cidr", "10.0.0.0/16"),
            "--pod-cidr 10.0.0.0/16: does not go with --ip-family dual",
        ),
        (("--pod-cidr", "10.0.0.0/16", "--pod-cidr", "10.1.0.0/16"), "two ranges of IPv4"),
        (("--pod-cidr", V6_FIRST, "--service-cidr", "10.96.0.0/16,fd00:96::/112"), "has IPv6 and IPv4"),
        (("--fabric", "hostgw", "--vni", "7"), "--vni 7: fabric hostgw has none"),
        (("--segments", "2"), "add --underlay routed"),
        (("--underlay", "routed", "--nodes", "1"), "--segments 2: out of range"),
    ],
)
def test_what_cannot_be_is_refused_at_once(command, words, says):
    done = command.netloom("up", "--name", "never", *words, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert not (command.home / "clusters" / "never").exists()
