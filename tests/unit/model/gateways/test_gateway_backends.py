"""Backends, filters and timeouts of rules, sentence by sentence: gateway-api ``apis/v1/httproute_types.go``."""

from __future__ import annotations

import pytest

from netloom.model.gateways.matching import Action
from netloom.model.gateways.plan import Cors, HeaderChange, Mirror, PoolProtocol
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_certificates import key_pair
from netloom.testing.gateway_world import World

TRUE, FALSE = "True", "False"
WEB = (g.service("shop/web"), g.endpoint_slice("shop/web", "192.0.2.1"))
CA = key_pair("ca.example.org")[0]
READY = {"addresses": ["192.0.2.1"]}
DRAINING = {
    "addresses": ["192.0.2.2"],
    "conditions": {"ready": False, "serving": True, "terminating": True},
}
GONE = {"addresses": ["192.0.2.3"], "conditions": {"ready": False, "serving": False, "terminating": True}}
STARTING = {"addresses": ["192.0.2.4"], "conditions": {"ready": False}}
TABLE = [
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"),
    ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "", "/bar"),
    ("/foo/", "/foo", "", "/"),
    ("/foo", "/foo", "", "/"),
    ("/foo/", "/foo", "/", "/"),
    ("/foo", "/foo", "/", "/"),
    ("/foo", "/", "/xyz", "/xyz/foo"),
]
REF = {"group": "", "kind": "ConfigMap", "name": "ca"}


def of(*objects):
    return World(g.gateway(), *WEB, *objects)


def with_filter(type_, **said):
    return of(g.http_route("shop/web", g.rule("/foo", filters=[{"type": type_, **said}])))


def only_rule(world):
    ((rule,),) = [host.rules for host in world.hosts().values()]
    return rule


