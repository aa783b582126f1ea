"""Every fabric as a whole: nodes on two segments where it can join them, both families, real packets from inside pods."""

import json
from contextlib import ExitStack

import pytest
from tests.cluster.conftest import PYTHON
from tests.cluster.fabric_cluster import FAMILIES, NODES, PODS, bracketed, running, version

pytestmark = pytest.mark.cluster

ROUTED = ("--underlay", "routed")
FABRICS = {
    "hostgw": (),
    "l2": (),
    "vxlan": ROUTED,
    "udp": ROUTED,
    "wireguard": ROUTED,
    "bgp": ROUTED,
}
"""How each is started: what cannot join segments has one."""
BYTES = 2_000_000
DATAGRAM = 6000
"""Bytes: more than one packet of any fabric."""

SEND = """
import os
seen = {}
for host in ARGUMENTS[2:]:
    data = os.urandom(int(ARGUMENTS[0]))
    with socket.create_connection((host, 8080), timeout=10) as tcp:
        tcp.sendall(f"POST / HTTP/1.1\\r\\nHost: x\\r\\nAccept: application/json\\r\\nConnection: close\\r\\n"
                    f"Content-Length: {len(data)}\\r\\n\\r\\n".encode() + data)
        said = b""
        while piece := tcp.recv(65536):
            said += piece
        told = json.loads(said.partition(b"\\r\\n\\r\\n")[2])
        seen[host] = [told["pod"], told["peer"].rpartition(":")[0], told["bodyBytes"],
                      tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)]
    udp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(1)
    udp.connect((host, 7))
    word = os.urandom(int(ARGUMENTS[1]))

    def echoed():
        udp.send(word)
        try:
            return udp.recv(65536) == word
        except OSError:  # a datagram that taught a node the path's MTU is lost itself
            return False

    seen[host].append(until(bool, echoed))
tell(seen)
"""
ECHO = """
echo = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
echo.bind(("::", 7))
tell("ready")
while True:
    word, peer = echo.recvfrom(65536)
    echo.sendto(word, peer)
"""
ANSWERS = "tell({h: until(lambda a: a[0] in ('a', 'b', 'c'), lambda: answer_of(h, int(ARGUMENTS[0])))[0] for h in ARGUMENTS[1:]})"
OUTCOME = "tell({h: answer_of(h, 8080, timeout=1)[0] for h in ARGUMENTS})"
UNTIL = """
wanted = json.loads(ARGUMENTS[0])
ask = lambda: {h: answer_of(h, 8080, timeout=1)[0] for h in wanted}
tell(until(lambda seen: seen == wanted, ask))
"""


@pytest.fixture(scope="module")
def clusters(command, tmp_path_factory):
    """A cluster of each fabric that is asked for; they end together."""
    with ExitStack() as stack:
        made, failed = {}, {}

        def of(fabric, *words):
            if fabric in failed:
                raise failed[fabric]  # each try would take a minute
            if fabric not in made:
                directory = tmp_path_factory.mktemp(fabric)
                try:
                    made[fabric] = stack.enter_context(running(command, directory, fabric, *words))
                except BaseException as error:
                    failed[fabric] = error
                    raise
            return made[fabric]

        yield of


@pytest.fixture(params=FABRICS)
def cluster(clusters, request):
    return clusters(request.param, *FABRICS[request.param])


def hosts(cluster, *names):
    addresses = cluster.addresses()
    return [addresses[name][family] for name in names for family in FAMILIES]


def test_all_pairs_do_what_the_model_says(cluster):
    done = cluster.command.netloom("check", "--name", cluster.cluster, "-o", "json", check=False)
    report = json.loads(done.stdout)
    assert {result["status"] for result in report["results"]} == {"holds"}, done.stdout
    assert {result["expected"] for result in report["results"]} == {"allow"}
    # 3 pods with 2 ports each in 2 families, from the 2 others, and the Service in both from all 3
    assert len(report["results"]) == 3 * 2 * 2 * 2 + 3 * 2
    assert done.returncode == 0


