"""Listeners, sentence by sentence: gateway-api ``apis/v1/gateway_types.go``, ``listenerset_types.go``."""

from __future__ import annotations

import pytest

from netloom.model.gateways.plan import Transport
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_certificates import SINCE, UNTIL, WITHIN, key_pair, secret_for, tls_secret
from netloom.testing.gateway_world import World

TRUE, FALSE = "True", "False"
SECRET = secret_for("infra/a", "shop.example.org")
HTTPS = g.listener("https", 443, "HTTPS", tls=g.tls("a"))
PASSTHROUGH = g.tls(mode="Passthrough")
ALLOWED = {"allowedListeners": {"namespaces": {"from": "All"}}}


def of(*listeners, **spec):
    return World(g.gateway("infra/edge", *listeners, **spec), SECRET, now=WITHIN)


def test_a_listener_without_routes_is_accepted_and_programmed():
    world = of(g.listener())
    assert world.listener("http") == {
        "Accepted": (TRUE, "Accepted"),
        "ResolvedRefs": (TRUE, "ResolvedRefs"),
        "Conflicted": (FALSE, "NoConflicts"),
        "Programmed": (TRUE, "Programmed"),
    }
    assert world.listener_status("http")["attachedRoutes"] == 0
    assert world.taken_by("shop.example.org/") == "404"


@pytest.mark.parametrize(
    ("protocol", "more", "kinds"),
    [
        ("HTTP", {}, ["HTTPRoute", "GRPCRoute"]),
        ("http", {}, ["HTTPRoute", "GRPCRoute"]),
        ("HTTPS", {"tls": g.tls("a")}, ["HTTPRoute", "GRPCRoute"]),
        ("TLS", {"tls": PASSTHROUGH}, ["TLSRoute"]),
        ("TLS", {"tls": g.tls("a")}, ["TLSRoute", "TCPRoute"]),
        ("TCP", {}, ["TCPRoute"]),
        ("UDP", {}, ["UDPRoute"]),
    ],
)
def test_kinds_are_determined_by_the_protocol_in_any_case_of_letters(protocol, more, kinds):
    world = of(g.listener("one", 443, protocol, **more))
    assert [one["kind"] for one in world.listener_status("one")["supportedKinds"]] == kinds
    assert world.listener("one")["Accepted"] == (TRUE, "Accepted")


def test_an_unsupported_protocol_is_not_accepted():
    world = of(g.listener(), g.listener("mail", 25, "SMTP"))
    assert world.listener("mail")["Accepted"] == (FALSE, "UnsupportedProtocol")
    assert world.listener_status("mail")["supportedKinds"] == []
    assert world.gateway()["Accepted"] == (TRUE, "ListenersNotValid")
    assert [door.port for door in world.built.plan.doors] == [80]


def test_kinds_that_are_not_supported_do_not_appear_and_valid_ones_do():
    one = g.listener()
    one["allowedRoutes"]["kinds"] = [
        {"kind": "HTTPRoute"},
        {"kind": "TCPRoute"},
        {"group": "x.io", "kind": "HTTPRoute"},
    ]
    world = of(one)
    assert world.listener("http")["ResolvedRefs"] == (FALSE, "InvalidRouteKinds")
    assert [kind["kind"] for kind in world.listener_status("http")["supportedKinds"]] == ["HTTPRoute"]
    assert world.listener("http")["Programmed"] == (TRUE, "Programmed")
    assert world.gateway()["ResolvedRefs"] == (FALSE, "ListenersNotResolved")


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (g.listener(port=0), "PortUnavailable"),
        (g.listener(port=70000), "PortUnavailable"),
        (g.listener(hostname="Bad_"), "UnsupportedValue"),
        (g.listener(tls=g.tls("a")), "UnsupportedValue"),
        (g.listener("http", 443, "HTTPS"), "UnsupportedValue"),
        (g.listener("http", 443, "HTTPS", tls=PASSTHROUGH), "UnsupportedValue"),
        (g.listener("http", 443, "TLS", tls={"mode": "Maybe"}), "UnsupportedValue"),
        (g.listener("http", origin="Some"), "UnsupportedValue"),
        (g.listener("http", origin="Selector"), "UnsupportedValue"),
        ({**g.listener(), "port": "eighty"}, "UnsupportedValue"),
        (
            g.listener(
                "http", 443, "HTTPS", tls=g.tls("a", options={"netloom.io/least-tls-version": "SSLv3"})
            ),
            "UnsupportedValue",
        ),
    ],
)
def test_a_listener_that_cannot_be_done_as_written_is_refused_alone(one, reason):
    world = of(one, g.listener("other", 8080))
    assert world.listener("http")["Accepted"] == (FALSE, reason)
    assert world.listener("http")["Programmed"] == (FALSE, "Invalid")
    assert world.listener("other")["Programmed"] == (TRUE, "Programmed")
    assert any(finding.source.field.startswith("spec.listeners[0]") for finding in world.built.findings)