class TestBackends:
    @pytest.mark.parametrize(
        ("backend", "reason"),
        [
            (g.backend("none"), "BackendNotFound"),
            (g.backend("web", 81), "BackendNotFound"),
            (g.backend("web", None), "BackendNotFound"),
            (g.backend("web", kind="Bucket", group="x.io"), "InvalidKind"),
            (g.backend("web", kind="Pod"), "InvalidKind"),
            (g.backend("vault/web"), "RefNotPermitted"),
        ],
    )
    def test_an_invalid_backend_is_a_condition_and_all_of_its_requests_get_500(self, backend, reason):
        world = of(g.http_route("shop/web", g.rule("/", to=[backend])))
        assert world.route() == {"Accepted": (TRUE, "Accepted"), "ResolvedRefs": (FALSE, reason)}
        assert "spec.rules[0].backendRefs[0]" in world.message("ResolvedRefs")
        decision = world.ask("x.example.org/")
        assert [world.status_of(share) for share in decision.shares] == [500]

    def test_a_part_that_is_invalid_gets_its_part_of_500(self):
        world = of(g.http_route("shop/web", g.rule("/", to=[g.backend("web"), g.backend("none")])))
        shares = world.ask("x.example.org/").shares
        assert [(world.status_of(one), one.weight) for one in shares] == [(0, 1), (500, 1)]

    def test_weights_are_kept_and_weight_0_gets_nothing(self):
        to = [g.backend("web", weight=3), g.backend("api", weight=0), g.backend("web", weight=1)]
        world = of(g.http_route("shop/web", g.rule("/", to=to)), g.service("shop/api"))
        assert [share.weight for share in world.ask("x.example.org/").shares] == [3, 1]

    @pytest.mark.parametrize("to", [[], [g.backend(weight=0)]])
    def test_no_backend_at_all_is_500(self, to):
        world = of(g.http_route("shop/web", g.rule("/", to=to)))
        assert world.ask("x.example.org/").status == 500

    def test_a_weight_out_of_range_makes_the_rule_invalid(self):
        world = of(g.http_route("shop/web", g.rule("/", to=[g.backend(weight=-1)])))
        assert world.route()["Accepted"] == (FALSE, "UnsupportedValue")

    def test_a_service_without_ready_endpoints_is_503(self):
        world = World(g.gateway(), g.service("shop/web"), g.http_route())
        assert world.route()["ResolvedRefs"] == (TRUE, "ResolvedRefs")
        (share,) = world.ask("x.example.org/").shares
        assert world.status_of(share) == 503

    def test_another_namespace_needs_a_grant(self):
        route = g.http_route("shop/web", g.rule("/", to=[g.backend("vault/web")]))
        objects = (route, g.service("vault/web"), g.endpoint_slice("vault/web", "192.0.2.9"))
        grant = g.grant("vault/g", origin=("HTTPRoute", "shop"), to=("Service", "web"))
        assert of(*objects).route()["ResolvedRefs"] == (FALSE, "RefNotPermitted")
        world = of(*objects, grant)
        assert world.route()["ResolvedRefs"] == (TRUE, "ResolvedRefs")
        assert world.pools("x.example.org/") == {"vault/web/80": 1}

    def test_an_external_name_has_no_endpoints_and_says_so(self):
        world = World(
            g.gateway(),
            g.service("shop/web", type="ExternalName", externalName="x.example.org"),
            g.http_route(),
        )
        assert world.route()["ResolvedRefs"] == (FALSE, "BackendNotFound")
        assert "ExternalName" in world.message("ResolvedRefs")

    def test_a_headless_service_is_a_backend_like_any_other(self):
        world = World(g.gateway(), g.service("shop/web", clusterIP="None"), WEB[1], g.http_route())
        assert len(world.built.plan.pools["shop/web/80"].endpoints) == 1

    @pytest.mark.parametrize(
        ("said", "protocol"),
        [
            (None, PoolProtocol.HTTP),
            ("kubernetes.io/ws", PoolProtocol.HTTP),
            ("http", PoolProtocol.HTTP),
            ("mysql", PoolProtocol.HTTP),
            ("kubernetes.io/h2c", PoolProtocol.H2C),
        ],
    )
    def test_what_a_backend_speaks(self, said, protocol):
        port = {"name": "http", "port": 80, **({"appProtocol": said} if said else {})}
        world = World(g.gateway(), g.service("shop/web", port), WEB[1], g.http_route())
        (pool,) = world.built.plan.pools.values()
        assert pool.protocol is protocol

    @pytest.mark.parametrize("said", ["https", "kubernetes.io/wss"])
    def test_tls_to_a_backend_needs_a_policy(self, said):
        service = g.service("shop/web", {"name": "http", "port": 80, "appProtocol": said})
        world = World(g.gateway(), service, WEB[1], g.http_route())
        assert world.route()["ResolvedRefs"] == (FALSE, "UnsupportedProtocol")
        world = World(g.gateway(), service, WEB[1], g.http_route(), g.backend_tls("shop/p", "web"))
        assert world.route()["ResolvedRefs"] == (TRUE, "ResolvedRefs")

    def test_pools_of_routes_that_nobody_takes_are_not_there(self):
        assert of(g.http_route(parents=[g.parent(section="none")])).built.plan.pools == {}


