"""What cannot be read closes, is told with object and field, and leaves every other policy in force."""

from __future__ import annotations

import msgspec
import pytest

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import ContainerPort
from netloom.api.networking import NetworkPolicy
from netloom.model.policy.policies import Policies
from netloom.model.policy.reading.cluster_policy import read_cluster_policy
from netloom.model.policy.reading.network_policy import read_network_policy
from netloom.testing import builders as b
from netloom.testing.policy_universe import FACTS
from netloom.testing.policy_words import POSTGRES, is_allowed, policies, under, with_objects, world

DB = "podSelector: {matchLabels: {role: db}}\n"
OPEN = "podSelector: {}\ningress: [{ports: [{port: 9000}]}]"
"""Another policy, which must stay in force whatever is beside it."""

# A rule of which one part cannot be read, and what is allowed all the same. 9000 is open by another policy.
RULES = [
    ("from: [{ipBlock: {cidr: 10.0.0.0/33}}]", "spec.ingress[0].from[0].ipBlock.cidr", "is no CIDR", []),
    ("from: [{ipBlock: {cidr: 10.0.0.1}}]", "spec.ingress[0].from[0].ipBlock.cidr", "is no CIDR", []),
    ("from: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]", "spec.ingress[0].from[0].ipBlock.cidr", "is no CIDR", []),
    ("from: [{ipBlock: {}}]", "spec.ingress[0].from[0].ipBlock.cidr", "is no CIDR", []),
    ("from: [{ipBlock: {cidr: 10.0.0.0/8, except: [192.0.2.0/24]}}]", "spec.ingress[0].from[0].ipBlock.except[0]", "is no part of", []),
    ("from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]", "spec.ingress[0].from[0].ipBlock.except[0]", "is no part of", []),
    ("from: [{ipBlock: {cidr: 10.0.0.0/8, except: ['2001:db8::/32']}}]", "spec.ingress[0].from[0].ipBlock.except[0]", "is no part of", []),
    ("from: [{ipBlock: {cidr: 10.0.0.0/8, except: [nonsense]}}]", "spec.ingress[0].from[0].ipBlock.except[0]", "is no CIDR", []),
    ("from: [{ipBlock: {cidr: 10.0.0.0/8, except: 10.1.0.0/16}}]", "spec.ingress[0].from[0].ipBlock.except", "is no list", []),
    ("from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]", "spec.ingress[0].from[0]", "ipBlock and a selector", []),
    ("from: [{}]", "spec.ingress[0].from[0]", "names nobody", []),
    ("from: [null]", "spec.ingress[0].from[0]", "is no object", []),
    ("from: [{serviceAccount: x}]", "spec.ingress[0].from[0].serviceAccount", "is a field that is not known", []),
    ("from: [{serviceAccount: x}, {podSelector: {matchLabels: {role: api}}}]", "spec.ingress[0].from[0].serviceAccount", "is a field", ["shop/api -> shop/db:1"]),
    ("from: {podSelector: {}}", "spec.ingress[0].from", "is no list", []),
    ("from: [{podSelector: {matchLabels: {role: 7}}}]", "spec.ingress[0].from[0].podSelector.matchLabels[role]", "7 is no label", []),
    ("from: [{podSelector: {matchExpressions: [{key: role, operator: Like, values: [a]}]}}]", "spec.ingress[0].from[0].podSelector.matchExpressions[0].operator", "is no operator", []),
    ("from: [{podSelector: {matchExpressions: [{key: role, operator: NotIn}]}}]", "spec.ingress[0].from[0].podSelector.matchExpressions[0].values", "at least one", []),
    ("from: [{podSelector: {matchExpressions: [{key: role, operator: Exists, values: [a]}]}}]", "spec.ingress[0].from[0].podSelector.matchExpressions[0].values", "must be empty", []),
    ("from: [{podSelector: {matchExpressions: [{operator: Exists}]}}]", "spec.ingress[0].from[0].podSelector.matchExpressions[0].key", "is no label's key", []),
    ("from: [{podSelector: {matchName: x}}]", "spec.ingress[0].from[0].podSelector.matchName", "is a field", []),
    ("from: [{podSelector: {}, namespaceSelector: [1]}]", "spec.ingress[0].from[0].namespaceSelector", "is no object", []),
    ("ports: [{port: 80, protocol: ICMP}]", "spec.ingress[0].ports[0].protocol", "is no protocol", []),
    ("ports: [{port: 80, protocol: tcp}]", "spec.ingress[0].ports[0].protocol", "is no protocol", []),
    ("ports: [{port: 0}]", "spec.ingress[0].ports[0].port", "is not from 1 to 65535", []),
    ("ports: [{port: 65536}]", "spec.ingress[0].ports[0].port", "is not from 1 to 65535", []),
    ("ports: [{port: 80, endPort: 79}]", "spec.ingress[0].ports[0].endPort", "79 is below port 80", []),
    ("ports: [{endPort: 80}]", "spec.ingress[0].ports[0].endPort", "begins with no number", []),
    ("ports: [{port: http, endPort: 80}]", "spec.ingress[0].ports[0].endPort", "begins with 'http'", []),
    ("ports: [{port: '80'}]", "spec.ingress[0].ports[0].port", "is no name of a port", []),
    ("ports: [{port: true}]", "spec.ingress[0].ports[0].port", "is no name of a port", []),
    ("ports: [{port: a-name-that-is-too-long}]", "spec.ingress[0].ports[0].port", "is no name of a port", []),
    ("ports: [{icmp: 8}]", "spec.ingress[0].ports[0].icmp", "is a field", []),
    ("ports: [{port: 0}, {port: 81}]", "spec.ingress[0].ports[0].port", "is not from", ["shop/web -> shop/db:81"]),
    ("ports: 80", "spec.ingress[0].ports", "is no list", []),
    ("to: [{podSelector: {}}]", "spec.ingress[0].to", "is a field that is not known", []),
]  # fmt: skip
PROBES = [
    "shop/web -> shop/db:1", "shop/web -> shop/db:80", "shop/web -> shop/db:81", "shop/api -> shop/db:1", "10.0.0.5 -> shop/db:1",
    "shop/web -> shop/db:8/udp", "shop/web -> shop/db", "192.0.2.18 -> shop/db:80",
]  # fmt: skip


