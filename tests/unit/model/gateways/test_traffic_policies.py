"""TrafficPolicies: what they say, of several the oldest field by field, and that one which cannot be used opens no door."""

import base64

import msgspec
import pytest

from netloom.api.core import Secret, Service
from netloom.api.gateway import Gateway, GRPCRoute, HTTPRoute
from netloom.api.traffic import TrafficPolicy
from netloom.model.gateways.build import Gateways
from netloom.model.gateways.grants import Grants
from netloom.model.gateways.plan import Outliers, RateLimit, Traffic
from netloom.model.gateways.pools import PoolRefs
from netloom.model.gateways.traffic import TrafficPolicies
from netloom.model.gateways.view import GatewayChanges, GatewayView
from netloom.units import ObjectKey

ROUTE = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web"}
KEY = ObjectKey("shop", "web")
WEB = {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"rules": [{"name": "pay"}, {}]}}
EDGE = {
    "metadata": {"namespace": "shop", "name": "edge"},
    "spec": {"listeners": [{"name": "web", "protocol": "HTTP"}, {"name": "db", "protocol": "TCP"}]},
}
HASH = "$6$salt$hash"


def policy(name, *, age=1, refs=(ROUTE,), **fields):
    meta = {
        "namespace": "shop",
        "name": name,
        "creationTimestamp": f"2026-01-01T00:00:{age:02}Z",
        "generation": 3,
    }
    return msgspec.convert({"metadata": meta, "spec": {"targetRefs": list(refs), **fields}}, TrafficPolicy)


def secret(name, **data):
    found = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return msgspec.convert({"metadata": {"namespace": "shop", "name": name}, "data": found}, Secret)


def service(namespace, name):
    said = {"metadata": {"namespace": namespace, "name": name}, "spec": {"ports": [{"port": 80}]}}
    return msgspec.convert(said, Service)


class World:
    """Policies, and questions to them."""

    def __init__(self, *policies, secrets=()):
        self.view = GatewayView(
            traffic={one.key: one for one in policies},
            gateways={ObjectKey("shop", "edge"): msgspec.convert(EDGE, Gateway)},
            http_routes={KEY: msgspec.convert(WEB, HTTPRoute)},
            grpc_routes={KEY: msgspec.convert(WEB, GRPCRoute)},
            services={one.key: one for one in (service("shop", "auth"), service("far", "auth"))},
            secrets={one.key: one for one in secrets},
        )
        self.pools = PoolRefs(self.view.services)
        self.policies = TrafficPolicies(self.view.traffic, self.view.secrets, Grants(()))

    def about(self, section=""):
        return self.policies.about("HTTPRoute", KEY, section, self.pools)

    def said(self, name):
        (ancestor,) = self.policies.statuses(self.view, self.pools)[ObjectKey("shop", name)]["ancestors"]
        (accepted,) = ancestor["conditions"]
        return accepted["status"], accepted["reason"], accepted["message"]


def test_nothing_is_said_of_what_no_policy_is_for():
    world = World(policy("p", refs=({**ROUTE, "name": "other"},), maxBodyBytes=5))
    assert world.about() is None
    assert world.said("p")[:2] == ("False", "TargetNotFound")


@pytest.mark.parametrize(
    ("kind", "name", "section", "is_there"),
    [
        ("HTTPRoute", "web", "pay", True),
        ("HTTPRoute", "web", "pya", False),
        ("GRPCRoute", "web", "pay", True),
        ("GRPCRoute", "web", "pya", False),
        ("Gateway", "edge", "web", True),
        ("Gateway", "edge", "wbe", False),
        ("Gateway", "edge", "db", False),
    ],
)
def test_a_section_that_is_not_there_is_told(kind, name, section, is_there):
    ref = {"group": ROUTE["group"], "kind": kind, "name": name, "sectionName": section}
    status, reason, message = World(policy("p", refs=[ref], maxBodyBytes=5)).said("p")
    assert (status, reason) == (("True", "Accepted") if is_there else ("False", "TargetNotFound"))
    assert is_there or f'"{section}"' in message


@pytest.mark.parametrize(
    ("refs", "field"),
    [
        ("web", "spec.targetRefs"),
        ([{**ROUTE, "kind": 5}], "spec.targetRefs[0].kind"),
        ([5], "spec.targetRefs[0]"),
    ],
)
def test_targets_that_cannot_be_read_are_told(refs, field):
    one = policy("p", maxBodyBytes=5)
    broken = msgspec.structs.replace(one, spec={**one.spec, "targetRefs": refs})
    gateways = Gateways(GatewayView(traffic={one.key: broken}))
    (finding,) = gateways.built.findings
    assert str(finding.source) == f"TrafficPolicy shop/p: {field}"
    assert not gateways.built.statuses  # no ancestor has a name
    assert gateways.update(GatewayChanges(traffic={one.key: one})).findings == ()


