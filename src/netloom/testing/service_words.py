"""Services and slices in a few words, of one family, on the addresses of ``service_universe``.

Comes in: words such as ``a``, ``far``, ``balancer``. Goes out: objects of the API. Not here: what becomes of packets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from netloom.api.core import LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceStatus
from netloom.api.discovery import Endpoint, EndpointHints, EndpointPort, EndpointSlice, HintedNode, HintedZone
from netloom.testing import builders as b
from netloom.units import Addr, Family, Protocol, parse_addr

ADDRESSES = {
    "service": ("10.96.0.80", "2001:db8:96::80"),
    "nobody": ("10.96.0.99", "2001:db8:96::99"),
    "balancer": ("198.51.100.1", "2001:db8:e::1"),
    "external": ("198.51.100.2", "2001:db8:e::2"),
    "node": ("172.30.0.11", "2001:db8:30::11"),
    "a": ("10.244.1.2", "2001:db8:44:1::2"),
    "b": ("10.244.1.3", "2001:db8:44:1::3"),
    "far": ("10.244.2.2", "2001:db8:44:2::2"),
    "client": ("192.0.2.18", "2001:db8:c:1::2"),
    "pods": ("10.244.0.0/16", "2001:db8:44::/48"),
    "clients": ("192.0.2.0/24", "2001:db8:c::/48"),
    "strangers": ("203.0.113.0/24", "2001:db8:ffff::/48"),
}
Conditions = tuple[bool | None, bool | None, bool | None]
"""Ready, serving, terminating."""
READY: Conditions = (True, True, False)
ENDING: Conditions = (False, True, True)
"""Terminating, and still serving (KEP-1669)."""
GONE: Conditions = (False, False, True)
UNREADY: Conditions = (False, False, False)


class Words:
    """Of one family. Pods ``a`` and ``b`` are on node-1, ``far`` on node-2."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def text(self, word: str) -> str:
        """The address, or range, that a word stands for."""
        return ADDRESSES[word][list(Family).index(self.family)]

    def address(self, word: str) -> Addr:
        """The address that a word stands for; ValueError where it is a range."""
        address = parse_addr(self.text(word))
        if address is None:
            raise ValueError(f"{word} is no address")
        return address

    def service(  # noqa: PLR0913 - each is what some test is about
        self,
        type_: str = "LoadBalancer",
        *,
        name: str = "a/x",
        at: str = "service",
        ip_mode: str | None = None,
        protocol: Protocol = Protocol.TCP,
        ports: Iterable[ServicePort] | None = None,
        labels: dict[str, str] | None = None,
        **spec: Any,  # noqa: ANN401 - the fields of ServiceSpec, checked by its constructor
    ) -> Service:
        """At port 80, and NodePort 30080, with all kinds of addresses that its type has; ``at`` is its ClusterIP."""
        if ports is None:
            ports = [b.port(80, protocol=protocol.value, node_port=0 if type_ == "ClusterIP" else 30080)]
        spec.setdefault("external_ips", () if type_ == "ClusterIP" else (self.text("external"),))
        one = b.service(name, self.text(at), ports=ports, type=type_, labels=labels, **spec)
        if type_ != "LoadBalancer":
            return one
        ingress = LoadBalancerIngress(ip=self.text("balancer"), ip_mode=ip_mode)
        return msgspec.structs.replace(one, status=ServiceStatus(LoadBalancerStatus((ingress,))))

    def slice(
        self,
        *found: Endpoint,
        name: str = "a/s",
        of: str = "x",
        port: int = 8080,
        protocol: Protocol = Protocol.TCP,
        ports: Iterable[EndpointPort] | None = None,
    ) -> EndpointSlice:
        """A slice of the Service, with one unnamed port unless others are given."""
        if ports is None:
            ports = [EndpointPort(name="", protocol=protocol.value, port=port)]
        return b.endpoint_slice(name, of, *found, ports=ports, address_type=self.family.address_type)

    def endpoint(
        self, word: str, conditions: Conditions = READY, hints: EndpointHints | None = None
    ) -> Endpoint:
        """A pod of the universe, on the node that it is on."""
        node = "node-2" if word == "far" else "node-1"
        ready, serving, terminating = conditions
        found = b.endpoint(self.text(word), node=node, ready=ready, serving=serving, terminating=terminating)
        return msgspec.structs.replace(found, hints=hints)


def for_zones(*names: str) -> EndpointHints:
    """As the controller writes them for PreferSameZone."""
    return EndpointHints(for_zones=tuple(map(HintedZone, names)))


def for_node(name: str) -> EndpointHints:
    """As the controller writes them for PreferSameNode: with a zone for those who know no nodes."""
    return EndpointHints(for_zones=(HintedZone("zone-a"),), for_nodes=(HintedNode(name),))
