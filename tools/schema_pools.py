"""Our own kinds, netloom.io/v1alpha1: types as schema.json has them. Read by tools/generate_schema.py only.

The same in the words of a CustomResourceDefinition: deploy/crds/ippools.yaml and ipblocks.yaml; a test holds the two together.
"""

from __future__ import annotations

from schema_custom import field, type_

PACKAGES = {"pools": "io.netloom.v1alpha1"}
KINDS = {"netloom.io/v1alpha1/IPBlock": "pools.IPBlock", "netloom.io/v1alpha1/IPPool": "pools.IPPool"}

_HEAD = {
    "apiVersion": field("string", "Group and version of this representation of the object."),
    "kind": field("string", "The kind of object."),
    "metadata": field("meta.ObjectMeta", "Name, labels and bookkeeping of the object.", required=True),
}

TYPES: dict[str, dict[str, object]] = {
    "pools.IPPool": type_(
        "Addresses for pods, and which pods may have them.",
        **_HEAD,
        spec=field("pools.IPPoolSpec", "What is wanted.", required=True),
    ),
    "pools.IPPoolSpec": type_(
        "What the pool holds, and who may have addresses of it.",
        cidrs=field(
            "[]string",
            "Ranges, such as 10.1.0.0/16 and fd00:1::/64; one or several of one family or both. 1 to 64.",
            required=True,
            is_set=True,
        ),
        blockSize=field("pools.BlockSize", "How much of the pool a node takes at once."),
        nodeSelector=field("meta.LabelSelector", "Nodes on which the pool is used; all where it is missing."),
        namespaceSelector=field("meta.LabelSelector", "Namespaces whose pods may have addresses; all where it is missing."),
        podSelector=field("meta.LabelSelector", "Pods that may have addresses; all where it is missing."),
        disabled=field("bool", "Nobody is given an address any more; who has one keeps it."),
        reserved=field("[]string", "Addresses and ranges that nobody is given. At most 1024.", is_set=True),
    ),
    "pools.BlockSize": type_(
        "Prefix lengths of the blocks that nodes take.",
        ipv4=field("int32", "From 20 to 32; 26 where it is missing: 64 addresses."),
        ipv6=field("int32", "From 112 to 128; 122 where it is missing: 64 addresses."),
    ),
    "pools.IPBlock": type_(
        "A range whose addresses one node gives to its pods. Made by the nodes; its name follows from the range.",
        **_HEAD,
        spec=field("pools.IPBlockSpec", "Which range, and whose. Never changes.", required=True),
        status=field("pools.IPBlockStatus", "What other nodes say of it."),
    ),
    "pools.IPBlockSpec": type_(
        "Which range, and whose.",
        cidr=field("string", "The range.", required=True),
        node=field("string", "The node.", required=True),
        pool=field("string", "The IPPool that it is of; empty for an address of a node's own range."),
    ),
    "pools.IPBlockStatus": type_(
        "What other nodes say of the block.",
        grants=field("{}string", "By node in whose range the block is: granted, or why not."),
    ),
}  # fmt: skip