class TestEndpoints:
    def pool(self, *endpoints, service=None, **how):
        objects = (service or g.service("shop/web"), g.endpoint_slice("shop/web", *endpoints, **how))
        (pool,) = World(g.gateway(), *objects, g.http_route()).built.plan.pools.values()
        return [(str(one.address), one.port, one.is_draining) for one in pool.endpoints]

    def test_those_that_are_ready(self):
        assert self.pool(READY, DRAINING, GONE, STARTING) == [("192.0.2.1", 8080, False)]

    def test_those_that_terminate_and_serve_where_none_is_ready(self):
        """KEP-1669."""
        assert self.pool(DRAINING, GONE, STARTING) == [("192.0.2.2", 8080, True)]

    def test_one_that_merely_is_not_ready_is_never_used(self):
        assert self.pool(STARTING, GONE) == []

    def test_ports_are_joined_by_name_whatever_their_numbers(self):
        service = g.service(
            "shop/web", {"name": "a", "port": 80, "targetPort": "named"}, {"name": "b", "port": 81}
        )
        ports = [
            {"name": "b", "port": 9001, "protocol": "TCP"},
            {"name": "a", "port": 9000, "protocol": "TCP"},
        ]
        assert self.pool("192.0.2.1", service=service, ports=ports) == [("192.0.2.1", 9000, False)]

    @pytest.mark.parametrize(
        "ports",
        [
            [],
            [{"name": "http"}],
            [{"name": "x", "port": 80}],
            [{"name": "http", "port": 80, "protocol": "UDP"}],
        ],
    )
    def test_a_slice_without_the_port_has_no_endpoints_for_it(self, ports):
        assert self.pool("192.0.2.1", ports=ports) == []

    def test_what_is_no_address_of_another_host_is_left_out(self):
        assert self.pool("127.0.0.1", "x", {"addresses": []}, "192.0.2.1", "192.0.2.1") == [
            ("192.0.2.1", 8080, False)
        ]

    def test_slices_are_merged_in_order_of_addresses(self):
        slices = [
            g.endpoint_slice("shop/web", f"192.0.2.{n}", suffix=s) for n, s in ((9, "a"), (10, "b"), (2, "c"))
        ]
        (pool,) = World(g.gateway(), WEB[0], *slices, g.http_route()).built.plan.pools.values()
        assert [str(one.address) for one in pool.endpoints] == ["192.0.2.2", "192.0.2.9", "192.0.2.10"]


