"""GRPCRoute, TLSRoute, TCPRoute and UDPRoute, sentence by sentence: gateway-api ``apis/v1/grpcroute_types.go``, ``tlsroute_types.go``."""

from __future__ import annotations

import pytest

from netloom.api.gateway import TCPRoute, TLSRoute, UDPRoute
from netloom.model.gateways.matching import Action
from netloom.model.gateways.plan import PathKind, PoolProtocol, Transport
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_certificates import WITHIN, secret_for
from netloom.testing.gateway_world import World

TRUE, FALSE = "True", "False"
WEB = (g.service("shop/web"), g.endpoint_slice("shop/web", "192.0.2.1"))
OLD, NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
PASS = g.tls(mode="Passthrough")


def call(service="", method="", type_="Exact", **more):
    said = (
        {"type": type_} | ({"service": service} if service else {}) | ({"method": method} if method else {})
    )
    return {"matches": [{"method": said, **more}], "backendRefs": [g.backend()]}


class TestGrpc:
    def of(self, *objects):
        return World(g.gateway(), *WEB, *objects)

    @pytest.mark.parametrize(
        ("rule", "kind", "path"),
        [
            (call("shop.Cart", "Add"), PathKind.EXACT, "/shop.Cart/Add"),
            (call("shop.Cart"), PathKind.PREFIX, "/shop.Cart"),
            (call("", "Add"), PathKind.REGEX, "/[^/]+/Add"),
            (call("shop[.].*", "", "RegularExpression"), PathKind.REGEX, "/(?:shop[.].*)/[^/]+"),
            ({"backendRefs": [g.backend()]}, PathKind.PREFIX, "/"),
        ],
    )
    def test_methods_are_paths(self, rule, kind, path):
        ((rule,),) = [host.rules for host in self.of(g.grpc_route("shop/rpc", rule)).hosts().values()]
        assert (rule.match.path_kind, rule.match.path, rule.is_grpc) == (kind, path, True)

    def test_backends_are_spoken_to_in_http2(self):
        (pool,) = self.of(g.grpc_route()).built.plan.pools.values()
        assert pool.protocol is PoolProtocol.H2C

    @pytest.mark.parametrize(
        ("better", "worse"),
        [
            (call("shop.Cart.v2"), call("shop.Cart")),
            (call("shop.Cart", "AddMany"), call("shop.Cart", "Add", "RegularExpression")),
            (call("shop.Cart", headers=[{"name": "a", "value": "1"}]), call("shop.Cart")),
            (call("shop.Cart"), call("", "Add")),
        ],
    )
    def test_precedence_is_characters_of_service_then_of_method_then_headers(self, better, worse):
        world = self.of(g.grpc_route("shop/rpc", worse, better))
        assert [rule.name[-1] for rule in world.hosts()[""].rules] == ["1", "0"]

    @pytest.mark.parametrize(
        "rule",
        [call(), call("a/b"), call("a", "b-c"), call("(", "", "RegularExpression"), call("a", "b", "Like")],
    )
    def test_a_match_that_is_none(self, rule):
        assert self.of(g.grpc_route("shop/rpc", rule)).route("shop/rpc", "GRPCRoute")["Accepted"] == (
            FALSE,
            "UnsupportedValue",
        )

    def test_a_filter_of_http_alone_is_refused(self):
        rule = {"filters": [{"type": "URLRewrite", "urlRewrite": {}}], "backendRefs": [g.backend()]}
        assert self.of(g.grpc_route("shop/rpc", rule)).route("shop/rpc", "GRPCRoute")["Accepted"] == (
            FALSE,
            "UnsupportedValue",
        )

    def test_no_backend_is_unavailable(self):
        world = self.of(g.grpc_route("shop/rpc", {"backendRefs": [g.backend(weight=0)]}))
        assert world.ask("x.example.org/a/b").status == 503

    @pytest.mark.parametrize(
        ("http", "grpc", "is_exclusive"),
        [
            (["a.example.org"], ["a.example.org"], True),
            (["*.example.org"], ["a.example.org"], True),
            (["a.example.org"], ["*.example.org"], True),
            ([], ["a.example.org"], True),
            (["*.a.example.org"], ["*.example.org"], True),
            (["a.example.org"], ["b.example.org"], False),
            (["*.a.example.org"], ["a.example.org"], False),
        ],
    )
    def test_exactly_one_of_an_http_and_a_grpc_route_with_common_hosts_is_accepted(
        self, http, grpc, is_exclusive
    ):
        """Determined by: the oldest Route based on creation timestamp, then the first by "{namespace}/{name}"."""
        for older in ("http", "grpc"):
            world = self.of(
                g.http_route("shop/web", hosts=http, created=OLD if older == "http" else NEW),
                g.grpc_route("shop/rpc", hosts=grpc, created=OLD if older == "grpc" else NEW),
            )
            said = {
                "http": world.route()["Accepted"][0],
                "grpc": world.route("shop/rpc", "GRPCRoute")["Accepted"][0],
            }
            assert said[older] == TRUE
            assert (list(said.values()).count(FALSE) == 1) is is_exclusive
            assert world.listener_status("http")["attachedRoutes"] == (1 if is_exclusive else 2)


