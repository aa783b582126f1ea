"""Gateway API, Ingress and TrafficPolicy as kubectl writes and shows them; one Ingress from outside; and what a migration makes, taken by a cluster."""

import base64
import json

import pytest
from tests.cluster.conftest import ROOT
from tests.cluster.gate import Gate, certificate

pytestmark = pytest.mark.cluster

CANARY = ROOT / "tests/golden/migrate/canary/in.yaml"
HASH = "$6$abcdefgh$3rj1vTLX64btReFsM4MQ22otcD40l7vbtw7qCyr0dxc4kxNmgx53xVM8gWiLYbCqTHTbXFaVFU7ZT28pnvdyu0"
"""Of the password: test."""


def gateway(name="edge", cls="nobody", **listener):
    one = {"name": "http", "port": 80, "protocol": "HTTP", **listener}
    spec = {"gatewayClassName": cls, "listeners": [one]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": spec,
    }


def route(name, *rules, **spec):
    body = {"parentRefs": [{"name": "edge"}], "rules": list(rules), **spec}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": body,
    }


def ingress(name, *hosts, path="/", service="web", **spec):
    backend = {"service": {"name": service, "port": {"number": 80}}}
    paths = [{"path": path, "pathType": "Prefix", "backend": backend}]
    rules = [{"host": host, "http": {"paths": paths}} for host in hosts]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"rules": rules, **spec},
    }


def test_our_classes_are_there_from_the_start(place):
    assert "netloom.io/gateway" in place("get", "gatewayclass", "netloom")
    assert "netloom.io/ingress" in place("get", "ingressclass", "netloom")
    told = place("describe", "ingressclass", "netloom")
    assert "is-default-class: true" in told
    words = place("api-resources", "--api-group=gateway.networking.k8s.io", "--no-headers")
    kinds = ("gatewayclasses", "gateways", "httproutes", "grpcroutes", "tlsroutes", "tcproutes", "udproutes")
    for kind in (*kinds, "referencegrants", "listenersets", "backendtlspolicies"):
        assert kind in words


