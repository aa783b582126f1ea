"""Services and slices of gateways: who has them, where they lead, and that a node is in them only while it listens."""

import ipaddress

from netloom.api.core import Node, NodeAddress, NodeStatus, PodCondition, Service, ServicePort, ServiceSpec
from netloom.api.gateway import Gateway
from netloom.api.meta import ObjectMeta
from netloom.controller.gateway_programmed import InForce
from netloom.controller.gateway_services import EXCLUDED_LABEL, OWN_LABEL
from netloom.controller.gateway_wanted import wanted_objects
from netloom.gateway.in_force import Told
from netloom.kube.resources import ENDPOINT_SLICES, SERVICES
from netloom.model.gateways.build import Built, StatusKey
from netloom.model.gateways.entrances import INGRESS
from netloom.model.gateways.plan import (
    Door,
    Endpoint,
    Listener,
    Plan,
    Pool,
    PoolProtocol,
    Share,
    Stream,
    Transport,
)
from netloom.model.provenance import Source
from netloom.units import ObjectKey

WEB, SERVICE = ObjectKey("shop", "web"), ObjectKey("shop", "web-netloom")
SOURCE = Source("Gateway", "shop", "web", "u")
HTTP = Door(WEB, SOURCE, 80, Transport.HTTP, (), 30080)


def gateway(**spec):
    spec = {
        "gatewayClassName": "netloom",
        "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        **spec,
    }
    meta = ObjectMeta(name="web", namespace="shop", uid="u", generation=1, resource_version="5")
    return Gateway(metadata=meta, spec=spec)


def node(name, number, *, ready=True, labels=None):
    return Node(
        metadata=ObjectMeta(name=name, labels=labels or {}),
        status=NodeStatus(
            (
                NodeAddress("InternalIP", f"192.0.2.{number}"),
                NodeAddress("InternalIP", f"2001:db8::{number}"),
            ),
            (PodCondition("Ready", "True" if ready else "False"),),
        ),
    )


def service(*ports, **labels):
    return Service(
        metadata=ObjectMeta(
            name=SERVICE.name, namespace="shop", uid="s", labels={OWN_LABEL: "gateway", **labels}
        ),
        spec=ServiceSpec(ports=tuple(ServicePort(p, node_port=n, protocol=t) for p, n, t in ports)),
    )


def found(plan=Plan((HTTP,)), gateways=None, services=None, nodes=(), told=None):  # noqa: B008
    wanted, findings = wanted_objects(
        plan,
        gateways=[gateway()] if gateways is None else gateways,
        services=services or {},
        nodes=nodes,
        told={n.metadata.name: Told(doors=frozenset({30080})) for n in nodes} if told is None else told,
    )
    return wanted, findings


def slices(wanted):
    return {place[1].name: body for place, body in wanted.items() if place[0] == ENDPOINT_SLICES}