@pytest.mark.parametrize(("rule", "field", "problem", "allowed"), RULES, ids=[row[0] for row in RULES])
def test_a_part_of_a_rule(rule, field, problem, allowed):
    judge = under(f"{DB}ingress: [{{{rule}}}]", OPEN)
    for line in PROBES:
        assert is_allowed(judge, line) == (line in allowed), line
    assert is_allowed(judge, "shop/web -> shop/db:9000")
    (finding,) = _read(f"{DB}ingress: [{{{rule}}}]").findings
    assert str(finding).startswith(f"NetworkPolicy shop/p0: {field}: ")
    assert problem in finding.problem


def test_the_same_rule_in_order_allows():
    """So that the table above can fail."""
    for rule in (
        "from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]",
        "ports: [{port: 80, endPort: 81}]",
        "",
    ):
        judge = under(f"{DB}ingress: [{{{rule}}}]", OPEN)
        assert any(is_allowed(judge, line) for line in PROBES)
        assert not _read(f"{DB}ingress: [{{{rule}}}]").findings


def _read(spec):
    (policy,) = policies(spec)
    return (read_cluster_policy if isinstance(policy, ClusterNetworkPolicy) else read_network_policy)(policy)


# A policy that cannot be read as a whole: it isolates all that it may mean, and allows nothing.
WHOLE = [
    ("ingress: [null]\npodSelector: {matchLabels: {role: db}}", "spec.ingress[0]", ["shop/db"], ["shop/web"]),
    ("ingress: 5\npodSelector: {matchLabels: {role: db}}", "spec.ingress", ["shop/db"], ["shop/web"]),
    ("ingress: [{}]\npodSelector: 5", "spec.podSelector", ["shop/db", "shop/web"], []),
    ("ingress: [{}]\npodSelector: {matchLabels: {role: db}, matchNames: [x]}", "spec.podSelector.matchNames", ["shop/db"], ["shop/web"]),
    ("ingress: [{}]\npodSelector: {matchExpressions: [{key: role, operator: Like}]}", "spec.podSelector.matchExpressions[0].operator", ["shop/db", "shop/web"], []),
    ("ingress: [{}]\npodSelector: {matchLabels: {role: db}}\naction: Deny", "spec.action", ["shop/db"], ["shop/web"]),
    ("7", "spec", ["shop/db", "shop/web"], []),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "closed", "untouched"), WHOLE, ids=[row[0] for row in WHOLE])
def test_a_policy_that_is_not_understood_isolates_what_it_may_mean(spec, field, closed, untouched):
    judge = under(spec, OPEN)
    base = under(OPEN)
    for pod in closed:
        assert not is_allowed(judge, f"ops/api -> {pod}:80")
        assert is_allowed(judge, f"ops/api -> {pod}:9000")
    alone = under(spec)
    for pod in untouched:
        assert is_allowed(alone, f"ops/api -> {pod}:80")
    is_nothing_known = spec == "7"  # then it may be about egress, too
    assert is_allowed(alone, "shop/web -> ops/api:80") is not is_nothing_known
    assert not is_allowed(base, "ops/api -> shop/web:80")
    assert field in {finding.source.field for finding in _read(spec).findings}


