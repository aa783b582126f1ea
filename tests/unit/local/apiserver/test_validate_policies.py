"""Bad policies of both kinds: each is refused with the field and the words that kube-apiserver has; good ones pass."""

from __future__ import annotations

import pytest

from netloom.local.apiserver.defaults import set_defaults
from netloom.local.apiserver.validate import validate

POLICY = "networking.k8s.io/v1/NetworkPolicy"
CLUSTER = "policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy"
NO_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
EVERYBODY = {"namespaces": {}}
RULE = {"action": "Deny", "from": [EVERYBODY]}
WAY_OUT = {"action": "Accept", "to": [EVERYBODY]}


def namespaced(**spec):
    return told(POLICY, {"metadata": {"name": "a", "namespace": "shop"}, "spec": spec})


def cluster(**spec):
    """Of a good policy with this changed; None takes a field away."""
    whole = {"tier": "Admin", "priority": 10, "subject": EVERYBODY, **spec}
    spec = {name: value for name, value in whole.items() if value is not None}
    return told(CLUSTER, {"metadata": {"name": "a"}, "spec": spec})


def told(gvk, document):
    return [error.text for error in validate(gvk, set_defaults(gvk, document), None)]


def way_out(peer, **rule):
    return {"egress": [{"action": "Accept", "to": [peer], **rule}]}


def protocol(value):
    return {"ingress": [{**RULE, "protocols": [value]}]}


