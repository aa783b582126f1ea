"""Gateway API, TrafficPolicy, Ingress: what is refused and in which words, what is filled in, and that the definitions for other clusters say the same."""

import copy
import runpy
import sys
from pathlib import Path

import pytest
import yaml

from netloom.kube import resources
from netloom.local.apiserver import columns, defaults, kinds, kinds_custom, schema, strategy
from netloom.local.apiserver.definitions import all_definitions
from netloom.local.apiserver.structural_rules import ABOUT_CHANGE, RULES
from netloom.local.apiserver.validate import validate

ROOT = Path(__file__).parents[4]
GROUP = "gateway.networking.k8s.io"
NOW = 1_800_000_000.0


def document(gvk, spec, **more):
    version, _, kind = gvk.rpartition("/")
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": spec,
        **more,
    }


def errors(gvk, spec, old=None, **more):
    made = document(gvk, spec, **more)
    kind = kinds.of(*[made["apiVersion"], made["kind"]])
    if not kind.namespaced:
        del made["metadata"]["namespace"]
    assert schema.unknown_fields(gvk, made) == []
    assert schema.type_errors(gvk, made) == []
    before = None if old is None else {**made, "spec": old}
    return [error.text for error in validate(gvk, defaults.set_defaults(gvk, made), before)]


def filled(gvk, spec):
    return defaults.set_defaults(gvk, document(gvk, spec))


def gateway(*listeners, **more):
    return {"gatewayClassName": "netloom", "listeners": list(listeners), **more}


def listener(name="http", port=80, protocol="HTTP", **more):
    return {"name": name, "port": port, "protocol": protocol, **more}


TLS = {"certificateRefs": [{"name": "cert"}]}
V1 = f"{GROUP}/v1"


def rules(*given):
    return {"parentRefs": [{"name": "edge"}], "rules": list(given)}


def path(kind, value):
    return {"matches": [{"path": {"type": kind, "value": value}}]}


def filters(*given, **more):
    return {"filters": list(given), **more}


