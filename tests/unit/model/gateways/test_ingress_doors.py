"""Ingresses as doors: order of paths, hosts and wildcards, default backends, TLS by server name, and what one Ingress' faults cost others."""

import base64
import datetime as dt
import ipaddress

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from netloom.api.core import Secret, Service
from netloom.api.ingress import Ingress, IngressClass
from netloom.model.gateways.entrances import INGRESS
from netloom.model.gateways.ingress import ingress_doors
from netloom.model.gateways.matching import Action, Request, decide
from netloom.model.gateways.plan import Endpoint, Plan, Pool, PoolProtocol, Traffic, Transport
from netloom.model.gateways.pools import PoolRefs
from netloom.model.gateways.view import GatewayView
from netloom.units import ObjectKey

NOW = 1_800_000_000.0


class NoTraffic:
    """A cluster without TrafficPolicies."""

    def named(self, key, pools):
        return f"TrafficPolicy {key} is not there"

    def about(self, kind, key, section, pools):
        return None

    def joined(self, first, second):
        return first


def backend(name, port=80):
    how = {"number": port} if isinstance(port, int) else {"name": port}
    return {"service": {"name": name, "port": how}}


def path(text, name, kind="Prefix", port=80):
    return {"path": text, "pathType": kind, "backend": backend(name, port)}


def ingress(name, *rules, age=1, default=None, tls=(), class_name="netloom", annotations=None):
    spec = {"rules": [{"host": h, "http": {"paths": list(p)}} if p else {"host": h} for h, p in rules]}
    if class_name:
        spec["ingressClassName"] = class_name
    if default:
        spec["defaultBackend"] = default
    if tls:
        spec["tls"] = list(tls)
    meta = {
        "namespace": "shop",
        "name": name,
        "uid": name,
        "creationTimestamp": f"2026-01-01T00:00:{age:02}Z",
    }
    if annotations:
        meta["annotations"] = annotations
    return msgspec.convert({"metadata": meta, "spec": spec}, Ingress)


def service(name, *ports, kind="ClusterIP", namespace="shop"):
    said = [{"port": p, "name": n, "nodePort": 30000 + p} for p, n in ports or ((80, "http"),)]
    return msgspec.convert(
        {"metadata": {"namespace": namespace, "name": name}, "spec": {"type": kind, "ports": said}}, Service
    )


