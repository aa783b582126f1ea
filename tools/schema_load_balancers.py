"""LoadBalancerPools, netloom.io/v1alpha1: types as schema.json has them. Read by tools/generate_schema.py only.

The same in the words of a CustomResourceDefinition: deploy/crds/loadbalancerpools.yaml; a test holds the two together.
"""

from __future__ import annotations

from schema_custom import field, type_

PACKAGES = {"loadbalancers": "io.netloom.v1alpha1"}
KINDS = {"netloom.io/v1alpha1/LoadBalancerPool": "loadbalancers.LoadBalancerPool"}

TYPES: dict[str, dict[str, object]] = {
    "loadbalancers.LoadBalancerPool": type_(
        "Addresses for Services of type LoadBalancer, and which of them may have them.",
        apiVersion=field("string", "Group and version of this representation of the object."),
        kind=field("string", "The kind of object."),
        metadata=field("meta.ObjectMeta", "Name, labels and bookkeeping of the object.", required=True),
        spec=field("loadbalancers.LoadBalancerPoolSpec", "What is wanted.", required=True),
        status=field("loadbalancers.LoadBalancerPoolStatus", "How much of it is in use."),
    ),
    "loadbalancers.LoadBalancerPoolSpec": type_(
        "What the pool holds, who may have addresses of it, and how they are made known.",
        cidrs=field("[]string", "Ranges, such as 203.0.113.0/28; all addresses of them can be given. At most 64.", is_set=True),
        ranges=field("[]string", "The same as 203.0.113.16-203.0.113.31, both included. At most 64.", is_set=True),
        autoAssign=field("bool", "Whether Services get addresses of it without asking for them; true by default."),
        namespaceSelector=field("meta.LabelSelector", "Namespaces whose Services may have addresses; all where it is missing."),
        serviceSelector=field("meta.LabelSelector", "Services that may have addresses; all where it is missing."),
        reserved=field("[]string", "Addresses and ranges that nobody is given. At most 1024.", is_set=True),
        disabled=field("bool", "Nobody is given an address any more; who has one keeps it."),
        announce=field("[]string", "Layer2, BGP, or both (default): how addresses are made known. By none where it is empty.", is_set=True),
        bgp=field("loadbalancers.BgpAnnouncement", "What routes to addresses of the pool carry."),
    ),
    "loadbalancers.BgpAnnouncement": type_(
        "What routes to addresses of the pool carry.",
        communities=field("[]string", "Such as 65000:100, or no-export, no-advertise, no-peer. At most 64.", is_set=True),
        largeCommunities=field("[]string", "Such as 65000:1:2. At most 64.", is_set=True),
        localPref=field("int64", "For peers of the own autonomous system; from 0 to 4294967295."),
        aggregationLength=field("loadbalancers.AggregationLength", "Prefix lengths of the routes."),
    ),
    "loadbalancers.AggregationLength": type_(
        "Prefix lengths of the routes that are announced.",
        ipv4=field("int32", "From 1 to 32; 32 where it is missing: a route for each address."),
        ipv6=field("int32", "From 1 to 128; 128 where it is missing: a route for each address."),
    ),
    "loadbalancers.LoadBalancerPoolStatus": type_(
        "How much of the pool is in use.",
        assigned=field("loadbalancers.AddressCount", "Addresses that Services have."),
        available=field("loadbalancers.AddressCount", "Addresses that Services can be given still."),
        conditions=field("[]meta.Condition", "Named yes/no statements, such as Ready.", keys=["type"], merge=True, merge_key="type"),
    ),
    "loadbalancers.AddressCount": type_(
        "Addresses of each family; 9007199254740991 where there are more.",
        ipv4=field("int64", "IPv4 addresses."),
        ipv6=field("int64", "IPv6 addresses."),
    ),
}  # fmt: skip