def test_a_second_listener_of_a_name_is_refused():
    world = of(g.listener(), g.listener(port=81))
    assert [door.port for door in world.built.plan.doors] == [80]


def test_a_gateway_without_a_listener_that_can_be_used_is_not_accepted():
    world = of(g.listener(protocol="SMTP"))
    assert world.gateway()["Accepted"] == (FALSE, "ListenersNotValid")
    assert world.gateway()["Programmed"] == (FALSE, "Invalid")


class TestConflicts:
    def test_listeners_with_the_same_port_protocol_and_hostname_are_all_refused(self):
        """The implementation MUST NOT pick one conflicting Listener as the winner."""
        world = of(g.listener("one"), g.listener("two"), g.listener("three", 81))
        for name in ("one", "two"):
            assert world.listener(name)["Conflicted"] == (TRUE, "HostnameConflict")
            assert world.listener(name)["Accepted"] == (FALSE, "Invalid")
            assert world.listener(name)["Programmed"] == (FALSE, "Invalid")
        assert world.gateway()["Accepted"] == (TRUE, "ListenersNotValid")
        assert [door.port for door in world.built.plan.doors] == [81]

    def test_http_is_distinct_by_hostname(self):
        world = of(
            g.listener("one", hostname="a.example.org"),
            g.listener("two", hostname="*.example.org"),
            g.listener("any"),
        )
        assert {world.listener(name)["Conflicted"][0] for name in ("one", "two", "any")} == {FALSE}
        assert [one.hostname for one in world.door().listeners] == ["a.example.org", "*.example.org", ""]

    @pytest.mark.parametrize("protocol", ["HTTP", "HTTPS", "TLS"])
    def test_all_listeners_that_share_a_port_with_tcp_are_not_distinct(self, protocol):
        more = {"tls": g.tls("a")} if protocol != "HTTP" else {}
        world = of(g.listener("one", 443, protocol, **more), g.listener("two", 443, "TCP"))
        assert world.listener("one")["Conflicted"] == (TRUE, "ProtocolConflict")
        assert world.listener("two")["Conflicted"] == (TRUE, "ProtocolConflict")

    def test_tcp_is_distinct_by_port_alone(self):
        world = of(
            g.listener("one", 9000, "TCP"), g.listener("two", 9000, "TCP"), g.listener("three", 9001, "TCP")
        )
        assert world.listener("one")["Conflicted"][0] == TRUE
        assert world.listener("three")["Conflicted"][0] == FALSE

    def test_udp_shares_no_port_with_tcp(self):
        world = of(g.listener("one", 53, "TCP"), g.listener("two", 53, "UDP"))
        assert {door.transport for door in world.built.plan.doors} == {Transport.TCP, Transport.UDP}

    def test_http_and_https_cannot_share_a_port(self):
        world = of(g.listener("one", 443), HTTPS)
        assert world.listener("one")["Conflicted"] == (TRUE, "ProtocolConflict")

    def test_https_and_tls_share_a_port_when_their_hostnames_differ(self):
        tls = g.listener("tls", 443, "TLS", hostname="pass.example.org", tls=PASSTHROUGH)
        assert of(HTTPS, tls).listener("tls")["Conflicted"] == (FALSE, "NoConflicts")

    def test_https_and_tls_with_one_hostname_conflict(self):
        tls = g.listener("tls", 443, "TLS", tls=PASSTHROUGH)
        world = of(HTTPS, tls)
        assert world.listener("tls")["Conflicted"] == (TRUE, "ProtocolConflict")
        assert world.listener("https")["Conflicted"] == (TRUE, "ProtocolConflict")

    def test_overlapping_tls_is_said_of_all_that_overlap_and_of_no_other(self):
        """A: foo.example.com, B: foo.example.org, C: *.example.com: A and C overlap, B does not."""
        hosts = {"a": "foo.example.com", "b": "foo.example.org", "c": "*.example.com"}
        world = of(*(g.listener(n, 443, "HTTPS", hostname=h, tls=g.tls("a")) for n, h in hosts.items()))
        assert world.listener("a")["OverlappingTLSConfig"] == (TRUE, "OverlappingHostnames")
        assert world.listener("c")["OverlappingTLSConfig"] == (TRUE, "OverlappingHostnames")
        assert "OverlappingTLSConfig" not in world.listener("b")