@pytest.mark.parametrize("types", ["[Ingress, Both]", "Egress", "[1]"])
def test_a_direction_that_is_not_understood_may_be_either(types):
    judge = under(f"{DB}policyTypes: {types}\ningress: [{{}}]")
    assert not is_allowed(judge, "shop/db -> ops/api:1")
    assert is_allowed(judge, "ops/api -> shop/db:1")


CLUSTER = "tier: Admin\npriority: 10\nsubject: {namespaces: {matchLabels: {team: shop}}}\n"

# One rule that cannot be read: as Accept it matches nothing, as Deny or Pass it denies everything.
CLUSTER_RULES = [
    ("from: [{}]", "spec.ingress[0].from[0]", "has 0 kinds of peer"),
    ("from: [{namespaces: {}, pods: {podSelector: {}}}]", "spec.ingress[0].from[0]", "has 2 kinds"),
    ("from: [{networks: [10.0.0.0/8]}]", "spec.ingress[0].from[0].networks", "is a field that is not known"),
    ("from: [{namespaces: {}}, {serviceAccounts: {}}]", "spec.ingress[0].from[1].serviceAccounts", "is a field"),
    ("from: []", "spec.ingress[0].from", "names nobody"),
    ("name: x", "spec.ingress[0].from", "names nobody"),
    ("from: [{pods: {namespaceSelector: {}}}]", "spec.ingress[0].from[0].pods.podSelector", "is missing"),
    ("from: [{namespaces: {matchLabels: 5}}]", "spec.ingress[0].from[0].namespaces.matchLabels", "is no object"),
    ("from: [{namespaces: {}}], protocols: []", "spec.ingress[0].protocols", "is empty"),
    ("from: [{namespaces: {}}], protocols: [{}]", "spec.ingress[0].protocols[0]", "has 0 protocols"),
    ("from: [{namespaces: {}}], protocols: [{icmp: {}}]", "spec.ingress[0].protocols[0].icmp", "is a field"),
    ("from: [{namespaces: {}}], protocols: [{tcp: {}}]", "spec.ingress[0].protocols[0].tcp", "is empty"),
    ("from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {}}}]", "spec.ingress[0].protocols[0].tcp.destinationPort", "number or a range"),
    ("from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 0}}}]", "spec.ingress[0].protocols[0].tcp.destinationPort.number", "is not from 1"),
    ("from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 9, end: 9}}}}]", "spec.ingress[0].protocols[0].tcp.destinationPort.range", "is not below"),
    ("from: [{namespaces: {}}], protocols: [{destinationNamedPort: 80}]", "spec.ingress[0].protocols[0].destinationNamedPort", "is no name"),
    ("from: [{namespaces: {}}], when: now", "spec.ingress[0].when", "is a field"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "field", "problem"), CLUSTER_RULES, ids=[row[0] for row in CLUSTER_RULES])
def test_a_cluster_rule_fails_closed(rule, field, problem):
    accept = f"{CLUSTER}ingress: [{{action: Accept, {rule}}}]"
    assert not is_allowed(under(accept, DB), "shop/web -> shop/db:80")
    assert is_allowed(under(accept, DB), "shop/web -> shop/api:80")
    for action in ("Deny", "Pass"):
        judge = under(f"{CLUSTER}ingress: [{{action: {action}, {rule}}}]")
        assert not is_allowed(judge, "192.0.2.18 -> shop/db:80/udp")
        assert is_allowed(judge, "node-2 -> shop/db:80")
        assert is_allowed(judge, "shop/db -> ops/api:80")
    findings = {finding.source.field: finding.problem for finding in _read(accept).findings}
    assert problem in findings[field]


EGRESS_RULES = [
    ("Deny", "to: [{domainNames: [example.org]}]", "go with Accept only"),
    ("Deny", "to: [{domainNames: [example]}]", "is no list of names"),
    ("Deny", "to: [{domainNames: ['*.*.org']}]", "is no list of names"),
    ("Deny", "to: [{networks: []}]", "is empty"),
    ("Deny", "to: [{networks: [10.0.0.0/33]}]", "is no CIDR"),
    ("Deny", "to: [{nodes: 5}]", "is no object"),
    ("Deny", "to: [{nodes: {}}], protocols: [{destinationNamedPort: http}]", "only pods have named ports"),
    ("Deny", "to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]", "only pods have"),
]


@pytest.mark.parametrize(("action", "rule", "problem"), EGRESS_RULES, ids=[row[1] for row in EGRESS_RULES])
def test_a_cluster_egress_rule_fails_closed(action, rule, problem):
    spec = f"{CLUSTER}egress: [{{action: {action}, {rule}}}]"
    assert not is_allowed(under(spec), "shop/db -> 198.51.100.9:80/udp")
    assert any(problem in finding.problem for finding in _read(spec).findings)


