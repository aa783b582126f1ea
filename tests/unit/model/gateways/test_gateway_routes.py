"""Routes, sentence by sentence: gateway-api ``apis/v1/shared_types.go``, ``httproute_types.go``."""

from __future__ import annotations

import pytest

from netloom.testing import gateway_objects as g
from netloom.testing.gateway_world import World

TRUE, FALSE = "True", "False"
WEB = (g.service("shop/web"), g.endpoint_slice("shop/web", "192.0.2.1"))


def of(*objects, **gateway):
    return World(g.gateway(**gateway), *WEB, *objects)


class TestAttachment:
    def test_a_route_is_accepted_by_the_gateway_that_it_names(self):
        world = of(g.http_route())
        assert world.route() == {"Accepted": (TRUE, "Accepted"), "ResolvedRefs": (TRUE, "ResolvedRefs")}
        entry = world.status("HTTPRoute", "shop/web")["parents"][0]
        assert entry["controllerName"] == "netloom.io/gateway"
        assert entry["parentRef"] == {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "namespace": "infra",
            "name": "edge",
        }
        assert world.listener_status("http")["attachedRoutes"] == 1
        assert world.pools("shop.example.org/") == {"shop/web/80": 1}

    @pytest.mark.parametrize(
        "parent",
        [
            g.parent("infra/none"),
            g.parent("edge"),
            {**g.parent(), "kind": "Service", "group": ""},
            {**g.parent(), "group": "x.io"},
        ],
    )
    def test_parents_that_are_not_ours_are_not_in_the_status(self, parent):
        world = of(g.http_route(parents=[parent]))
        assert world.status("HTTPRoute", "shop/web") == {"parents": []}
        assert world.built.plan.pools == {}

    @pytest.mark.parametrize(
        "parent", [g.parent(section="none"), g.parent(port=81), g.parent(section="http", port=81)]
    )
    def test_a_section_or_port_that_no_listener_has(self, parent):
        assert of(g.http_route(parents=[parent])).route()["Accepted"] == (FALSE, "NoMatchingParent")

    def test_name_and_port_must_both_match(self):
        gateway = g.gateway("infra/edge", g.listener("one", 80), g.listener("two", 81))
        route = g.http_route(parents=[g.parent(port=81)])
        world = World(gateway, *WEB, route)
        assert world.listener_status("one")["attachedRoutes"] == 0
        assert world.listener_status("two")["attachedRoutes"] == 1

    @pytest.mark.parametrize(("origin", "is_in"), [("All", True), ("Same", False), ("None", False)])
    def test_namespaces_that_a_listener_lets_in(self, origin, is_in):
        world = World(g.gateway("infra/edge", g.listener(origin=origin)), *WEB, g.http_route())
        assert world.route()["Accepted"] == (
            (TRUE, "Accepted") if is_in else (FALSE, "NotAllowedByListeners")
        )
        assert world.listener_status("http")["attachedRoutes"] == int(is_in)

    def test_a_gateway_that_says_nothing_lets_in_its_own_namespace_only(self):
        bare = {"name": "http", "port": 80, "protocol": "HTTP"}
        world = World(g.gateway("infra/edge", bare), g.http_route("infra/web"), g.http_route("shop/web"))
        assert world.route("infra/web")["Accepted"] == (TRUE, "Accepted")
        assert world.route("shop/web")["Accepted"] == (FALSE, "NotAllowedByListeners")

    def test_namespaces_by_selector(self):
        one = g.listener()
        one["allowedRoutes"]["namespaces"] = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}
        gateway = g.gateway("infra/edge", one)
        assert World(gateway, g.http_route()).route()["Accepted"] == (FALSE, "NotAllowedByListeners")
        assert World(gateway, g.namespace("shop", team="a"), g.http_route()).route()["Accepted"] == (
            TRUE,
            "Accepted",
        )
        assert World(gateway, g.namespace("shop", team="b"), g.http_route()).route()["Accepted"][0] == FALSE

    def test_a_kind_that_the_listener_does_not_allow(self):
        one = g.listener()
        one["allowedRoutes"]["kinds"] = [{"kind": "GRPCRoute"}]
        world = World(g.gateway("infra/edge", one), g.http_route())
        assert world.route()["Accepted"] == (FALSE, "NotAllowedByListeners")
        assert world.route()["ResolvedRefs"] == (FALSE, "BackendNotFound")

    def test_one_listener_of_two_that_accepts_is_enough(self):
        gateway = g.gateway("infra/edge", g.listener("one", 80, origin="Same"), g.listener("two", 81))
        world = World(gateway, *WEB, g.http_route())
        assert world.route()["Accepted"] == (TRUE, "Accepted")
        assert world.taken_by("shop.example.org/", 80) == "404"
        assert world.taken_by("shop.example.org/", 81) == "HTTPRoute shop/web rule 0"

    def test_each_parent_has_an_entry_of_its_own(self):
        world = of(g.http_route(parents=[g.parent(section="http"), g.parent(section="none")]))
        assert world.route(index=0)["Accepted"] == (TRUE, "Accepted")
        assert world.route(index=1)["Accepted"] == (FALSE, "NoMatchingParent")

    def test_a_route_at_a_set_is_not_at_its_gateway_and_the_other_way_round(self):
        gateway = g.gateway(allowedListeners={"namespaces": {"from": "All"}})
        extra = g.listener_set("shop/extra", "infra/edge", g.listener("more", 8080))
        at_set = g.http_route("shop/a", parents=[g.parent("shop/extra", kind="ListenerSet")])
        world = World(gateway, extra, *WEB, at_set, g.http_route("shop/b"))
        assert world.taken_by("x.example.org/", 8080) == "HTTPRoute shop/a rule 0"
        assert world.taken_by("x.example.org/", 80) == "HTTPRoute shop/b rule 0"
        assert world.listener_status("more", "shop/extra", "ListenerSet")["attachedRoutes"] == 1

    def test_routes_attach_to_a_listener_that_is_down_and_are_counted(self):
        https = g.listener("https", 443, "HTTPS", tls=g.tls("none"))
        world = World(g.gateway("infra/edge", https), *WEB, g.http_route())
        assert world.listener_status("https")["attachedRoutes"] == 1
        assert world.route()["Accepted"] == (TRUE, "Accepted")
        assert world.built.plan.doors == ()

    def test_conditions_have_the_generation_of_the_route(self):
        conditions = of(g.http_route(generation=5)).status("HTTPRoute", "shop/web")["parents"][0][
            "conditions"
        ]
        assert {one["observedGeneration"] for one in conditions} == {5}