class TestCertificates:
    def test_a_listener_has_its_certificate(self):
        world = of(HTTPS)
        tls = world.served(443).tls
        assert tls is not None
        assert [one.names for one in tls.certificates] == [("shop.example.org",)]
        assert tls.least_version == "TLSv1.2"

    @pytest.mark.parametrize(
        ("secret", "words"),
        [
            (None, "Secret infra/b is not there"),
            (
                tls_secret("infra/b", key_pair("b.example.org")[0], key_pair("x.example.org")[1]),
                "is not the key",
            ),
            (secret_for("infra/b", "b.example.org", since=SINCE, until=WITHIN - 1), "expired at"),
            (secret_for("infra/b", "b.example.org", since=WITHIN + 1, until=UNTIL), "not valid before"),
            (tls_secret("infra/b", "x", "y"), "no PEM certificate"),
        ],
    )
    def test_a_broken_secret_takes_down_its_own_listener_with_words_that_say_so(self, secret, words):
        broken = g.listener("broken", 443, "HTTPS", hostname="b.example.org", tls=g.tls("b"))
        gateway = g.gateway("infra/edge", {**HTTPS, "hostname": "shop.example.org"}, broken)
        world = World(gateway, SECRET, *(() if secret is None else (secret,)), now=WITHIN)
        said = world.listener_status("broken")["conditions"]
        assert g.conditions({"conditions": said})["ResolvedRefs"] == (FALSE, "InvalidCertificateRef")
        assert g.conditions({"conditions": said})["Programmed"] == (FALSE, "Invalid")
        assert g.conditions({"conditions": said})["Accepted"] == (TRUE, "Accepted")
        message = next(one["message"] for one in said if one["type"] == "ResolvedRefs")
        assert "Secret infra/b" in message
        assert words in message
        assert [one.name for one in world.door(443).listeners] == ["https"]

    def test_one_of_several_certificates_that_is_broken_leaves_the_others(self):
        world = of({**HTTPS, "tls": g.tls("a", "none")})
        assert world.listener("https")["ResolvedRefs"] == (FALSE, "InvalidCertificateRef")
        assert world.listener("https")["Programmed"] == (TRUE, "Programmed")

    def test_another_namespace_needs_a_grant(self):
        secret = secret_for("vault/a", "shop.example.org")
        gateway = g.gateway("infra/edge", {**HTTPS, "tls": g.tls("vault/a")})
        assert World(gateway, secret, now=WITHIN).listener("https")["ResolvedRefs"] == (
            FALSE,
            "RefNotPermitted",
        )
        for name in ("a", None):
            grant = g.grant("vault/g", origin=("Gateway", "infra"), to=("Secret", name))
            world = World(gateway, secret, grant, now=WITHIN)
            assert world.listener("https")["ResolvedRefs"] == (TRUE, "ResolvedRefs")

    @pytest.mark.parametrize(
        "grant",
        [
            g.grant("vault/g", origin=("Gateway", "infra"), to=("Secret", "b")),
            g.grant("vault/g", origin=("Gateway", "shop"), to=("Secret", None)),
            g.grant("vault/g", origin=("HTTPRoute", "infra"), to=("Secret", None)),
            g.grant("vault/g", origin=("Gateway", "infra"), to=("ConfigMap", None)),
            g.grant("vault/g", origin=("Gateway", "infra"), to=("Secret", None), group="x.io"),
            g.grant("infra/g", origin=("Gateway", "infra"), to=("Secret", None)),
        ],
    )
    def test_a_grant_of_something_else_is_none(self, grant):
        gateway = g.gateway("infra/edge", {**HTTPS, "tls": g.tls("vault/a")})
        world = World(gateway, secret_for("vault/a", "a.b"), grant, now=WITHIN)
        assert world.listener("https")["ResolvedRefs"] == (FALSE, "RefNotPermitted")

    def test_another_kind_is_no_certificate(self):
        refs = {"mode": "Terminate", "certificateRefs": [{"group": "x.io", "kind": "Vault", "name": "a"}]}
        assert of({**HTTPS, "tls": refs}).listener("https")["ResolvedRefs"] == (
            FALSE,
            "InvalidCertificateRef",
        )
        assert of({**HTTPS, "tls": {"mode": "Terminate"}}).listener("https")["Programmed"] == (
            FALSE,
            "Invalid",
        )

    def test_the_least_version_is_an_option(self):
        world = of({**HTTPS, "tls": g.tls("a", options={"netloom.io/least-tls-version": "TLSv1.3"})})
        tls = world.served(443).tls
        assert tls is not None
        assert tls.least_version == "TLSv1.3"


