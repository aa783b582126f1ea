"""What a change does to the ways through Services, and what it says is responsible."""

from netloom.testing.plan_words import SHOP, estate, live, planned, said

SERVICE = """
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http, nodePort: 30080}]}
"""
IN, OUT = "all pods, nodes -> Service shop/web:80/tcp", "internet -> Service shop/web at NodePort 30080/tcp"
BOTH = [f"{OUT} [shop/web 8080/tcp]", f"{IN} [shop/web 8080/tcp]"]


def lost(*texts):
    return sorted(f"lost: {text}" for text in texts)


def reasons(report):
    return {row.reason for row in (*report.services_lost, *report.services_gained)}


def test_a_service_opens_and_closes_ways():
    new = planned(estate(SHOP), SERVICE)
    assert said(new) == sorted(f"gained: {text}" for text in BOTH)
    assert reasons(new) == {"Service shop/web is new"}
    gone = planned(estate(SHOP, SERVICE), delete=["Service shop/web"])
    assert said(gone) == lost(*BOTH)
    assert reasons(gone) == {"Service shop/web is deleted"}


def test_a_selector_that_matches_nobody_leaves_no_endpoint():
    report = planned(estate(SHOP, SERVICE), SERVICE.replace("app: web", "app: wep"))
    assert said(report) == lost(*BOTH)
    assert reasons(report) == {"Service shop/web: spec.selector is another; it has no endpoint any more"}
    assert report.services_lost[0].sources[0].field == "spec.selector"


def test_another_selector_leads_to_others():
    report = planned(estate(SHOP, SERVICE), SERVICE.replace("app: web", "app: api"))
    gained = [f"gained: {text.replace('shop/web 8080', 'shop/api 9000')}" for text in BOTH]
    assert said(report) == sorted([*lost(*BOTH), *gained])
    assert reasons(report) == {"Service shop/web: spec.selector is another"}


def test_a_target_port_that_no_container_names():
    report = planned(estate(SHOP, SERVICE), SERVICE.replace("targetPort: http", "targetPort: htttp"))
    assert said(report) == lost(*BOTH)
    assert reasons(report) == {
        "Service shop/web: spec.ports[0].targetPort is another; it has no endpoint any more"
    }
    moved = planned(estate(SHOP, SERVICE), SERVICE.replace("targetPort: http", "targetPort: 8081"))
    assert sorted(row.target for row in moved.services_gained) == ["shop/web 8081/tcp"] * 2


def test_another_port_and_another_node_port():
    report = planned(estate(SHOP, SERVICE), SERVICE.replace("port: 80,", "port: 81,"))
    assert said(report) == sorted(
        [f"lost: {IN} [shop/web 8080/tcp]", f"gained: {IN.replace(':80', ':81')} [shop/web 8080/tcp]"]
    )
    assert reasons(report) == {
        "Service shop/web: spec.ports[0].port is new",
        "Service shop/web: spec.ports[0].port is not there any more",
    }
    inner = SERVICE.replace("type: NodePort, ", "").replace(", nodePort: 30080", "")
    report = planned(estate(SHOP, SERVICE), inner)
    assert said(report) == lost(BOTH[0])
    assert reasons(report) == {"Service shop/web: spec.ports[0].nodePort is not there any more"}


def test_workloads_behind_a_service_that_are_others_now():
    gone = planned(estate(SHOP, SERVICE), delete=["Deployment shop/web"])
    assert {text for text in said(gone) if "Service" in text} == set(lost(*BOTH))
    assert reasons(gone) == {"Deployment shop/web is not there any more; it has no endpoint any more"}
    renamed = "kind: Deployment\nmetadata: {name: web}\nspec: {template: {metadata: {labels: {app: front}}}}"
    report = planned(estate(SHOP, SERVICE), renamed)
    assert said(report) == lost(*BOTH)
    (reason,) = reasons(report)
    assert reason.startswith("Deployment shop/web: spec.template.metadata.labels is another")