class TestHostnames:
    @pytest.mark.parametrize(
        ("listener", "route", "served"),
        [
            # A Listener with test.example.com matches routes that have either not specified any hostnames, or have specified at
            # least one of test.example.com or *.example.com.
            ("test.example.com", [], ["test.example.com"]),
            ("test.example.com", ["test.example.com"], ["test.example.com"]),
            ("test.example.com", ["*.example.com"], ["test.example.com"]),
            # A Listener with *.example.com matches routes that have specified at least one hostname that matches it.
            ("*.example.com", ["test.example.com"], ["test.example.com"]),
            ("*.example.com", ["foo.test.example.com"], ["foo.test.example.com"]),
            ("*.example.com", ["*.example.com"], ["*.example.com"]),
            ("*.example.com", ["*.com"], ["*.example.com"]),
            ("*.example.com", ["example.com", "test.example.net"], None),
            # If a Listener specified *.example.com, and the route test.example.com and test.example.net, the latter must not match.
            ("*.example.com", ["test.example.com", "test.example.net"], ["test.example.com"]),
            ("", ["test.example.com"], ["test.example.com"]),
            ("", [], [""]),
        ],
    )
    def test_the_hosts_that_listener_and_route_share(self, listener, route, served):
        more = {"hostname": listener} if listener else {}
        world = World(g.gateway("infra/edge", g.listener(**more)), *WEB, g.http_route(hosts=route))
        if served is None:
            assert world.route()["Accepted"] == (FALSE, "NoMatchingListenerHostname")
            assert world.hosts() == {}
        else:
            assert list(world.hosts()) == served

    def test_requests_are_matched_from_the_most_to_the_least_specific_listener(self):
        gateway = g.gateway(
            "infra/edge",
            g.listener("any"),
            g.listener("wild", hostname="*.example.com"),
            g.listener("wilder", hostname="*.foo.example.com"),
            g.listener("exact", hostname="a.foo.example.com"),
        )
        routes = [
            g.http_route(f"shop/{n}", parents=[g.parent(section=n)])
            for n in ("any", "wild", "wilder", "exact")
        ]
        world = World(gateway, *WEB, *routes)
        for host, name in (
            ("a.foo.example.com", "exact"),
            ("b.foo.example.com", "wilder"),
            ("bar.example.com", "wild"),
            ("foo.bar.example.com", "wild"),
            ("example.com", "any"),
        ):
            assert world.taken_by(f"{host}/") == f"HTTPRoute shop/{name} rule 0"

    def test_a_request_is_only_routed_by_routes_of_its_listener(self):
        """A request to foo.example.com SHOULD only be routed using routes attached to the foo.example.com Listener."""
        gateway = g.gateway(
            "infra/edge",
            g.listener("wild", hostname="*.example.com"),
            g.listener("foo", hostname="foo.example.com"),
        )
        world = World(gateway, *WEB, g.http_route(parents=[g.parent(section="wild")]))
        assert world.taken_by("foo.example.com/") == "404"
        assert world.taken_by("bar.example.com/") == "HTTPRoute shop/web rule 0"

    def test_rules_of_less_special_hosts_stand_behind_those_of_more_special_ones(self):
        world = of(
            g.http_route("shop/wild", hosts=["*.example.com"]),
            g.http_route("shop/name", g.rule("/a"), hosts=["foo.example.com"]),
            g.http_route("shop/any", g.rule("/a/b", "Exact")),
        )
        assert world.taken_by("foo.example.com/a/b") == "HTTPRoute shop/name rule 0"
        assert world.taken_by("foo.example.com/c") == "HTTPRoute shop/wild rule 0"
        assert world.taken_by("example.org/a/b") == "HTTPRoute shop/any rule 0"
        assert world.taken_by("example.org/") == "404"

    def test_what_stands_behind_a_rule_for_everything_is_left_out(self):
        world = of(g.http_route("shop/a", hosts=["a.example.org"]), g.http_route("shop/b", g.rule("/x")))
        assert [rule.name for rule in world.hosts()["a.example.org"].rules] == ["HTTPRoute shop/a rule 0"]

    def test_original_hostnames_decide_where_the_intersections_are_the_same(self):
        """GatewayRouteHostnameIntersectionPrecedence."""
        gateway = g.gateway("infra/edge", g.listener(hostname="abc.example.com"))
        old = g.http_route("shop/old", hosts=["*.example.com"], created="2025-01-01T00:00:00Z")
        new = g.http_route("shop/new", hosts=["abc.example.com"], created="2026-01-01T00:00:00Z")
        assert World(gateway, *WEB, old, new).taken_by("abc.example.com/") == "HTTPRoute shop/new rule 0"

    def test_a_host_is_compared_without_port_and_in_any_case(self):
        world = of(g.http_route(hosts=["shop.example.org"]))
        assert world.taken_by("Shop.Example.org:8080/") == "HTTPRoute shop/web rule 0"

    def test_hostnames_that_are_none_are_left_out_and_said(self):
        world = of(g.http_route(hosts=["shop.example.org", "192.0.2.1"]))
        assert world.route()["Accepted"] == (TRUE, "Accepted")
        assert "spec.hostnames[1]" in world.message("Accepted")
        assert list(world.hosts()) == ["shop.example.org"]

    @pytest.mark.parametrize("hosts", [["Bad_"], ["192.0.2.1", "*"]])
    def test_a_route_whose_hostnames_are_all_bad_is_not_one_of_every_host(self, hosts):
        world = of(g.http_route(hosts=hosts))
        assert world.route()["Accepted"] == (FALSE, "UnsupportedValue")
        assert world.hosts() == {}
        unreadable = g.of(
            type(g.http_route()),
            {"metadata": g.meta("shop/web"), "spec": {"parentRefs": [g.parent()], "hostnames": 5}},
        )
        assert of(unreadable).route()["Accepted"] == (FALSE, "UnsupportedValue")