REDIRECT = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("Gateway", {"gatewayClassName": "x"}, "spec.listeners: Required value"),
        ("Gateway", gateway(), "spec.listeners in body should have at least 1 items"),
        ("Gateway", gateway(listener(port=0)), "spec.listeners[0].port in body should be greater than or equal to 1"),
        ("Gateway", gateway(listener(hostname="Shop.example")), "spec.listeners[0].hostname in body should match"),
        ("Gateway", gateway(listener(), listener()), 'spec.listeners[1]: Duplicate value: {"name":"http"}'),
        ("Gateway", gateway(listener(), listener("b")), "Combination of port, protocol and hostname must be unique"),
        ("Gateway", gateway(listener(tls=TLS)), "tls must not be specified for protocols"),
        ("Gateway", gateway(listener(protocol="HTTPS", tls={"mode": "Passthrough"})), "tls mode must be Terminate for protocol HTTPS"),
        ("Gateway", gateway(listener(protocol="HTTPS", tls={})), "certificateRefs or options must be specified"),
        ("Gateway", gateway(listener(protocol="TLS")), "tls mode must be set for protocol TLS"),
        ("Gateway", gateway(listener(protocol="TCP", hostname="a.example")), "hostname must not be specified for protocols"),
        ("Gateway", gateway(listener(), addresses=[{"value": "192.0.2.1"}, {"value": "192.0.2.1"}]), "IPAddress values must be unique"),
        ("HTTPRoute", {"rules": []}, "spec.rules in body should have at least 1 items"),
        ("HTTPRoute", {"hostnames": ["*"], "rules": [{}]}, "spec.hostnames[0] in body should match"),
        ("HTTPRoute", rules(path("Exact", "a")), "value must be an absolute path and start with '/'"),
        ("HTTPRoute", rules(path("PathPrefix", "/a//b")), "must not contain '//'"),
        ("HTTPRoute", rules(path("Exact", "/a/..")), "must not end with '/..'"),
        ("HTTPRoute", rules(path("Exact", "/a b")), "must only contain valid characters"),
        ("HTTPRoute", rules(path("Fuzzy", "/")), 'spec.rules[0].matches[0].path.type: Unsupported value: "Fuzzy"'),
        ("HTTPRoute", rules({"backendRefs": [{"name": "web"}]}), "Must have port for Service reference"),
        ("HTTPRoute", rules({"backendRefs": [{"name": "web", "port": 80, "weight": -1}]}), "backendRefs[0].weight"),
        ("HTTPRoute", rules(filters({"type": "URLRewrite"})), "filter.urlRewrite must be specified for URLRewrite filter.type"),
        ("HTTPRoute", rules(filters({**REDIRECT, "type": "CORS", "cors": {}})), "filter.requestRedirect must be nil"),
        ("HTTPRoute", rules(filters(REDIRECT, REDIRECT)), "RequestRedirect filter cannot be repeated"),
        ("HTTPRoute", rules(filters(REDIRECT, backendRefs=[{"name": "w", "port": 80}])), "must not be used together with backendRefs"),
        ("HTTPRoute", rules({**path("Exact", "/a"), **filters({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}})}), "exactly one PathPrefix match must be specified"),
        ("HTTPRoute", rules({"timeouts": {"request": "1s", "backendRequest": "2s"}}), "backendRequest timeout cannot be longer"),
        ("HTTPRoute", rules({"timeouts": {"request": "1 s"}}), "spec.rules[0].timeouts.request in body should match"),
        ("HTTPRoute", rules({"name": "a"}, {"name": "a"}), "Rule name must be unique within the route"),
        ("HTTPRoute", rules(*[{"matches": [{}] * 64}] * 3), "the total number of matches across all rules"),
        ("HTTPRoute", {"parentRefs": [{"name": "e"}, {"name": "e"}]}, "sectionName or port must be unique"),
        ("HTTPRoute", {"parentRefs": [{"name": "e"}, {"name": "e", "sectionName": "a"}]}, "sectionName or port must be specified"),
        ("HTTPRoute", rules(filters({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "w", "port": 1}, "percent": 5, "fraction": {"numerator": 1}}})), "Only one of percent or fraction"),
        ("HTTPRoute", rules(filters({"type": "CORS", "cors": {"allowOrigins": ["*", "https://a.example"]}})), "AllowOrigins cannot contain '*' alongside"),
        ("GRPCRoute", rules({"matches": [{"method": {}}]}), "One or both of 'service' or 'method' must be specified"),
        ("GRPCRoute", rules({"matches": [{"method": {"service": "a/b"}}]}), "service must only contain valid characters"),
        ("TLSRoute", {"rules": [{"backendRefs": [{"name": "w", "port": 443}]}]}, "spec.hostnames: Required value"),
        ("TLSRoute", {"hostnames": ["192.0.2.1"], "rules": [{"backendRefs": [{"name": "w", "port": 443}]}]}, "Hostnames cannot contain an IP"),
        ("ListenerSet", {"listeners": [listener()]}, "spec.parentRef: Required value"),
        ("BackendTLSPolicy", {"targetRefs": [{"group": "", "kind": "Service", "name": "w"}], "validation": {"hostname": "a.example"}}, "exactly one of caCertificateRefs or wellKnownCACertificates"),
        ("GatewayClass", {"controllerName": "netloom"}, "spec.controllerName in body should match"),
    ],
)  # fmt: skip
def test_gateway_api_is_refused_with_the_field(kind, spec, said):
    found = errors(f"{V1}/{kind}", spec)
    assert any(said in error for error in found), found


@pytest.mark.parametrize(
    ("gvk", "spec"),
    [
        (
            f"{V1}/Gateway",
            gateway(listener(), listener("https", 443, "HTTPS", tls=TLS, hostname="*.shop.example")),
        ),
        (f"{V1}/Gateway", gateway(listener("a", hostname="a.example"), listener("b", hostname="b.example"))),
        (
            f"{V1}/Gateway",
            gateway(listener("tls", 443, "TLS", tls={"mode": "Passthrough"}), listener("u", 53, "UDP")),
        ),
        (f"{V1}/HTTPRoute", {}),
        (f"{V1}/HTTPRoute", rules(path("RegularExpression", "[a-z"))),
        (
            f"{V1}/HTTPRoute",
            {"parentRefs": [{"name": "e", "sectionName": "a"}, {"name": "e", "sectionName": "b"}]},
        ),
        (f"{V1}/GRPCRoute", rules({"matches": [{"method": {"service": "shop.Cart"}}]})),
        (f"{V1}/GatewayClass", {"controllerName": "netloom.io/gateway"}),
        (f"{GROUP}/v1alpha2/UDPRoute", {"rules": [{"backendRefs": [{"name": "dns", "port": 53}]}]}),
        (
            f"{GROUP}/v1beta1/ReferenceGrant",
            {
                "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "a"}],
                "to": [{"group": "", "kind": "Service"}],
            },
        ),
    ],
)
def test_sound_objects_are_taken(gvk, spec):
    assert errors(gvk, spec) == []