class TestTls:
    GATEWAY = g.gateway("infra/edge", g.listener("tls", 443, "TLS", hostname="*.example.org", tls=PASS))

    def route(self, *hosts, name="shop/tls", **how):
        return g.stream_route(TLSRoute, name, *how.pop("to", ()), hosts=hosts, **how)

    def test_connections_are_carried_by_server_name_as_they_are(self):
        world = World(self.GATEWAY, *WEB, self.route("a.example.org"))
        assert world.route("shop/tls", "TLSRoute")["Accepted"] == (TRUE, "Accepted")
        decision = world.ask("ignored", 443, sni="a.example.org")
        assert decision.action is Action.FORWARD
        assert decision.certificate is None
        assert [share.pool for share in decision.shares] == ["shop/web/80/tcp"]
        assert world.ask("a.example.org", 443, sni="b.example.org").action is Action.REFUSE
        assert world.ask("a.example.org", 443, sni="").action is Action.REFUSE

    def test_more_special_names_come_first(self):
        wide = self.route("*.example.org", name="shop/wide", created=OLD)
        own = self.route("a.example.org", name="shop/own", to=(g.backend("api"),))
        world = World(self.GATEWAY, *WEB, g.service("shop/api"), wide, own)
        assert [share.pool for share in world.ask("", 443, sni="a.example.org").shares] == ["shop/api/80/tcp"]
        assert [share.pool for share in world.ask("", 443, sni="b.example.org").shares] == ["shop/web/80/tcp"]

    def test_hostnames_that_no_listener_has(self):
        world = World(self.GATEWAY, *WEB, self.route("example.net"))
        assert world.route("shop/tls", "TLSRoute")["Accepted"] == (FALSE, "NoMatchingListenerHostname")

    @pytest.mark.parametrize("listener", [g.listener(), g.listener("https", 443, "HTTPS", tls=g.tls("a"))])
    def test_a_listener_of_another_protocol_takes_none(self, listener):
        world = World(g.gateway("infra/edge", listener), *WEB, self.route("a.example.org"))
        assert world.route("shop/tls", "TLSRoute")["Accepted"] == (FALSE, "NotAllowedByListeners")

    def test_a_route_needs_hostnames_and_one_rule(self):
        assert World(self.GATEWAY, self.route()).route("shop/tls", "TLSRoute")["Accepted"] == (
            FALSE,
            "UnsupportedValue",
        )
        two = g.written(
            TLSRoute,
            "shop/tls",
            {"parentRefs": [g.parent()], "hostnames": ["a.example.org"], "rules": [{}, {}]},
        )
        assert World(self.GATEWAY, two).route("shop/tls", "TLSRoute")["Accepted"] == (
            FALSE,
            "UnsupportedValue",
        )

    def test_an_invalid_backend_rejects_its_part(self):
        world = World(
            self.GATEWAY,
            *WEB,
            self.route("a.example.org", to=(g.backend(weight=1), g.backend("none", weight=4))),
        )
        assert [(s.pool, s.weight) for s in world.ask("", 443, sni="a.example.org").shares] == [
            ("shop/web/80/tcp", 1),
            ("", 4),
        ]
        assert world.route("shop/tls", "TLSRoute")["ResolvedRefs"] == (FALSE, "BackendNotFound")

    def test_where_tls_ends_here_a_policy_encrypts_again_and_where_it_passes_it_does_not(self):
        for tls, is_again in ((g.tls("a"), True), (PASS, False)):
            gateway = g.gateway("infra/edge", g.listener("tls", 443, "TLS", tls=tls))
            secret = secret_for("infra/a", "a.example.org")
            objects = (gateway, secret, *WEB, self.route("a.example.org"), g.backend_tls("shop/p", "web"))
            world = World(*objects, now=WITHIN)
            decision = world.ask("", 443, sni="a.example.org")
            assert (decision.certificate is not None) is is_again
            assert (world.built.plan.pools[decision.shares[0].pool].tls is not None) is is_again

    def test_a_tcp_route_takes_everything_of_a_listener_that_ends_tls(self):
        gateway = g.gateway("infra/edge", g.listener("tls", 443, "TLS", tls=g.tls("a")))
        route = g.stream_route(TCPRoute, "shop/tcp")
        world = World(gateway, secret_for("infra/a", "a.b"), *WEB, route, now=WITHIN)
        assert world.ask("", 443, sni="anything").action is Action.FORWARD


