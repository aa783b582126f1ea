"""Whatever is written in an object of Gateway API, it costs that object at most: the model always answers, and all others go on."""

from __future__ import annotations

import copy

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.gateway import TCPRoute, TLSRoute, UDPRoute, Written
from netloom.model.gateways.build import StatusKey, compute
from netloom.model.gateways.matching import Request, decide
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_certificates import WITHIN, secret_for

REDIRECT = {
    "scheme": "https",
    "port": 443,
    "statusCode": 301,
    "path": {"type": "ReplaceFullPath", "replaceFullPath": "/a"},
}
REWRITE = {"hostname": "a.example.org", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}}
HEADERS = {"set": [{"name": "a", "value": "1"}], "add": [{"name": "b", "value": "1"}], "remove": ["c"]}
MIRROR = {"backendRef": {"name": "web", "port": 80}, "fraction": {"numerator": 1, "denominator": 2}}
CORS = {"allowOrigins": ["https://a.example.org"], "allowMethods": ["GET"], "maxAge": 5}
VALUES = [
    {"type": "Exact", "name": "a", "value": "1"},
    {"type": "RegularExpression", "name": "b", "value": ".*"},
]
GOOD = [
    g.gateway(
        "infra/edge",
        g.listener("bad", 80, hostname="*.example.org"),
        g.listener("tls", 443, "HTTPS", tls=g.tls("a", options={"netloom.io/least-tls-version": "TLSv1.3"})),
        allowedListeners={
            "namespaces": {
                "from": "Selector",
                "selector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
            }
        },
        addresses=[{"type": "IPAddress", "value": "203.0.113.1"}],
        infrastructure={"labels": {"a": "b"}},
        tls={
            "frontend": {
                "default": {
                    "validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}
                },
                "perPort": [],
            }
        },
    ),
    g.gateway_class(description="ours"),
    g.listener_set("shop/extra", "infra/edge", g.listener("more", 8080)),
    g.http_route(
        "shop/bad",
        g.rule(
            "/a",
            headers=VALUES,
            queryParams=VALUES,
            method="GET",
            filters=[{"type": "RequestRedirect", "requestRedirect": REDIRECT}],
            to=[],
        ),
        g.rule(
            "/b",
            filters=[
                {"type": "URLRewrite", "urlRewrite": REWRITE},
                {"type": "RequestHeaderModifier", "requestHeaderModifier": HEADERS},
            ],
        ),
        g.rule(
            "/c",
            filters=[{"type": "RequestMirror", "requestMirror": MIRROR}, {"type": "CORS", "cors": CORS}],
            timeouts={"request": "1s"},
        ),
        g.rule(
            "/d",
            retry={"codes": [500], "attempts": 1},
            filters=[
                {
                    "type": "ExtensionRef",
                    "extensionRef": {"group": "netloom.io", "kind": "TrafficPolicy", "name": "p"},
                }
            ],
        ),
        hosts=["a.example.org"],
    ),
    g.grpc_route(
        "shop/bad",
        {
            "matches": [{"method": {"service": "a.B", "method": "C"}, "headers": VALUES}],
            "backendRefs": [g.backend()],
        },
    ),
    g.stream_route(TLSRoute, "shop/bad", hosts=["b.example.org"]),
    g.stream_route(TCPRoute, "shop/bad"),
    g.stream_route(UDPRoute, "shop/bad"),
    g.grant("shop/g", origin=("HTTPRoute", "web"), to=("Service", "web")),
    g.backend_tls(
        "shop/p", "web", section="http", subjectAltNames=[{"type": "Hostname", "hostname": "a.example.org"}]
    ),
    g.traffic(
        "shop/p",
        ("HTTPRoute", "bad", "one"),
        allowedSources=["192.0.2.0/24"],
        maxBodyBytes=1,
        rateLimit={"requests": 1, "period": "1s"},
    ),
]
OTHERS = (
    g.gateway("infra/good"),
    g.gateway_class("good"),
    g.http_route("shop/good", parents=[g.parent("infra/good")]),
    g.service("shop/web"),
    g.endpoint_slice("shop/web", "192.0.2.1"),
    g.config_map("infra/ca", ca_crt="none"),
    g.namespace("shop", a="b"),
    secret_for("infra/a", "a.example.org"),
)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=8),
        st.sampled_from(("", "*", "Selector", "Same", "RegularExpression", "(", "/a//b", "a b", "\n", "0s", "99999h", "ConfigMap", "x" * 2000)),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("name", "type", "value", "port", "kind")), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


@st.composite
def spoilt(draw):
    """An object that would be sound, with something else in one or two places."""
    one = draw(st.sampled_from(GOOD))
    document = msgspec.json.decode(msgspec.json.encode({"spec": one.spec}))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([p for p in places(document) if p]))
        here = document
        for step in path[:-1]:
            here = here[step]
        here[path[-1]] = draw(values)
    return msgspec.structs.replace(one, spec=copy.deepcopy(document["spec"]))


@given(st.lists(spoilt(), min_size=1, max_size=3))
def test_what_is_written_costs_its_own_object_at_most(bad: list[Written]):
    sound = [one for one in GOOD if (type(one), one.key) not in {(type(b), b.key) for b in bad}]
    built = compute(g.view_of(*sound, *OTHERS, *bad, now=WITHIN))
    for door in built.plan.doors:
        decide(built.plan, door, Request(host="a.example.org", path="/b"))
    msgspec.json.encode([list(built.statuses.values()), [str(one) for one in built.findings]])
    if not any(one.KIND in ("GatewayClass", "TrafficPolicy", "BackendTLSPolicy") for one in bad):
        alone = compute(
            g.view_of(
                g.gateway_class(),
                *OTHERS,
                *(o for o in GOOD if o.KIND in ("TrafficPolicy", "BackendTLSPolicy")),
                now=WITHIN,
            )
        )
        for key in (StatusKey("Gateway", OTHERS[0].key), StatusKey("HTTPRoute", OTHERS[2].key)):
            assert built.statuses[key] == alone.statuses[key]
        own = [door for door in built.plan.doors if door.gateway == OTHERS[0].key]
        assert own == list(alone.plan.doors)
