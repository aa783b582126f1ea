"""Services, nodes and rollouts as kubectl writes and shows them: load balancers, zones and hints, replicas that stay available."""

import json

import pytest

pytestmark = pytest.mark.cluster

ZONE = "topology.kubernetes.io/zone"
PORTS = [{"name": "web", "port": 80, "targetPort": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}]


def wait_for_hints(place, path, wanted):
    words = ("-l", "kubernetes.io/service-name=web", f"--for=jsonpath={{.endpoints[0]{path}}}={wanted}")
    place("wait", "endpointslice", *words, "--timeout=20s")


def test_a_load_balancer_from_pending_to_its_address_and_back(place):
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"}
    spec["loadBalancerClass"] = "example.org/other"  # nobody here gives it an address
    made = place.service("web", *PORTS, **spec, loadBalancerSourceRanges=["192.0.2.0/24"])
    assert made["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert "<pending>" in place("get", "service", "web")
    ingress = [{"ip": "192.0.2.9"}, {"ip": "192.0.2.10", "ipMode": "Proxy"}, {"hostname": "lb.example.org"}]
    status = {"status": {"loadBalancer": {"ingress": ingress}}}
    patch = ("patch", "service", "web", "--subresource=status", "--type=merge", "-p")
    place(*patch, json.dumps(status))
    assert "192.0.2.9,192.0.2.10,lb.example.org" in place("get", "service", "web")
    told = place("describe", "service", "web")
    assert "192.0.2.9 (VIP)" in told
    assert str(made["healthCheckNodePort"]) in told
    status["status"]["loadBalancer"]["ingress"] = [{"ip": "192.0.2.9", "ipMode": "Bridge"}]
    assert "status.loadBalancer.ingress[0].ipMode" in place.refused(*patch, json.dumps(status))
    plain = ("patch", "service", "web", "-p")
    refused = place.refused(*plain, '{"spec":{"type":"ClusterIP"}}')
    assert "spec.loadBalancerSourceRanges: Forbidden" in refused
    place(*plain, '{"spec":{"type":"ClusterIP","loadBalancerSourceRanges":null,"loadBalancerClass":null}}')
    after = place.get("service", "web")
    assert after["status"] == {"loadBalancer": {}}
    assert not {"healthCheckNodePort", "externalTrafficPolicy"} & after["spec"].keys()
    assert [p.get("nodePort") for p in after["spec"]["ports"]] == [None, None]


def test_hints_follow_the_label_of_a_node(place):
    place.deploy("web")
    node = next(iter(place.pods("web").values()))["spec"]["nodeName"]
    place.service("web", trafficDistribution="PreferSameNode")
    wait_for_hints(place, ".hints.forNodes[0].name", node)
    try:
        place("label", "node", node, f"{ZONE}=east")
        wait_for_hints(place, ".hints.forZones[0].name", "east")
        wait_for_hints(place, ".zone", "east")
        place("label", "node", node, f"{ZONE}=west", "--overwrite")
        wait_for_hints(place, ".hints.forZones[0].name", "west")
    finally:
        place("label", "node", node, f"{ZONE}-")


def test_rollouts_one_after_another_keep_all_replicas_available(place):
    place.deploy("web", replicas=3, lifecycle={"preStop": {"sleep": {"seconds": 0}}})
    careful = {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}, "minReadySeconds": 0}
    place("patch", "deployment", "web", "-p", json.dumps({"spec": careful}))
    counts = '{.status.availableReplicas} {.status.replicas} {.metadata.annotations.last}{"\\n"}'
    watch = place.start("get", "deployment", "web", "-w", "-o", f"jsonpath={counts}")
    before = set(place.pods("web"))
    for turn in range(3):
        # `rollout restart` refuses a second one within a second
        place(
            "patch",
            "deployment/web",
            "-p",
            json.dumps({"spec": {"template": {"metadata": {"annotations": {"turn": str(turn)}}}}}),
        )
        place.rolled_out("web")
        after = set(place.pods("web"))
        assert len(after) == 3
        assert not before & after
        before = after
    place("annotate", "deployment", "web", "last=true")
    line, lines = "", []
    while not line.endswith("true"):
        line = watch.line()
        lines.append([int(number) for number in line.split()[:2]])
    assert len(lines) > 10
    assert min(available for available, _ in lines) == 3
    assert max(replicas for _, replicas in lines) == 4
