"""Ingress through a whole cluster: the default class, hosts and path types, TLS, status, and the Service of all of them."""

import json

import pytest
from tests.cluster.conftest import _place
from tests.cluster.gate import Gate, certificate
from tests.cluster.test_policy_events import events_of

pytestmark = pytest.mark.cluster

SYSTEM = "netloom-system"


def ingress(name, *rules, tls=(), **spec):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"rules": list(rules), "tls": list(tls), **spec},
    }


def host(name, **paths):
    """A host and its paths: ``web="/", api=("/api", "Exact")``."""
    found = []
    for service, said in paths.items():
        path, kind = said if isinstance(said, tuple) else (said, "Prefix")
        backend = {"service": {"name": service, "port": {"number": 80}}}
        found.append({"path": path, "pathType": kind, "backend": backend})
    return {"host": name, "http": {"paths": found}}


@pytest.fixture(scope="module")
def front(command, plain, tmp_path_factory):
    """Two backends and a certificate behind Ingresses, and the address of all Ingresses."""
    keys = tmp_path_factory.mktemp("keys")
    for place in _place(command, plain):
        for name in ("web", "api"):
            place.deploy(name, wait=False)
            place.service(name)
        cert, key = certificate(keys, "secure.ingress.example")
        place("create", "secret", "tls", "secure", f"--cert={cert}", f"--key={key}")
        place.apply(ingress("first", host("first.ingress.example", web="/", api="/api")))
        for name in ("web", "api"):
            place.rolled_out(name)
        path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
        place("wait", "ingress/first", f"--for={path}", "--timeout=30s")
        address = place.get("ingress", "first")["status"]["loadBalancer"]["ingress"][0]["ip"]
        yield Gate(command, place, address)


OK = "a.get('status') == 200"


def test_hosts_and_paths_of_the_default_class(front):
    assert front.until("first.ingress.example", OK)["said"]["container"] == "web"
    said = {
        path: front.ask("first.ingress.example", path)["said"]["container"]
        for path in ("/", "/api", "/api/x", "/apis")
    }
    assert said == {"/": "web", "/api": "api", "/api/x": "api", "/apis": "web"}
    assert front.ask("nobody.ingress.example")["status"] == 404
    assert front.place.get("ingress", "first")["spec"]["ingressClassName"] == "netloom"


def test_path_types_and_wildcards(front):
    rules = (host("types.ingress.example", web=("/only", "Exact")), host("*.wild.example", web="/"))
    front.place.apply(ingress("types", *rules))
    assert front.until("types.ingress.example", OK, "/only")["said"]["container"] == "web"
    assert front.ask("types.ingress.example", "/only/more")["status"] == 404
    assert front.until("a.wild.example", OK)["status"] == 200
    assert front.ask("a.b.wild.example")["status"] == 404


def test_a_default_backend_takes_what_no_rule_does_until_it_goes(front):
    backend = {"service": {"name": "api", "port": {"number": 80}}}
    front.place.apply(ingress("rest", host("rest.ingress.example", web="/web"), defaultBackend=backend))
    assert front.until("rest.ingress.example", OK, "/else")["said"]["container"] == "api"
    assert front.ask("rest.ingress.example", "/web")["said"]["container"] == "web"
    assert front.until("whoever.ingress.example", OK)["said"]["container"] == "api"
    front.place("delete", "ingress/rest")
    gone = "a.get('status') == 404"
    assert front.until("rest.ingress.example", gone)["status"] == 404
    assert front.until("whoever.ingress.example", gone)["status"] == 404


def test_tls(front):
    front.place.apply(
        ingress(
            "secure",
            host("secure.ingress.example", web="/"),
            tls=[{"hosts": ["secure.ingress.example"], "secretName": "secure"}],
        )
    )
    name = "secure.ingress.example"
    assert front.until(name, OK, port=443, name=name)["said"]["headers"]["x-forwarded-proto"] == "https"
    names = front.outside(
        "print(json.dumps(names_of(connect(ARGUMENTS['address'], 443, 'secure.ingress.example'))))"
    )
    assert names == [name]


def test_a_class_of_somebody_else_is_left_alone(front):
    front.place.apply(ingress("theirs", host("theirs.ingress.example", web="/"), ingressClassName="nginx"))
    front.place.apply(ingress("ours", host("ours.ingress.example", web="/")))
    assert front.until("ours.ingress.example", OK)["status"] == 200
    assert front.ask("theirs.ingress.example")["status"] == 404
    assert front.place.get("ingress", "theirs")["status"].get("loadBalancer", {}) == {}


def test_what_is_wrong_is_told_by_an_event_and_costs_only_itself(front):
    front.place.apply(ingress("broken", host("broken.ingress.example", web="/", missing="/gone")))
    assert front.until("broken.ingress.example", OK)["status"] == 200
    assert front.ask("broken.ingress.example", "/gone")["status"] in (500, 503)
    told = [event["message"] for event in events_of(front.place, "Ingress", "broken", 1)]
    assert any("missing" in text for text in told), told


def test_all_ingresses_have_one_service(front):
    service = json.loads(
        front.place.command.kubectl(
            front.place.cluster, "-n", SYSTEM, "get", "svc", "netloom-ingress", "-o", "json"
        ).stdout
    )
    assert [port["port"] for port in service["spec"]["ports"]] == [80, 443]
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert service["status"]["loadBalancer"]["ingress"][0]["ip"] == front.address
