"""Packets of a whole cluster: pods without NAT, Services of every kind, changes under traffic."""

from ipaddress import ip_address, ip_network

import pytest

pytestmark = pytest.mark.cluster

UDP = {"protocol": "UDP"}


def address_of(place, pod):
    return place.get("pod", pod)["status"]["podIP"]


def client(place, name="client"):
    """A pod that only asks."""
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "containers": [{"name": "c", "image": "example/client"}],
                "terminationGracePeriodSeconds": 1,
            },
        }
    )
    place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s")
    return name


def test_peers_see_a_pods_own_address_on_every_node(place):
    place.deploy("web", replicas=6)
    pods = place.pods("web")
    addresses = {p["status"]["podIP"]: name for name, p in pods.items()}
    nodes = {p["spec"]["nodeName"]: name for name, p in pods.items()}
    assert len(nodes) == 3
    code = 'tell({a: facts(f"http://{a}:8080/") for a in ARGUMENTS})'
    for name in nodes.values():
        own = pods[name]["status"]["podIP"]
        for asked, seen in place.python(name, code, *addresses).items():
            assert seen["peer"].rpartition(":")[0] == own
            assert seen["local"] == f"{asked}:8080"
            assert seen["pod"] == addresses[asked]


def test_services_of_every_kind_by_name_and_address(place):
    place.deploy("web", replicas=3)
    place.deploy("voice", replicas=2, ports=[{"containerPort": 5353, "protocol": "UDP"}])
    plain = place.service("web")
    node_port = place.service("outside", selector={"app": "web"}, type="NodePort")["ports"][0]["nodePort"]
    place.service("each", selector={"app": "web"}, clusterIP="None")
    place.service("voice", {"port": 53, "targetPort": 5353, **UDP})
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "alias"},
            "spec": {"type": "ExternalName", "externalName": f"web.{place.namespace}.svc.cluster.local"},
        }
    )
    pod = client(place)
    code = """
def many(host, port, kind=socket.SOCK_STREAM):
    until(lambda a: a[0][0] not in "E", lambda: answer_of(host, port, kind))
    return sorted({answer_of(host, port, kind)[0] for _ in range(60)})

tell({
    "name": many("web", 80),
    "full name": many(f"web.{ARGUMENTS[0]}.svc.cluster.local.", 80),
    "address": many(ARGUMENTS[1], 80),
    "alias": many("alias", 80),
    "headless": sorted(socket.gethostbyname_ex("each")[2]),
    "udp": many("voice", 53, socket.SOCK_DGRAM),
    "node ports": {n: many(n, int(ARGUMENTS[2])) for n in ARGUMENTS[3:]},
})
"""
    nodes = [f"172.30.0.{11 + i}" for i in range(3)]
    seen = place.python(pod, code, place.namespace, plain["clusterIP"], node_port, *nodes)
    web, voice = place.pods("web"), place.pods("voice")
    for how in ("name", "full name", "address", "alias"):
        assert seen[how] == sorted(web), how
    assert seen["headless"] == sorted(p["status"]["podIP"] for p in web.values())
    assert seen["udp"] == sorted(voice)
    assert seen["node ports"] == {n: sorted(web) for n in nodes}


def test_a_service_has_its_named_ports_only(place):
    place.deploy(
        "web", ports=[{"containerPort": 8080, "name": "http"}, {"containerPort": 9090, "name": "admin"}]
    )
    place.service(
        "web",
        {"name": "http", "port": 80, "targetPort": "http"},
        {"name": "admin", "port": 81, "targetPort": "admin"},
    )
    pod = client(place)
    code = """
until(lambda a: a[0][0] != "E", lambda: answer_of("web", 81))
tell([facts("http://web:%d/" % p)["local"].rpartition(":")[2] for p in (80, 81)] + [answer_of("web", 82, timeout=2)[0]])
"""
    assert place.python(pod, code)[:2] == ["8080", "9090"]
    assert place.python(pod, code)[2][0] == "E" or place.python(pod, code)[2] == "TimeoutError"


