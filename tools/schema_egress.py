"""netloom.io/v1alpha1 EgressGateway: types as schema.json has them. Read by tools/generate_schema.py only.

The same in the words of a CustomResourceDefinition: deploy/crds/egressgateways.yaml; a test holds the two together.
"""

from __future__ import annotations

from schema_custom import field, type_

PACKAGES = {"egress": "io.netloom.v1alpha1"}
KINDS = {"netloom.io/v1alpha1/EgressGateway": "egress.EgressGateway"}

TYPES: dict[str, dict[str, object]] = {
    "egress.EgressGateway": type_(
        "Addresses by which chosen pods leave the cluster, through one node each.",
        apiVersion=field("string", "Group and version of this representation of the object."),
        kind=field("string", "The kind of object."),
        metadata=field("meta.ObjectMeta", "Name, labels and bookkeeping of the object.", required=True),
        spec=field("egress.EgressGatewaySpec", "What is wanted.", required=True),
        status=field("egress.EgressGatewayStatus", "Where the addresses are."),
    ),
    "egress.EgressGatewaySpec": type_(
        "Whose packets to where leave by which addresses, and which nodes may have these.",
        podSelector=field("meta.LabelSelector", "Pods that leave so; all where it is missing."),
        namespaceSelector=field("meta.LabelSelector", "Namespaces whose pods leave so; all where it is missing."),
        destinations=field("[]string", "Ranges outside of the cluster; all that is outside where it is missing. At most 256.", is_set=True),
        exceptDestinations=field("[]string", "Ranges that are no matter of this gateway. At most 256.", is_set=True),
        nodeSelector=field("meta.LabelSelector", "Nodes that may have the addresses; all where it is missing."),
        addresses=field("[]string", "The addresses, of one family or both. Of several of a family each pod has one. 1 to 64.", required=True, is_set=True),
        whenUnavailable=field("string", "What becomes of packets when no such node is there: Drop (the default), or Node: they leave by the pod's own node, with its address."),
    ),
    "egress.EgressGatewayStatus": type_(
        "Where the addresses are.",
        addresses=field("[]egress.EgressAddress", "Each address of the spec that can be used.", atomic=True),
    ),
    "egress.EgressAddress": type_(
        "An address in use.",
        address=field("string", "The address.", required=True),
        node=field("string", "The node that has it; empty where nobody may."),
        pods=field("int32", "How many pods leave by it."),
    ),
}  # fmt: skip