def test_routes_and_gateways_are_filled_in():
    route = filled(f"{V1}/HTTPRoute", {"parentRefs": [{"name": "e"}]})["spec"]
    assert route["parentRefs"] == [{"name": "e", "group": GROUP, "kind": "Gateway"}]
    assert route["rules"] == [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]
    backend = filled(f"{V1}/HTTPRoute", rules({"backendRefs": [{"name": "w", "port": 80}]}))["spec"]["rules"][
        0
    ]
    assert backend["backendRefs"] == [{"name": "w", "port": 80, "group": "", "kind": "Service", "weight": 1}]
    redirect = filled(f"{V1}/HTTPRoute", rules(filters(REDIRECT)))["spec"]["rules"][0]["filters"][0]
    assert redirect["requestRedirect"]["statusCode"] == 302
    made = filled(f"{V1}/Gateway", gateway(listener("h", 443, "HTTPS", tls=TLS)))
    assert made["spec"]["listeners"][0]["allowedRoutes"] == {"namespaces": {"from": "Same"}}
    assert made["spec"]["listeners"][0]["tls"]["mode"] == "Terminate"
    assert [c["status"] for c in made["status"]["conditions"]] == ["Unknown", "Unknown"]


@pytest.mark.parametrize("gvk", sorted(all_definitions()))
def test_filling_in_twice_changes_nothing(gvk):
    once = filled(gvk, {"rules": [{}], "listeners": [{"name": "a"}], "parentRefs": [{"name": "e"}]})
    assert defaults.set_defaults(gvk, copy.deepcopy(once)) == once


def test_a_class_keeps_its_controller():
    said = errors(
        f"{V1}/GatewayClass", {"controllerName": "a.example/b"}, old={"controllerName": "a.example/c"}
    )
    assert said == ['spec.controllerName: Invalid value: "a.example/b": Value is immutable']


TARGET = {"group": "networking.k8s.io", "kind": "Ingress", "name": "web"}
POLICY = "netloom.io/v1alpha1/TrafficPolicy"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"targetRefs": []}, "spec.targetRefs in body should have at least 1 items"),
        ({"targetRefs": [TARGET, TARGET]}, "targetRefs must be distinct"),
        ({"targetRefs": [{**TARGET, "kind": "Service"}]}, "targetRefs must be Gateways, HTTPRoutes or GRPCRoutes"),
        ({"targetRefs": [{**TARGET, "sectionName": "a"}]}, "an Ingress has no sections"),
        ({"targetRefs": [TARGET], "rateLimit": {"requests": 0}}, "spec.rateLimit.requests"),
        ({"targetRefs": [TARGET], "jwt": {"algorithm": "none", "secretRef": {"name": "k"}}}, "spec.jwt.algorithm: Unsupported value"),
        ({"targetRefs": [TARGET], "basicAuth": {}}, "spec.basicAuth.secretRef: Required value"),
        ({"targetRefs": [TARGET], "externalAuth": {"backendRef": {"name": "a", "port": 1, "kind": "Pod"}}}, "backendRef must be a Service"),
        ({"targetRefs": [TARGET], "retries": {"attempts": 11}}, "spec.retries.attempts"),
    ],
)  # fmt: skip
def test_traffic_policies_are_refused_with_the_field(spec, said):
    assert any(said in error for error in errors(POLICY, spec))


def backend(service="web", **port):
    return {"service": {"name": service, "port": port or {"number": 80}}}


def ingress(kind="Prefix", text="/", **more):
    paths = [{"path": text, "pathType": kind, "backend": more.pop("backend", backend())}]
    return {"rules": [{"host": more.pop("host", "shop.example"), "http": {"paths": paths}}], **more}


INGRESS = "networking.k8s.io/v1/Ingress"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "either `defaultBackend` or `rules` must be specified"),
        (ingress(kind="Regex"), 'spec.rules[0].http.paths[0].pathType: Unsupported value: "Regex"'),
        (ingress(text="a"), 'spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path'),
        (ingress(text="/a//b"), "must not contain '//'"),
        (ingress(text="/a/.."), "cannot end with '/..'"),
        (ingress(host="192.0.2.1"), "spec.rules[0].host: Invalid value"),
        (ingress(host="*.*.example"), "spec.rules[0].host: Invalid value"),
        (ingress(backend={}), "spec.rules[0].http.paths[0].backend: Required value"),
        (ingress(backend=backend(number=80, name="http")), "cannot set both port name & port number"),
        (ingress(backend=backend(number=70000)), "must be between 1 and 65535"),
        (
            ingress(backend={**backend(), "resource": {"kind": "B", "name": "b"}}),
            "cannot set both resource and service",
        ),
        (ingress(tls=[{"hosts": ["a_b"]}]), "spec.tls[0].hosts[0]: Invalid value"),
        (ingress(ingressClassName=""), "spec.ingressClassName: Required value"),
    ],
)
def test_ingresses_are_refused_with_the_field(spec, said):
    found = errors(INGRESS, spec)
    assert any(said in error for error in found), found