UNCERTAIN = [
    "tier: Platform\npriority: 10\nsubject: {namespaces: {matchLabels: {team: shop}}}",
    "tier: Baseline\npriority: 1001\nsubject: {namespaces: {matchLabels: {team: shop}}}",
    "tier: Baseline\nsubject: {namespaces: {matchLabels: {team: shop}}}",
    "tier: Baseline\npriority: 10\nsubject: {namespaces: {matchLabels: {team: shop}}, pods: {podSelector: {}}}",
    "tier: Baseline\npriority: 10\nsubject: {}",
    "tier: Baseline\npriority: 10\nsubject: {nodes: {}}",
    "tier: Baseline\npriority: 10\nsubject: {namespaces: {matchLabels: {team: shop}, like: x}}",
    "tier: Baseline\npriority: 10\nmode: x\nsubject: {namespaces: {matchLabels: {team: shop}}}",
]


@pytest.mark.parametrize("head", UNCERTAIN)
def test_a_cluster_policy_of_unknown_place_only_denies(head):
    rules = (
        "ingress: [{action: Accept, from: [{namespaces: {}}]}, {action: Pass, from: [{pods: {podSelector: {matchLabels: {role: api}}}}]}, "
        "{action: Deny, from: [{pods: {podSelector: {matchLabels: {role: web}}}}]}]"
    )
    first = "tier: Admin\npriority: 0\nsubject: {namespaces: {}}\ningress: [{action: Accept, from: [{namespaces: {}}]}]"
    judge = under(f"{head}\n{rules}", first)
    assert not is_allowed(judge, "shop/web -> shop/db:1")
    assert not is_allowed(judge, "shop/api -> shop/db:1")
    assert is_allowed(judge, "shop/bare -> shop/db:1")
    assert not is_allowed(under(f"{head}\n{rules}", DB), "shop/bare -> shop/db:1")
    assert _read(f"{head}\n{rules}").findings


def test_an_action_that_is_not_known_denies_what_the_rule_matches():
    judge = under(
        f"{CLUSTER}ingress: [{{action: Log, from: [{{pods: {{podSelector: {{matchLabels: {{role: web}}}}}}}}]}}]"
    )
    assert not is_allowed(judge, "shop/web -> shop/db:1")
    assert is_allowed(judge, "shop/api -> shop/db:1")


def test_rules_that_are_no_list_deny_everything():
    assert not is_allowed(under(f"{CLUSTER}ingress: all"), "shop/web -> shop/db:1")


def test_more_rules_than_allowed_hold_all_the_same():
    rules = ", ".join(
        f"{{action: Deny, from: [{{namespaces: {{}}}}], protocols: [{{tcp: {{destinationPort: {{number: {n}}}}}}}]}}"
        for n in range(1, 31)
    )
    spec = f"{CLUSTER}ingress: [{rules}]"
    assert not is_allowed(under(spec), "shop/web -> shop/db:30")
    assert is_allowed(under(spec), "shop/web -> shop/db:31")
    (finding,) = _read(spec).findings
    assert finding.problem == "has 30 rules, 25 are allowed"


def test_thousands_of_rules_in_one_policy():
    rules = ", ".join(f"{{ports: [{{port: {n}}}]}}" for n in range(1, 3001))
    judge = under(f"{DB}ingress: [{rules}]")
    assert is_allowed(judge, "shop/web -> shop/db:3000")
    assert not is_allowed(judge, "shop/web -> shop/db:3001")


def test_a_spec_that_is_missing_is_an_empty_one_for_network_policies():
    assert not read_network_policy(NetworkPolicy(metadata=b.meta("shop/x"))).findings
    reading = read_cluster_policy(ClusterNetworkPolicy(metadata=b.meta("x")))
    assert reading.findings
    assert (reading.ingress, reading.egress) == (None, None)


def test_names_of_ports_that_mean_nothing_or_two_things_are_told():
    """Which pods are meant is known on their node only: each node tells of its own."""
    view = with_objects(
        world(),
        *policies("podSelector: {}\ningress: [{ports: [{port: 1}, {port: postgres}]}]"),
        b.pod(
            "shop/two", "10.244.2.7", node="node-2", ports=[POSTGRES, ContainerPort(5433, name="postgres")]
        ),
    )
    facts = msgspec.structs.replace(FACTS, name="node-2")
    assert [str(finding) for finding in Policies.compute(view, facts).findings] == [
        'NetworkPolicy shop/p0: spec.ingress[0].ports[1].port: "postgres" is the name of 5432/tcp and 5433/tcp of Pod shop/two: '
        "the rule is about all of them; give each port of a pod a name of its own",
        'NetworkPolicy shop/p0: spec.ingress[0].ports[1].port: no container of Pod shop/bare has a TCP port named "postgres": '
        "the rule does not match there; name a port of its containers, or write a number",
    ]