def test_full_size_segments_and_fragments_arrive_on_every_way(cluster):
    addresses = cluster.addresses()
    mtu = {node["name"]: node["pod_mtu"] for node in cluster.status()["nodes"]}
    for node, name in PODS.items():
        link = json.loads(cluster.run(name, "ip", "-j", "link", "show", "eth0").stdout)
        assert link[0]["mtu"] == mtu[node]
        assert cluster.start_python(name, ECHO).fact() == "ready"
    for node, name in PODS.items():
        others = [other for other in PODS.values() if other != name]
        seen = cluster.python(name, SEND, BYTES, DATAGRAM, *hosts(cluster, *others))
        for other in others:
            for family in FAMILIES:
                pod, peer, size, segment, echoed = seen[addresses[other][family]]
                assert (pod, peer.strip("[]"), size) == (other, addresses[name][family], BYTES)
                headers = {4: 40, 6: 60}[family] + 12  # IP, TCP and its timestamps
                assert segment == mtu[node] - headers
                assert echoed, f"{name} -> {other} over IPv{family}"


def test_services_of_both_families_answer_from_every_node(cluster):
    service = cluster.get("service", "web")["spec"]
    assert [version(a) for a in service["clusterIPs"]] == list(FAMILIES)
    nodes = [a for node in cluster.status()["nodes"] for a in node["addresses"]]
    assert len(nodes) == len(NODES) * len(FAMILIES)
    for name in PODS.values():
        seen = cluster.python(name, ANSWERS, 80, *service["clusterIPs"], "web")
        assert set(seen.values()) <= set(PODS.values()), seen
        seen = cluster.python(name, ANSWERS, service["ports"][0]["nodePort"], *nodes)
        assert set(seen.values()) <= set(PODS.values()), seen


def test_slices_of_both_families_have_all_pods(cluster):
    found = cluster.get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
    by_type = {s["addressType"]: sorted(a for e in s["endpoints"] for a in e["addresses"]) for s in found}
    addresses = cluster.addresses().values()
    assert by_type == {f"IPv{f}": sorted(a[f] for a in addresses) for f in FAMILIES}


def test_a_policy_blocks_and_passes_across_nodes_in_both_families(cluster):
    names = dict.fromkeys(hosts(cluster, "c"), "c")
    for name in ("a", "b"):
        assert cluster.python(name, OUTCOME, *names) == names
    cluster.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "only-b"},
            "spec": {
                "podSelector": {"matchLabels": {"pod": "c"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}],
            },
        }
    )
    try:
        refused = dict.fromkeys(names, "TimeoutError")
        assert cluster.python("a", UNTIL, json.dumps(refused)) == refused
        assert cluster.python("b", OUTCOME, *names) == names
    finally:
        cluster("delete", "networkpolicy", "only-b")
    assert cluster.python("a", UNTIL, json.dumps(names)) == names


def test_why_knows_the_way_in_both_families(cluster):
    for host in hosts(cluster, "c"):
        code, said = cluster.why("pod/a", f"{bracketed(host)}:8080")
        assert (code, said["verdict"]) == (0, "DELIVERED")


def test_status_tells_fabric_families_and_mtu(cluster):
    told = cluster.status()
    assert (told["fabric"], told["families"], told["problems"]) == (cluster.fabric, ["IPv4", "IPv6"], [])
    overhead = {"hostgw": 0, "l2": 0, "vxlan": 50, "udp": 28, "wireguard": 60, "bgp": 0}[cluster.fabric]
    assert [(n["mtu"], n["pod_mtu"]) for n in told["nodes"]] == [(1500, 1500 - overhead)] * len(NODES)
    text = cluster.command.netloom("status", "--name", cluster.cluster).stdout
    head = text.splitlines()[0]
    assert f"fabric {cluster.fabric}" in head
    assert head.endswith("IPv4 and IPv6")


