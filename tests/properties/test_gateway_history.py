"""Gateways under any history: as if computed from nothing, whatever the order, repetition and splitting of changes; one request, one decision."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from netloom.api.gateway import TCPRoute, TLSRoute, UDPRoute
from netloom.model.gateways.build import Gateways, compute
from netloom.model.gateways.matching import Request, decide
from netloom.model.gateways.view import GatewayChanges, GatewayView
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_certificates import SINCE, UNTIL, WITHIN, secret_for, tls_secret

SPACES = ("shop", "web")
HOSTS = (
    "shop.example.org",
    "a.shop.example.org",
    "*.example.org",
    "*.shop.example.org",
    "example.net",
    "Bad",
)
PATHS = ("/", "/a", "/a/b", "/b")
DAYS = tuple(f"2026-01-0{day}T00:00:00Z" for day in range(1, 4))
SERVICES = ("shop/web", "shop/api", "web/web", "api", "web")
TIMES = (SINCE - 10, WITHIN, UNTIL + 10)
CHAIN_OF_ANOTHER = tls_secret("infra/a", secret_for("infra/a", "x.example.org").data["tls.crt"], "no key")

names = st.sampled_from(("one", "two"))
days = st.sampled_from(DAYS)
some_hosts = st.lists(st.sampled_from(HOSTS), max_size=2, unique=True)
parents = st.lists(
    st.one_of(
        st.just(g.parent()),
        st.just(g.parent()),
        st.just(g.parent("shop/extra", kind="ListenerSet")),
        st.builds(
            g.parent,
            st.sampled_from(("infra/edge", "infra/other")),
            st.sampled_from((None, "one", "two", "seven")),
            st.sampled_from((None, None, 80, 443)),
        ),
    ),
    min_size=1,
    max_size=2,
)
backends = st.lists(
    st.builds(g.backend, st.sampled_from(SERVICES), st.sampled_from((80, 80, 81, None)), st.integers(0, 2)),
    max_size=2,
)


@st.composite
def listeners(draw):
    protocol = draw(st.sampled_from(("HTTP", "HTTP", "HTTPS", "TLS", "TCP", "UDP", "SMTP")))
    more = {}
    if protocol in ("HTTPS", "TLS"):
        mode = draw(st.sampled_from(("Terminate", "Terminate", "Passthrough")))
        more["tls"] = g.tls(draw(st.sampled_from(("a", "infra/a", "b"))), mode=mode)
    host = draw(st.sampled_from((None, None, *HOSTS)))
    if host:
        more["hostname"] = host
    origin = draw(st.sampled_from(("All", "All", "Same")))
    return g.listener(draw(names), draw(st.sampled_from((80, 443))), protocol, origin, **more)


USUAL = (
    g.listener("one", 80),
    g.listener("two", 443, "HTTPS", hostname="*.example.org", tls=g.tls("a")),
    g.listener("three", 443, "TLS", hostname="example.net", tls=g.tls(mode="Passthrough")),
    g.listener("four", 444, "TLS", tls=g.tls("a")),
    g.listener("five", 9000, "TCP"),
    g.listener("six", 9000, "UDP"),
)


@st.composite
def gateways(draw):
    more = {"allowedListeners": {"namespaces": {"from": draw(st.sampled_from(("All", "All", "Same")))}}}
    if draw(st.integers(0, 3)) == 0:
        more["addresses"] = [{"value": draw(st.sampled_from(("203.0.113.1", "203.0.113.9", "x")))}]
    name = draw(st.sampled_from(("infra/edge", "infra/edge", "infra/other")))
    usual = draw(st.lists(st.sampled_from(USUAL), min_size=2, max_size=6, unique_by=lambda one: one["name"]))
    return g.gateway(name, *usual, *draw(st.lists(listeners(), max_size=1)), **more)


@st.composite
def rules(draw):
    more = {}
    match draw(st.integers(0, 5)):
        case 0:
            more["headers"] = [{"name": "x", "value": draw(st.sampled_from("12"))}]
        case 1:
            more["method"] = draw(st.sampled_from(("GET", "POST", "LURK")))
        case 2:
            more["queryParams"] = [{"name": "q", "value": "1"}]
        case 3:
            kinds = ("URLRewrite", "RequestRedirect", "RequestMirror", "ExtensionRef", "What")
            more["filters"] = [a_filter(draw(st.sampled_from(kinds)))]
    kind = draw(st.sampled_from(("PathPrefix", "PathPrefix", "Exact", "RegularExpression")))
    return g.rule(draw(st.sampled_from(PATHS)), kind, draw(backends), **more)


def a_filter(type_):
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}
    said = {
        "URLRewrite": {"urlRewrite": {"path": path}},
        "RequestRedirect": {"requestRedirect": {"statusCode": 301}},
        "RequestMirror": {"requestMirror": {"backendRef": {"name": "api", "port": 80}}},
        "ExtensionRef": {"extensionRef": {"group": "netloom.io", "kind": "TrafficPolicy", "name": "none"}},
    }
    return {"type": type_, **said.get(type_, {})}


@st.composite
def routes(draw):
    key = f"{draw(st.sampled_from(SPACES))}/{draw(names)}"
    where = {"parents": draw(parents), "created": draw(days), "generation": draw(st.integers(1, 2))}
    kind = draw(st.sampled_from(("http", "http", "http", "grpc", TLSRoute, TCPRoute, UDPRoute)))
    if kind == "http":
        return g.http_route(
            key, *draw(st.lists(rules(), min_size=1, max_size=3)), hosts=draw(some_hosts), **where
        )
    if kind == "grpc":
        call = {"matches": [{"method": {"service": draw(st.sampled_from(("a.B", "c.D", "(")))}}]}
        return g.grpc_route(key, {**call, "backendRefs": draw(backends)}, hosts=draw(some_hosts), **where)
    hosts = draw(some_hosts) if kind is TLSRoute else ()
    return g.stream_route(kind, key, *draw(backends), hosts=hosts, **where)


@st.composite
def services(draw):
    key = draw(st.sampled_from(("shop/web", "shop/api", "web/web")))
    protocol = draw(st.sampled_from(("TCP", "TCP", "UDP")))
    port = {"name": "http", "port": draw(st.sampled_from((80, 80, 81))), "protocol": protocol}
    if draw(st.booleans()):
        port["appProtocol"] = draw(st.sampled_from(("kubernetes.io/h2c", "https", "x")))
    return g.service(key, port, type=draw(st.sampled_from(("ClusterIP", "ClusterIP", "ExternalName"))))


@st.composite
def slices(draw):
    conditions = st.sampled_from(
        ({}, {"ready": True}, {"ready": False}, {"ready": False, "serving": True, "terminating": True})
    )
    endpoints = [
        {"addresses": [f"192.0.2.{draw(st.integers(1, 4))}"], "conditions": draw(conditions)}
        for _ in range(draw(st.integers(0, 3)))
    ]
    protocol = draw(st.sampled_from(("TCP", "UDP")))
    return g.endpoint_slice(
        draw(st.sampled_from(("shop/web", "shop/api", "web/web"))),
        *endpoints,
        suffix=draw(st.sampled_from("ab")),
        ports=[{"name": "http", "port": draw(st.integers(8080, 8081)), "protocol": protocol}],
    )


others = st.one_of(
    st.builds(
        g.gateway_class,
        controller=st.sampled_from(("netloom.io/gateway", "netloom.io/gateway", "example.org/x")),
    ),
    st.builds(
        lambda name, to, day, ls: g.listener_set(name, to, *ls, created=day),
        st.sampled_from(("shop/extra", "web/extra")),
        st.sampled_from(("infra/edge", "infra/other")),
        days,
        st.lists(listeners(), min_size=1, max_size=2),
    ),
    st.builds(
        lambda kind, space: g.grant("web/g", origin=(kind, space), to=("Service", None)),
        st.sampled_from(("HTTPRoute", "TCPRoute")),
        st.sampled_from(SPACES),
    ),
    st.builds(lambda: g.grant("infra/g", origin=("ListenerSet", "shop"), to=("Secret", "a"))),
    st.builds(
        lambda name, day, services, section: g.backend_tls(
            f"shop/{name}", *services, section=section, about={"created": day}
        ),
        names,
        days,
        st.lists(st.sampled_from(("web", "api", "none")), min_size=1, max_size=2),
        st.sampled_from((None, "http", "none")),
    ),
    st.builds(
        lambda name: g.backend_tls(
            f"shop/{name}", "web", caCertificateRefs=[{"group": "", "kind": "ConfigMap", "name": "ca"}]
        ),
        names,
    ),
    st.builds(
        lambda text: g.config_map("shop/ca", ca_crt=text),
        st.sampled_from(("none", secret_for("x/y", "ca.example.org").data["tls.crt"])),
    ),
    st.sampled_from(
        (secret_for("infra/a", "shop.example.org"), CHAIN_OF_ANOTHER, secret_for("shop/a", "a.b"))
    ),
    st.builds(
        lambda name, target, said: g.traffic(name, target, **said),
        st.sampled_from(("infra/p", "infra/q", "shop/p")),
        st.sampled_from(
            (
                ("Gateway", "edge", ""),
                ("Gateway", "edge", "one"),
                ("HTTPRoute", "one", ""),
                ("HTTPRoute", "wide", ""),
            )
        ),
        st.sampled_from(
            (
                {"maxBodyBytes": 5},
                {"outliers": {"errors": 3}},
                {"basicAuth": {"secretRef": {"name": "a"}}},
                {"externalAuth": {"backendRef": {"name": "web", "port": 80}}},
                {"sessionCookie": {"name": "c"}},
            )
        ),
    ),
    st.builds(lambda value: g.namespace("shop", team=value), st.sampled_from("ab")),
    st.builds(
        lambda addresses: g.gateway_service("infra/edge-netloom", addresses, p80_tcp=30080),
        st.sampled_from(((), ("203.0.113.1",))),
    ),
)


def change_of(batch):
    kinds = {}
    now = None
    for one, is_there, at in batch:
        kinds.setdefault(g.field_of(type(one)), {})[one.key] = one if is_there else None
        now = now if at is None else at
    return GatewayChanges(now=now, **kinds)


def view_after(view, change):
    kinds = {}
    for field in GatewayView.__struct_fields__:
        if field != "now":
            merged = {**getattr(view, field), **getattr(change, field)}
            kinds[field] = {key: one for key, one in merged.items() if one is not None}
    return GatewayView(now=view.now if change.now is None else change.now, **kinds)


BASE = g.view_of(
    g.gateway_class(),
    g.gateway("infra/edge", *USUAL, allowedListeners={"namespaces": {"from": "All"}}),
    g.listener_set("shop/extra", "infra/edge", g.listener("one", 8080), g.listener("two", 80)),
    secret_for("infra/a", "shop.example.org"),
    g.service("shop/web"),
    g.service("shop/api"),
    g.service("web/web"),
    g.endpoint_slice("shop/web", "192.0.2.1", "192.0.2.2"),
    g.endpoint_slice("web/web", "192.0.2.3"),
    g.grant("web/g", origin=("HTTPRoute", "shop"), to=("Service", None)),
    g.http_route("shop/wide", hosts=["*.example.org"], created=DAYS[1]),
    g.http_route(
        "shop/one", g.rule("/a"), g.rule("/", to=[g.backend("web/web")]), hosts=["shop.example.org"]
    ),
    g.http_route("web/one", g.rule("/a/b", "Exact"), parents=[g.parent("shop/extra", kind="ListenerSet")]),
    g.stream_route(TLSRoute, "shop/one", hosts=["example.net", "shop.example.org"]),
    g.stream_route(TCPRoute, "shop/one"),
    g.stream_route(UDPRoute, "shop/one"),
    g.backend_tls("shop/one", "api"),
    now=WITHIN,
)


def _all(view):
    return [
        one
        for field in GatewayView.__struct_fields__
        if field != "now"
        for one in getattr(view, field).values()
    ]


objects = st.one_of(
    gateways(), routes(), routes(), routes(), services(), slices(), others, st.sampled_from(list(_all(BASE)))
)
changes = st.tuples(
    objects, st.sampled_from((True, True, True, False)), st.sampled_from((None, None, None, *TIMES))
)


@given(st.lists(st.lists(changes, min_size=1, max_size=4), max_size=12))
def test_history_leaves_no_trace(batches):
    view, gateways = BASE, Gateways(BASE)
    for batch in batches:
        change = change_of(batch)
        view = view_after(view, change)
        built = gateways.update(change)
        again = gateways.update(change)
        assert again.plan is built.plan
        fresh = compute(view)
        assert built.plan == fresh.plan
        assert built.statuses == fresh.statuses
        assert built.findings == fresh.findings


@given(st.lists(changes, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_objects_makes_no_difference(batch, random):
    view = view_after(BASE, change_of(batch))
    shuffled = {}
    for field in GatewayView.__struct_fields__:
        held = getattr(view, field)
        if isinstance(held, dict):
            items = list(held.items())
            random.shuffle(items)
            shuffled[field] = dict(items)
    assert compute(replace(view, **shuffled)) == compute(view)


requests = st.builds(
    Request,
    host=st.sampled_from(("shop.example.org", "a.shop.example.org:8080", "x.example.org", "example.net", "")),
    path=st.sampled_from((*PATHS, "/a/b/c", "/ab", "/a/")),
    method=st.sampled_from(("GET", "POST")),
    headers=st.sampled_from(((), (("X", "1"),))),
    query=st.sampled_from(("", "q=1")),
    server_name=st.sampled_from((None, "", "shop.example.org")),
)


@given(st.lists(changes, max_size=12), requests)
def test_every_request_is_decided_at_every_door_and_twice_the_same(batch, request):
    plan = compute(view_after(BASE, change_of(batch))).plan
    for door in plan.doors:
        decision = decide(plan, door, request)
        assert decide(plan, door, request) == decision
        assert {share.pool for share in decision.shares} <= {"", *plan.pools}
        assert decision.status == 0 or 200 <= decision.status < 600


@given(st.lists(changes, max_size=16))
def test_rules_of_a_host_are_in_one_order_and_the_widest_host_ends_every_other(batch):
    plan = compute(view_after(BASE, change_of(batch))).plan
    for door in plan.doors:
        for listener in door.listeners:
            names = [host.name for host in listener.hosts]
            assert len(set(names)) == len(names)
            for host in listener.hosts:
                sources = [rule.source for rule in host.rules]
                assert len(set(sources)) == len(sources)