def test_everything_that_a_policy_can_say():
    world = World(
        policy(
            "p",
            rateLimit={"requests": 10, "period": "1m"},
            allowedSources=["192.0.2.0/24", "2001:db8::1"],
            retries={"attempts": 2, "on": [503]},
            outliers={"errors": 5, "ejected": "1m"},
            maxBodyBytes=1024,
            sessionCookie={"name": "where"},
            basicAuth={"secretRef": {"name": "people"}},
            jwt={"algorithm": "HS256", "secretRef": {"name": "token"}, "issuer": "https://id.example"},
            externalAuth={"backendRef": {"name": "auth", "port": 80}, "path": "/ask"},
        ),
        secrets=[secret("people", auth=f"# us\nann:{HASH}\n"), secret("token", key="s3cret")],
    )
    found = world.about()
    assert found.rate == RateLimit(10, 60)
    assert [str(one) for one in found.allow] == ["192.0.2.0/24", "2001:db8::1/128"]
    assert (found.retries, found.retry_on) == (2, (503,))
    assert found.outliers == Outliers(5, 60)
    assert (found.body_bytes, found.session_cookie) == (1024, "where")
    assert found.basic.users == (("ann", HASH),)
    assert (found.jwt.key, found.jwt.issuer) == ("s3cret", "https://id.example")
    assert (found.external.pool, found.external.path) == ("shop/auth/80", "/ask")
    assert world.said("p") == ("True", "Accepted", "in force")


def test_the_oldest_counts_field_by_field():
    world = World(
        policy("young", age=9, maxBodyBytes=1, rateLimit={"requests": 1}),
        policy("old", age=1, maxBodyBytes=2),
    )
    found = world.about()
    assert (found.body_bytes, found.rate) == (2, RateLimit(1, 1))
    told = "maxBodyBytes is said by TrafficPolicy shop/old, which is older"
    assert world.said("young") == ("True", "Accepted", told)


def test_a_policy_that_says_nothing_new_is_conflicted():
    world = World(policy("young", age=9, maxBodyBytes=1), policy("old", age=1, maxBodyBytes=2))
    assert world.said("young")[:2] == ("False", "Conflicted")


def test_a_rules_own_policy_comes_before_the_routes():
    world = World(
        policy("old", age=1, maxBodyBytes=2),
        policy("young", age=9, refs=({**ROUTE, "sectionName": "pay"},), maxBodyBytes=1),
    )
    assert world.about().body_bytes == 2
    assert world.about("pay").body_bytes == 1
    assert world.said("young")[:2] == ("True", "Accepted")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"basicAuth": {"secretRef": {"name": "none"}}},
            "spec.basicAuth.secretRef: Secret shop/none is not there",
        ),
        ({"basicAuth": {"secretRef": {"name": "empty"}}}, "has no text under auth"),
        ({"basicAuth": {"secretRef": {"name": "plain"}}}, "the password of ann is no crypt(3) hash"),
        ({"basicAuth": {"secretRef": {"name": "apache"}}}, "the password of ann is no crypt(3) hash"),
        ({"jwt": {"algorithm": "RS256", "secretRef": {"name": "plain"}}}, "has no text under key"),
        ({"jwt": {"algorithm": "RS256", "secretRef": {"name": "key"}}}, "is no public key as PEM"),
        ({"externalAuth": {"backendRef": {"name": "no", "port": 80}}}, "Service shop/no is not there"),
        (
            {"externalAuth": {"backendRef": {"name": "auth", "namespace": "far", "port": 80}}},
            "no ReferenceGrant in far lets TrafficPolicies of shop refer to Service auth",
        ),
        ({"rateLimit": {"requests": 1, "period": "500ms"}}, "spec.rateLimit.period: must be whole seconds"),
        (
            {"allowedSources": ["192.0.2.1/24"]},
            'spec.allowedSources[0]: "192.0.2.1/24" is no address or range',
        ),
    ],
)
def test_what_cannot_be_used_refuses_requests_and_says_why(fields, said):
    secrets = [
        secret("empty"),
        secret("plain", auth="ann:secret"),
        secret("apache", auth="ann:$apr1$x$y"),
        secret("key", key="none"),
    ]
    world = World(policy("p", **fields), secrets=secrets)
    assert said in world.about()
    status, reason, message = world.said("p")
    assert (status, reason) == ("False", "Invalid")
    assert said in message


def test_joining_keeps_what_the_first_says():
    first, second = Traffic(body_bytes=1), Traffic(body_bytes=2, retries=3, retry_on=(503,))
    found = World().policies.joined(first, second)
    assert (found.body_bytes, found.retries, found.retry_on) == (1, 3, (503,))
