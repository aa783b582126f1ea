"""Kinds of further networks: types as schema.json has them. Read by tools/generate_schema.py only.

NetworkAttachmentDefinition is k8s.cni.cncf.io/v1 of the Network Plumbing Working Group, the others are our own (netloom.io/v1alpha1).
The same in the words of a CustomResourceDefinition: deploy/crds; a test holds the two together.
"""

from __future__ import annotations

from schema_custom import field, type_

PACKAGES = {"nad": "io.cncf.cni.k8s.v1", "networks": "io.netloom.v1alpha1"}
KINDS = {
    "k8s.cni.cncf.io/v1/NetworkAttachmentDefinition": "nad.NetworkAttachmentDefinition",
    "netloom.io/v1alpha1/NetworkLease": "networks.NetworkLease",
    "netloom.io/v1alpha1/NetworkPool": "networks.NetworkPool",
}

_HEAD = {
    "apiVersion": field("string", "Group and version of this representation of the object."),
    "kind": field("string", "The kind of object."),
    "metadata": field("meta.ObjectMeta", "Name, labels and bookkeeping of the object.", required=True),
}

TYPES: dict[str, dict[str, object]] = {
    "nad.NetworkAttachmentDefinition": type_(
        "A network that pods may ask for beside the cluster's own, by the annotation k8s.v1.cni.cncf.io/networks.",
        **_HEAD,
        spec=field("nad.NetworkAttachmentDefinitionSpec", "How interfaces of this network are made."),
    ),
    "nad.NetworkAttachmentDefinitionSpec": type_(
        "How interfaces of this network are made.",
        config=field(
            "string",
            "A CNI network configuration, or a list of them, as JSON. Missing: the node has a file of the object's name.",
        ),
    ),
    "networks.NetworkPool": type_(
        "Addresses for interfaces in further networks, the same pool for the whole cluster.",
        **_HEAD,
        spec=field("networks.NetworkPoolSpec", "What is given out.", required=True),
    ),
    "networks.NetworkPoolSpec": type_(
        "What is given out.",
        cidrs=field(
            "[]string",
            "The segments, such as 10.80.0.0/24 and fd00:80::/64; an interface gets one address of each family. 1 to 64.",
            required=True,
            is_set=True,
        ),
        ranges=field("[]networks.AddressRange", "Only these are given out; all of cidrs where it is missing."),
        gateways=field("[]string", "Addresses of gateways, one of each family; never given out.", is_set=True),
        reserved=field("[]string", "Addresses, ranges, and first-last, that are given to those who ask for them only.", is_set=True),
        routes=field("[]networks.PoolRoute", "Routes for the pods."),
        keepSeconds=field("int32", "How long an address is kept for a pod of the same name after its pod is gone. 0: not at all."),
    ),
    "networks.AddressRange": type_(
        "Addresses from start to end, both included.",
        start=field("string", "The first.", required=True),
        end=field("string", "The last.", required=True),
    ),
    "networks.PoolRoute": type_(
        "A route for the pods of a pool.",
        dst=field("string", "Where it leads, such as 192.0.2.0/24.", required=True),
        gw=field("string", "Through whom; the pool's gateway where it is missing."),
    ),
    "networks.NetworkLease": type_(
        "One address of a NetworkPool that somebody has. Made by the nodes; its name follows from pool and address.",
        **_HEAD,
        spec=field("networks.NetworkLeaseSpec", "Which address, and whose.", required=True),
    ),
    "networks.NetworkLeaseSpec": type_(
        "Which address, and whose.",
        pool=field("string", "The NetworkPool.", required=True),
        address=field("string", "The address.", required=True),
        holder=field("networks.LeaseHolder", "Who has it.", required=True),
        keptUntil=field("string", "For an address that is kept for a name: when it comes free."),
    ),
    "networks.LeaseHolder": type_(
        "Who has an address.",
        pod=field("string", "Namespace and name of the pod."),
        uid=field("string", "The pod's uid."),
        node=field("string", "The node that it is on."),
        container=field("string", "The sandbox, as the container runtime names it; missing for an address that is kept."),
        interface=field("string", "The interface."),
    ),
}  # fmt: skip
