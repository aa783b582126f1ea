"""policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy as a specification: tiers, priorities, subjects, peers, protocols."""

from __future__ import annotations

import pytest

from netloom.model.policy.state import Action, Direction, Tier
from netloom.testing.policy_words import is_allowed, packet, under

ALL = "namespaces: {}"
DB = "pods: {namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {role: db}}}"
WEB = "pods: {namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {role: web}}}"
OPS = "namespaces: {matchLabels: {team: ops}}"
ZONE_1 = 'nodes: {matchLabels: {zone: "1"}}'
ALL_OF_IPV6 = "networks: ['::/0']"
DOMAIN = 'domainNames: ["*.example.org"]'
ISOLATED = "podSelector: {matchLabels: {role: db}}"
OPEN_TO_WEB = (
    "podSelector: {matchLabels: {role: db}}\ningress: [{from: [{podSelector: {matchLabels: {role: web}}}]}]"
)


def cnp(rules: str, *, tier: str = "Admin", priority: int = 10, subject: str = DB) -> str:
    return f"tier: {tier}\npriority: {priority}\nsubject: {{{subject}}}\n{rules}"


def ingress(action: str, peer: str = ALL, more: str = "") -> str:
    return f"{{action: {action}, from: [{{{peer}}}]{more}}}"


def egress(action: str, peer: str = ALL, more: str = "") -> str:
    return f"{{action: {action}, to: [{{{peer}}}]{more}}}"


FROM_WEB = "shop/web -> shop/db:5432"
FROM_API = "shop/api -> shop/db:5432"
FROM_OPS = "ops/api -> shop/db:5432"
OUTSIDE = "192.0.2.18 -> shop/db:5432"

TIERS = [
    (
        "Admin Deny comes before what a NetworkPolicy allows",
        [cnp(f"ingress: [{ingress('Deny')}]"), OPEN_TO_WEB],
        [],
        [FROM_WEB],
    ),
    (
        "Admin Accept comes before NetworkPolicies",
        [cnp(f"ingress: [{ingress('Accept', OPS)}]"), ISOLATED],
        [FROM_OPS],
        [FROM_WEB, OUTSIDE],
    ),
    (
        "Admin Pass goes on with NetworkPolicies",
        [cnp(f"ingress: [{ingress('Pass', WEB)}, {ingress('Deny')}]"), OPEN_TO_WEB],
        [FROM_WEB],
        [FROM_API, FROM_OPS],
    ),
    (
        "Pass leaves out the rest of the tier, of other policies too",
        [
            cnp(f"ingress: [{ingress('Pass', WEB)}]", priority=1),
            cnp(f"ingress: [{ingress('Deny')}]", priority=2),
        ],
        [FROM_WEB],
        [FROM_API],
    ),
    (
        "Pass in Admin, then Baseline where no NetworkPolicy isolates",
        [cnp(f"ingress: [{ingress('Pass', WEB)}]"), cnp(f"ingress: [{ingress('Deny')}]", tier="Baseline")],
        [OUTSIDE],
        [FROM_WEB, FROM_API],
    ),
    (
        "Baseline is not asked where a NetworkPolicy isolates the pod",
        [cnp(f"ingress: [{ingress('Deny')}]", tier="Baseline"), OPEN_TO_WEB],
        [FROM_WEB],
        [FROM_API],
    ),
    (
        "nor can it open what a NetworkPolicy closes",
        [cnp(f"ingress: [{ingress('Accept')}]", tier="Baseline"), ISOLATED],
        [],
        [FROM_WEB],
    ),
    (
        "a NetworkPolicy about the other direction has no opinion: Baseline is asked",
        [
            cnp(f"ingress: [{ingress('Deny')}]", tier="Baseline"),
            "podSelector: {}\npolicyTypes: [Egress]\negress: [{}]",
        ],
        [OUTSIDE],
        [FROM_WEB],
    ),
    (
        "Baseline Accept before Baseline Deny",
        [cnp(f"ingress: [{ingress('Accept', WEB)}, {ingress('Deny')}]", tier="Baseline")],
        [FROM_WEB],
        [FROM_API],
    ),
    (
        "Baseline Pass leaves out the rest of Baseline: nothing is left that could deny",
        [cnp(f"ingress: [{ingress('Pass', WEB)}, {ingress('Deny')}]", tier="Baseline")],
        [FROM_WEB],
        [FROM_API],
    ),
    (
        "no rule matches: accepted",
        [cnp(f"ingress: [{ingress('Deny', OPS)}]")],
        [FROM_WEB, OUTSIDE],
        [FROM_OPS],
    ),
    (
        "a policy without ingress rules has no opinion about ingress",
        [cnp("egress: [{action: Deny, to: [{namespaces: {}}]}]"), OPEN_TO_WEB],
        [FROM_WEB],
        [FROM_API, "shop/db -> shop/web:1"],
    ),
]

