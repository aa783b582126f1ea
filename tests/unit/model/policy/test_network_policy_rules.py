"""networking.k8s.io/v1 NetworkPolicy as a specification: each row is policies, and who may then talk to whom."""

from __future__ import annotations

import pytest

from netloom.testing.policy_words import is_allowed, under

ANYBODY = ["shop/web", "shop/api", "shop/bare", "ops/api", "node-1", "192.0.2.18"]

# Whom a policy selects, and for which direction.
SELECTION = [
    ("no policy at all", [], ["shop/web -> shop/db:5432", "192.0.2.18 -> shop/db:1"], []),
    (
        "an empty podSelector selects every pod of the namespace, and no other",
        ["podSelector: {}"],
        ["shop/web -> ops/api:80", "shop/web -> 192.0.2.18:80"],
        ["ops/api -> shop/db:80", "ops/api -> shop/bare:80", "192.0.2.18 -> shop/web:80"],
    ),
    (
        "a podSelector left out is an empty one",
        ["policyTypes: [Ingress]", "{}"],
        [],
        ["ops/api -> shop/db:80", "ops/api -> shop/bare:80"],
    ),
    (
        "a podSelector with labels selects pods that have them all",
        ["podSelector: {matchLabels: {role: db}}"],
        ["ops/api -> shop/web:80", "ops/api -> shop/bare:80"],
        ["ops/api -> shop/db:80"],
    ),
    (
        "expressions: In, NotIn (also without the label), Exists, DoesNotExist",
        [
            "podSelector: {matchExpressions: [{key: role, operator: In, values: [db, web]}]}",
            "podSelector: {matchExpressions: [{key: role, operator: DoesNotExist}]}",
        ],
        ["ops/api -> shop/api:80"],
        ["ops/api -> shop/db:80", "ops/api -> shop/web:80", "ops/api -> shop/bare:80"],
    ),
    (
        "NotIn",
        ["podSelector: {matchExpressions: [{key: role, operator: NotIn, values: [db, web]}]}"],
        ["ops/api -> shop/db:80", "ops/api -> shop/web:80"],
        ["ops/api -> shop/api:80", "ops/api -> shop/bare:80"],
    ),
    (
        "Exists, with a label beside it",
        ["podSelector: {matchLabels: {role: db}, matchExpressions: [{key: role, operator: Exists}]}"],
        ["ops/api -> shop/web:80"],
        ["ops/api -> shop/db:80"],
    ),
    (
        "without policyTypes: ingress always, egress not",
        ["podSelector: {}"],
        ["shop/web -> 192.0.2.18:80", "shop/web -> ops/api:80"],
        ["192.0.2.18 -> shop/web:80"],
    ),
    (
        "without policyTypes: egress too where there is an egress rule",
        ["podSelector: {}\negress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]"],
        ["shop/web -> 192.0.2.18:80"],
        ["192.0.2.18 -> shop/web:80", "shop/web -> ops/api:80"],
    ),
    (
        "without policyTypes: an empty list of egress rules is none",
        ["podSelector: {}\npolicyTypes: []\negress: []"],
        ["shop/web -> ops/api:80"],
        ["192.0.2.18 -> shop/web:80"],
    ),
    (
        "policyTypes Egress: no opinion about ingress, whatever ingress rules say",
        ["podSelector: {}\npolicyTypes: [Egress]\ningress: []"],
        ["192.0.2.18 -> shop/web:80"],
        ["shop/web -> 192.0.2.18:80"],
    ),
    (
        "policyTypes Ingress: egress rules are no matter",
        ["podSelector: {}\npolicyTypes: [Ingress]\negress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]"],
        ["shop/web -> ops/api:80"],
        ["ops/api -> shop/web:80"],
    ),
    (
        "policies add up",
        [
            "podSelector: {}",
            "podSelector: {matchLabels: {role: db}}\ningress: [{from: [{podSelector: {matchLabels: {role: api}}}]}]",
            "podSelector: {}\ningress: [{ports: [{port: 9000}]}]",
        ],
        ["shop/api -> shop/db:1", "192.0.2.18 -> shop/db:9000"],
        ["shop/web -> shop/db:1", "shop/api -> shop/web:1"],
    ),
    (
        "both ends must allow it",
        [
            "podSelector: {matchLabels: {role: web}}\npolicyTypes: [Egress]\negress: [{ports: [{port: 5432}]}]",
            "podSelector: {matchLabels: {role: db}}\ningress: [{ports: [{port: 5432}, {port: 5433}]}]",
        ],
        ["shop/web -> shop/db:5432", "shop/api -> shop/db:5433"],
        ["shop/web -> shop/db:5433", "shop/web -> shop/api:8080", "shop/api -> shop/db:1"],
    ),
]