def test_a_gateway_has_a_service_of_its_own():
    wanted, findings = found(
        gateways=[gateway(
            infrastructure={"labels": {"team": "a"}, "annotations": {"example.org/x": "y"}},
            addresses=[{"value": "198.51.100.7"}, {"type": "Hostname", "value": "x.example.org"}, {"value": "2001:db8::7"}],
        )]
    )  # fmt: skip
    (body,) = wanted.values()
    assert findings == ()
    assert body["metadata"]["labels"] == {
        "team": "a",
        "gateway.networking.k8s.io/gateway-name": "web",
        "gateway.networking.k8s.io/gateway-class-name": "netloom",
        OWN_LABEL: "gateway",
    }
    assert body["metadata"]["annotations"] == {
        "example.org/x": "y",
        "netloom.io/load-balancer-addresses": "198.51.100.7,2001:db8::7",
    }
    assert body["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert body["spec"]["externalTrafficPolicy"] == "Local"
    assert body["spec"]["ports"] == [{"name": "p80-tcp", "port": 80, "protocol": "TCP", "targetPort": 80}]
    assert "selector" not in body["spec"]


def test_a_listener_that_does_not_work_keeps_its_port_and_listeners_of_sets_have_theirs():
    extra = Door(WEB, SOURCE, 8443, Transport.TLS, (), None)
    wanted, _ = found(Plan((extra,)), gateways=[gateway(listeners=[{"port": 443, "protocol": "HTTPS"}, {"port": 0, "protocol": "HTTP"},
                      {"port": 70, "protocol": "example.org/odd"}])])  # fmt: skip
    (body,) = wanted.values()
    assert [port["port"] for port in body["spec"]["ports"]] == [443, 8443]


def test_nodes_are_in_the_slices_at_the_node_port_and_ready_while_they_listen():
    nodes = [
        node("a", 1),
        node("b", 2),
        node("c", 3, ready=False),
        node("d", 4),
        node("e", 5, labels={EXCLUDED_LABEL: ""}),
    ]
    told = {name: Told(doors=frozenset({30080})) for name in "ace"} | {"b": Told()}
    wanted, _ = found(services={SERVICE: service((80, 30080, "TCP"))}, nodes=nodes, told=told)
    made = slices(wanted)
    assert sorted(made) == ["web-netloom-p80-tcp-ipv4-30080-0", "web-netloom-p80-tcp-ipv6-30080-0"]
    v4 = made["web-netloom-p80-tcp-ipv4-30080-0"]
    assert v4["ports"] == [{"name": "p80-tcp", "port": 30080, "protocol": "TCP"}]
    assert [(e["nodeName"], e["addresses"], e["conditions"]["ready"]) for e in v4["endpoints"]] == [
        ("a", ["192.0.2.1"], True),
        ("b", ["192.0.2.2"], False),
    ]
    assert made["web-netloom-p80-tcp-ipv6-30080-0"]["addressType"] == "IPv6"
    assert v4["metadata"]["ownerReferences"][0] == {
        "apiVersion": "v1", "kind": "Service", "name": "web-netloom", "uid": "s", "controller": True, "blockOwnerDeletion": False,
    }  # fmt: skip


def test_udp_leads_to_the_endpoints_themselves():
    share = Share("shop/dns/53", 1, SOURCE)
    empty = Share("shop/old/53", 0, SOURCE)
    stream = Stream("", (share, empty), "UDPRoute shop/dns", SOURCE)
    door = Door(WEB, SOURCE, 53, Transport.UDP, (Listener("dns", SOURCE, streams=(stream,)),), 30053)
    ends = (
        Endpoint(ipaddress.ip_address("10.0.0.7"), 5353, "a"),
        Endpoint(ipaddress.ip_address("10.0.0.8"), 5353, "b", is_draining=True),
    )
    pools = {
        key: Pool(key, ObjectKey("shop", "dns"), 53, PoolProtocol.TCP, ends, SOURCE)
        for key in ("shop/dns/53", "shop/old/53")
    }
    wanted, _ = found(
        Plan((door,), pools),
        gateways=[gateway(listeners=[{"port": 53, "protocol": "UDP"}])],
        services={SERVICE: service((53, 30053, "UDP"))},
    )
    assert wanted[SERVICES, SERVICE]["spec"]["externalTrafficPolicy"] == "Cluster"
    (body,) = slices(wanted).values()
    assert body["ports"] == [{"name": "p53-udp", "port": 5353, "protocol": "UDP"}]
    assert [(e["addresses"], e["conditions"]["ready"]) for e in body["endpoints"]] == [
        (["10.0.0.7"], True),
        (["10.0.0.8"], False),
    ]


def test_a_service_of_somebody_else_is_left_alone_and_named():
    foreign = Service(metadata=ObjectMeta(name=SERVICE.name, namespace="shop", uid="x"))
    wanted, (finding,) = found(services={SERVICE: foreign})
    assert wanted == {}
    assert finding.source.subject == "Service shop/web-netloom"


def test_all_ingresses_have_one_service():
    door = Door(INGRESS, SOURCE, 80, Transport.HTTP, (), None)
    wanted, _ = found(Plan((door,)), gateways=[])
    assert [(place[1], [p["port"] for p in body["spec"]["ports"]]) for place, body in wanted.items()] == [
        (INGRESS, [80, 443])
    ]
    assert found(Plan(), gateways=[])[0] == {}


STATUS = {
    "conditions": [
        {"type": "Accepted", "status": "True"},
        {"type": "Programmed", "status": "True", "reason": "Programmed"},
    ],
    "listeners": [{"name": "http", "conditions": [{"type": "Programmed", "status": "True"}]}],
}


def programmed(told, nodes=("a", "b"), in_force=None, live=None):
    built = Built(Plan((HTTP,)), {StatusKey("Gateway", WEB): STATUS})
    found = (in_force or InForce()).statuses(built, gateways={WEB: live or gateway()}, nodes=nodes, told=told)
    status = found[StatusKey("Gateway", WEB)]
    return [
        (c["status"], c.get("message", ""))
        for c in (status["conditions"][1], status["listeners"][0]["conditions"][0])
    ]


GOOD = Told({"gateways": "5"}, frozenset({30080}))


def test_programmed_is_what_all_nodes_have():
    assert programmed({"a": GOOD, "b": GOOD}) == [("True", ""), ("True", "")]
    assert programmed({"a": GOOD})[0] == ("False", "b has not told anything yet")
    assert programmed({"a": GOOD, "b": Told({"gateways": "5"})})[1] == (
        "False",
        "b does not listen at port 30080 yet",
    )
    assert programmed({}, nodes=())[0][0] == "False"
    assert STATUS["conditions"][1]["status"] == "True"


def test_nodes_need_not_follow_writes_of_the_status():
    in_force = InForce()
    told = {"a": GOOD, "b": GOOD}
    assert programmed(told, in_force=in_force)[0][0] == "True"
    newer = gateway()
    status_written = Gateway(
        metadata=ObjectMeta(**{**_fields(newer), "resource_version": "9"}), spec=newer.spec
    )
    assert programmed(told, in_force=in_force, live=status_written)[0][0] == "True"
    changed = Gateway(
        metadata=ObjectMeta(**{**_fields(newer), "resource_version": "10", "generation": 2}), spec=newer.spec
    )
    assert programmed(told, in_force=in_force, live=changed)[0][0] == "False"


def _fields(obj):
    return {field: getattr(obj.metadata, field) for field in ObjectMeta.__struct_fields__}