def certificate(name, *hosts, days=1, namespace="shop"):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=10))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = {
        "tls.crt": made.public_bytes(serialization.Encoding.PEM),
        "tls.key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    data = {k: base64.b64encode(v).decode() for k, v in text.items()}
    meta = {"namespace": namespace, "name": name}
    return msgspec.convert({"metadata": meta, "type": "kubernetes.io/tls", "data": data}, Secret)


OURS = msgspec.convert(
    {"metadata": {"name": "netloom"}, "spec": {"controller": "netloom.io/ingress"}}, IngressClass
)
THEIRS = msgspec.convert(
    {"metadata": {"name": "other"}, "spec": {"controller": "other.example/ingress"}}, IngressClass
)
SERVICES = [service(n) for n in ("web", "cart", "old", "any", "spare")]


class Built:
    """What Ingresses come to, and questions to it."""

    def __init__(self, *ingresses, services=SERVICES, secrets=(), traffic=None, classes=(OURS, THEIRS)):
        view = GatewayView(
            ingresses={one.key: one for one in ingresses},
            ingress_classes={one.key: one for one in classes},
            services={one.key: one for one in services},
            secrets={one.key: one for one in secrets},
            now=NOW,
        )
        pools = PoolRefs(view.services)
        self.built = ingress_doors(view, pools, traffic or NoTraffic())
        place = Endpoint(ipaddress.ip_address("192.0.2.1"), 8080)
        self.pools = pools.wishes
        self.plan = Plan(
            self.built.doors,
            {
                k: Pool(k, w.service, w.port, PoolProtocol.HTTP, (place,), w.source)
                for k, w in pools.wishes.items()
            },
        )

    def door(self, transport=Transport.HTTP):
        return next(one for one in self.built.doors if one.transport is transport)

    def ask(self, host, path="/", *, tls=False, **more):
        door = self.door(Transport.TLS if tls else Transport.HTTP)
        return decide(self.plan, door, Request(host=host, path=path, **more))

    def to(self, host, path="/", **more):
        """The Service that gets a request, or the status of the answer."""
        found = self.ask(host, path, **more)
        if found.action is not Action.FORWARD:
            return found.status
        return found.shares[0].pool.split("/")[1]

    @property
    def findings(self):
        return [str(one) for one in self.built.findings]


def test_no_ingress_of_ours_is_no_door():
    built = Built(ingress("a", ("shop.example", [path("/", "web")]), class_name="other"))
    assert built.built.doors == ()
    assert built.built.statuses == {}


@pytest.mark.parametrize(
    "said",
    [
        {"class_name": "netloom"},
        {"class_name": "", "annotations": {"kubernetes.io/ingress.class": "netloom"}},
    ],
)
def test_a_class_is_said_by_field_or_by_the_annotation_of_old(said):
    assert Built(ingress("a", ("shop.example", [path("/", "web")]), **said)).to("shop.example") == "web"


@pytest.mark.parametrize(
    ("asked", "gets"),
    [
        ("/", "web"),
        ("/cart", "cart"),
        ("/cart/", "cart"),
        ("/cart/1", "cart"),
        ("/cartoon", "web"),
        ("/cart/old", "old"),
        ("/cart/old/", "cart"),
        ("/same", "old"),
        ("/same/more", "cart"),
    ],
)
def test_the_longest_path_wins_and_exact_before_prefix(asked, gets):
    paths = [
        path("/", "web"),
        path("/cart", "cart"),
        path("/cart/old", "old", "Exact"),
        path("/same", "cart"),
        path("/same", "old", "Exact"),
    ]
    assert Built(ingress("a", ("shop.example", paths))).to("shop.example", asked) == gets


def test_implementation_specific_is_prefix():
    built = Built(ingress("a", ("shop.example", [path("/api", "web", "ImplementationSpecific")])))
    assert [built.to("shop.example", p) for p in ("/api", "/api/1", "/apis")] == ["web", "web", 404]


@pytest.mark.parametrize(
    ("host", "gets"),
    [
        ("shop.example", "web"),
        ("shop.example:8080", "web"),
        ("SHOP.example", "web"),
        ("a.shop.example", "cart"),
        ("b.a.shop.example", "any"),
        ("x.other.example", "any"),
        ("www.shop.example", "old"),
    ],
)
def test_names_before_wildcards_and_a_wildcard_is_one_label(host, gets):
    built = Built(
        ingress(
            "a",
            ("shop.example", [path("/", "web")]),
            ("*.shop.example", [path("/", "cart")]),
            ("www.shop.example", [path("/", "old")]),
            ("", [path("/", "any")]),
        )
    )
    assert built.to(host) == gets


def test_a_host_that_has_rules_does_not_fall_to_rules_of_any_host():
    rules = (("shop.example", [path("/cart", "cart")]), ("", [path("/", "any")]))
    built = Built(ingress("a", *rules))
    assert built.to("shop.example", "/other") == 404
    assert Built(ingress("a", *rules, default=backend("spare"))).to("shop.example", "/other") == "spare"


def test_the_default_backend_has_what_nobody_else_has():
    built = Built(
        ingress("a", ("shop.example", [path("/cart", "cart")]), default=backend("spare")),
        ingress("z", age=9, default=backend("any")),
    )
    assert built.to("shop.example", "/else") == "spare"
    assert built.to("nobody.example") == "any"


def test_hosts_without_paths_go_to_the_default_backend():
    assert (
        Built(ingress("a", ("shop.example", []), default=backend("spare"))).to("shop.example", "/x")
        == "spare"
    )


def test_ingresses_of_one_host_are_one_and_the_oldest_wins():
    built = Built(
        ingress("young", ("shop.example", [path("/", "old"), path("/young", "cart")]), age=9),
        ingress("old", ("shop.example", [path("/", "web")]), age=1),
    )
    assert built.to("shop.example") == "web"
    assert built.to("shop.example", "/young") == "cart"
    said = next(f for f in built.findings if "is taken by" in f)
    assert "Ingress shop/young: spec.rules[0].http.paths[0]" in said
    assert "Ingress shop/old: spec.rules[0].http.paths[0]" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (path("/x", "nowhere"), "Service shop/nowhere is not there"),
        (path("/x", "web", port=81), "has no TCP port 81"),
        (path("/x", "web", port="grpc"), "has no TCP port grpc"),
        (
            {"path": "/x", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}},
            "Bucket is no kind of backend",
        ),
    ],
)
def test_what_is_missing_costs_that_path_alone(wrong, said):
    built = Built(ingress("a", ("shop.example", [path("/", "web"), wrong])))
    assert built.to("shop.example", "/x") == 503
    assert built.to("shop.example", "/y") == "web"
    assert [f for f in built.findings if said in f and "spec.rules[0].http.paths[1]" in f]


