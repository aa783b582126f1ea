"""What a local cluster is: the options of `netloom up`, checked as a whole before anything is made.

Comes in: what the user typed. Goes out: ClusterSettings, or one UsageError that names the flag. Pure.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import string

import msgspec

from netloom.errors import UsageError
from netloom.model.inputs import ClusterFacts
from netloom.units import Addr, Cidr, Family, family_of

MAX_NODES = 50
REGION = "local"
"""``topology.kubernetes.io/region`` of nodes that have a zone."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One local cluster, as it was asked for; stored beside it as ``cluster.json``."""

    name: str = "default"
    nodes: int = 3
    pod_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    underlay_cidr: str = "172.30.0.0/24"
    api_port: int = 0
    """Port of the API server on 127.0.0.1; 0 takes any free one."""
    dns_upstreams: tuple[str, ...] = ()
    """``address[:port]`` of resolvers for names outside the cluster; none: the host's own."""
    cluster_domain: str = "cluster.local"
    node_port_range: tuple[int, int] = (30000, 32767)
    zones: int = 0
    """Zones that the nodes are spread over, in turn; 0: nodes are in no zone, until somebody labels them."""

    @property
    def node_names(self) -> tuple[str, ...]:
        """Names of the nodes, first to last."""
        return tuple(f"node-{i}" for i in range(1, self.nodes + 1))

    def node_labels(self, name: str) -> dict[str, str]:
        """Where a node is (``topology.kubernetes.io``): the first one in ``zone-a``, the next one in ``zone-b``, and so on."""
        if not self.zones:
            return {}
        zone = string.ascii_lowercase[self.node_names.index(name) % self.zones]
        return {"topology.kubernetes.io/region": REGION, "topology.kubernetes.io/zone": f"zone-{zone}"}

    @property
    def underlay(self) -> ipaddress.IPv4Network:
        """The segment that joins the nodes."""
        return ipaddress.IPv4Network(self.underlay_cidr)

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        """The underlay's first address: API server and DNS upstream for the nodes."""
        return self.underlay.network_address + 1

    def node_address(self, index: int) -> ipaddress.IPv4Address:
        """Underlay address of the node with this index (0 is node-1)."""
        return self.underlay.network_address + 11 + index

    @property
    def kubernetes_addresses(self) -> tuple[Addr, ...]:
        """ClusterIP of the ``kubernetes`` Service in each family: the first address of the range, as upstream."""
        return tuple(ipaddress.ip_network(c).network_address + 1 for c in self.service_cidrs)

    @property
    def dns_addresses(self) -> tuple[Addr, ...]:
        """ClusterIP of cluster DNS in each family: the tenth address of the range, as upstream."""
        return tuple(ipaddress.ip_network(c).network_address + 10 for c in self.service_cidrs)


def checked(settings: ClusterSettings) -> ClusterSettings:
    """The settings, if a cluster can be made of them.

    Raises:
        UsageError: names the flag, what is wrong with it, and what would be right.
    """
    if not _NAME.fullmatch(settings.name):
        raise UsageError(
            f"--name {settings.name!r}: no usable cluster name",
            "use at most 32 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
        )
    if not 1 <= settings.nodes <= MAX_NODES:
        raise UsageError(f"--nodes {settings.nodes}: out of range", f"use 1 to {MAX_NODES}")
    most = min(settings.nodes, len(string.ascii_lowercase))
    if not 0 <= settings.zones <= most:
        raise UsageError(
            f"--zones {settings.zones}: out of range", f"use 1 to {most}, or 0 for nodes without a zone"
        )
    if not 0 <= settings.api_port <= 65535:
        raise UsageError(
            f"--api-port {settings.api_port}: out of range", "use 1 to 65535, or 0 for any free port"
        )
    ranges = [
        *(("--pod-cidr", _cidr("--pod-cidr", c)) for c in settings.pod_cidrs),
        *(("--service-cidr", _cidr("--service-cidr", c)) for c in settings.service_cidrs),
        ("--underlay-cidr", _cidr("--underlay-cidr", settings.underlay_cidr)),
    ]
    _check_sizes(settings, ranges)
    for (flag, cidr), (other_flag, other) in itertools.combinations(ranges, 2):
        if family_of(cidr) is family_of(other) and cidr.overlaps(other):
            raise UsageError(
                f"{flag} {cidr}: overlaps {other_flag} {other}", "choose ranges that share no address"
            )
    for upstream in settings.dns_upstreams:
        parse_upstream(upstream)
    return settings