@pytest.mark.parametrize(
    "spec",
    [
        ingress(),
        ingress(host="*.shop.example"),
        ingress("ImplementationSpecific", "/a(/|$)(.*)"),
        {"defaultBackend": backend(name="http")},
    ],
)
def test_sound_ingresses_are_taken(spec):
    assert errors(INGRESS, spec) == []


def class_named(name, created, *, default=True):
    marked = {"ingressclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "creationTimestamp": created, "annotations": marked}}


@pytest.mark.parametrize(
    ("classes", "gets"),
    [
        ([], None),
        ([class_named("a", "2026-01-01T00:00:00Z", default=False)], None),
        ([class_named("b", "2026-01-01T00:00:00Z"), class_named("a", "2026-01-01T00:00:00Z")], "a"),
        ([class_named("b", "2026-01-02T00:00:00Z"), class_named("a", "2026-01-01T00:00:00Z")], "b"),
    ],
)
def test_ingresses_without_a_class_get_the_default_one(classes, gets):
    made = document(INGRESS, ingress())
    strategy.fill_ingress_class(made, classes)
    assert made["spec"].get("ingressClassName") == gets


def test_a_class_said_by_annotation_is_said():
    made = document(INGRESS, ingress())
    made["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "other"}
    strategy.fill_ingress_class(made, [class_named("a", "2026-01-01T00:00:00Z")])
    assert "ingressClassName" not in made["spec"]


def cells(kind, made):
    return columns.sheet(kind).cells(made, NOW)


def test_columns_are_those_of_the_definitions():
    said = {
        "addresses": [{"value": "192.0.2.1"}, {"value": "2001:db8::1"}],
        "conditions": [{"type": "Accepted", "status": "False"}, {"type": "Programmed", "status": "True"}],
    }
    made = document(f"{V1}/Gateway", gateway(listener()), status=said)
    assert cells(kinds_custom.GATEWAYS, made) == [
        "x",
        "netloom",
        "192.0.2.1,2001:db8::1",
        "True",
        "<unknown>",
    ]
    route = document(f"{V1}/HTTPRoute", {"hostnames": ["shop.example"]})
    assert cells(kinds_custom.HTTP_ROUTES, route) == ["x", '["shop.example"]', "<unknown>"]
    balancer = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    made = document(
        INGRESS, ingress(ingressClassName="netloom", tls=[{"hosts": ["shop.example"]}]), status=balancer
    )
    assert cells(kinds.INGRESSES, made) == [
        "x",
        "netloom",
        "shop.example",
        "192.0.2.1",
        "80, 443",
        "<unknown>",
    ]


def ruled(node):
    """Messages of all rules of a schema."""
    if isinstance(node, dict):
        for rule in node.get("x-kubernetes-validations", ()):
            yield rule["message"]
        for member in node.values():
            yield from ruled(member)
    elif isinstance(node, list):
        for member in node:
            yield from ruled(member)


def test_every_rule_of_the_definitions_is_held():
    messages = {m for definition in all_definitions().values() for m in ruled(definition.schema)}
    assert messages <= RULES.keys() | ABOUT_CHANGE.keys()
    spare = RULES.keys() - messages
    assert all("cannot be repeated" in message for message in spare), spare


@pytest.fixture
def written(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools/crds"), *sys.path])
    before = set(sys.modules)
    yield runpy.run_path(str(ROOT / "tools/crds/write.py"), run_name="written")
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") and "tools/crds" in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_the_files_are_what_the_tables_say(written):
    assert (ROOT / "src/netloom/local/apiserver/definitions.json").read_text() == written["definitions"]()
    for definition in written["ALL"]:
        assert definition.file().read_text() == written["rendered"](definition), definition.plural


def test_the_definitions_name_the_kinds_as_they_are_served(written):
    for definition in written["ALL"]:
        spec = yaml.safe_load(definition.file().read_text())["spec"]
        kind = kinds.of(f"{spec['group']}/{definition.versions[0]}", spec["names"]["kind"])
        assert (kind.plural, kind.singular) == (spec["names"]["plural"], spec["names"]["singular"])
        assert kind.namespaced is (spec["scope"] == "Namespaced")
        assert list(kind.short_names) == spec["names"].get("shortNames", [])
        assert kind.has_status is ("status" in spec["versions"][0].get("subresources", {}))
        assert any(
            (one.group, one.version, one.plural) == (kind.group, kind.version, kind.plural)
            for one in resources.ALL
        )