def test_a_port_may_be_named():
    assert Built(ingress("a", ("shop.example", [path("/", "web", port="http")]))).to("shop.example") == "web"


def test_each_host_has_its_certificate_and_a_bad_secret_costs_its_own_hosts():
    built = Built(
        ingress(
            "a",
            ("shop.example", [path("/", "web")]),
            ("cart.example", [path("/", "cart")]),
            tls=[
                {"hosts": ["shop.example"], "secretName": "shop"},
                {"hosts": ["cart.example"], "secretName": "missing"},
            ],
        ),
        secrets=[certificate("shop", "shop.example")],
    )
    assert built.to("shop.example", tls=True) == "web"
    assert built.ask("shop.example", tls=True).certificate.names == ("shop.example",)
    assert built.ask("cart.example", tls=True).action is Action.REFUSE
    assert built.to("cart.example") == "cart"
    assert any("spec.tls[1].secretName: Secret shop/missing is not there" in f for f in built.findings)


def test_an_expired_certificate_is_none():
    tls = [{"hosts": ["shop.example"], "secretName": "shop"}]
    built = Built(
        ingress("a", ("shop.example", [path("/", "web")]), tls=tls),
        secrets=[certificate("shop", "shop.example", days=-1)],
    )
    assert [one.transport for one in built.built.doors] == [Transport.HTTP]
    assert any("expired" in f for f in built.findings)


def test_tls_without_hosts_is_for_the_hosts_of_the_rules():
    built = Built(
        ingress("a", ("shop.example", [path("/", "web")]), tls=[{"secretName": "shop"}]),
        secrets=[certificate("shop", "shop.example")],
    )
    assert built.to("shop.example", tls=True) == "web"


def test_addresses_and_node_ports_come_from_the_service_of_ingresses():
    entrance = msgspec.convert(
        {
            "metadata": {"namespace": INGRESS.namespace, "name": INGRESS.name},
            "spec": {"type": "LoadBalancer", "ports": [{"name": "p80-tcp", "port": 80, "nodePort": 31080}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}},
        },
        Service,
    )
    built = Built(ingress("a", ("shop.example", [path("/", "web")])), services=[*SERVICES, entrance])
    assert built.door().node_port == 31080
    assert built.built.statuses[ObjectKey("shop", "a")] == {
        "loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}
    }


class Refused:
    """Policies that cannot be read."""

    def about(self, *_):
        return "TrafficPolicy shop/p: spec.jwt.secretRef: Secret shop/k is not there"

    def named(self, *_):
        return ""

    def joined(self, first, _second):
        return first


def test_a_policy_that_cannot_be_used_closes_the_door():
    assert (
        Built(ingress("a", ("shop.example", [path("/", "web")])), traffic=Refused()).to("shop.example") == 500
    )


def test_a_policy_is_on_every_rule_and_its_cookie_on_the_pools():
    class Cookie(NoTraffic):
        def about(self, kind, key, section, pools):
            return Traffic(session_cookie="where") if (kind, key.name) == ("Ingress", "a") else None

    built = Built(ingress("a", ("shop.example", [path("/", "web")])), traffic=Cookie())
    assert [wish.use.session_cookie for wish in built.pools.values()] == ["where"]


def test_a_wildcard_certificate_serves_names_below_it_and_rules_of_any_host():
    built = Built(
        ingress(
            "a",
            ("*.shop.example", [path("/", "cart")]),
            ("www.shop.example", [path("/", "web")]),
            tls=[{"hosts": ["*.shop.example"], "secretName": "shop"}],
        ),
        ingress("b", ("", [path("/", "any")])),
        secrets=[certificate("shop", "*.shop.example")],
    )
    names = [host.name for host in built.door(Transport.TLS).listeners[0].hosts]
    assert names == ["www.shop.example", "*.shop.example", ""]
    assert built.to("www.shop.example", tls=True) == "web"
    assert built.to("one.shop.example", tls=True) == "cart"