# Which ends a rule names.
PEERS = [
    ("a rule without from: everybody", ["ingress: [{}]"], [f"{who} -> shop/db:1" for who in ANYBODY], []),
    ("an empty from: everybody", ["ingress: [{from: []}]"], [f"{who} -> shop/db:1" for who in ANYBODY], []),
    ("a null from: everybody", ["ingress: [{from: null}]"], [f"{who} -> shop/db:1" for who in ANYBODY], []),
    (
        "no rules: nobody, be the list empty, null or left out",
        ["ingress: []", "ingress: null", "{}"],
        [],
        [f"{who} -> shop/db:1" for who in ANYBODY],
    ),
    (
        "a podSelector names pods of the policy's own namespace",
        ["ingress: [{from: [{podSelector: {matchLabels: {role: api}}}]}]"],
        ["shop/api -> shop/db:1"],
        ["ops/api -> shop/db:1", "shop/web -> shop/db:1", "192.0.2.18 -> shop/db:1"],
    ),
    (
        "an empty podSelector: all pods of that namespace, none of others, nobody else",
        ["ingress: [{from: [{podSelector: {}}]}]"],
        ["shop/api -> shop/db:1", "shop/bare -> shop/db:1"],
        ["ops/api -> shop/db:1", "192.0.2.18 -> shop/db:1", "node-1 -> shop/db:1"],
    ),
    (
        "a namespaceSelector: all pods of these namespaces",
        ["ingress: [{from: [{namespaceSelector: {matchLabels: {env: prod}}}]}]"],
        ["ops/api -> shop/db:1"],
        ["shop/api -> shop/db:1"],
    ),
    (
        "an empty namespaceSelector: all pods of the cluster, and nobody else",
        ["ingress: [{from: [{namespaceSelector: {}}]}]"],
        ["ops/api -> shop/db:1", "shop/api -> shop/db:1"],
        ["192.0.2.18 -> shop/db:1", "node-1 -> shop/db:1"],
    ),
    (
        "a namespace can be chosen by its name",
        ["ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ops}}}]}]"],
        ["ops/api -> shop/db:1"],
        ["shop/api -> shop/db:1"],
    ),
    (
        "both selectors in one peer: these pods of these namespaces",
        [
            "ingress: [{from: [{namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {role: api}}}]}]"
        ],
        ["shop/api -> shop/db:1"],
        ["ops/api -> shop/db:1", "shop/web -> shop/db:1"],
    ),
    (
        "two peers: these pods, or the pods of those namespaces",
        [
            "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}, {podSelector: {matchLabels: {role: api}}}]}]"
        ],
        ["shop/api -> shop/db:1", "ops/api -> shop/db:1"],
        ["shop/web -> shop/db:1"],
    ),
    (
        "an ipBlock names addresses, whoever has them",
        ["ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: 10.244.2.3/32}}]}]"],
        ["192.0.2.18 -> shop/db:1", "ops/api -> shop/db:1"],
        ["198.51.100.1 -> shop/db:1", "shop/api -> shop/db:1"],
    ),
    (
        "except takes out a part of the block",
        ["ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.16/30, 192.0.2.128/25]}}]}]"],
        ["192.0.2.15 -> shop/db:1", "192.0.2.20 -> shop/db:1", "192.0.2.127 -> shop/db:1"],
        ["192.0.2.16 -> shop/db:1", "192.0.2.19 -> shop/db:1", "192.0.2.128 -> shop/db:1"],
    ),
    (
        "what one block takes out another may give",
        [
            "ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [192.0.2.0/24]}}, {ipBlock: {cidr: 192.0.2.18/32}}]}]"
        ],
        ["192.0.2.18 -> shop/db:1", "198.51.100.1 -> shop/db:1"],
        ["192.0.2.19 -> shop/db:1"],
    ),
    (
        "blocks of one family say nothing of the other",
        ["ingress: [{from: [{ipBlock: {cidr: '2001:db8:44::/48', except: ['2001:db8:44:1::2/128']}}]}]"],
        ["shop/api -> shop/db:1 (v6)"],
        ["shop/web -> shop/db:1 (v6)", "shop/api -> shop/db:1"],
    ),
    (
        "selectors name all addresses of a pod",
        ["ingress: [{from: [{podSelector: {matchLabels: {role: api}}}]}]"],
        ["shop/api -> shop/db:1 (v6)", "shop/api -> shop/db:1"],
        ["shop/web -> shop/db:1 (v6)"],
    ),
    (
        "a pod in the node's network is no pod of a selector; its address can be named",
        ["ingress: [{from: [{namespaceSelector: {}}, {ipBlock: {cidr: 172.30.0.11/32}}]}]"],
        ["172.30.0.11 -> shop/db:1"],
        ["198.51.100.1 -> shop/db:1"],
    ),
    (
        "a pod that has finished is nobody",
        ["ingress: [{from: [{namespaceSelector: {}}]}]"],
        ["ops/api -> shop/db:1"],
        ["10.244.2.9 -> shop/db:1"],
    ),
]