class TestFilters:
    def test_headers_are_set_added_and_removed(self):
        said = {
            "set": [{"name": "a", "value": "1"}],
            "add": [{"name": "b", "value": "2,3"}],
            "remove": ["c"],
        }
        world = with_filter("RequestHeaderModifier", requestHeaderModifier=said)
        assert only_rule(world).request == HeaderChange(("c",), (("a", "1"),), (("b", "2,3"),))
        world = with_filter("ResponseHeaderModifier", responseHeaderModifier=said)
        assert only_rule(world).response == HeaderChange(("c",), (("a", "1"),), (("b", "2,3"),))

    @pytest.mark.parametrize(
        ("type_", "said"),
        [
            ("RequestHeaderModifier", {}),
            ("RequestHeaderModifier", {"requestHeaderModifier": {"set": [{"name": "a b", "value": ""}]}}),
            ("RequestHeaderModifier", {"requestHeaderModifier": {"set": [{"name": "a", "value": "x\ny: z"}]}}),
            # Only one action for a given header name is permitted.
            ("RequestHeaderModifier", {"requestHeaderModifier": {"set": [{"name": "a", "value": "1"}], "remove": ["A"]}}),
            ("RequestRedirect", {}),
            ("RequestRedirect", {"requestRedirect": {"statusCode": 305}}),
            ("RequestRedirect", {"requestRedirect": {"scheme": "ftp"}}),
            ("RequestRedirect", {"requestRedirect": {"hostname": "*.example.org"}}),
            ("RequestRedirect", {"requestRedirect": {"port": 0}}),
            ("RequestRedirect", {"requestRedirect": {"path": {"type": "ReplaceHalf"}}}),
            ("URLRewrite", {}),
            ("URLRewrite", {"urlRewrite": {"hostname": "x y"}}),
            ("URLRewrite", {"urlRewrite": {"path": {"type": "ReplaceFullPath"}}}),
            ("URLRewrite", {"urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/a\r\nb"}}}),
            ("URLRewrite", {"urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "a"}}}),
            ("RequestMirror", {}),
            ("RequestMirror", {"requestMirror": {"backendRef": {"name": "web", "port": 80}, "percent": 101}}),
            ("RequestMirror", {"requestMirror": {"backendRef": {"name": "web", "port": 80}, "fraction": {"numerator": 2, "denominator": 1}}}),
            ("RequestMirror", {"requestMirror": {"backendRef": {"name": "web", "port": 80}, "percent": 1, "fraction": {"numerator": 1}}}),
            ("CORS", {}),
            ("CORS", {"cors": {"allowOrigins": ["ftp://x"]}}),
            ("CORS", {"cors": {"allowOrigins": ["*", "https://x.example.org"]}}),
            ("CORS", {"cors": {"allowMethods": ["LURK"]}}),
            ("CORS", {"cors": {"maxAge": 0}}),
            ("ExtensionRef", {}),
            ("Unheard", {}),
        ],
    )  # fmt: skip
    def test_a_filter_that_cannot_be_done_makes_its_rule_invalid(self, type_, said):
        """Unknown values here must result in the implementation setting the Accepted Condition to False."""
        world = with_filter(type_, **said)
        assert world.route()["Accepted"] == (FALSE, "UnsupportedValue")
        assert "spec.rules[0].filters[0]" in world.message("Accepted")
        assert world.hosts() == {}

    @pytest.mark.parametrize(
        "filters",
        [
            [{"type": "RequestRedirect", "requestRedirect": {}}, {"type": "URLRewrite", "urlRewrite": {}}],
            [{"type": "URLRewrite", "urlRewrite": {}}, {"type": "URLRewrite", "urlRewrite": {}}],
            [{"type": "RequestRedirect", "requestRedirect": {}}],
        ],
    )
    def test_filters_that_exclude_each_other_or_backends(self, filters):
        world = of(g.http_route("shop/web", g.rule("/", filters=filters)))
        assert world.route()["Accepted"] == (FALSE, "IncompatibleFilters")

    def test_a_filter_that_cannot_be_resolved_is_not_skipped(self):
        """Instead, requests that would have been processed by that filter MUST receive a HTTP error response."""
        for ref, reason in (
            ({"group": "netloom.io", "kind": "TrafficPolicy", "name": "none"}, "FilterNotFound"),
            ({"group": "x.io", "kind": "Magic", "name": "none"}, "InvalidKind"),
        ):
            world = with_filter("ExtensionRef", extensionRef=ref)
            assert world.route()["ResolvedRefs"] == (FALSE, reason)
            assert world.ask("x.example.org/foo").status == 500

    @pytest.mark.parametrize(
        ("part", "mirror"),
        [
            ({}, (100, 100)),
            ({"percent": 5}, (5, 100)),
            ({"fraction": {"numerator": 1, "denominator": 3}}, (1, 3)),
            ({"fraction": {"numerator": 7}}, (7, 100)),
        ],
    )
    def test_mirrors_and_their_parts(self, part, mirror):
        world = with_filter(
            "RequestMirror", requestMirror={"backendRef": {"name": "web", "port": 80}, **part}
        )
        assert only_rule(world).mirrors == (Mirror("shop/web/80", *mirror),)

    def test_a_mirror_may_be_used_several_times_and_an_invalid_one_is_dropped(self):
        filters = [
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": name, "port": 80}}}
            for name in ("web", "none", "web")
        ]
        world = of(g.http_route("shop/web", g.rule("/", filters=filters)))
        assert len(only_rule(world).mirrors) == 2
        assert world.route()["ResolvedRefs"] == (FALSE, "BackendNotFound")
        assert world.pools("x.example.org/") == {"shop/web/80": 1}

    def test_cors(self):
        said = {
            "allowOrigins": ["https://*.example.org"],
            "allowMethods": ["PUT"],
            "allowCredentials": True,
            "maxAge": 60,
        }
        world = with_filter("CORS", cors=said)
        assert only_rule(world).cors == Cors(("https://*.example.org",), ("PUT",), (), (), 60, True)
        asked = {"Origin": "https://a.example.org", "Access_Control_Request_Method": "PUT"}
        assert world.ask("x.example.org/foo", method="OPTIONS", **asked).action is Action.PREFLIGHT
        assert world.ask("x.example.org/foo", method="OPTIONS").action is Action.FORWARD

    def test_headers_of_one_backend(self):
        filters = [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "1"}]}}
        ]
        world = of(g.http_route("shop/web", g.rule("/", to=[g.backend(filters=filters)])))
        assert world.ask("x.example.org/").shares[0].request.set == (("a", "1"),)

    def test_other_filters_at_a_backend_are_said_not_to_be_supported(self):
        backend = g.backend(filters=[{"type": "URLRewrite", "urlRewrite": {}}])
        world = of(g.http_route("shop/web", g.rule("/", to=[backend])))
        assert world.route()["Accepted"] == (FALSE, "UnsupportedValue")