class TestTcpAndUdp:
    def test_connections_go_to_shares(self):
        to = (g.backend(weight=1), g.backend("api", weight=3))
        gateway = g.gateway("infra/edge", g.listener("tcp", 9000, "TCP"))
        world = World(gateway, *WEB, g.service("shop/api"), g.stream_route(TCPRoute, "shop/tcp", *to))
        assert world.pools("", 9000) == {"shop/web/80/tcp": 1, "shop/api/80/tcp": 3}
        assert world.door(9000).transport is Transport.TCP

    def test_only_the_oldest_route_of_a_listener_can_have_its_connections(self):
        gateway = g.gateway("infra/edge", g.listener("tcp", 9000, "TCP"))
        routes = [g.stream_route(TCPRoute, f"shop/{n}", created=c) for n, c in (("new", NEW), ("old", OLD))]
        world = World(gateway, *WEB, *routes)
        assert world.route("shop/old", "TCPRoute")["Accepted"] == (TRUE, "Accepted")
        assert world.route("shop/new", "TCPRoute")["Accepted"] == (FALSE, "Conflicted")
        assert "TCPRoute shop/old" in world.message("Accepted", "shop/new", "TCPRoute")
        assert world.listener_status("tcp")["attachedRoutes"] == 1

    def test_datagrams_go_to_ports_of_that_protocol(self):
        gateway = g.gateway("infra/edge", g.listener("dns", 53, "UDP"))
        service = g.service(
            "shop/dns",
            {"name": "d", "port": 53, "protocol": "UDP"},
            {"name": "t", "port": 53, "protocol": "TCP"},
        )
        slices = g.endpoint_slice(
            "shop/dns", "192.0.2.5", ports=[{"name": "d", "port": 5353, "protocol": "UDP"}]
        )
        world = World(gateway, service, slices, g.stream_route(UDPRoute, "shop/dns", g.backend("dns", 53)))
        ((key, pool),) = world.built.plan.pools.items()
        assert (key, pool.protocol) == ("shop/dns/53/udp", PoolProtocol.UDP)
        assert [(str(one.address), one.port) for one in pool.endpoints] == [("192.0.2.5", 5353)]
        assert world.door(53).transport is Transport.UDP

    def test_a_service_without_such_a_port(self):
        gateway = g.gateway("infra/edge", g.listener("dns", 53, "UDP"))
        world = World(gateway, *WEB, g.stream_route(UDPRoute, "shop/dns"))
        assert world.route("shop/dns", "UDPRoute")["ResolvedRefs"] == (FALSE, "BackendNotFound")
        assert world.ask("", 53).shares[0].pool == ""


class TestMisdirected:
    """Gateway ``spec.listeners[].hostname``: requests that the listener of the handshake does not have."""

    def world(self):
        names = {"a": "a.example.org", "wild": "*.example.org"}
        gateway = g.gateway(
            "infra/edge", *(g.listener(n, 443, "HTTPS", hostname=h, tls=g.tls("s")) for n, h in names.items())
        )
        return World(gateway, secret_for("infra/s", "*.example.org"), *WEB, g.http_route(), now=WITHIN)

    @pytest.mark.parametrize(
        ("sni", "host", "status"),
        [
            ("a.example.org", "a.example.org", 0),
            ("b.example.org", "c.example.org", 0),
            # If another Listener has an exact match or more specific wildcard entry, the Gateway SHOULD return a 421.
            ("b.example.org", "a.example.org", 421),
            ("a.example.org", "b.example.org", 421),
            # If no other Listener matches the Host, the Gateway MUST return a 404.
            ("a.example.org", "example.net", 404),
        ],
    )
    def test_a_request_for_another_listener(self, sni, host, status):
        assert self.world().ask(f"{host}/", 443, sni=sni).status == status

    def test_a_handshake_that_no_listener_has_is_refused(self):
        assert self.world().ask("example.net/", 443).action is Action.REFUSE