class TestClients:
    CA = g.config_map("infra/ca", ca_crt=key_pair("ca.example.org")[0])

    @staticmethod
    def frontend(*names, kind="ConfigMap", mode="AllowValidOnly", namespace=None):
        refs = [
            {"group": "", "kind": kind, "name": one, **({"namespace": namespace} if namespace else {})}
            for one in names
        ]
        return {"validation": {"caCertificateRefs": refs, "mode": mode}}

    def world(self, frontend, *objects):
        return World(
            g.gateway("infra/edge", HTTPS, tls={"frontend": frontend}), SECRET, self.CA, *objects, now=WITHIN
        )

    def test_clients_must_show_a_certificate_of_the_authority(self):
        tls = self.world({"default": self.frontend("ca")}).served(443).tls
        assert tls is not None
        assert tls.clients is not None
        assert tls.clients.is_required
        assert tls.clients.authorities.count("BEGIN") == 1

    def test_a_port_of_its_own_overrides_the_default(self):
        frontend = {"default": self.frontend("ca"), "perPort": [{"port": 443, "tls": {}}]}
        tls = self.world(frontend).served(443).tls
        assert tls is not None
        assert tls.clients is None

    def test_insecure_fallback_is_a_condition_of_the_gateway(self):
        world = self.world({"default": self.frontend("ca", mode="AllowInsecureFallback")})
        assert world.gateway()["InsecureFrontendValidationMode"] == (TRUE, "ConfigurationChanged")
        tls = world.served(443).tls
        assert tls is not None
        assert tls.clients is not None
        assert not tls.clients.is_required

    @pytest.mark.parametrize(
        ("frontend", "reason"),
        [
            ({"default": frontend("none")}, "InvalidCACertificateRef"),
            ({"default": frontend("ca", kind="Secret")}, "InvalidCACertificateKind"),
            ({"default": frontend("ca", namespace="vault")}, "RefNotPermitted"),
        ],
    )
    def test_without_any_valid_authority_the_listener_is_refused(self, frontend, reason):
        world = self.world(frontend)
        assert world.listener("https")["ResolvedRefs"] == (FALSE, reason)
        assert world.listener("https")["Accepted"] == (FALSE, "NoValidCACertificate")
        assert world.built.plan.doors == ()

    def test_one_valid_authority_of_several_is_enough(self):
        world = self.world({"default": self.frontend("ca", "none")})
        assert world.listener("https")["ResolvedRefs"] == (FALSE, "InvalidCACertificateRef")
        assert world.listener("https")["Programmed"] == (TRUE, "Programmed")