ORDER = [
    (
        "the lower priority value comes first",
        [
            cnp(f"ingress: [{ingress('Deny')}]", priority=20),
            cnp(f"ingress: [{ingress('Accept', WEB)}]", priority=10),
        ],
        [FROM_WEB],
        [FROM_API],
    ),
    (
        "0 is the first, 1000 the last",
        [
            cnp(f"ingress: [{ingress('Accept')}]", priority=1000),
            cnp(f"ingress: [{ingress('Deny', WEB)}]", priority=0),
        ],
        [FROM_API],
        [FROM_WEB],
    ),
    (
        "among equals, which the API leaves open, the name",
        [cnp(f"ingress: [{ingress('Deny', WEB)}]"), cnp(f"ingress: [{ingress('Accept')}]")],
        [FROM_API],
        [FROM_WEB],
    ),
    (
        "rules of one policy as written",
        [cnp(f"ingress: [{ingress('Accept', WEB)}, {ingress('Deny')}, {ingress('Accept', OPS)}]")],
        [FROM_WEB],
        [FROM_API, FROM_OPS],
    ),
    (
        "priorities hold within a tier only",
        [
            cnp(f"ingress: [{ingress('Deny')}]", tier="Baseline", priority=0),
            cnp(f"ingress: [{ingress('Accept', WEB)}]", priority=1000),
        ],
        [FROM_WEB],
        [FROM_API],
    ),
]

PEERS = [
    ("namespaces: all their pods", [cnp(f"ingress: [{ingress('Deny', OPS)}]")], [FROM_WEB, OUTSIDE], [FROM_OPS]),
    ("an empty namespaces selector: all pods, nobody else", [cnp(f"ingress: [{ingress('Deny')}]")], [OUTSIDE, "node-1 -> shop/db:1"], [FROM_WEB, FROM_OPS]),
    (
        "pods: of all namespaces where no namespace is asked for",
        [cnp(f"ingress: [{ingress('Deny', 'pods: {podSelector: {matchLabels: {role: api}}}')}]")],
        [FROM_WEB],
        [FROM_API, FROM_OPS],
    ),
    (
        "several peers: any of them",
        [cnp(f"ingress: [{{action: Deny, from: [{{{WEB}}}, {{{OPS}}}]}}]")],
        [FROM_API],
        [FROM_WEB, FROM_OPS],
    ),
    (
        "nodes: all addresses of nodes with these labels",
        [cnp(f"egress: [{egress('Deny', ZONE_1)}]")],
        ["shop/db -> node-2:10250", "shop/db -> shop/web:1"],
        ["shop/db -> node-1:10250", "shop/db -> node-1:10250 (v6)"],
    ),
    (
        "all nodes, the pod's own among them",
        [cnp(f"egress: [{egress('Deny', 'nodes: {}')}]")],
        ["shop/db -> 192.0.2.18:1"],
        ["shop/db -> node-1:1", "shop/db -> node-2:1"],
    ),
    (
        "networks: addresses, whoever has them",
        [cnp(f"egress: [{egress('Deny', 'networks: [192.0.2.0/24, 10.244.1.2/32]')}]")],
        ["shop/db -> 198.51.100.1:1", "shop/db -> shop/api:1"],
        ["shop/db -> 192.0.2.18:1", "shop/db -> shop/web:1", "shop/db -> 192.0.2.18"],
    ),
    (
        "networks of one family say nothing of the other",
        [cnp(f"egress: [{egress('Deny', ALL_OF_IPV6)}]")],
        ["shop/db -> shop/web:1"],
        ["shop/db -> shop/web:1 (v6)"],
    ),
    (
        "domain names are not known to the model: they accept nothing",
        [cnp(f"egress: [{egress('Accept', DOMAIN)}, {egress('Deny', 'networks: [0.0.0.0/0]')}]")],
        [],
        ["shop/db -> 192.0.2.18:443"],
    ),
]  # fmt: skip