class TestPaths:
    """The table of HTTPPathModifier ``replacePrefixMatch``."""

    @pytest.mark.parametrize(("path", "prefix", "value", "result"), TABLE)
    def test_a_prefix_is_replaced(self, path, prefix, value, result):
        change = {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}
        filters = [{"type": "URLRewrite", "urlRewrite": {"path": change, "hostname": "in.example.org"}}]
        decision = of(g.http_route("shop/web", g.rule(prefix, filters=filters))).ask(f"x.example.org{path}")
        assert (decision.path, decision.authority) == (result, "in.example.org")

    def test_the_whole_path_is_replaced(self):
        change = {"type": "ReplaceFullPath", "replaceFullPath": "/new"}
        filters = [{"type": "URLRewrite", "urlRewrite": {"path": change}}]
        assert (
            of(g.http_route("shop/web", g.rule("/a", filters=filters))).ask("x.example.org/a/b").path
            == "/new"
        )

    @pytest.mark.parametrize("kind", ["Exact", "RegularExpression"])
    def test_a_prefix_is_only_replaced_where_one_matched(self, kind):
        change = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}
        filters = [{"type": "URLRewrite", "urlRewrite": {"path": change}}]
        world = of(g.http_route("shop/web", g.rule("/a", kind, filters=filters)))
        assert world.route()["Accepted"] == (FALSE, "UnsupportedValue")


class TestRedirects:
    def location(self, said, port=80):
        gateway = g.gateway("infra/edge", g.listener("http", port))
        route = g.http_route(
            "shop/web", g.rule("/", to=[], filters=[{"type": "RequestRedirect", "requestRedirect": said}])
        )
        decision = World(gateway, route).ask("shop.example.org/a?q=1", port)
        assert decision.action is Action.REDIRECT
        return decision.status, decision.location

    def test_what_is_not_said_is_as_in_the_request(self):
        assert self.location({}) == (302, "http://shop.example.org/a?q=1")

    @pytest.mark.parametrize(
        ("port", "said", "location"),
        [
            # If redirect scheme is not-empty, the redirect port MUST be the well-known port associated with it.
            (8080, {"scheme": "https"}, "https://shop.example.org/a?q=1"),
            (8080, {"scheme": "http"}, "http://shop.example.org/a?q=1"),
            # If redirect scheme is empty, the redirect port MUST be the Gateway Listener port.
            (8080, {}, "http://shop.example.org:8080/a?q=1"),
            (80, {"port": 8443}, "http://shop.example.org:8443/a?q=1"),
            # Implementations SHOULD NOT add the port number for HTTP and port 80, HTTPS and port 443.
            (8080, {"port": 80}, "http://shop.example.org/a?q=1"),
            (8080, {"scheme": "https", "port": 443}, "https://shop.example.org/a?q=1"),
            (8080, {"scheme": "https", "port": 80}, "https://shop.example.org:80/a?q=1"),
            (80, {"hostname": "new.example.org"}, "http://new.example.org/a?q=1"),
            (
                80,
                {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/b"}},
                "http://shop.example.org/b?q=1",
            ),
            (
                80,
                {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}},
                "http://shop.example.org/b/a?q=1",
            ),
        ],
    )
    def test_ports_hosts_and_paths(self, port, said, location):
        assert self.location(said, port) == (302, location)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_statuses(self, status):
        assert self.location({"statusCode": status})[0] == status