class TestListenerSets:
    def test_by_default_a_gateway_lets_none_attach(self):
        world = World(g.gateway(), g.listener_set("shop/extra", "infra/edge", g.listener("more", 8080)))
        assert g.conditions(world.status("ListenerSet", "shop/extra")) == {
            "Accepted": (FALSE, "NotAllowed"),
            "Programmed": (FALSE, "NotAllowed"),
        }
        assert world.status("Gateway", "infra/edge")["attachedListenerSets"] == 0
        assert [door.port for door in world.built.plan.doors] == [80]

    def test_listeners_of_a_set_that_is_let_in_are_served(self):
        world = World(
            g.gateway(**ALLOWED), g.listener_set("shop/extra", "infra/edge", g.listener("more", 8080))
        )
        assert g.conditions(world.status("ListenerSet", "shop/extra"))["Accepted"] == (TRUE, "Accepted")
        assert world.listener("more", "shop/extra", "ListenerSet")["Programmed"] == (TRUE, "Programmed")
        assert world.status("Gateway", "infra/edge")["attachedListenerSets"] == 1
        assert world.served(8080).name == "shop/extra/more"

    def test_namespaces_by_selector(self):
        allowed = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}
        gateway = g.gateway(allowedListeners=allowed)
        extra = g.listener_set("shop/extra", "infra/edge", g.listener("more", 8080))
        for team, reason in (("a", "Accepted"), ("b", "NotAllowed")):
            world = World(gateway, extra, g.namespace("shop", team=team))
            assert g.conditions(world.status("ListenerSet", "shop/extra"))["Accepted"][1] == reason

    def test_the_gateway_comes_first_then_the_oldest_set_then_the_first_by_name(self):
        sets = [
            g.listener_set("shop/b", "infra/edge", g.listener("x", 8080), created="2026-01-02T00:00:00Z"),
            g.listener_set("shop/a", "infra/edge", g.listener("x", 8080), created="2026-01-02T00:00:00Z"),
            g.listener_set("shop/c", "infra/edge", g.listener("x", 80), created="2025-01-01T00:00:00Z"),
        ]
        world = World(g.gateway(**ALLOWED), *sets)
        assert world.listener("http")["Conflicted"] == (FALSE, "NoConflicts")
        assert world.listener("x", "shop/c", "ListenerSet")["Conflicted"] == (TRUE, "HostnameConflict")
        assert world.listener("x", "shop/a", "ListenerSet")["Conflicted"] == (FALSE, "NoConflicts")
        assert world.listener("x", "shop/b", "ListenerSet")["Conflicted"] == (TRUE, "HostnameConflict")
        assert g.conditions(world.status("ListenerSet", "shop/b"))["Accepted"] == (FALSE, "ListenersNotValid")

    def test_a_set_with_some_listeners_that_can_be_used_is_accepted(self):
        extra = g.listener_set("shop/extra", "infra/edge", g.listener("x", 80), g.listener("y", 81))
        world = World(g.gateway(**ALLOWED), extra)
        assert g.conditions(world.status("ListenerSet", "shop/extra"))["Accepted"] == (
            TRUE,
            "ListenersNotValid",
        )
        assert world.gateway()["Accepted"] == (TRUE, "Accepted")

    def test_grants_of_the_gateway_are_not_inherited(self):
        gateway_grant = g.grant("vault/g", origin=("Gateway", "infra"), to=("Secret", None))
        set_grant = g.grant("vault/h", origin=("ListenerSet", "shop"), to=("Secret", None))
        extra = g.listener_set(
            "shop/extra", "infra/edge", g.listener("x", 443, "HTTPS", tls=g.tls("vault/a"))
        )
        objects = (g.gateway(**ALLOWED), extra, secret_for("vault/a", "a.b"), gateway_grant)
        world = World(*objects, now=WITHIN)
        assert world.listener("x", "shop/extra", "ListenerSet")["ResolvedRefs"] == (FALSE, "RefNotPermitted")
        world = World(*objects, set_grant, now=WITHIN)
        assert world.listener("x", "shop/extra", "ListenerSet")["ResolvedRefs"] == (TRUE, "ResolvedRefs")

    def test_secrets_of_its_own_namespace_need_no_grant(self):
        extra = g.listener_set("shop/extra", "infra/edge", g.listener("x", 443, "HTTPS", tls=g.tls("a")))
        world = World(g.gateway(**ALLOWED), extra, secret_for("shop/a", "a.b"), now=WITHIN)
        assert world.listener("x", "shop/extra", "ListenerSet")["Programmed"] == (TRUE, "Programmed")

    def test_nothing_is_said_of_a_set_of_somebody_elses_gateway(self):
        world = World(g.listener_set("shop/extra", "infra/none", g.listener()))
        assert not world.has_status("ListenerSet", "shop/extra")

    def test_a_gateway_that_is_not_accepted_accepts_no_set(self):
        gateway = g.gateway(addresses=[{"type": "Hostname", "value": "x"}], **ALLOWED)
        world = World(gateway, g.listener_set("shop/extra", "infra/edge", g.listener("x", 81)))
        assert g.conditions(world.status("ListenerSet", "shop/extra"))["Accepted"] == (
            FALSE,
            "ParentNotAccepted",
        )


