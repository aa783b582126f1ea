"""Kinds that come from a CustomResourceDefinition: the ``kubernetes`` package has no model classes for them.

Types as schema.json has them, written down from the definition: names, types and required fields are those of
clusternetworkpolicies.policy.networking.k8s.io (experimental channel, bundle v0.2.0), the words are our own. Read by
tools/generate_schema.py only.
"""

from __future__ import annotations

PACKAGES = {"clusterpolicy": "io.k8s.networking.policy.v1alpha2"}
KINDS = {"policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy": "clusterpolicy.ClusterNetworkPolicy"}

Field = dict[str, object]


def field(type_: str, text: str = "", **facts: object) -> Field:
    """A field as schema.json has it."""
    return {"type": type_, **facts, **({"text": text} if text else {})}


def type_(text: str, **fields: Field) -> dict[str, object]:
    """A type as schema.json has it; a name that is a word of Python is written with an underscore behind it."""
    return {"text": text, "fields": {name.rstrip("_"): fields[name] for name in sorted(fields)}}


def _own(name: str) -> str:
    return f"clusterpolicy.{name}"


_SELECTOR = "meta.LabelSelector"
_NAMESPACES = field(
    _SELECTOR, "All pods of the namespaces with these labels; never pods in a node's network."
)
_PODS = field(
    _own("NamespacedPod"),
    "Pods by their labels and those of their namespace; never pods in a node's network.",
)
_NAME = field("string", "Name of the rule, for people; at most 100 characters.")
_ACTION = field(
    "string",
    "Accept, Deny, or Pass: on with the next tier. The first rule that matches decides.",
    required=True,
)
_PROTOCOLS = field(
    f"[]{_own('ClusterNetworkPolicyProtocol')}", "Protocols and ports; all where it is missing. 1 to 25."
)


def _protocol(name: str) -> dict[str, object]:
    return type_(
        f"What of {name} is meant.", destinationPort=field(_own("Port"), "The port on the receiving side.")
    )


TYPES: dict[str, dict[str, object]] = {
    _own("ClusterNetworkPolicy"): type_(
        "Traffic that cluster administrators accept or deny, before (Admin) or after (Baseline) NetworkPolicies.",
        apiVersion=field("string", "Group and version of this representation of the object."),
        kind=field("string", "The kind of object."),
        metadata=field("meta.ObjectMeta", "Name, labels and bookkeeping of the object.", required=True),
        spec=field(_own("ClusterNetworkPolicySpec"), "What is wanted.", required=True),
        status=field(_own("ClusterNetworkPolicyStatus"), "What is."),
    ),
    _own("ClusterNetworkPolicySpec"): type_(
        "Where the policy stands, the pods that it is about, and the rules for them.",
        tier=field("string", "Admin: before NetworkPolicies. Baseline: where no NetworkPolicy selects the pod.", required=True),
        priority=field("int32", "From 0 to 1000; within a tier the lowest is asked first.", required=True),
        subject=field(_own("ClusterNetworkPolicySubject"), "The pods.", required=True),
        ingress=field(
            f"[]{_own('ClusterNetworkPolicyIngressRule')}", "Rules for what the pods receive, in order; at most 25."
        ),
        egress=field(
            f"[]{_own('ClusterNetworkPolicyEgressRule')}", "Rules for what the pods send, in order; at most 25."
        ),
    ),
    _own("ClusterNetworkPolicyStatus"): type_(
        "What implementations say of the policy.",
        conditions=field(
            "[]meta.Condition", "Named yes/no statements.",
            required=True, keys=["type"], merge=True, merge_key="type",
        ),
    ),
    _own("ClusterNetworkPolicySubject"): type_(
        "Pods by their namespaces, or by their own labels, too: exactly one of the two.", namespaces=_NAMESPACES, pods=_PODS
    ),
    _own("NamespacedPod"): type_(
        "Pods with these labels in namespaces with those labels.",
        namespaceSelector=field(_SELECTOR, "Namespaces by their labels; all where it is empty or missing."),
        podSelector=field(_SELECTOR, "Pods by their labels; all where it is empty.", required=True),
    ),
    _own("ClusterNetworkPolicyIngressRule"): type_(
        "What becomes of some of the traffic that the pods receive.",
        name=_NAME,
        action=_ACTION,
        from_=field(
            f"[]{_own('ClusterNetworkPolicyIngressPeer')}", "Who sends it; one of them is enough. 1 to 25.", required=True
        ),
        protocols=_PROTOCOLS,
    ),
    _own("ClusterNetworkPolicyEgressRule"): type_(
        "What becomes of some of the traffic that the pods send.",
        name=_NAME,
        action=_ACTION,
        to=field(
            f"[]{_own('ClusterNetworkPolicyEgressPeer')}", "Where it goes; one of them is enough. 1 to 25.", required=True
        ),
        protocols=_PROTOCOLS,
    ),
    _own("ClusterNetworkPolicyIngressPeer"): type_(
        "Who sends: exactly one of these.", namespaces=_NAMESPACES, pods=_PODS
    ),
    _own("ClusterNetworkPolicyEgressPeer"): type_(
        "Who receives: exactly one of these.",
        namespaces=_NAMESPACES,
        pods=_PODS,
        nodes=field(_SELECTOR, "The addresses of the nodes with these labels; of all where it is empty."),
        networks=field("[]string", "Address ranges, such as 192.0.2.0/24; inside the cluster, too. 1 to 25.", is_set=True),
        domainNames=field(
            "[]string",
            "Names such as example.org, or *.example.org for all below; in Accept rules of tier Admin only. 1 to 25.",
            is_set=True,
        ),
    ),
    _own("ClusterNetworkPolicyProtocol"): type_(
        "A protocol and its ports: exactly one of these.",
        tcp=field(_own("ClusterNetworkPolicyProtocolTCP"), "TCP."),
        udp=field(_own("ClusterNetworkPolicyProtocolUDP"), "UDP."),
        sctp=field(_own("ClusterNetworkPolicyProtocolSCTP"), "SCTP."),
        destinationNamedPort=field("string", "Name of a container's port of the pods that receive, whatever its protocol."),
    ),
    _own("ClusterNetworkPolicyProtocolTCP"): _protocol("TCP"),
    _own("ClusterNetworkPolicyProtocolUDP"): _protocol("UDP"),
    _own("ClusterNetworkPolicyProtocolSCTP"): _protocol("SCTP"),
    _own("Port"): type_(
        "A port or a range of ports: exactly one of the two.",
        number=field("int32", "The port, from 1 to 65535."),
        range=field(_own("PortRange"), "Ports from start to end."),
    ),
    _own("PortRange"): type_(
        "Ports from start to end, both included.",
        start=field("int32", "The first port.", required=True),
        end=field("int32", "The last port, after start.", required=True),
    ),
}  # fmt: skip