class TestTimeouts:
    def rule(self, **timeouts):
        return of(g.http_route("shop/web", g.rule("/", timeouts=timeouts)))

    def test_durations_of_the_whole_and_of_one_try(self):
        rule = only_rule(self.rule(request="1m30s", backendRequest="250ms"))
        assert (rule.request_timeout_s, rule.backend_timeout_s) == (90.0, 0.25)

    def test_zero_is_no_timeout_and_absent_is_unsaid(self):
        rule = only_rule(self.rule(request="0s", backendRequest="10s"))
        assert (rule.request_timeout_s, rule.backend_timeout_s) == (0.0, 10.0)
        assert only_rule(self.rule()).request_timeout_s is None

    @pytest.mark.parametrize(
        "said",
        [
            {"request": "10"},
            {"request": "1.5s"},
            {"backendRequest": "x"},
            {"request": "1s", "backendRequest": "2s"},
        ],
    )
    def test_what_is_no_duration_makes_the_rule_invalid(self, said):
        assert self.rule(**said).route()["Accepted"] == (FALSE, "UnsupportedValue")

    def test_retries(self):
        rule = only_rule(
            of(g.http_route("shop/web", g.rule("/", retry={"codes": [500, 503], "attempts": 2})))
        )
        assert (rule.traffic.retries, rule.traffic.retry_on) == (2, (500, 503))
        bad = of(g.http_route("shop/web", g.rule("/", retry={"codes": [200]})))
        assert bad.route()["Accepted"] == (FALSE, "UnsupportedValue")


