"""LoadBalancer addresses in a whole cluster: given by the controller, answered for a client outside, led to from the host."""

import itertools
import json
import socket
import time
import urllib.request

import pytest

pytestmark = pytest.mark.cluster

PORT = 80
_pools = itertools.count(1)


@pytest.fixture(scope="module")
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def edge(command, free_port):
    """A cluster with both families whose port of the host leads to a Service."""
    command.down("edge")
    command.up("edge", "--nodes", "2", "--ip-family", "dual", "--publish", f"{free_port}:shop/web:80")
    place = command.place("edge", "shop")
    place("create", "namespace", "shop")
    place.deploy("web", replicas=2)
    yield place
    place.close()
    command.down("edge")


def pool(place, *ranges, **spec):
    """A pool that is given by its name only; its name."""
    name = f"pool-{next(_pools)}"
    document = {"apiVersion": "netloom.io/v1alpha1", "kind": "LoadBalancerPool", "metadata": {"name": name}}
    place.apply(document | {"spec": {"ranges": list(ranges), "autoAssign": False} | spec})
    return name


def document(name, *, annotations=None, app="web", port=PORT, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": app},
            "ports": [{"port": port, "targetPort": 8080}],
            **spec,
        },
    }


def balanced(place, name, **more):
    place.apply(document(name, **more))


def addresses(place, name, count=1):
    """The addresses of a Service, when it has so many."""
    path = f"{{.status.loadBalancer.ingress[{count - 1}].ip}}"
    place("wait", f"service/{name}", f"--for=jsonpath={path}", "--timeout=30s")
    return [one["ip"] for one in place.get("service", name)["status"]["loadBalancer"]["ingress"]]


def condition(place, name, status):
    """The condition's reason and message, when it has this status."""
    kind = "netloom.io/LoadBalancerAddresses"
    place("wait", f"service/{name}", f"--for=condition={kind}={status}", "--timeout=30s")
    (told,) = (c for c in place.get("service", name)["status"]["conditions"] if c["type"] == kind)
    return told["reason"], told["message"]


def from_outside(place, *words, check=True):
    return place.command.netloom("client", "--name", place.cluster, "--", *words, check=check)


def url(address, port=PORT):
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def asked(place, address, port=PORT):
    """What answers a client outside; a node that has just heard of the address may need a moment."""
    words = ("curl", "-sS", "-m", "5", "--retry", "8", "--retry-delay", "1", "--retry-all-errors")
    return from_outside(place, *words, url(address, port)).stdout


def test_both_families_are_given_and_answered_outside(edge):
    balanced(edge, "web", ipFamilyPolicy="RequireDualStack")
    given = addresses(edge, "web", count=2)
    assert given[0].startswith("172.30.0.")
    assert given[1].startswith("fd00:172:30::ff")
    for address in given:
        assert "hostname: web-" in asked(edge, address)
    assert condition(edge, "web", "True")[0] == "Assigned"
    shown = edge.command.netloom("status", "--name", edge.cluster).stdout
    assert f"shop/web       {','.join(given)}  80/TCP" in shown


def test_a_port_of_the_host_leads_to_it(edge, free_port):
    balanced(edge, "web", ipFamilyPolicy="RequireDualStack")
    (address, _) = addresses(edge, "web", count=2)
    asked(edge, address)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{free_port}/", timeout=10) as answer:
        assert b"hostname: web-" in answer.read()
    with socket.create_server(("127.0.0.1", 0)) as found:
        later = found.getsockname()[1]
    told = edge.command.netloom("publish", "--name", edge.cluster, f"{later}:shop/web:80").stdout
    assert told == f"127.0.0.1:{later} to Service shop/web port 80\n"
    with opener.open(f"http://127.0.0.1:{later}/", timeout=10) as answer:
        assert b"hostname: web-" in answer.read()
    again = edge.command.netloom("publish", "--name", edge.cluster, f"{later}:shop/web:80", check=False)
    assert again.returncode == 2
    assert "Address already in use" in again.stderr


