"""Kinds that come from a CustomResourceDefinition: the ``kubernetes`` package has no model classes for them.

Types as schema.json has them, written down from the definition: names, types and required fields are those of
clusternetworkpolicies.policy.networking.k8s.io (experimental channel, bundle v0.2.0), the words are our own. Read by
tools/generate_schema.py only.
"""

from __future__ import annotations

PACKAGES = {"clusterpolicy": "io.k8s.networking.policy.v1alpha2"}
KINDS = {"policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy": "clusterpolicy.ClusterNetworkPolicy"}

Field = dict[str, object]


def _field(type_: str, text: str = "", **facts: object) -> Field:
    return {"type": type_, **facts, **({"text": text} if text else {})}


def _type(text: str, **fields: Field) -> dict[str, object]:
    return {"text": text, "fields": {name.rstrip("_"): fields[name] for name in sorted(fields)}}


def _own(name: str) -> str:
    return f"clusterpolicy.{name}"


_SELECTOR = "meta.LabelSelector"
_NAMESPACES = _field(
    _SELECTOR, "All pods of the namespaces with these labels; never pods in a node's network."
)
_PODS = _field(
    _own("NamespacedPod"),
    "Pods by their labels and those of their namespace; never pods in a node's network.",
)
_NAME = _field("string", "Name of the rule, for people; at most 100 characters.")
_ACTION = _field(
    "string",
    "Accept, Deny, or Pass: on with the next tier. The first rule that matches decides.",
    required=True,
)
_PROTOCOLS = _field(
    f"[]{_own('ClusterNetworkPolicyProtocol')}", "Protocols and ports; all where it is missing. 1 to 25."
)


def _protocol(name: str) -> dict[str, object]:
    return _type(
        f"What of {name} is meant.", destinationPort=_field(_own("Port"), "The port on the receiving side.")
    )


TYPES: dict[str, dict[str, object]] = {
    _own("ClusterNetworkPolicy"): _type(
        "Traffic that cluster administrators accept or deny, before (Admin) or after (Baseline) NetworkPolicies.",
        apiVersion=_field("string", "Group and version of this representation of the object."),
        kind=_field("string", "The kind of object."),
        metadata=_field("meta.ObjectMeta", "Name, labels and bookkeeping of the object.", required=True),
        spec=_field(_own("ClusterNetworkPolicySpec"), "What is wanted.", required=True),
        status=_field(_own("ClusterNetworkPolicyStatus"), "What is."),
    ),
    _own("ClusterNetworkPolicySpec"): _type(
        "Where the policy stands, the pods that it is about, and the rules for them.",
        tier=_field("string", "Admin: before NetworkPolicies. Baseline: where no NetworkPolicy selects the pod.", required=True),
        priority=_field("int32", "From 0 to 1000; within a tier the lowest is asked first.", required=True),
        subject=_field(_own("ClusterNetworkPolicySubject"), "The pods.", required=True),
        ingress=_field(
            f"[]{_own('ClusterNetworkPolicyIngressRule')}", "Rules for what the pods receive, in order; at most 25."
        ),
        egress=_field(
            f"[]{_own('ClusterNetworkPolicyEgressRule')}", "Rules for what the pods send, in order; at most 25."
        ),
    ),
    _own("ClusterNetworkPolicyStatus"): _type(
        "What implementations say of the policy.",
        conditions=_field(
            "[]meta.Condition", "Named yes/no statements.",
            required=True, keys=["type"], merge=True, merge_key="type",
        ),
    ),
    _own("ClusterNetworkPolicySubject"): _type(
        "Pods by their namespaces, or by their own labels, too: exactly one of the two.", namespaces=_NAMESPACES, pods=_PODS
    ),
    _own("NamespacedPod"): _type(
        "Pods with these labels in namespaces with those labels.",
        namespaceSelector=_field(_SELECTOR, "Namespaces by their labels; all where it is empty or missing."),
        podSelector=_field(_SELECTOR, "Pods by their labels; all where it is empty.", required=True),
    ),
    _own("ClusterNetworkPolicyIngressRule"): _type(
        "What becomes of some of the traffic that the pods receive.",
        name=_NAME,
        action=_ACTION,
        from_=_field(
            f"[]{_own('ClusterNetworkPolicyIngressPeer')}", "Who sends it; one of them is enough. 1 to 25.", required=True
        ),
        protocols=_PROTOCOLS,
    ),
    _own("ClusterNetworkPolicyEgressRule"): _type(
        "What becomes of some of the traffic that the pods send.",
        name=_NAME,
        action=_ACTION,
        to=_field(
            f"[]{_own('ClusterNetworkPolicyEgressPeer')}", "Where it goes; one of them is enough. 1 to 25.", required=True
        ),
        protocols=_PROTOCOLS,
    ),
    _own("ClusterNetworkPolicyIngressPeer"): _type(
        "Who sends: exactly one of these.", namespaces=_NAMESPACES, pods=_PODS
    ),
    _own("ClusterNetworkPolicyEgressPeer"): _type(
        "Who receives: exactly one of these.",
        namespaces=_NAMESPACES,
        pods=_PODS,
        nodes=_field(_SELECTOR, "The addresses of the nodes with these labels; of all where it is empty."),
        networks=_field("[]string", "Address ranges, such as 192.0.2.0/24; inside the cluster, too. 1 to 25.", is_set=True),
        domainNames=_field(
            "[]string",
            "Names such as example.org, or *.example.org for all below; in Accept rules of tier Admin only. 1 to 25.",
            is_set=True,
        ),
    ),
    _own("ClusterNetworkPolicyProtocol"): _type(
        "A protocol and its ports: exactly one of these.",
        tcp=_field(_own("ClusterNetworkPolicyProtocolTCP"), "TCP."),
        udp=_field(_own("ClusterNetworkPolicyProtocolUDP"), "UDP."),
        sctp=_field(_own("ClusterNetworkPolicyProtocolSCTP"), "SCTP."),
        destinationNamedPort=_field("string", "Name of a container's port of the pods that receive, whatever its protocol."),
    ),
    _own("ClusterNetworkPolicyProtocolTCP"): _protocol("TCP"),
    _own("ClusterNetworkPolicyProtocolUDP"): _protocol("UDP"),
    _own("ClusterNetworkPolicyProtocolSCTP"): _protocol("SCTP"),
    _own("Port"): _type(
        "A port or a range of ports: exactly one of the two.",
        number=_field("int32", "The port, from 1 to 65535."),
        range=_field(_own("PortRange"), "Ports from start to end."),
    ),
    _own("PortRange"): _type(
        "Ports from start to end, both included.",
        start=_field("int32", "The first port.", required=True),
        end=_field("int32", "The last port, after start.", required=True),
    ),
}  # fmt: skip