# Which ports a rule names.
PORTS = [
    (
        "no ports, an empty list, null: every port, and what has none",
        ["ingress: [{ports: []}]"],
        [
            "shop/web -> shop/db:1",
            "shop/web -> shop/db:53/udp",
            "shop/web -> shop/db:9/sctp",
            "shop/web -> shop/db",
        ],
        [],
    ),
    (
        "a port without protocol is TCP",
        ["ingress: [{ports: [{port: 80}]}]"],
        ["shop/web -> shop/db:80"],
        [
            "shop/web -> shop/db:80/udp",
            "shop/web -> shop/db:80/sctp",
            "shop/web -> shop/db:81",
            "shop/web -> shop/db",
        ],
    ),
    (
        "each protocol is its own",
        ["ingress: [{ports: [{port: 53, protocol: UDP}, {port: 9, protocol: SCTP}]}]"],
        ["shop/web -> shop/db:53/udp", "shop/web -> shop/db:9/sctp"],
        ["shop/web -> shop/db:53", "shop/web -> shop/db:9", "shop/web -> shop/db:9/udp"],
    ),
    (
        "a protocol without port: all its ports",
        ["ingress: [{ports: [{protocol: UDP}]}]"],
        ["shop/web -> shop/db:1/udp", "shop/web -> shop/db:65535/udp"],
        ["shop/web -> shop/db:1", "shop/web -> shop/db"],
    ),
    (
        "an empty port: all of TCP",
        ["ingress: [{ports: [{}]}]"],
        ["shop/web -> shop/db:1", "shop/web -> shop/db:65535"],
        ["shop/web -> shop/db:1/udp", "shop/web -> shop/db"],
    ),
    (
        "endPort is included",
        ["ingress: [{ports: [{port: 100, endPort: 200}, {port: 300, endPort: 300}]}]"],
        ["shop/web -> shop/db:100", "shop/web -> shop/db:200", "shop/web -> shop/db:300"],
        ["shop/web -> shop/db:99", "shop/web -> shop/db:201", "shop/web -> shop/db:301"],
    ),
    (
        "a name is a port of the pod under the policy",
        ["ingress: [{ports: [{port: postgres}]}]"],
        ["shop/web -> shop/db:5432"],
        ["shop/web -> shop/db:5432/udp", "shop/web -> shop/db:8080"],
    ),
    (
        "a name that the pod has not matches nothing",
        ["ingress: [{ports: [{port: http}]}]"],
        [],
        ["shop/web -> shop/db:8080", "shop/web -> shop/db:5432"],
    ),
    (
        "ports and peers must both match",
        ["ingress: [{ports: [{port: 80}], from: [{podSelector: {matchLabels: {role: api}}}]}]"],
        ["shop/api -> shop/db:80"],
        ["shop/api -> shop/db:81", "shop/web -> shop/db:80"],
    ),
    (
        "but not across rules",
        [
            "ingress: [{ports: [{port: 80}], from: [{podSelector: {matchLabels: {role: api}}}]}, {ports: [{port: 81}]}]"
        ],
        ["shop/api -> shop/db:80", "shop/web -> shop/db:81"],
        ["shop/web -> shop/db:80"],
    ),
]

# The other direction.
EGRESS = [
    (
        "to works as from",
        ["egress: [{to: [{podSelector: {matchLabels: {role: api}}}]}]"],
        ["shop/db -> shop/api:1"],
        ["shop/db -> ops/api:1", "shop/db -> shop/web:1", "shop/db -> 192.0.2.18:1"],
    ),
    (
        "a name is a port of the pod that the packet goes to: another number for each",
        ["egress: [{to: [{namespaceSelector: {}}], ports: [{port: http}, {port: dns, protocol: UDP}]}]"],
        ["shop/db -> shop/api:8080", "shop/db -> ops/api:8080", "shop/db -> ops/api:53/udp"],
        ["shop/db -> shop/api:53/udp", "shop/db -> shop/bare:8080", "shop/db -> 192.0.2.18:8080"],
    ),
    (
        "a name without to: of any pod",
        ["egress: [{ports: [{port: http}]}]"],
        ["shop/db -> ops/api:8080"],
        ["shop/db -> shop/bare:8080", "shop/db -> 192.0.2.18:8080"],
    ),
    (
        "a name and a block: of pods in the block",
        ["egress: [{to: [{ipBlock: {cidr: 10.244.1.3/32}}], ports: [{port: http}, {port: 1}]}]"],
        ["shop/db -> shop/api:8080", "shop/db -> shop/api:1"],
        ["shop/db -> shop/web:8080", "shop/db -> ops/api:8080"],
    ),
    (
        "nodes are named by their addresses only",
        ["egress: [{to: [{namespaceSelector: {}}, {ipBlock: {cidr: 172.30.0.11/32}}]}]"],
        ["shop/db -> node-1:1"],
        ["shop/db -> 172.30.0.12:1"],
    ),
    (
        "the cluster's DNS is the pods that its Service is labelled for",
        [
            "egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, "
            "podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: dns-tcp}]}]"
        ],
        ["shop/db -> 10.96.0.10:53/udp", "shop/db -> 10.96.0.10:53"],
        ["shop/db -> 10.96.0.10:54/udp", "shop/db -> shop/api:53/udp"],
    ),
    (
        "the cluster's DNS is closed as anything is",
        ["egress: [{to: [{podSelector: {}}]}]"],
        ["shop/db -> shop/api:53/udp"],
        ["shop/db -> 10.96.0.10:53/udp"],
    ),
]


