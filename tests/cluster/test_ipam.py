"""Pools, addresses that pods ask for, reservations, and full pools: in a whole cluster, with packets."""

import ipaddress
import json

import pytest

pytestmark = pytest.mark.cluster

POOL, BLOCK = "ippools.netloom.io", "ipblocks.netloom.io"


@pytest.fixture
def pools(place):
    """Makes pools that go with the test; their blocks go with the pods."""
    made = []

    def pool(name, *cidrs, **spec):
        made.append(name)
        place.apply(
            {
                "apiVersion": "netloom.io/v1alpha1",
                "kind": "IPPool",
                "metadata": {"name": name},
                "spec": {"cidrs": list(cidrs), **spec},
            }
        )

    yield pool
    for name in made:
        place("delete", POOL, name, "--ignore-not-found")


def pod(place, name, *, node="", wait=True, **annotations):
    said = {f"netloom.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    container = {"name": "a", "image": "example/a", "ports": [{"containerPort": 8080}]}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    if node:
        spec["nodeName"] = node
    place.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": said}, "spec": spec}
    )
    if wait:
        place("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        return place.get("pod", name)["status"]["podIP"]
    return ""


def told(place, name, words):
    """Wait until an Event of this pod says so; the Event's message."""
    following = place.start(
        "get", "events", "--watch", "-o", "json", "--field-selector", f"involvedObject.name={name}"
    )
    line = following.until(words, timeout=60)
    following.end()
    return json.loads("{" + line.strip().rstrip(",") + "}").get("message", line)


def ipam(place, *words, check=True):
    return place.command.netloom("ipam", "--name", place.cluster, *words, check=check)


def is_in(address, cidr):
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


def test_a_namespaces_pods_have_addresses_of_its_pool_on_every_node_and_reach_each_other(place, pools):
    place("label", "namespace", place.namespace, f"team={place.namespace}")
    pools(
        "by-namespace",
        "10.61.0.0/24",
        blockSize={"ipv4": 29},
        namespaceSelector={"matchLabels": {"team": place.namespace}},
    )
    addresses = {node: pod(place, f"on-{node}", node=node) for node in ("node-1", "node-2", "node-3")}
    assert all(is_in(address, "10.61.0.0/24") for address in addresses.values())
    blocks = [b["spec"] for b in place.get(BLOCK)["items"] if b["spec"]["pool"] == "by-namespace"]
    assert sorted(b["node"] for b in blocks) == ["node-1", "node-2", "node-3"]
    for b in blocks:
        assert is_in(addresses[b["node"]], b["cidr"])
    for sender in addresses:
        for node, address in addresses.items():
            answer = place.run(f"on-{sender}", "curl", "-s", "-m", "10", f"http://{address}:8080/").stdout
            assert f"hostname: on-{node}" in answer
    text = ipam(place, addresses["node-2"]).stdout
    assert f"pod {place.namespace}/on-node-2 on node-2" in text
    assert "IPPool by-namespace" in text


def test_an_annotation_names_the_pool_and_an_unknown_one_is_told_on_the_pod(place, pools):
    pools("by-name", "10.62.0.0/24")
    assert is_in(pod(place, "named", ip_pool="by-name"), "10.62.0.0/24")
    assert not is_in(pod(place, "other"), "10.62.0.0/24")
    pod(place, "lost", ip_pool="no-such-pool", wait=False)
    message = told(place, "lost", "there is no IPPool no-such-pool")
    assert "metadata.annotations[netloom.io/ip-pool]" in message
    pools("no-such-pool", "10.63.0.0/24")
    place("wait", "--for=condition=Ready", "pod/lost", "--timeout=60s")
    assert is_in(place.get("pod", "lost")["status"]["podIP"], "10.63.0.0/24")


def test_a_service_leads_to_pods_of_a_pool(place, pools):
    pools("served", "10.64.0.0/24")
    place("annotate", "namespace", place.namespace, "netloom.io/ip-pool=served")
    place.deploy("web", replicas=3)
    place.service("web")
    assert all(is_in(p["status"]["podIP"], "10.64.0.0/24") for p in place.pods("web").values())
    seen = pod(place, "client")
    for _ in range(6):
        answer = place.run("client", "curl", "-s", "-m", "10", "http://web/").stdout
        assert "hostname: web-" in answer
        assert f"{seen}:" in answer, "a pod of a pool is seen with its own address"


def test_an_address_that_is_asked_for_is_the_pods_wherever_it_lies(place, pools):
    pools("asked", "10.65.0.0/24", reserved=["10.65.0.9"])
    nodes = {n["metadata"]["name"]: n["spec"]["podCIDR"] for n in place.get("nodes")["items"]}
    foreign = str(ipaddress.ip_network(nodes["node-2"])[201])
    client = pod(place, "client", node="node-3")
    assert client
    assert pod(place, "of-pool", node="node-1", ip_addresses="10.65.0.7") == "10.65.0.7"
    assert pod(place, "of-node-2", node="node-1", ip_addresses=foreign) == foreign
    for name, address in (("of-pool", "10.65.0.7"), ("of-node-2", foreign)):
        answer = place.run("client", "curl", "-s", "-m", "10", f"http://{address}:8080/").stdout
        assert f"hostname: {name}" in answer
    pod(place, "second", node="node-2", ip_addresses=foreign, wait=False)
    assert f"{place.namespace}/of-node-2" in told(place, "second", "belongs to pod")
    pod(place, "held", ip_addresses="10.65.0.9", wait=False)
    assert "IPPool asked: spec.reserved" in told(place, "held", "is reserved")


def test_a_pod_that_is_made_anew_elsewhere_takes_its_address_with_it(place, pools):
    pools("moving", "10.66.0.0/24")
    assert pod(place, "db-0", node="node-1", ip_addresses="10.66.0.7") == "10.66.0.7"
    place("delete", "pod", "db-0")
    assert pod(place, "db-0", node="node-2", ip_addresses="10.66.0.7") == "10.66.0.7"
    (block,) = (b for b in place.get(BLOCK)["items"] if b["spec"]["pool"] == "moving")
    assert block["spec"]["node"] == "node-2"
    pod(place, "client", node="node-3")
    answer = place.run("client", "curl", "-s", "-m", "10", "http://10.66.0.7:8080/").stdout
    assert "hostname: db-0" in answer


def test_a_full_pool_is_told_and_a_second_range_ends_it(place, pools):
    pools("tiny", "10.67.0.0/30", blockSize={"ipv4": 30})
    for name in ("a", "b"):
        assert is_in(pod(place, name, node="node-1", ip_pool="tiny"), "10.67.0.0/30")
    pod(place, "c", node="node-1", ip_pool="tiny", wait=False)
    message = told(place, "c", "all IPv4 addresses of IPPool tiny are in use")
    assert "spec.cidrs" in message
    place(
        "patch", POOL, "tiny", "--type=merge", "-p", '{"spec": {"cidrs": ["10.67.0.0/30", "10.67.1.0/30"]}}'
    )
    place("wait", "--for=condition=Ready", "pod/c", "--timeout=60s")
    assert is_in(place.get("pod", "c")["status"]["podIP"], "10.67.1.0/30")
    report = json.loads(ipam(place, "--node", "node-1", "-o", "json").stdout)
    ranges = {r["cidr"]: r for r in report[0]["report"]["ranges"]}
    assert (ranges["10.67.0.0/30"]["used"], ranges["10.67.0.0/30"]["free"]) == (2, 0)


def test_a_block_that_is_deleted_stays_for_its_pods(place, pools):
    pools("kept", "10.68.0.0/29", blockSize={"ipv4": 29})
    address = pod(place, "a", node="node-1", ip_pool="kept")
    place("delete", BLOCK, "10.68.0.0-29", "--wait=false")
    assert place.get(BLOCK, "10.68.0.0-29")["metadata"]["deletionTimestamp"]
    pod(place, "client", node="node-2")
    assert "hostname: a" in place.run("client", "curl", "-s", "-m", "10", f"http://{address}:8080/").stdout


def test_the_command_says_who_has_an_address_and_who_had_it(place, pools):
    pools("told", "10.69.0.0/24")
    address = pod(place, "a", node="node-3", ip_addresses="10.69.0.44")
    whole = ipam(place).stdout
    assert "told  10.69.0.0/24" in " ".join(whole.split("\n")).replace("   ", "  ")
    assert "10.69.0.44/32" in whole
    assert address in ipam(place, f"{place.namespace}/a").stdout
    place("delete", "pod", "a")
    assert f"pod {place.namespace}/a on node-3 had it last" in ipam(place, address).stdout
    gone = ipam(place, "192.0.2.1", check=False)
    assert gone.returncode == 4
    assert "192.0.2.1" in gone.stderr


def test_agents_that_are_killed_again_and_again_give_no_address_twice(rough_place, kill):
    place = rough_place
    place.apply(
        {
            "apiVersion": "netloom.io/v1alpha1",
            "kind": "IPPool",
            "metadata": {"name": "rough"},
            "spec": {"cidrs": ["10.70.0.0/26"], "blockSize": {"ipv4": 29}},
        }
    )
    place("annotate", "namespace", place.namespace, "netloom.io/ip-pool=rough")
    place.deploy("web", replicas=12, wait=False)
    for node in ("node-1", "node-2", "node-3", "node-1", "node-2"):
        kill(place.cluster, f"nl-{node}-agent")
        place("wait", "--for=condition=Ready", f"node/{node}", "--timeout=60s")
    place.rolled_out("web")
    pods = place.pods("web")
    addresses = [p["status"]["podIP"] for p in pods.values()]
    assert len(set(addresses)) == 12
    assert all(is_in(address, "10.70.0.0/26") for address in addresses)
    report = json.loads(ipam(place, "-o", "json").stdout)
    held = [
        (one["address"], one["pod"])
        for answer in report
        for one in answer["report"]["addresses"]
        if one["container"] and one["pod"].startswith(f"{place.namespace}/")
    ]
    assert sorted(held) == sorted(
        (p["status"]["podIP"], f"{place.namespace}/{name}") for name, p in pods.items()
    )