class TestBackendTls:
    """``apis/v1/backendtlspolicy_types.go``."""

    def world(self, *policies, **more):
        return World(g.gateway(), *WEB, g.config_map("shop/ca", ca_crt=CA), g.http_route(), *policies, **more)

    def said(self, world, name="shop/p"):
        (ancestor,) = world.status("BackendTLSPolicy", name)["ancestors"]
        assert ancestor["ancestorRef"]["name"] == "edge"
        return g.conditions(ancestor)

    def test_the_backend_is_asked_with_tls(self):
        world = self.world(g.backend_tls("shop/p", "web", caCertificateRefs=[REF]))
        assert self.said(world) == {"Accepted": (TRUE, "Accepted"), "ResolvedRefs": (TRUE, "ResolvedRefs")}
        (pool,) = world.built.plan.pools.values()
        assert pool.tls is not None
        assert (pool.tls.hostname, pool.tls.authorities, pool.tls.names) == ("web.example.org", CA, ())

    def test_authorities_of_the_system(self):
        (pool,) = self.world(g.backend_tls("shop/p", "web")).built.plan.pools.values()
        assert pool.tls is not None
        assert pool.tls.authorities == ""

    def test_a_subject_alternative_name(self):
        names = [{"type": "Hostname", "hostname": "a.example.org"}]
        (pool,) = self.world(g.backend_tls("shop/p", "web", subjectAltNames=names)).built.plan.pools.values()
        assert pool.tls is not None
        assert (pool.tls.hostname, pool.tls.names) == ("web.example.org", ("a.example.org",))

    @pytest.mark.parametrize(
        ("validation", "accepted", "resolved"),
        [
            (
                {"caCertificateRefs": [{**REF, "name": "none"}]},
                (FALSE, "NoValidCACertificate"),
                (FALSE, "InvalidCACertificateRef"),
            ),
            (
                {"caCertificateRefs": [{**REF, "kind": "Secret"}]},
                (FALSE, "NoValidCACertificate"),
                (FALSE, "InvalidKind"),
            ),
            (
                {"caCertificateRefs": [REF, {**REF, "name": "none"}]},
                (TRUE, "Accepted"),
                (FALSE, "InvalidCACertificateRef"),
            ),
            (
                {"caCertificateRefs": [REF], "wellKnownCACertificates": "System"},
                (FALSE, "Invalid"),
                (TRUE, "ResolvedRefs"),
            ),
            ({"wellKnownCACertificates": "Mine"}, (FALSE, "Invalid"), (TRUE, "ResolvedRefs")),
            ({"hostname": "*.example.org"}, (FALSE, "Invalid"), (TRUE, "ResolvedRefs")),
            ({"subjectAltNames": [{"type": "Email"}]}, (FALSE, "Invalid"), (TRUE, "ResolvedRefs")),
            (
                {"subjectAltNames": [{"type": "URI", "uri": "spiffe://x/y"}]},
                (FALSE, "Invalid"),
                (TRUE, "ResolvedRefs"),
            ),
            (
                {"subjectAltNames": [{"type": "Hostname", "hostname": "*.example.org"}]},
                (FALSE, "Invalid"),
                (TRUE, "ResolvedRefs"),
            ),
            (
                {"subjectAltNames": [{"type": "Hostname", "hostname": n} for n in ("a.b", "c.d")]},
                (FALSE, "Invalid"),
                (TRUE, "ResolvedRefs"),
            ),
        ],
    )
    def test_connections_that_cannot_be_verified_fail(self, validation, accepted, resolved):
        """Connections using an invalid CACertificateRef MUST fail, and the client MUST receive an HTTP 5xx error response."""
        world = self.world(g.backend_tls("shop/p", "web", **validation))
        assert self.said(world) == {"Accepted": accepted, "ResolvedRefs": resolved}
        assert [world.status_of(s) for s in world.ask("x.example.org/").shares] == [500]
        assert world.route()["ResolvedRefs"] == (TRUE, "ResolvedRefs")

    def test_the_older_policy_takes_precedence_then_the_first_by_name(self):
        old = g.backend_tls(
            "shop/z", "web", about={"created": "2025-01-01T00:00:00Z"}, hostname="old.example.org"
        )
        world = self.world(g.backend_tls("shop/a", "web"), g.backend_tls("shop/b", "web"), old)
        assert self.said(world, "shop/z")["Accepted"] == (TRUE, "Accepted")
        assert self.said(world, "shop/a")["Accepted"] == (FALSE, "Conflicted")
        (pool,) = world.built.plan.pools.values()
        assert pool.tls is not None
        assert pool.tls.hostname == "old.example.org"
        world = self.world(g.backend_tls("shop/b", "web"), g.backend_tls("shop/a", "web"))
        assert self.said(world, "shop/b")["Accepted"] == (FALSE, "Conflicted")

    def test_a_policy_for_a_port_comes_before_one_for_the_service(self):
        whole = g.backend_tls("shop/a", "web", about={"created": "2025-01-01T00:00:00Z"})
        port = g.backend_tls("shop/b", "web", section="http", hostname="port.example.org")
        world = self.world(whole, port)
        (pool,) = world.built.plan.pools.values()
        assert pool.tls is not None
        assert pool.tls.hostname == "port.example.org"
        assert self.said(world, "shop/b")["Accepted"] == (TRUE, "Accepted")

    def test_a_target_that_is_not_there(self):
        world = self.world(
            g.backend_tls("shop/p", "web", "none"), g.backend_tls("shop/q", "web", section="none")
        )
        assert self.said(world)["Accepted"] == (FALSE, "TargetNotFound")
        assert self.said(world, "shop/q")["Accepted"] == (FALSE, "TargetNotFound")

    def test_a_policy_that_no_gateway_uses_has_no_ancestors(self):
        world = self.world(g.backend_tls("shop/p", "none"))
        assert world.status("BackendTLSPolicy", "shop/p") == {"ancestors": []}