def test_a_node_that_changes_its_address_is_followed_and_others_are_not_touched(cluster):
    before = cluster.status()["nodes"][1]["addresses"][0]
    after = before.rpartition(".")[0] + ".77"
    (link,) = json.loads(cluster.on_node("node-2", "ip", "-j", "-4", "address", "show", "eth0"))
    prefix = link["addr_info"][0]["prefixlen"]
    (default,) = json.loads(cluster.on_node("node-2", "ip", "-j", "-4", "route", "show", "default"))
    third = next(n["pod_cidrs"][0] for n in cluster.status()["nodes"] if n["name"] == "node-3")
    watching = cluster.start_on_node("node-1", "ip", "monitor", "route")

    def move(old, new):
        cluster.on_node("node-2", "ip", "address", "delete", f"{old}/{prefix}", "dev", "eth0")
        cluster.on_node("node-2", "ip", "address", "add", f"{new}/{prefix}", "dev", "eth0")
        cluster.on_node("node-2", "ip", "route", "add", "default", "via", default["gateway"])
        path = "{.status.addresses[0].address}"
        cluster("wait", "node/node-2", f"--for=jsonpath={path}={new}", "--timeout=20s")
        for name, other in (("a", "b"), ("b", "a"), ("b", "c")):
            names = dict.fromkeys(hosts(cluster, other), other)
            assert cluster.python(name, UNTIL, json.dumps(names)) == names

    move(before, after)
    move(after, before)
    cluster.on_node("node-1", "ip", "route", "add", "198.51.100.0/24", "dev", "lo")
    seen = []
    while not (line := watching.line()).startswith("198.51.100.0"):
        seen.append(line)
    cluster.on_node("node-1", "ip", "route", "delete", "198.51.100.0/24", "dev", "lo")
    assert not [line for line in seen if third in line], seen


SNIFF = """
import select, socket, sys
mark = sys.argv[2].encode()
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind((sys.argv[1], 0))
print("ready", flush=True)
frames = marked = 0
while True:
    ready, _, _ = select.select([wire, sys.stdin], [], [])
    if wire in ready:
        data = wire.recv(65536)
        frames, marked = frames + 1, marked + (mark in data)
    elif sys.stdin in ready:  # only when nothing is left to be read
        print(f"{frames} {marked}", flush=True)
        break
"""
SPEAK = """
for host in ARGUMENTS[1:]:
    for _ in range(20):
        flow = Flow(host, 5353, socket.SOCK_DGRAM)
        assert flow.ask(ARGUMENTS[0])["pod"] == "c"
tell("said")
"""


@pytest.mark.parametrize(("fabric", "is_readable"), [("vxlan", True), ("wireguard", False)])
def test_what_passes_the_router_can_be_read_unless_it_is_encrypted(clusters, fabric, is_readable):
    cluster = clusters(fabric, *ROUTED)
    mark = "may be read by anybody on the way"
    watching = cluster.start_on_node("init", PYTHON, "-c", SNIFF, "underlay-2", mark)
    assert watching.line() == "ready"
    assert cluster.python("a", SPEAK, mark, *hosts(cluster, "c")) == "said"
    watching.say("enough\n")
    frames, marked = map(int, watching.line().split())
    assert frames >= 80  # two families, twenty questions and answers
    assert (marked > 0) is is_readable


def test_a_node_with_another_key_is_followed(clusters, kill):
    cluster = clusters("wireguard", *ROUTED)
    path = r"{.metadata.annotations.netloom\.io/wireguard-key}"
    before = cluster("get", "node", "node-2", "-o", f"jsonpath={path}")
    assert before
    (cluster.command.home / "clusters" / cluster.cluster / "nodes" / "node-2" / "wireguard.key").unlink()
    kill(cluster.cluster, "nl-node-2-agent")
    watch = cluster.start("get", "node", "node-2", "-w", "-o", f'jsonpath={path}{{"\\n"}}')
    while watch.line() in ("", before):
        pass
    for name, other in (("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")):
        names = dict.fromkeys(hosts(cluster, other), other)
        assert cluster.python(name, UNTIL, json.dumps(names)) == names