def test_a_node_port_that_is_left_to_the_api_server():
    given = SERVICE.replace(", nodePort: 30080", "")
    assert said(planned(estate(SHOP), given))[1] == (
        "gained: internet -> Service shop/web at NodePort a port/tcp [shop/web 8080/tcp]"
    )
    assert said(planned(estate(SHOP, SERVICE), given)) == [], "what it has got stays"


DENY = "kind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {matchLabels: {app: web}}}"
CLIENTS = DENY.replace("deny", "clients").replace(
    "}}}", "}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"
)


def test_policies_close_doors_for_clients_outside_and_say_so():
    report = planned(estate(SHOP, SERVICE), DENY)
    assert [text for text in said(report) if "Service" in text] == lost(BOTH[0])
    assert "NetworkPolicy shop/deny limits ingress of shop/web" in next(iter(reasons(report)))
    (row,) = [row for row in report.lost if row.receiver == "shop/web"]
    assert row.services == ("Service shop/web:80/tcp",), "from inside, the pods' own row tells it"


def test_a_client_that_comes_in_at_another_node_is_that_node():
    nodes = CLIENTS.replace("0.0.0.0/0", "172.30.0.11/32")
    report = planned(estate(SHOP, SERVICE, DENY), nodes)
    door = [text for text in said(report) if "Service" in text]
    assert door == [f"gained: {BOTH[0]} (through other nodes)"]
    local = SERVICE.replace("type: NodePort", "type: NodePort, externalTrafficPolicy: Local")
    assert [text for text in said(planned(estate(SHOP, local, DENY), nodes)) if "Service" in text] == []
    outside = CLIENTS.replace("cidr: 0.0.0.0/0", "cidr: 203.0.113.0/24")
    some = BOTH[0].replace("internet", "203.0.113.0/24")
    report = planned(estate(SHOP, SERVICE, DENY), outside)
    assert [text for text in said(report) if "Service" in text] == [
        f"gained: {some} (at the endpoint's own node)"
    ]
    report = planned(estate(SHOP, local, DENY), outside)
    assert [text for text in said(report) if "Service" in text] == [f"gained: {some}"]


def test_a_load_balancer_lets_in_whom_its_ranges_name():
    balancer = """
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false, selector: {app: web}, ports: [{port: 443, targetPort: http}]}
"""
    ranged = balancer.replace("LoadBalancer,", "LoadBalancer, loadBalancerSourceRanges: [203.0.113.0/24],")
    report = planned(estate(SHOP, balancer), ranged)
    assert said(report) == lost(
        "internet but 203.0.113.0/24 -> Service shop/web:443/tcp (load balancer) [shop/web 8080/tcp]"
    )
    assert reasons(report) == {"Service shop/web: spec.loadBalancerSourceRanges is another"}


def test_headless_services_and_those_of_slices():
    headless = SERVICE.replace("type: NodePort", "clusterIP: None").replace(", nodePort: 30080", "")
    assert said(planned(estate(SHOP), headless)) == [
        "gained: all pods, nodes -> Service shop/web:80/tcp (headless) [shop/web 8080/tcp]"
    ]
    bare = "kind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n---\n"
    slices = """
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [198.51.100.7]}]
ports: [{port: 8443}]
"""
    assert said(planned(estate(SHOP), bare)) == []
    assert said(planned(estate(SHOP), bare + slices)) == [
        "gained: all pods, nodes -> Service shop/web:80/tcp [internet 8443/tcp]"
    ]
    pod = "kind: Pod\nmetadata: {name: p}\nstatus: {phase: Running, podIPs: [{ip: 10.244.1.77}]}\n---\n"
    inside = slices.replace("198.51.100.7", "10.244.1.77")
    assert said(planned(live(pod), bare + inside)) == [
        "gained: shop/p, nodes -> Service shop/web:80/tcp [shop/p 8443/tcp]"
    ]


def test_a_service_that_is_no_way_anywhere():
    name = "kind: Service\nmetadata: {name: web}\nspec: {type: ExternalName, externalName: web.example.org, ports: [{port: 80}]}"
    assert said(planned(estate(SHOP), name)) == []
    left = SERVICE.replace(
        "name: web}", "name: web, labels: {service.kubernetes.io/service-proxy-name: other}}"
    )
    assert said(planned(estate(SHOP), left)) == []