def test_a_pod_reaches_itself_through_its_service(place):
    place.deploy("web", replicas=1)
    address = place.service("web")["clusterIP"]
    pod = place.pod("web")
    code = (
        'tell([until(lambda a: a[0][0] != "E", lambda: answer_of(h, 80))[0] for h in (ARGUMENTS[0], "web")])'
    )
    assert place.python(pod, code, address) == [pod, pod]


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_without_endpoints_a_service_refuses_at_once_and_comes_back(place, kind):
    protocol = "TCP" if kind == "SOCK_STREAM" else "UDP"
    place.deploy("web", ports=[{"containerPort": 8080, "protocol": protocol}])
    address = place.service("web", {"port": 80, "targetPort": 8080, "protocol": protocol}, type="NodePort")
    pod = client(place)
    host, node_port = address["clusterIP"], address["ports"][0]["nodePort"]
    ask = f"lambda: answer_of(ARGUMENTS[0], 80, socket.{kind}, timeout=5)"
    open_ = f"tell(until(lambda a: a[0].startswith('web-'), {ask}))"
    closed = f"""
until(lambda a: a[0] == "ECONNREFUSED", {ask})
tell([answer_of(ARGUMENTS[0], 80, socket.{kind}), answer_of("172.30.0.12", int(ARGUMENTS[1]), socket.{kind})])
"""
    assert place.python(pod, open_, host)[0] == place.pod("web")
    place("scale", "deployment", "web", "--replicas=0")
    for said, seconds in place.python(pod, closed, host, node_port):
        assert said == "ECONNREFUSED"
        assert seconds < 1
    place("scale", "deployment", "web", "--replicas=1")
    place.rolled_out("web")
    assert place.python(pod, open_, host)[0] == place.pod("web")


def test_a_udp_flow_moves_on_when_its_pod_is_replaced(place):
    place.deploy("voice", replicas=2, ports=[{"containerPort": 5353, "protocol": "UDP"}])
    address = place.service("voice", {"port": 53, "targetPort": 5353, **UDP})["clusterIP"]
    pod = client(place)
    code = """
until(lambda a: a[0][0] != "E", lambda: answer_of(ARGUMENTS[0], 53, socket.SOCK_DGRAM))
flow = Flow(ARGUMENTS[0], 53, socket.SOCK_DGRAM, timeout=0.2)
first = flow.ask()["pod"]
assert {flow.ask()["pod"] for _ in range(20)} == {first}, "one flow, one pod"
tell(first)
sys.stdin.readline()

def ask():
    try:
        return flow.ask()["pod"]
    except OSError:
        return first

began = time.monotonic()
tell([until(lambda p: p != first, ask), time.monotonic() - began])
"""
    talk = place.start_python(pod, code, address)
    first = talk.fact()
    place("delete", "pod", first)
    talk.say("go\n")
    second, seconds = talk.fact()
    assert second != first
    assert second.startswith("voice-")
    assert seconds < 5


def test_a_tcp_flow_to_another_backend_lives_on_when_a_pod_goes(place):
    place.deploy("web", replicas=2)
    address = place.service("web")["clusterIP"]
    pod = client(place)
    code = """
until(lambda a: a[0][0] != "E", lambda: answer_of(ARGUMENTS[0], 80))
flows = {}
while len(flows) < 2:
    flow = Flow(ARGUMENTS[0], 80)
    flows[flow.ask()["pod"]] = flow
tell(sorted(flows))
gone = sys.stdin.readline().strip()
kept = next(name for name in flows if name != gone)
tell([flows[kept].ask()["pod"] for _ in range(50)])
try:
    tell(flows[gone].ask())
except OSError as error:
    tell(type(error).__name__)
"""
    talk = place.start_python(pod, code, address)
    gone, kept = talk.fact()
    place("delete", "pod", gone)
    place.rolled_out("web")
    talk.say(f"{gone}\n")
    assert talk.fact() == [kept] * 50
    ended = talk.fact()
    assert isinstance(ended, str), f"a flow to a pod that has gone was answered: {ended}"


def test_rolling_update_under_short_connections(place, record_property):
    """Failures are counted and shown; a later issue demands that there are none."""
    probe = {"httpGet": {"port": 8080}, "periodSeconds": 1}
    place.deploy("web", replicas=3, readinessProbe=probe)
    address = place.service("web")["clusterIP"]
    pod = client(place)
    code = "traffic(lambda: answer_of(ARGUMENTS[0], 80, timeout=2)[0])"
    talk = place.start_python(pod, code, address)
    assert talk.fact() == "going"
    before = set(place.pods("web"))
    place("rollout", "restart", "deployment/web")
    place.rolled_out("web")
    after = set(place.pods("web"))
    assert not before & after
    talk.say("stop\n")
    seen = talk.fact()
    failed = {what: count for what, count in seen.items() if not what.startswith("web-")}
    answered = sum(seen.values()) - sum(failed.values())
    record_property("answered", answered)
    record_property("failed", failed)
    assert answered > 100
    assert after & seen.keys(), "new pods took traffic"
    assert sum(failed.values()) <= answered // 50, failed