def test_tunnels_find_out_what_the_router_takes(command, tmp_path):
    """Nodes with 1500 bytes, and 1400 on the way between them: what pods send in full size arrives."""
    with running(
        command, tmp_path, "vxlan", *ROUTED, "--router-mtu", "1400", name="fabric-narrow"
    ) as cluster:
        for name in ("a", "c"):
            assert cluster.start_python(name, ECHO).fact() == "ready"
        for name, other in (("a", "c"), ("c", "a")):
            seen = cluster.python(name, SEND, BYTES, DATAGRAM, *hosts(cluster, other))
            assert [(told[0], told[2], told[4]) for told in seen.values()] == [(other, BYTES, True)] * 2


@pytest.fixture(scope="module")
def apart(command, tmp_path_factory):
    """Plain routes, and nodes that they cannot join; the router takes smaller packets than the nodes know."""
    directory = tmp_path_factory.mktemp("apart")
    words = (*ROUTED, "--router-mtu", "1400")
    with running(command, directory, "hostgw", *words, name="fabric-apart") as made:
        yield made


def test_plain_routes_join_one_segment_and_no_two(apart):
    near, far = hosts(apart, "b"), hosts(apart, "c")
    assert apart.python("a", OUTCOME, *near) == dict.fromkeys(near, "b")
    seen = apart.python("a", OUTCOME, *far)
    assert set(seen.values()) <= {"ENETUNREACH", "EHOSTUNREACH", "TimeoutError"}, seen
    seen = apart.python("c", OUTCOME, *near)
    assert set(seen.values()) <= {"ENETUNREACH", "EHOSTUNREACH", "TimeoutError"}, seen


def test_what_plain_routes_cannot_join_is_told(apart):
    problems = apart.status()["problems"]
    assert len(problems) == 2 * 2 * len(FAMILIES)  # node-3 for each of the others, and they for it
    assert all("plain routes" in text and "choose a fabric that encapsulates" in text for text in problems)
    assert "pods that are not reached" in apart.command.netloom("status", "--name", apart.cluster).stdout
    for host in hosts(apart, "c"):
        code, said = apart.why("pod/a", f"{bracketed(host)}:8080")
        assert code == 8
        assert said["verdict"] != "DELIVERED"
    code, said = apart.why("pod/a", "pod/b:8080")
    assert (code, said["verdict"]) == (0, "DELIVERED")


def test_nodes_find_out_what_the_router_takes(apart):
    """The node's own traffic: packets too big are told of, and TCP goes on with smaller ones."""
    apart.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "own", "labels": {"app": "own"}},
            "spec": {
                "nodeName": "node-3",
                "hostNetwork": True,
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "example/c", "ports": [{"containerPort": 8080}]}],
            },
        }
    )
    apart("wait", "pod/own", "--for=condition=Ready", "--timeout=30s")
    status = apart.get("pod", "own")["status"]
    addresses = apart.status()["nodes"][2]["addresses"]
    assert [a["ip"] for a in status["podIPs"]] == [a["ip"] for a in status["hostIPs"]] == addresses
    assert apart.start_python("own", ECHO).fact() == "ready"
    apart("wait", "pod/a", "--for=condition=Ready", "--timeout=30s")
    seen = apart.python("a", SEND, BYTES, DATAGRAM, *addresses)
    assert [(told[0], told[2], told[4]) for told in seen.values()] == [("own", BYTES, True)] * 2
    assert [told[3] for told in seen.values()] == [1400 - 52, 1400 - 72]