class TestPrecedence:
    """HTTPRoute ``rules[].matches``."""

    def order(self, *rules, **route):
        world = of(g.http_route("shop/web", *rules, **route))
        return [int(rule.name.rpartition(" ")[2]) for rule in world.hosts()[""].rules]

    def test_an_exact_path_comes_before_every_other(self):
        assert self.order(g.rule("/a/b/c/d"), g.rule("/a", "Exact")) == [1, 0]

    def test_a_prefix_with_more_characters_comes_first(self):
        assert self.order(g.rule("/a"), g.rule("/abc"), g.rule("/ab")) == [1, 2, 0]

    def test_a_final_slash_of_a_prefix_does_not_count(self):
        assert self.order(g.rule("/a", method="GET"), g.rule("/a/")) == [0, 1]

    def test_then_a_method(self):
        headers = [{"name": "a", "value": "1"}]
        assert self.order(g.rule("/a", headers=headers), g.rule("/a", method="GET")) == [1, 0]

    def test_then_the_larger_number_of_headers(self):
        one, two = [{"name": "a", "value": "1"}], [{"name": "a", "value": "1"}, {"name": "b", "value": "1"}]
        assert self.order(g.rule("/a", headers=one), g.rule("/a", headers=two)) == [1, 0]

    def test_then_the_larger_number_of_query_parameters(self):
        one, two = [{"name": "a", "value": "1"}], [{"name": "a", "value": "1"}, {"name": "b", "value": "1"}]
        assert self.order(g.rule("/a", queryParams=one), g.rule("/a", queryParams=two)) == [1, 0]
        assert self.order(g.rule("/a", queryParams=two), g.rule("/a", headers=one)) == [1, 0]

    def test_then_the_first_rule(self):
        assert self.order(g.rule("/a"), g.rule("/a"), g.rule("/a")) == [0, 1, 2]

    def test_regular_expressions_come_after_exact_paths_and_before_prefixes(self):
        assert self.order(g.rule("/a"), g.rule("/.*", "RegularExpression"), g.rule("/a", "Exact")) == [
            2,
            1,
            0,
        ]

    def test_across_routes_the_oldest_comes_first(self):
        world = of(
            g.http_route("shop/a", created="2026-01-02T00:00:00Z"),
            g.http_route("shop/b", created="2026-01-01T00:00:00Z"),
        )
        assert world.taken_by("x.example.org/") == "HTTPRoute shop/b rule 0"

    def test_then_the_first_by_namespace_and_name(self):
        world = of(g.http_route("shop/b"), g.http_route("shop/a"), g.http_route("web/0"))
        assert world.taken_by("x.example.org/") == "HTTPRoute shop/a rule 0"

    def test_the_better_match_of_a_younger_route_comes_before_the_worse_one_of_an_older(self):
        old = g.http_route("shop/old", g.rule("/a"), created="2025-01-01T00:00:00Z")
        new = g.http_route("shop/new", g.rule("/a/b"), created="2026-01-01T00:00:00Z")
        assert of(old, new).taken_by("x.example.org/a/b") == "HTTPRoute shop/new rule 0"

    def test_any_one_of_the_matches_of_a_rule_is_enough(self):
        rule = {
            "matches": [
                {"path": {"value": "/foo"}, "headers": [{"name": "version", "value": "v2"}]},
                {"path": {"value": "/v2/foo"}},
            ],
            "backendRefs": [g.backend()],
        }
        world = of(g.http_route("shop/web", rule))
        assert world.taken_by("x.example.org/foo") == "404"
        assert world.taken_by("x.example.org/foo", version="v2") == "HTTPRoute shop/web rule 0"
        assert world.taken_by("x.example.org/v2/foo/bar") == "HTTPRoute shop/web rule 0"

    def test_no_match_is_every_request(self):
        assert (
            of(g.http_route("shop/web", {"backendRefs": [g.backend()]})).taken_by("x.example.org/a") != "404"
        )


