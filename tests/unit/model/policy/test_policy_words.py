"""Why a packet is not allowed: the rule, or what comes nearest to allowing it, in words."""

from __future__ import annotations

import pytest

from netloom.model.policy.state import Action, Direction
from netloom.testing.policy_words import packet, under

DB = "podSelector: {matchLabels: {role: db}}\n"
WEB_ONLY = "from: [{podSelector: {matchLabels: {role: api}}}]"

MISSES = [
    (
        f"{DB}ingress: [{{{WEB_ONLY}, ports: [{{port: 5432}}]}}]",
        "shop/web -> shop/db:5432",
        "port 5432/tcp is allowed in shop/p0 ingress[0], but its from[0] wants role=api and pod shop/web has role=web",
        "spec.ingress[0].from[0]",
    ),
    (
        f"{DB}ingress: [{{{WEB_ONLY}, ports: [{{port: 5432}}]}}]",
        "shop/bare -> shop/db:5432",
        "port 5432/tcp is allowed in shop/p0 ingress[0], but its from[0] wants role=api and pod shop/bare has no label role",
        "spec.ingress[0].from[0]",
    ),
    (
        f"{DB}ingress: [{{{WEB_ONLY}, ports: [{{port: 5432}}]}}]",
        "shop/api -> shop/db:5433",
        "shop/p0 ingress[0] allows pod shop/api, but only to port 5432/tcp, not port 5433/tcp",
        "spec.ingress[0].ports[0]",
    ),
    (
        f"{DB}ingress: [{{{WEB_ONLY}, ports: [{{port: postgres}}, {{port: 80, endPort: 90}}]}}]",
        "shop/api -> shop/db:1",
        'shop/p0 ingress[0] allows pod shop/api, but only to port "postgres" (5432/tcp) and 80-90/tcp, not port 1/tcp',
        "spec.ingress[0].ports",
    ),
    (
        f"{DB}ingress: [{{{WEB_ONLY}, ports: [{{port: http}}]}}]",
        "shop/api -> shop/db:8080",
        'shop/p0 ingress[0] allows pod shop/api, but only to port "http", which pod shop/db has not, not port 8080/tcp',
        "spec.ingress[0].ports[0]",
    ),
    (
        f"{DB}ingress: [{{{WEB_ONLY}, ports: [{{port: 5432}}]}}]",
        "shop/web -> shop/db:1",
        "shop/p0 ingress[0]: only to port 5432/tcp, not port 1/tcp; and its from[0] wants role=api and pod shop/web has role=web",
        "spec.ingress[0].from[0]",
    ),
    (
        f"{DB}ingress: [{{{WEB_ONLY}}}]",
        "ops/api -> shop/db:1",
        "port 1/tcp is allowed in shop/p0 ingress[0], but its from[0] wants namespace shop and pod ops/api is in ops",
        "spec.ingress[0].from[0]",
    ),
    (
        f"{DB}ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: ops}}}}, podSelector: {{matchLabels: {{role: api}}}}}}]}}]",
        "shop/web -> shop/db:1",
        "port 1/tcp is allowed in shop/p0 ingress[0], but its from[0] wants team=ops and namespace shop has team=shop, "
        "and role=api and pod shop/web has role=web",
        "spec.ingress[0].from[0]",
    ),
    (
        f"{DB}ingress: [{{from: [{{ipBlock: {{cidr: 198.51.100.0/24}}}}]}}]",
        "192.0.2.18 -> shop/db:1",
        "port 1/tcp is allowed in shop/p0 ingress[0], but its from[0] wants 198.51.100.0/24, which 192.0.2.18 is not in",
        "spec.ingress[0].from[0]",
    ),
    (
        f"{DB}ingress: [{{{WEB_ONLY}}}]",
        "192.0.2.18 -> shop/db:1",
        "port 1/tcp is allowed in shop/p0 ingress[0], but its from[0] wants pods role=api in namespace shop, and 192.0.2.18 is no pod",
        "spec.ingress[0].from[0]",
    ),
    (
        f"{DB}ingress: [{{from: [{{ipBlock: {{cidr: 192.0.2.0/24, except: [192.0.2.64/26, 192.0.2.129/32]}}}}]}}]",
        "shop/web -> shop/db:1",
        "port 1/tcp is allowed in shop/p0 ingress[0], but its from[0] wants 192.0.2.0/24 except 192.0.2.64/26 and 192.0.2.129/32, "
        "and pod shop/web has the address 10.244.1.2",
        "spec.ingress[0].from[0]",
    ),
    (
        f"{DB}ingress: []",
        "shop/web -> shop/db:1",
        "shop/p0 allows no ingress at all: it has no ingress rule that can be used",
        "spec.ingress",
    ),
    (
        f"{DB}ingress: [{{from: [{{}}]}}]",
        "shop/web -> shop/db:1",
        "port 1/tcp is allowed in shop/p0 ingress[0], but none of its peers can be used",
        "spec.ingress[0]",
    ),
    (
        f"{DB}ingress: [{{ports: [{{port: 5432}}]}}]",
        "shop/web -> shop/db",
        "shop/p0 ingress[0] allows pod shop/web, but only to port 5432/tcp, not traffic without ports",
        "spec.ingress[0].ports[0]",
    ),
    (
        f"{DB}policyTypes: [Egress]\negress: [{{to: [{{podSelector: {{matchLabels: {{role: api}}}}}}], ports: [{{port: http}}]}}]",
        "shop/db -> shop/web:8080",
        "port 8080/tcp is allowed in shop/p0 egress[0], but its to[0] wants role=api and pod shop/web has role=web",
        "spec.egress[0].to[0]",
    ),
]