def test_a_gateway_is_filled_in_shown_and_counted(place):
    place.apply(gateway())
    made = place.get("gtw", "edge")
    assert made["spec"]["listeners"][0]["allowedRoutes"] == {"namespaces": {"from": "Same"}}
    assert made["metadata"]["generation"] == 1
    assert [c["reason"] for c in made["status"]["conditions"]] == ["Pending", "Pending"]
    status = {"status": {"addresses": [{"value": "192.0.2.1"}]}}
    place("patch", "gtw", "edge", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    shown = place("get", "gtw", "edge").split()
    assert shown[:4] == ["NAME", "CLASS", "ADDRESS", "PROGRAMMED"]
    assert shown[5:9] == ["edge", "nobody", "192.0.2.1", "Unknown"]
    assert place.get("gtw", "edge")["metadata"]["generation"] == 1
    hosts = [{"op": "add", "path": "/spec/listeners/0/hostname", "value": "shop.example"}]
    place("patch", "gtw", "edge", "--type=json", "-p", json.dumps(hosts))
    assert place.get("gtw", "edge")["metadata"]["generation"] == 2
    assert "value" in place("explain", "gtw.status.addresses")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (gateway(port=70000), "spec.listeners[0].port: Invalid value: 70000"),
        (gateway(tls={"certificateRefs": [{"name": "c"}]}), "tls must not be specified for protocols"),
        (route("r", {"backendRefs": [{"name": "web"}]}), "spec.rules[0].backendRefs[0]: Invalid value"),
        (route("r", {"matches": [{"path": {"type": "Exact", "value": "a"}}]}), "must be an absolute path"),
        (route("r", {"filter": []}), 'unknown field "spec.rules[0].filter"'),
        (ingress("i", "*"), "spec.rules[0].host: Invalid value"),
        (ingress("i", "a.example", path="a"), "spec.rules[0].http.paths[0].path: Invalid value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_field(place, wrong, said):
    assert said in place.refused("apply", "-f", "-", stdin=json.dumps(wrong))


def test_routes_are_filled_in_and_patched(place):
    place.apply(route("web", {"backendRefs": [{"name": "web", "port": 80}]}, hostnames=["shop.example"]))
    made = place.get("httproute", "web")
    assert made["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert made["spec"]["rules"][0]["backendRefs"][0]["weight"] == 1
    assert made["spec"]["parentRefs"][0]["kind"] == "Gateway"
    place(
        "patch", "httproute", "web", "--type=merge", "-p", '{"spec":{"hostnames":["a.example","b.example"]}}'
    )
    assert '["a.example","b.example"]' in place("get", "httproute", "web")
    place(
        "apply",
        "--server-side",
        "--field-manager=x",
        "--force-conflicts",
        "-f",
        "-",
        stdin=json.dumps(route("web", {}, hostnames=["c.example"])),
    )
    assert place.get("httproute", "web")["spec"]["hostnames"] == ["c.example"]
    grant = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": "g"},
        "spec": {"from": [{"group": "", "kind": "Pod", "namespace": "a"}], "to": [{"group": "", "kind": "Secret"}]},
    }  # fmt: skip
    place.apply(grant)
    assert "g " in place("get", "refgrant")


def test_an_ingress_from_outside_with_tls_and_a_policy(command, place, tmp_path):
    place.deploy("web")
    place.service("web")
    host, closed = "one.ingress.example", "two.ingress.example"
    cert, key = certificate(tmp_path, host)
    place("create", "secret", "tls", "cert", f"--cert={cert}", f"--key={key}")
    place.apply(
        ingress("web", host, tls=[{"hosts": [host], "secretName": "cert"}]), ingress("closed", closed)
    )
    assert place.get("ingress", "web")["spec"]["ingressClassName"] == "netloom"
    place("wait", "ingress/web", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "--timeout=30s")
    address = place.get("ingress", "web")["status"]["loadBalancer"]["ingress"][0]["ip"]
    gate = Gate(command, place, address)
    assert gate.until(host, "a.get('status') == 200")["said"]["container"] == "web"
    assert gate.until(host, "a.get('status') == 200", port=443, name=host)["said"]["container"] == "web"
    shown = place("get", "ingress", "web")
    assert address in shown
    assert "80, 443" in shown
    auth = base64.b64encode(f"ann:{HASH}\n".encode()).decode()
    place.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "people"}, "data": {"auth": auth}}
    )
    ref = {"group": "networking.k8s.io", "kind": "Ingress", "name": "closed"}
    policy = {
        "apiVersion": "netloom.io/v1alpha1", "kind": "TrafficPolicy", "metadata": {"name": "staff"},
        "spec": {"targetRefs": [ref], "basicAuth": {"secretRef": {"name": "people"}}},
    }  # fmt: skip
    place.apply(policy)
    accepted = "jsonpath={.status.ancestors[0].conditions[?(@.type=='Accepted')].status}=True"
    place("wait", "trafficpolicy/staff", f"--for={accepted}", "--timeout=20s")
    assert gate.until(closed, "a.get('status') == 401")["status"] == 401
    assert "staff" in place("get", "tp")
    place("delete", "secret", "people")
    assert gate.until(closed, "a.get('status') == 500")["status"] == 500
    assert gate.ask(host)["status"] == 200


def test_what_a_migration_makes_is_taken_and_answers(command, place, tmp_path):
    for name in ("web", "web-next"):
        place.deploy(name)
        place.service(name)
    old = (
        CANARY.read_text()
        .replace("namespace: shop", f"namespace: {place.namespace}")
        .replace("shop.example", "moved.example")
    )
    given, made = tmp_path / "in.yaml", tmp_path / "out.yaml"
    given.write_text(old)
    told = command.netloom("ingress", "migrate", "-f", str(given), "-O", str(made), "--prove", "model")
    assert "proven: the same answers" in told.stdout
    place("apply", "-f", str(made))
    place("wait", "gateway/ingress", "--for=condition=Programmed", "--timeout=30s")
    address = place.get("gateway", "ingress")["status"]["addresses"][0]["value"]
    gate = Gate(command, place, address)
    assert gate.until("moved.example", "a.get('status') == 200")["status"] == 200
    assert gate.ask("moved.example", headers={"X-Canary": "always"})["said"]["container"] == "web-next"
    assert gate.ask("moved.example", headers={"Cookie": "a=1; canary=never"})["said"]["container"] == "web"