class TestMatches:
    @pytest.mark.parametrize(
        ("kind", "value", "path", "is_so"),
        [
            ("Exact", "/abc", "/abc", True),
            ("Exact", "/abc", "/abc/", False),
            ("Exact", "/abc", "/Abc", False),
            ("Exact", "/abc", "/abcd", False),
            ("PathPrefix", "/abc", "/abc", True),
            ("PathPrefix", "/abc", "/abc/", True),
            ("PathPrefix", "/abc", "/abc/def", True),
            ("PathPrefix", "/abc", "/abcd", False),
            ("PathPrefix", "/abc/", "/abc", True),
            ("PathPrefix", "/", "/anything", True),
            ("RegularExpression", "/v[0-9]+", "/v12", True),
            ("RegularExpression", "/v[0-9]+", "/v12/x", False),
        ],
    )
    def test_paths(self, kind, value, path, is_so):
        world = of(g.http_route("shop/web", g.rule(value, kind)))
        assert (world.taken_by("x.example.org" + path) != "404") is is_so

    def test_names_of_headers_are_equal_in_any_case_and_the_first_of_equal_names_counts(self):
        rule = g.rule("/", headers=[{"name": "Foo", "value": "1"}, {"name": "foo", "value": "2"}])
        world = of(g.http_route("shop/web", rule))
        assert world.taken_by("x.example.org/", FOO="1") != "404"
        assert world.taken_by("x.example.org/", foo="2") == "404"

    def test_headers_by_regular_expression(self):
        rule = g.rule("/", headers=[{"type": "RegularExpression", "name": "v", "value": "[0-9]+"}])
        world = of(g.http_route("shop/web", rule))
        assert world.taken_by("x.example.org/", v="12") != "404"
        assert world.taken_by("x.example.org/", v="12a") == "404"

    def test_the_first_value_of_a_repeated_parameter_counts(self):
        world = of(g.http_route("shop/web", g.rule("/", queryParams=[{"name": "Q", "value": "1"}])))
        assert world.taken_by("x.example.org/?Q=1&Q=2") != "404"
        assert world.taken_by("x.example.org/?Q=2&Q=1") == "404"
        assert world.taken_by("x.example.org/?q=1") == "404"

    def test_methods(self):
        world = of(g.http_route("shop/web", g.rule("/", method="POST")))
        assert world.taken_by("x.example.org/", method="POST") != "404"
        assert world.taken_by("x.example.org/") == "404"

    @pytest.mark.parametrize(
        ("rule", "field"),
        [
            (g.rule("/a", "Suffix"), "matches[0].path.type"),
            (g.rule("/a//b"), "matches[0].path.value"),
            (g.rule("a"), "matches[0].path.value"),
            (g.rule("/a/../b"), "matches[0].path.value"),
            (g.rule("/a/."), "matches[0].path.value"),
            (g.rule("/a%2fb"), "matches[0].path.value"),
            (g.rule("/a#b"), "matches[0].path.value"),
            (g.rule("/" + "a" * 1024), "matches[0].path.value"),
            (g.rule("(", "RegularExpression"), "matches[0].path.value"),
            (g.rule("/(a+)+", "RegularExpression"), "matches[0].path.value"),
            (g.rule("/", method="LURK"), "matches[0].method"),
            (g.rule("/", headers=[{"name": "a b", "value": "1"}]), "matches[0].headers[0].name"),
            (g.rule("/", headers=[{"name": "a", "value": ""}]), "matches[0].headers[0].value"),
            (
                g.rule("/", headers=[{"type": "Like", "name": "a", "value": "1"}]),
                "matches[0].headers[0].type",
            ),
            (
                g.rule("/", headers=[{"type": "RegularExpression", "name": "a", "value": "("}]),
                "matches[0].headers[0].value",
            ),
            (
                g.rule("/", queryParams=[{"type": "Like", "name": "a", "value": "1"}]),
                "matches[0].queryParams[0].type",
            ),
            (g.rule(5), "matches[0].path.value"),
        ],
    )
    def test_a_rule_that_cannot_be_done_is_dropped_and_the_others_go_on(self, rule, field):
        """The message for this condition MUST start with the prefix "Dropped Rule"; Accepted MUST be True."""
        world = of(g.http_route("shop/web", g.rule("/good"), rule))
        assert world.route()["Accepted"] == (TRUE, "Accepted")
        assert world.route()["PartiallyInvalid"] == (TRUE, "UnsupportedValue")
        message = world.message("PartiallyInvalid")
        assert message.startswith("Dropped Rule 1: ")
        assert f"spec.rules[1].{field}" in message
        assert world.taken_by("x.example.org/good") == "HTTPRoute shop/web rule 0"
        assert [one.name for one in world.hosts()[""].rules] == ["HTTPRoute shop/web rule 0"]
        alone = of(g.http_route("shop/web", rule))
        assert alone.route()["Accepted"] == (FALSE, "UnsupportedValue")
        assert "PartiallyInvalid" not in alone.route()
        assert alone.listener_status("http")["attachedRoutes"] == 0
        assert alone.hosts() == {}

    def test_partially_invalid_is_not_said_of_a_route_that_is_not_accepted(self):
        route = g.http_route("shop/web", g.rule("/a"), g.rule("("), parents=[g.parent(section="none")])
        assert "PartiallyInvalid" not in of(route).route()

    def test_a_route_without_rules_has_the_one_that_the_specification_gives_it(self):
        route = g.of(
            type(g.http_route()), {"metadata": g.meta("shop/web"), "spec": {"parentRefs": [g.parent()]}}
        )
        world = of(route)
        assert world.route()["Accepted"] == (TRUE, "Accepted")
        assert world.ask("x.example.org/").status == 500