@pytest.mark.parametrize(("spec", "line", "text", "field"), MISSES, ids=[row[2] for row in MISSES])
def test_nearest_miss(spec, line, text, field):
    direction = Direction.EGRESS if "egress:" in spec else Direction.INGRESS
    found = under(spec).judge(direction, packet(line))
    assert (found.action, found.rule) == (Action.DENY, None)
    assert (found.miss.text, found.miss.source.field) == (text, field)
    assert [str(source) for source in found.isolating] == ["NetworkPolicy shop/p0"]


def test_of_all_rules_of_all_policies_the_nearest():
    judge = under(
        DB,
        f"{DB}ingress: [{{ports: [{{port: 1}}], from: [{{podSelector: {{matchLabels: {{role: web, tier: x}}}}}}]}}]",
        f"{DB}ingress: [{{ports: [{{port: 2}}], from: [{{podSelector: {{matchLabels: {{role: api}}}}}}]}}, {{ports: [{{port: 3}}], {WEB_ONLY}}}]",
    )
    assert judge.judge(Direction.INGRESS, packet("shop/web -> shop/db:3")).miss.text.startswith(
        "port 3/tcp is allowed in shop/p2 ingress[1], but its from[0] wants role=api"
    )
    assert judge.judge(Direction.INGRESS, packet("shop/web -> shop/db:1")).miss.text.startswith(
        "port 1/tcp is allowed in shop/p1 ingress[0], but its from[0] wants tier=x"
    )


def test_the_rule_that_allows_is_named():
    found = under(f"{DB}ingress: [{{ports: [{{port: 1}}]}}, {{{WEB_ONLY}}}]").judge(
        Direction.INGRESS, packet("shop/api -> shop/db:5432")
    )
    assert str(found.rule.source) == "NetworkPolicy shop/p0: spec.ingress[1].from[0]"
    assert found.miss is None


def test_who_is_under_no_policy_has_none_to_name():
    judge = under(DB)
    assert judge.judge(Direction.INGRESS, packet("shop/db -> shop/web:1")).policies == ()
    assert judge.judge(Direction.INGRESS, packet("shop/db -> 192.0.2.18:1")).pod is None
    assert judge.judge(Direction.INGRESS, packet("shop/db -> 10.96.0.10:53")).pod is None
    assert str(judge.judge(Direction.EGRESS, packet("shop/db -> shop/web:1")).pod) == "shop/db"


def test_the_exceptions_are_named_too():
    judge = under(f"{DB}policyTypes: [Ingress, Egress]")
    own_node = judge.judge(Direction.INGRESS, packet("node-2 -> shop/db:1")).rule
    assert str(own_node.source) == "Node node-2: status.addresses"
    itself = judge.judge(Direction.INGRESS, packet("shop/db -> shop/db:1")).rule
    assert str(itself.source) == "Pod itself: status.podIPs"