class TestGateways:
    def test_the_class_is_accepted_and_says_what_is_supported(self):
        status = World().status("GatewayClass", "netloom")
        assert g.conditions(status) == {"Accepted": (TRUE, "Accepted")}
        names = [one["name"] for one in status["supportedFeatures"]]
        assert names == sorted(names)
        assert "HTTPRoute" in names

    def test_a_class_with_parameters_is_not_accepted_nor_are_its_gateways(self):
        class_ = g.gateway_class(parametersRef={"group": "x.io", "kind": "Settings", "name": "a"})
        world = World(class_, g.gateway())
        assert g.conditions(world.status("GatewayClass", "netloom"))["Accepted"] == (
            FALSE,
            "InvalidParameters",
        )
        assert world.gateway()["Accepted"] == (FALSE, "InvalidParameters")
        assert world.built.plan.doors == ()

    def test_nothing_is_said_of_gateways_of_other_classes(self):
        other = g.gateway_class("other", controller="example.org/x")
        world = World(
            other, g.gateway(gatewayClassName="other"), g.gateway("infra/lost", gatewayClassName="none")
        )
        assert set(world.built.statuses) == {
            key for key in world.built.statuses if key.kind == "GatewayClass"
        }
        assert len(world.built.statuses) == 1

    def test_a_gateway_is_programmed_once_it_has_an_address_and_all_ports(self):
        assert World(g.gateway()).gateway()["Programmed"] == (FALSE, "Pending")
        waiting = World(g.gateway(), g.gateway_service("infra/edge-netloom", (), p80_tcp=30080))
        assert waiting.gateway()["Programmed"] == (FALSE, "AddressNotAssigned")
        lacking = World(g.gateway(), g.gateway_service("infra/edge-netloom", ("203.0.113.1",), p81_tcp=30081))
        assert lacking.gateway()["Programmed"] == (FALSE, "Pending")
        world = World(g.gateway(), g.gateway_service("infra/edge-netloom", ("203.0.113.1",), p80_tcp=30080))
        assert world.gateway()["Programmed"] == (TRUE, "Programmed")
        assert world.status("Gateway", "infra/edge")["addresses"] == [
            {"type": "IPAddress", "value": "203.0.113.1"}
        ]
        assert world.door().node_port == 30080

    @pytest.mark.parametrize(
        ("requested", "got", "said"),
        [
            ({"value": "203.0.113.1"}, ("203.0.113.1",), (TRUE, "Programmed")),
            ({"value": "203.0.113.9"}, ("203.0.113.1",), (FALSE, "AddressNotUsable")),
            ({"value": "203.0.113.9"}, (), (FALSE, "AddressNotUsable")),
            ({"type": "IPAddress"}, ("203.0.113.1",), (TRUE, "Programmed")),
            ({"type": "IPAddress"}, (), (FALSE, "AddressNotAssigned")),
        ],
    )
    def test_addresses_that_are_requested(self, requested, got, said):
        service = g.gateway_service("infra/edge-netloom", got, p80_tcp=30080)
        assert World(g.gateway(addresses=[requested]), service).gateway()["Programmed"] == said

    @pytest.mark.parametrize(
        "address", [{"type": "Hostname", "value": "x.example.org"}, {"type": "x.io/y"}, {"value": "x"}]
    )
    def test_types_of_addresses_that_are_not_supported(self, address):
        world = World(g.gateway(addresses=[address]))
        assert world.gateway()["Accepted"] == (FALSE, "UnsupportedAddress")
        assert world.built.plan.doors == ()

    def test_parameters_of_infrastructure_are_not_known(self):
        ref = {"parametersRef": {"group": "x.io", "kind": "Y", "name": "z"}}
        assert World(g.gateway(infrastructure=ref)).gateway()["Accepted"] == (FALSE, "InvalidParameters")

    def test_a_certificate_towards_backends_is_said_not_to_be_used(self):
        world = World(g.gateway(tls={"backend": {"clientCertificateRef": {"name": "a"}}}))
        assert world.gateway()["ResolvedRefs"] == (FALSE, "InvalidClientCertificateRef")

    def test_every_condition_has_the_generation_that_was_looked_at(self):
        world = World(g.gateway(about={"generation": 7}))
        status = world.status("Gateway", "infra/edge")
        said = [*status["conditions"], *status["listeners"][0]["conditions"]]
        assert {one["observedGeneration"] for one in said} == {7}
        assert all("lastTransitionTime" not in one for one in said)

    def test_a_spec_that_cannot_be_read_at_all_is_a_condition(self):
        world = World(
            g.of(
                type(g.gateway()),
                {"metadata": g.meta("infra/edge"), "spec": {"gatewayClassName": "netloom", "listeners": 5}},
            )
        )
        assert world.gateway()["Accepted"] == (FALSE, "UnsupportedValue")