def protocols(text: str) -> str:
    return cnp(f"ingress: [{ingress('Deny', ALL, f', protocols: [{text}]')}]")


PROTOCOLS = [
    ("none given: whatever there is", [cnp(f"ingress: [{ingress('Deny')}]")], [], [FROM_WEB, "shop/web -> shop/db:1/udp", "shop/web -> shop/db"]),
    (
        "a number",
        [protocols("tcp: {destinationPort: {number: 5432}}".join("{}"))],
        ["shop/web -> shop/db:5433", "shop/web -> shop/db:5432/udp", "shop/web -> shop/db"],
        [FROM_WEB],
    ),
    (
        "a range, both ends included",
        [protocols("udp: {destinationPort: {range: {start: 50, end: 60}}}".join("{}"))],
        ["shop/web -> shop/db:49/udp", "shop/web -> shop/db:61/udp", "shop/web -> shop/db:55"],
        ["shop/web -> shop/db:50/udp", "shop/web -> shop/db:60/udp"],
    ),
    (
        "several: any of them",
        [protocols("{sctp: {destinationPort: {number: 9}}}, {tcp: {destinationPort: {number: 80}}}")],
        ["shop/web -> shop/db:9"],
        ["shop/web -> shop/db:9/sctp", "shop/web -> shop/db:80"],
    ),
    (
        "the name of a container's port, whatever its protocol",
        [protocols("{destinationNamedPort: postgres}")],
        ["shop/web -> shop/db:5433", "shop/web -> shop/db:5432/udp"],
        [FROM_WEB],
    ),
    (
        "on egress the name is the other pod's",
        [cnp(f"egress: [{egress('Deny', ALL, ', protocols: [{destinationNamedPort: dns}]')}]")],
        ["shop/db -> ops/api:53", "shop/db -> shop/api:53/udp"],
        ["shop/db -> ops/api:53/udp", "shop/db -> 10.96.0.10:53/udp"],
    ),
]  # fmt: skip

SUBJECTS = [
    ("namespaces", [cnp(f"ingress: [{ingress('Deny')}]", subject=OPS)], [FROM_WEB], ["shop/web -> ops/api:1"]),
    ("everybody", [cnp(f"ingress: [{ingress('Deny')}]", subject=ALL)], ["shop/web -> 172.30.0.12:1"], [FROM_WEB, "shop/web -> ops/api:1"]),
    ("pods of some namespaces", [cnp(f"ingress: [{ingress('Deny')}]")], ["shop/api -> shop/web:1"], [FROM_WEB]),
]  # fmt: skip

ROWS = [*TIERS, *ORDER, *PEERS, *PROTOCOLS, *SUBJECTS]


@pytest.mark.parametrize(("about", "specs", "allowed", "denied"), ROWS, ids=[row[0] for row in ROWS])
def test_cluster_policies(about, specs, allowed, denied):
    judge = under(*specs)
    for line in allowed:
        assert is_allowed(judge, line), line
    for line in denied:
        assert not is_allowed(judge, line), line


def test_a_pod_reaches_itself_past_network_policies_but_not_past_cluster_policies():
    """Upstream's conformance tests deny hairpin traffic by an Admin policy; NetworkPolicies cannot."""
    assert not is_allowed(under(cnp(f"ingress: [{ingress('Deny')}]")), "shop/db -> shop/db:1")
    assert not is_allowed(
        under(cnp(f"ingress: [{ingress('Deny')}]", tier="Baseline")), "shop/db -> shop/db:1"
    )
    assert is_allowed(under(ISOLATED), "shop/db -> shop/db:1")


def test_the_deciding_rule_is_named():
    judge = under(cnp(f"ingress: [{ingress('Pass', OPS)}, {ingress('Deny', WEB, ', name: no-web')}]"))
    found = judge.judge(Direction.INGRESS, packet(FROM_WEB))
    assert (found.action, found.rule.tier, found.rule.name) == (Action.DENY, Tier.ADMIN, "no-web")
    assert str(found.rule.source) == "ClusterNetworkPolicy c0: spec.ingress[1].from[0]"
    assert [str(source) for source in found.policies] == ["ClusterNetworkPolicy c0"]
    passed = judge.judge(Direction.INGRESS, packet(FROM_OPS))
    assert (passed.action, passed.rule, passed.miss) == (Action.ACCEPT, None, None)