def parse_upstream(text: str) -> tuple[str, int]:
    """Address and port of a resolver, from ``192.0.2.53`` or ``192.0.2.53:5353`` or ``[2001:db8::53]:53``.

    Raises:
        UsageError: the text is neither.
    """
    match = re.fullmatch(
        r"\[(?P<v6>[^\]]+)\](?::(?P<p6>\d+))?|(?P<v4>[^:]+)(?::(?P<p4>\d+))?|(?P<bare>.+)", text
    )
    host = (match["v6"] or match["v4"] or match["bare"]) if match else text
    port = int((match["p6"] or match["p4"] or 53) if match else 53)
    try:
        return str(ipaddress.ip_address(host)), _port(port)
    except ValueError:
        raise UsageError(
            f"--dns-upstream {text!r}: no address of a resolver",
            "write 192.0.2.53, or 192.0.2.53:5353 with a port",
        ) from None


def _port(number: int) -> int:
    if not 1 <= number <= 65535:
        raise ValueError(number)
    return number


def _cidr(flag: str, text: str) -> Cidr:
    try:
        return ipaddress.ip_network(text, strict=True)
    except ValueError:
        raise UsageError(f"{flag} {text!r}: {_reason(text)}", "write it as 10.244.0.0/16") from None


def _reason(text: str) -> str:
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "no CIDR"
    return f"has host bits set, the range would be {loose}"


def _check_sizes(settings: ClusterSettings, ranges: list[tuple[str, Cidr]]) -> None:
    for flag, cidr in ranges:
        if family_of(cidr) is not Family.V4:
            raise UsageError(f"{flag} {cidr}: IPv6 ranges are not supported yet", "give an IPv4 range")
        if cidr.is_loopback or cidr.is_multicast or cidr.is_link_local or cidr.is_unspecified:
            raise UsageError(
                f"{flag} {cidr}: a range that cannot be routed", "use private addresses (RFC 1918)"
            )
        least, needs = _least_prefix(flag, settings.nodes)
        if cidr.prefixlen > least:
            raise UsageError(f"{flag} {cidr}: too small, {needs}", f"use a prefix of /{least} or shorter")
        if flag == "--service-cidr" and cidr.prefixlen < 12:
            raise UsageError(
                f"{flag} {cidr}: too large", "use a prefix of /12 or longer, as kube-apiserver asks"
            )


def _least_prefix(flag: str, nodes: int) -> tuple[int, str]:
    """Longest prefix that still has room, and what needs the room."""
    if flag == "--pod-cidr":
        return 24 - (nodes - 1).bit_length(), f"each of {nodes} nodes takes a /24"
    if flag == "--service-cidr":
        return 27, "cluster DNS takes its tenth address"
    return 25 if nodes > 40 else 26, f"{nodes} nodes take addresses from the eleventh on"


def cluster_facts(settings: ClusterSettings) -> ClusterFacts:
    """What the model needs to know of the cluster."""
    return ClusterFacts(
        cluster_cidrs=tuple(ipaddress.ip_network(c) for c in settings.pod_cidrs),
        service_cidrs=tuple(ipaddress.ip_network(c) for c in settings.service_cidrs),
        dns_addresses=settings.dns_addresses,
        cluster_domain=settings.cluster_domain,
        node_port_range=settings.node_port_range,
    )
