"""A cluster's settings guessed from its objects, for clusters that we only look at. Pure.

Nothing in the API says which ranges pods and Services have, so this reads what is in use: the nodes' pod ranges, the
smallest range that holds all ClusterIPs, the address of the Service that is labelled as cluster DNS, and the fabric that the
nodes' agents say they build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netloom.api.core import Service
from netloom.model.inputs import ClusterFacts, ClusterView
from netloom.model.routes.ways import FABRIC_ANNOTATION, FabricSettings, read_fabric
from netloom.units import Addr, Cidr, Family, family_of, parse_addr, parse_cidr

DNS_LABEL = ("k8s-app", "kube-dns")
"""The label that cluster DNS has carried in every distribution since its first."""


def guessed_facts(view: ClusterView) -> ClusterFacts:
    """Settings under which everything that the cluster uses would have been allocated."""
    pods = (parse_cidr(c) for n in view.nodes.values() for c in n.spec.pod_cidrs or (n.spec.pod_cidr,) if c)
    addresses = [a for s in view.services.values() for a in _addresses(s)]
    fabric = _fabric(view)
    dns = (s for s in view.services.values() if s.metadata.labels.get(DNS_LABEL[0]) == DNS_LABEL[1])
    return ClusterFacts(
        cluster_cidrs=tuple(dict.fromkeys(c for c in pods if c is not None)),
        service_cidrs=tuple(_around(a for a in addresses if family_of(a) is f) for f in _families(addresses)),
        dns_addresses=tuple(a for s in dns for a in _addresses(s)),
        fabric=fabric.fabric,
        direct=fabric.direct,
        tunnel_port=fabric.port,
        vni=fabric.vni,
    )


def _fabric(view: ClusterView) -> FabricSettings:
    """What most nodes say that they build; plain routes where none says anything."""
    said = (read_fabric(n.metadata.annotations.get(FABRIC_ANNOTATION, "")) for n in view.nodes.values())
    counted = Counter(one for one in said if one is not None)
    return counted.most_common(1)[0][0] if counted else FabricSettings()


def _addresses(service: Service) -> list[Addr]:
    texts = service.spec.cluster_ips or (service.spec.cluster_ip,)
    return [a for text in texts if (a := parse_addr(text)) is not None]


def _families(addresses: Iterable[Addr]) -> list[Family]:
    present = {family_of(a) for a in addresses}
    return [f for f in Family if f in present]


def _around(addresses: Iterable[Addr]) -> Cidr:
    """The smallest network that holds all of these."""
    found = sorted(addresses, key=int)
    first, last = found[0], found[-1]
    prefix = first.max_prefixlen - (int(first) ^ int(last)).bit_length()
    network = parse_cidr(
        f"{type(first)(int(first) >> (first.max_prefixlen - prefix) << (first.max_prefixlen - prefix))}/{prefix}"
    )
    assert network is not None  # noqa: S101 - host bits have just been cleared
    return network