@pytest.mark.parametrize(
    ("about", "specs", "allowed", "denied"), SELECTION, ids=[row[0] for row in SELECTION]
)
def test_whom_it_selects(about, specs, allowed, denied):
    _check(under(*specs), allowed, denied)


@pytest.mark.parametrize(("about", "specs", "allowed", "denied"), PEERS, ids=[row[0] for row in PEERS])
def test_whom_a_rule_names(about, specs, allowed, denied):
    for spec in specs:
        _check(
            under(f"podSelector: {{matchLabels: {{role: db}}}}\n{'' if spec == '{}' else spec}"),
            allowed,
            denied,
        )


@pytest.mark.parametrize(("about", "specs", "allowed", "denied"), PORTS, ids=[row[0] for row in PORTS])
def test_which_ports_a_rule_names(about, specs, allowed, denied):
    _check(under(*(f"podSelector: {{matchLabels: {{role: db}}}}\n{spec}" for spec in specs)), allowed, denied)


@pytest.mark.parametrize(("about", "specs", "allowed", "denied"), EGRESS, ids=[row[0] for row in EGRESS])
def test_egress(about, specs, allowed, denied):
    _check(
        under(*(f"podSelector: {{matchLabels: {{role: db}}}}\npolicyTypes: [Egress]\n{s}" for s in specs)),
        allowed,
        denied,
    )


def _check(judge, allowed, denied):
    for line in allowed:
        assert is_allowed(judge, line), line
    for line in denied:
        assert not is_allowed(judge, line), line


def test_a_policy_is_about_pods_of_its_own_namespace_only():
    judge = under("podSelector: {matchLabels: {role: api}}", namespace="ops")
    assert not is_allowed(judge, "shop/web -> ops/api:1")
    assert is_allowed(judge, "shop/web -> shop/api:1")


def test_a_pods_own_node_may_always_reach_it_and_no_other_node():
    """NetworkPolicySpec.ingress: "OR if the traffic source is the pod's local node"."""
    judge = under("podSelector: {}")
    assert is_allowed(judge, "node-2 -> shop/db:5432")
    assert is_allowed(judge, "node-2 -> shop/db:5432 (v6)")
    assert not is_allowed(judge, "node-1 -> shop/db:5432")
    assert is_allowed(judge, "node-1 -> shop/web:8080")


def test_a_pod_does_not_reach_its_own_node_unless_a_rule_says_so():
    """NetworkPolicySpec.egress knows no such exception."""
    judge = under("podSelector: {}\npolicyTypes: [Egress]")
    assert not is_allowed(judge, "shop/db -> node-2:10250")
    assert is_allowed(
        under("podSelector: {}\negress: [{to: [{ipBlock: {cidr: 172.30.0.12/32}}]}]"), "shop/db -> node-2:1"
    )


def test_a_pod_may_always_reach_itself():
    """Through a Service, that is: what goes to its own address does not leave it."""
    judge = under("podSelector: {}\npolicyTypes: [Ingress, Egress]")
    assert is_allowed(judge, "shop/db -> shop/db:5432")
    assert is_allowed(judge, "shop/db -> shop/db:5432 (v6)")
    assert not is_allowed(judge, "shop/db -> shop/web:5432")


def test_pods_in_the_nodes_network_are_under_no_policy():
    judge = under("podSelector: {}\npolicyTypes: [Ingress, Egress]", namespace="ops")
    assert is_allowed(judge, "172.30.0.12 -> 192.0.2.18:80")
    assert is_allowed(judge, "192.0.2.18 -> 172.30.0.12:80")
    assert not is_allowed(judge, "ops/api -> 192.0.2.18:80")