GOOD_RULES = [
    {"podSelector": None, "ingress": None},
    {"policyTypes": ["Egress", "Egress"]},
    {"ingress": [{"from": [{"podSelector": {}, "ipBlock": None}]}, {"from": None}, {}]},
    {"ingress": [{"ports": [{"port": 80, "endPort": 80}, {"port": 65535}, {"port": "dns-tcp"}, {"protocol": "SCTP"}]}]},
    {"egress": [{"to": [{"ipBlock": {"cidr": "10.1.2.3/8", "except": ["10.1.2.3/24", "10.2.0.1/32"]}}]}]},
    {"egress": [{"to": [{"ipBlock": {"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]}}, {"ipBlock": {"cidr": "::/0"}}]}]},
]  # fmt: skip


@pytest.mark.parametrize("spec", GOOD_RULES, ids=str)
def test_what_the_api_takes(spec):
    assert namespaced(**spec) == []


BAD_RULES = [
    ({"ports": [{"protocol": ""}]}, 'ports[0].protocol: Unsupported value: "": supported values: "SCTP", "TCP", "UDP"'),
    ({"ports": [{"protocol": "ICMP"}]}, 'ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'),
    ({"ports": [{"port": 65536}]}, "ports[0].port: Invalid value: 65536: must be between 1 and 65535, inclusive"),
    ({"ports": [{"port": 80, "endPort": 70000}]}, "ports[0].endPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
    ({"ports": [{"port": 80, "endPort": 79}]}, "ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`"),
    ({"ports": [{"endPort": 79}]}, "ports[0].endPort: Invalid value: 79: may not be specified when `port` is not specified"),
    ({"ports": [{"port": "a", "endPort": 79}]}, "ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric"),
    ({"ports": [{"port": "-"}]}, 'ports[0].port: Invalid value: "-": must contain at least one letter'),
    ({"from": [{}]}, "from[0]: Required value: must specify a peer"),
    ({"from": [{"podSelector": None}]}, "from[0]: Required value: must specify a peer"),
    ({"from": [{"namespaceSelector": {}, "ipBlock": {"cidr": "::/0"}}]}, "from[0]: Forbidden: may not specify both ipBlock and another peer"),
    ({"from": [{"ipBlock": {}}]}, "from[0].ipBlock.cidr: Required value"),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]}, f'from[0].ipBlock.cidr: Invalid value: "10.0.0.0": {NO_CIDR}'),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/255.0.0.0"}}]}, f'from[0].ipBlock.cidr: Invalid value: "10.0.0.0/255.0.0.0": {NO_CIDR}'),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}, f'from[0].ipBlock.cidr: Invalid value: "10.0.0.0/33": {NO_CIDR}'),
    ({"from": [{"ipBlock": {"cidr": "fe80::%1/64"}}]}, f'from[0].ipBlock.cidr: Invalid value: "fe80::%1/64": {NO_CIDR}'),
    ({"from": [{"ipBlock": {"cidr": " 10.0.0.0/8"}}]}, f'from[0].ipBlock.cidr: Invalid value: " 10.0.0.0/8": {NO_CIDR}'),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}, 'from[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`'),
    ({"from": [{"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.0.0.0/8"]}}]}, 'from[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`'),
    ({"from": [{"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.2.0.0/24"]}}]}, 'from[0].ipBlock.except[0]: Invalid value: "10.2.0.0/24": must be a strict subset of `cidr`'),
    ({"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["2001:db8::/32"]}}]}, 'from[0].ipBlock.except[0]: Invalid value: "2001:db8::/32": must be a strict subset of `cidr`'),
    ({"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [""]}}]}, f'from[0].ipBlock.except[0]: Invalid value: "": {NO_CIDR}'),
    ({"from": [{"podSelector": {"matchLabels": {"a b": "c"}}}]}, "from[0].podSelector.matchLabels: Invalid value: \"a b\": name part must consist of"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text"), BAD_RULES, ids=str)
def test_rules_that_are_refused(rule, text):
    (error,) = namespaced(ingress=[{}, rule])
    assert error.startswith(f"spec.ingress[1].{text}")


def test_policy_types():
    assert namespaced(policyTypes=["Ingress", "Egress", "Ingress"]) == [
        'spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes'
    ]
    assert namespaced(policyTypes=["", "ingress"]) == [
        'spec.policyTypes[0]: Unsupported value: "": supported values: "Egress", "Ingress"',
        'spec.policyTypes[1]: Unsupported value: "ingress": supported values: "Egress", "Ingress"',
    ]


GOOD_CLUSTER_RULES = [
    {},
    {"tier": "Baseline", "priority": 0, "ingress": [RULE] * 25, "egress": [WAY_OUT] * 25},
    {"priority": 1000, "subject": {"pods": {"podSelector": {}}}},
    way_out({"nodes": {}}, name="n" * 100, protocols=[{"tcp": {"destinationPort": {"number": 443}}}]),
    way_out({"networks": ["10.0.0.1/8", "::/0"]}, protocols=[{"udp": {"destinationPort": {"range": {"start": 1, "end": 65535}}}}]),
    way_out({"domainNames": ["example.org", "*.example.org."]}),
    way_out({"pods": {"namespaceSelector": {}, "podSelector": {}}}, protocols=[{"destinationNamedPort": "http"}]),
]  # fmt: skip


@pytest.mark.parametrize("spec", GOOD_CLUSTER_RULES, ids=str)
def test_what_the_definition_takes(spec):
    assert cluster(**spec) == []


NAMED = "networks/nodes/domainNames"
BAD_CLUSTER_RULES = [
    ({"tier": None}, "tier: Required value"),
    ({"tier": "NetworkPolicy"}, 'tier: Unsupported value: "NetworkPolicy": supported values: "Admin", "Baseline"'),
    ({"priority": None}, "priority: Required value"),
    ({"priority": -1}, "priority: Invalid value: -1: spec.priority in body should be greater than or equal to 0"),
    ({"priority": 1001}, "priority: Invalid value: 1001: spec.priority in body should be less than or equal to 1000"),
    ({"subject": None}, "subject: Required value"),
    ({"subject": {}}, "subject: Invalid value: 0: spec.subject in body should have at least 1 properties"),
    ({"subject": {"namespaces": {}, "pods": {"podSelector": {}}}}, "subject: Too many: 2: must have at most 1 items"),
    ({"subject": {"pods": {"namespaceSelector": {}}}}, "subject.pods.podSelector: Required value"),
    ({"subject": {"namespaces": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}}, 'subject.namespaces.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator'),
    ({"ingress": [RULE] * 26}, "ingress: Too many: 26: must have at most 25 items"),
    ({"egress": [WAY_OUT] * 26}, "egress: Too many: 26: must have at most 25 items"),
    ({"ingress": [{**RULE, "action": "Allow"}]}, 'ingress[0].action: Unsupported value: "Allow": supported values: "Accept", "Deny", "Pass"'),
    ({"ingress": [{"from": [EVERYBODY]}]}, "ingress[0].action: Required value"),
    ({"ingress": [{"action": "Deny"}]}, "ingress[0].from: Required value"),
    ({"ingress": [{"action": "Deny", "from": []}]}, "ingress[0].from: Invalid value: 0: spec.ingress[0].from in body should have at least 1 items"),
    ({"ingress": [{"action": "Deny", "from": [EVERYBODY] * 26}]}, "ingress[0].from: Too many: 26: must have at most 25 items"),
    ({"ingress": [{"action": "Deny", "from": [{"networks": ["::/0"]}]}]}, "ingress[0].from[0]: Invalid value: 0: spec.ingress[0].from[0] in body should have at least 1 properties"),
    ({"ingress": [{**RULE, "name": "n" * 101}]}, "ingress[0].name: Too long: may not be more than 100 bytes"),
    (way_out({}), "egress[0].to[0]: Invalid value: 0: spec.egress[0].to[0] in body should have at least 1 properties"),
    (way_out({"nodes": {}, "networks": ["::/0"]}), "egress[0].to[0]: Too many: 2: must have at most 1 items"),
    (way_out({"networks": []}), "egress[0].to[0].networks: Invalid value: 0: spec.egress[0].to[0].networks in body should have at least 1 items"),
    (way_out({"networks": ["10.0.0.0"]}), 'egress[0].to[0].networks[0]: Invalid value: "10.0.0.0": Invalid CIDR format provided'),
    (way_out({"networks": ["::/0", "::/0"]}), 'egress[0].to[0].networks[1]: Duplicate value: "::/0"'),
    (way_out({"networks": [f"10.0.{n}.0/24" for n in range(26)]}), "egress[0].to[0].networks: Too many: 26: must have at most 25 items"),
    (way_out({"domainNames": ["org"]}), 'egress[0].to[0].domainNames[0]: Invalid value: "org": spec.egress[0].to[0].domainNames[0] in body should match '),
    (way_out({"domainNames": ["www.*.org"]}), 'egress[0].to[0].domainNames[0]: Invalid value: "www.*.org": spec.egress[0].to[0].domainNames[0] in body should match '),
    (way_out({"domainNames": ["example.org"]}, action="Deny"), 'egress[0].to[0].domainNames: Invalid value: "array": domainNames is only supported for Accept rules'),
    (way_out({"domainNames": ["example.org"]}, action="Pass"), 'egress[0].to[0].domainNames: Invalid value: "array": domainNames is only supported for Accept rules'),
    ({"tier": "Baseline", **way_out({"domainNames": ["example.org"]})}, 'egress[0].to[0].domainNames: Invalid value: "array": domainNames is only supported in the Admin tier'),
    (way_out({"nodes": {}}, protocols=[{"destinationNamedPort": "http"}]), f'egress[0]: Invalid value: "object": {NAMED} peer cannot be set with namedPorts since there are no namedPorts for {NAMED}'),
    ({"ingress": [{**RULE, "protocols": []}]}, "ingress[0].protocols: Invalid value: 0: spec.ingress[0].protocols in body should have at least 1 items"),
    (protocol({}), "ingress[0].protocols[0]: Invalid value: 0: spec.ingress[0].protocols[0] in body should have at least 1 properties"),
    (protocol({"tcp": {"destinationPort": {"number": 1}}, "destinationNamedPort": "a"}), "ingress[0].protocols[0]: Too many: 2: must have at most 1 items"),
    (protocol({"tcp": {}}), "ingress[0].protocols[0].tcp: Invalid value: 0: spec.ingress[0].protocols[0].tcp in body should have at least 1 properties"),
    (protocol({"udp": {"destinationPort": {}}}), "ingress[0].protocols[0].udp.destinationPort: Invalid value: 0: "),
    (protocol({"sctp": {"destinationPort": {"number": 0}}}), "ingress[0].protocols[0].sctp.destinationPort.number: Invalid value: 0: "),
    (protocol({"tcp": {"destinationPort": {"range": {"start": 5}}}}), "ingress[0].protocols[0].tcp.destinationPort.range.end: Required value"),
    (protocol({"tcp": {"destinationPort": {"range": {"start": 5, "end": 5}}}}), 'ingress[0].protocols[0].tcp.destinationPort.range: Invalid value: "object": Start port must be less than End port'),
    (protocol({"tcp": {"destinationPort": {"range": {"start": 5, "end": 65536}}}}), "ingress[0].protocols[0].tcp.destinationPort.range.end: Invalid value: 65536: "),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "text"), BAD_CLUSTER_RULES, ids=str)
def test_cluster_policies_that_are_refused(spec, text):
    (error,) = cluster(**spec)
    assert error.startswith(f"spec.{text}")


def test_a_cluster_policy_without_a_spec_or_with_a_namespace_is_refused():
    assert told(CLUSTER, {"metadata": {"name": "a", "namespace": "shop"}}) == [
        "metadata.namespace: Forbidden: not allowed on this type",
        "spec: Required value",
    ]


def test_conditions_of_a_status():
    document = {"metadata": {"name": "a"}, "spec": {"tier": "Admin", "priority": 1, "subject": EVERYBODY}}
    good = {"type": "Programmed", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": "2026-01-02T15:04:05Z"}  # fmt: skip
    assert told(CLUSTER, {**document, "status": {"conditions": [good]}}) == []
    bad = {**good, "status": "Perhaps", "reason": ""}
    assert told(CLUSTER, {**document, "status": {"conditions": [good, bad]}}) == [
        "status.conditions[1].reason: Required value",
        'status.conditions[1].status: Unsupported value: "Perhaps": supported values: "False", "True", "Unknown"',
        'status.conditions[1]: Duplicate value: {"type":"Programmed"}',
    ]