def test_a_policy_closes_and_why_names_it(place):
    place.deploy("web")
    place.service("web")
    pod = client(place)
    why = ("why", "--name", place.cluster, f"{place.namespace}/{pod}", f"{place.namespace}/web:80")
    reach = 'tell(until(lambda a: a[0][0] not in "TE", lambda: answer_of("web", 80, timeout=1))[0])'
    assert place.python(pod, reach) == place.pod("web")
    assert place.command.netloom(*why).returncode == 0
    place.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "closed"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}},
        }
    )
    code = 'tell(until(lambda a: a[0] == "TimeoutError", lambda: answer_of("web", 80, timeout=1))[0])'
    assert place.python(pod, code) == "TimeoutError"
    said = place.command.netloom(*why, check=False)
    assert said.returncode == 8
    assert f"{place.namespace}/closed" in said.stdout
    place("delete", "networkpolicy", "closed")
    assert place.python(pod, reach) == place.pod("web")


def test_why_agrees_with_packets(place):
    place.deploy("web")
    place.service("web")
    place.service("empty", selector={"app": "none"})
    pod = client(place)
    why = ("why", "--name", place.cluster, f"{place.namespace}/{pod}")
    good = place.command.netloom(*why, f"{place.namespace}/web:80")
    assert place.pod("web") in good.stdout
    refused = place.command.netloom(*why, f"{place.namespace}/empty:80", check=False)
    assert refused.returncode == 8
    assert "endpoint" in refused.stdout
    code = 'tell(until(lambda a: a[0] == "ECONNREFUSED", lambda: answer_of("empty", 80))[0])'
    assert place.python(pod, code) == "ECONNREFUSED"


def test_the_api_server_is_reached_from_pods(place):
    pod = client(place)
    code = """
import ssl
context = ssl._create_unverified_context()
request = urllib.request.Request("https://kubernetes.default/version")
tell(json.loads(urllib.request.urlopen(request, context=context, timeout=5).read())["major"])
"""
    assert place.python(pod, code) == "1"


def test_an_ending_pod_is_shown_as_terminating_until_it_is_gone(place):
    place.deploy("web", replicas=1)
    place.service("web")
    words = ("-l", "kubernetes.io/service-name=web")
    place(
        "wait",
        "endpointslice",
        *words,
        "--for=jsonpath={.endpoints[0].conditions.ready}=true",
        "--timeout=20s",
    )
    pod = place.pod("web")
    path = 'jsonpath={.endpoints[*].targetRef.name} {.endpoints[*].conditions}{"\\n"}'
    watch = place.start("get", "endpointslice", *words, "-w", "-o", path)
    assert pod in watch.line()
    place("patch", "pod", pod, "--type=merge", "-p", '{"metadata":{"finalizers":["example.org/hold"]}}')
    place("delete", "pod", pod, "--wait=false")
    assert '"ready":false' in watch.until('"terminating":true')
    place("patch", "pod", pod, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    place("wait", f"pod/{pod}", "--for=delete", "--timeout=30s")
    while pod in watch.line():
        pass


def test_every_node_has_a_range_of_its_own_and_pods_their_addresses_from_it(place):
    ranges = {n["metadata"]["name"]: ip_network(n["spec"]["podCIDR"]) for n in place.get("nodes")["items"]}
    assert len(set(ranges.values())) == 3
    assert all(r.subnet_of(ip_network("10.244.0.0/16")) for r in ranges.values())
    place.deploy("web", replicas=6)
    found = place.pods("web").values()
    assert len({p["status"]["podIP"] for p in found}) == 6
    for pod in found:
        assert ip_address(pod["status"]["podIP"]) in ranges[pod["spec"]["nodeName"]]


def test_slices_and_endpoints_follow_pods(place):
    place.deploy("web", replicas=2)
    place.service("web")
    words = ("endpointslice", "-l", "kubernetes.io/service-name=web")
    place("wait", *words, "--for=jsonpath={.endpoints[1].conditions.ready}=true", "--timeout=20s")
    (found,) = place.get(*words)["items"]
    addresses = sorted(p["status"]["podIP"] for p in place.pods("web").values())
    assert sorted(e["addresses"][0] for e in found["endpoints"]) == addresses
    assert all(
        e["conditions"] == {"ready": True, "serving": True, "terminating": False} for e in found["endpoints"]
    )
    place("wait", "endpoints/web", "--for=jsonpath={.subsets[0].addresses[1].ip}", "--timeout=10s")
    old = place.get("endpoints", "web")["subsets"][0]
    assert sorted(a["ip"] for a in old["addresses"]) == addresses
    place("scale", "deployment", "web", "--replicas=1")
    place("wait", "deployment/web", "--for=jsonpath={.status.replicas}=1", "--timeout=20s")
    (pod,) = place.pods("web").values()
    place(
        "wait",
        *words,
        f"--for=jsonpath={{.endpoints[*].addresses[0]}}={pod['status']['podIP']}",
        "--timeout=20s",
    )