def test_a_program_outside_has_its_streams_its_exit_code_and_the_hosts_files(edge, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("of the host")
    assert from_outside(edge, "sh", "-c", "exit 7", check=False).returncode == 7
    assert from_outside(edge, "sh", "-c", "kill -9 $$", check=False).returncode == 137
    missing = from_outside(edge, "no-such-program", check=False)
    assert missing.returncode == 127
    assert "no-such-program" in missing.stderr
    assert from_outside(edge, "cat", str(mine)).stdout == "of the host"
    spoilt = from_outside(edge, "sh", "-c", f"echo spoilt > {mine}", check=False)
    assert spoilt.returncode != 0
    assert mine.read_text() == "of the host"
    process = edge.command.start(
        *edge_words(edge), "sh", "-c", "read line; echo got $line; echo wrong >&2; exec sleep 1000"
    )
    process.say("hello\n")
    assert process.line() == "got hello"
    assert process.line() == "wrong"
    process.end()


def edge_words(place):
    return (place.command.netloom_path, "client", "--name", place.cluster, "--")


def test_requests_and_sharing(edge):
    name = pool(edge, "203.0.113.16-203.0.113.19")
    of = {"netloom.io/load-balancer-pool": name}
    balanced(edge, "certain", annotations={"netloom.io/load-balancer-addresses": "203.0.113.18"})
    balanced(edge, "field", loadBalancerIP="203.0.113.19")
    shared = of | {"netloom.io/share-address": "one"}
    balanced(edge, "plain", annotations=shared, port=8000)
    balanced(edge, "tls", annotations=shared, port=8443)
    assert addresses(edge, "certain") == ["203.0.113.18"]
    assert addresses(edge, "field") == ["203.0.113.19"]
    (one,) = addresses(edge, "plain")
    assert addresses(edge, "tls") == [one]
    balanced(edge, "clash", annotations={"netloom.io/load-balancer-addresses": one}, port=8443)
    reason, message = condition(edge, "clash", "False")
    assert reason == "NoAddress"
    assert (
        f"metadata.annotations[netloom.io/load-balancer-addresses]: {one} is in use by Service shop/"
        in message
    )
    foreign = {"loadBalancerClass": "example.org/lb"}
    balanced(edge, "theirs", annotations=of, port=9000, **foreign)
    balanced(edge, "ours", annotations=of, port=9000)
    assert addresses(edge, "ours") == ["203.0.113.17"]
    assert edge.get("service", "theirs")["status"] == {"loadBalancer": {}}
    edge("delete", "service", "certain", "field", "plain", "tls", "clash", "theirs", "ours")


def test_a_pool_runs_dry_is_freed_and_shrinks_under_use(edge):
    name = pool(edge, "203.0.113.32-203.0.113.33")
    of = {"netloom.io/load-balancer-pool": name}
    balanced(edge, "first", annotations=of)
    balanced(edge, "second", annotations=of)
    assert addresses(edge, "first") == ["203.0.113.32"]
    assert addresses(edge, "second") == ["203.0.113.33"]
    balanced(edge, "third", annotations=of)
    reason, message = condition(edge, "third", "False")
    assert reason == "PoolDry"
    assert f"all IPv4 addresses of LoadBalancerPool {name} are in use" in message
    command, cluster = edge.command, edge.cluster
    command.kubectl(
        cluster, "wait", f"lbpool/{name}", "--for=jsonpath={.status.assigned.ipv4}=2", "--timeout=30s"
    )
    # the pool gives up an address that is in use: who has it keeps it, and it is said
    narrow = {"spec": {"ranges": ["203.0.113.32-203.0.113.32"]}}
    command.kubectl(cluster, "patch", "lbpool", name, "--type=merge", "-p", json.dumps(narrow))
    edge("wait", "service/second", "--for=jsonpath={.status.conditions[0].reason}=Kept", "--timeout=30s")
    assert addresses(edge, "second") == ["203.0.113.33"]
    edge("delete", "service", "second")
    assert condition(edge, "third", "False")[0] == "PoolDry"
    edge("delete", "service", "first")
    assert addresses(edge, "third") == ["203.0.113.32"]
    events = edge.get("events", "--field-selector", "reason=PoolDry")["items"]
    assert any(e["involvedObject"]["name"] == "third" and name in e["message"] for e in events)
    of_pool = json.loads(
        command.kubectl(
            cluster, "-n", "default", "get", "events", "-o", "json", "--field-selector", "reason=PoolDry"
        ).stdout
    )["items"]
    assert any(
        e["involvedObject"]["name"] == name and "Service shop/third waits for one" in e["message"]
        for e in of_pool
    )
    edge("delete", "service", "third")


def test_another_type_gives_the_address_back(edge):
    name = pool(edge, "203.0.113.48-203.0.113.48")
    of = {"netloom.io/load-balancer-pool": name}
    balanced(edge, "was", annotations=of)
    assert addresses(edge, "was") == ["203.0.113.48"]
    balanced(edge, "waits", annotations=of)
    condition(edge, "waits", "False")
    edge("patch", "service", "was", "--type=merge", "-p", '{"spec": {"type": "ClusterIP"}}')
    assert addresses(edge, "waits") == ["203.0.113.48"]
    assert edge.get("service", "was")["status"]["loadBalancer"] == {}
    edge("delete", "service", "was", "waits")


def test_two_controllers_and_restarts_hand_nothing_out_twice(edge, kill):
    of = {"netloom.io/load-balancer-pool": pool(edge, "203.0.113.64-203.0.113.127")}
    config = edge.command.home / "clusters" / edge.cluster / "kubeconfig"
    names = [f"many-{number}" for number in range(40)]
    words = (edge.command.netloom_path, "controller", "--kubeconfig", str(config))
    second = edge.command.start(*words)
    try:
        for some in (names[:15], names[15:30], names[30:]):
            edge.apply(*(document(name, annotations=of) for name in some))
            # whatever is half done now is done by the one that follows, or by the other
            kill(edge.cluster, "nl-controllers")
        given = all_addresses(edge, names)
        assert len(set(given.values())) == len(names)
        third = edge.command.start(*words)
        kill(edge.cluster, "nl-controllers")
        edge.apply(document("last", annotations=of))
        assert all_addresses(edge, ["last"])["last"] not in given.values()
        assert all_addresses(edge, names) == given
        third.end()
    finally:
        second.end()
        edge("delete", "service", "last", *names, "--ignore-not-found", "--wait=false")


def all_addresses(place, names):
    """The address of each, when all of them have one."""
    end = time.monotonic() + 60
    while True:
        found = {
            one["metadata"]["name"]: one["status"]["loadBalancer"]["ingress"][0]["ip"]
            for one in place.get("services")["items"]
            if one["metadata"]["name"] in names and one["status"]["loadBalancer"].get("ingress")
        }
        if len(found) == len(names):
            return found
        assert time.monotonic() < end, f"without an address: {set(names) - found.keys()}"


def test_behind_a_router_the_client_has_a_segment_of_its_own(command):
    command.down("edge-routed")
    command.up("edge-routed", "--nodes", "2", "--underlay", "routed")
    place = command.place("edge-routed", "default")
    try:
        place.deploy("web")
        balanced(place, "web")
        (address,) = addresses(place, "web")
        assert "198.51.100.9/28" in from_outside(place, "ip", "-4", "-br", "address").stdout
        assert "hostname: web-" in asked(place, address)
    finally:
        place.close()
        command.down("edge-routed")
