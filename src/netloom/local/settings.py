"""What a local cluster is: the options of `netloom up`, checked as a whole before anything is made.

Comes in: what the user typed. Goes out: ClusterSettings, or one UsageError that names the flag. Pure.
"""

from __future__ import annotations

import ipaddress
import re
import string
from collections.abc import Sequence

import msgspec

from netloom.errors import UsageError
from netloom.local import ranges
from netloom.local.outside.place import Outside, outside_of, spare_ranges
from netloom.local.outside.publication import Publication, read_publication
from netloom.local.ranges import DEFAULTS, LOAD_BALANCERS, POD, SERVICE, UNDERLAY, Wish
from netloom.local.segments import Place, Segment, least_part, part, place_of, segments_of
from netloom.model.inputs import ClusterFacts
from netloom.model.routes.ways import DEFAULT_MTU, MIN_MTU, TUNNELS, FabricKind, Way, overhead
from netloom.units import Addr, Family, family_of

MAX_NODES = 50
MOST_MTU = 65_535
"""What a pair of interfaces in one kernel takes, bytes."""
NODE_GRACE_S = 10.0
"""Upstream's is 50 s: there a node may be away for many reasons, here somebody wants to see what happens."""
EVICTION_AFTER_S = 30
"""Upstream's is 300 s, for the same reason."""
_LEAST_GRACE_S, _MOST_GRACE_S = 2.0, 3600.0
REGION = "local"
"""``topology.kubernetes.io/region`` of nodes that have a zone."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One local cluster, as it was asked for; stored beside it as ``cluster.json``."""

    name: str = "default"
    nodes: int = 3
    pod_cidrs: tuple[str, ...] = (DEFAULTS[POD][Family.V4],)
    """Ranges of pods, one a family; the first one's family is the cluster's first."""
    service_cidrs: tuple[str, ...] = (DEFAULTS[SERVICE][Family.V4],)
    underlay_cidrs: tuple[str, ...] = (DEFAULTS[UNDERLAY][Family.V4],)
    api_port: int = 0
    """Port of the API server on 127.0.0.1; 0 takes any free one."""
    dns_upstreams: tuple[str, ...] = ()
    """``address[:port]`` of resolvers for names outside the cluster; none: the host's own."""
    corefile: str = ""
    """Path of a CoreDNS configuration that says how names outside of the cluster are answered; empty: by ``dns_upstreams``."""
    cluster_domain: str = "cluster.local"
    node_port_range: tuple[int, int] = (30000, 32767)
    node_grace_s: float | None = None
    """For how long nothing may be heard of a node before it counts as dead, seconds; None: 10, or in a large cluster a second for each node."""
    eviction_after_s: int = EVICTION_AFTER_S
    """For how long pods that say nothing else stay bound to a node that is not ready, or not heard, seconds."""
    zones: int = 0
    """Zones that the nodes are spread over, in turn; 0: nodes are in no zone, until somebody labels them."""

    stand_ins: bool = True
    """Whether stand-ins play what no image is loaded for."""
    fabric: FabricKind = FabricKind.HOSTGW
    """What joins the nodes."""
    direct: bool = True
    """Whether nodes on one segment use plain routes although the fabric encapsulates (never: wireguard)."""
    tunnel_port: int = 0
    """UDP port of the tunnels; 0: the fabric's own."""
    vni: int = ClusterFacts().vni
    """VXLAN network identifier."""
    stretched: bool = False
    """Whether pods of all nodes see each other as stations of one segment."""
    segments: int = 1
    """Networks of nodes; a router joins them where there are several."""
    underlay_mtu: int = DEFAULT_MTU
    """MTU of the nodes' own interfaces, bytes."""
    load_balancer_pool: tuple[str, ...] | None = None
    """Ranges from which Services of type LoadBalancer get addresses; None: the last addresses of the underlay; none: there is no such pool."""
    published: tuple[str, ...] = ()
    """Ports of the host that lead to LoadBalancer addresses: ``127.0.0.1:8080:shop/web:80``."""
    router_mtu: int = 0
    """MTU of the ways through the router, bytes; 0: as ``underlay_mtu``. Nodes learn of a smaller one by packets too big only."""

    @property
    def silence_s(self) -> float:
        """For how long nothing may be heard of a node: many nodes on one machine are slower, and their words cost more."""
        return max(NODE_GRACE_S, float(self.nodes)) if self.node_grace_s is None else self.node_grace_s

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
    def families(self) -> tuple[str, ...]:
        """Of pods and Services, the first one first, as the API writes them."""
        return tuple(family_of(ipaddress.ip_network(c)).address_type for c in self.pod_cidrs)

    @property
    def underlay(self) -> tuple[Segment, ...]:
        """The networks that join the nodes."""
        return segments_of([ipaddress.ip_network(c) for c in self.underlay_cidrs], self.segments)

    @property
    def gateways(self) -> tuple[Addr, ...]:
        """Where API server and DNS upstream are for the nodes, in each family: the router's addresses on the first segment."""
        return self.underlay[0].gateways

    @property
    def gateway(self) -> Addr:
        """The first of them, which nodes use."""
        return self.gateways[0]

    @property
    def advertised(self) -> tuple[Addr, ...]:
        """The same in the families of Services: where pods reach the API server by a ClusterIP."""
        served = {family_of(ipaddress.ip_network(c)) for c in self.service_cidrs}
        return tuple(a for a in self.gateways if family_of(a) in served)

    def place(self, index: int) -> Place:
        """Where the node with this index (0 is node-1) is."""
        return place_of(self.underlay, index, self.nodes)

    @property
    def outside(self) -> Outside:
        """Where the client outside of the cluster is."""
        texts = (*self.pod_cidrs, *self.service_cidrs, *self.underlay_cidrs, *(self.load_balancer_pool or ()))
        return outside_of(self.underlay, [ipaddress.ip_network(text) for text in texts])

    @property
    def load_balancer_ranges(self) -> tuple[str, ...]:
        """Addresses for Services of type LoadBalancer, as CIDRs and ``first-last``."""
        if self.load_balancer_pool is not None:
            return self.load_balancer_pool
        return spare_ranges(self.underlay, self.nodes)

    @property
    def publications(self) -> tuple[Publication, ...]:
        """Of ``published``, read."""
        return tuple(map(read_publication, self.published))

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
    _check_absence(settings)
    _check_ranges(settings)
    _check_fabric(settings)
    for upstream in settings.dns_upstreams:
        parse_upstream(upstream)
    _check_published(settings.publications)
    return settings


def _check_absence(settings: ClusterSettings) -> None:
    if not _LEAST_GRACE_S <= settings.silence_s <= _MOST_GRACE_S:
        raise UsageError(
            f"--node-grace {settings.silence_s:g}: out of range",
            f"use {_LEAST_GRACE_S:g} to {_MOST_GRACE_S:g} seconds",
        )
    if not 0 <= settings.eviction_after_s <= _MOST_GRACE_S * 24:
        raise UsageError(
            f"--eviction-after {settings.eviction_after_s}: out of range", "use 0 seconds to a day: 86400"
        )


def _check_published(publications: Sequence[Publication]) -> None:
    for number, one in enumerate(publications):
        for other in publications[:number]:
            if (one.host, one.port) == (other.host, other.port):
                raise UsageError(f"--publish: {one.place} is published twice", "choose another port")


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


def _check_ranges(settings: ClusterSettings) -> None:
    pods = ranges.read(POD, settings.pod_cidrs)
    services = ranges.read(SERVICE, settings.service_cidrs)
    underlay = ranges.read(UNDERLAY, settings.underlay_cidrs)
    ranges.check_families(pods, services, underlay, tunnelled=settings.fabric in TUNNELS)
    for wish in pods:
        ranges.check_pods(wish, settings.nodes)
    for wish in services:
        ranges.check_services(wish)
    if not 1 <= settings.segments <= settings.nodes:
        raise UsageError(
            f"--segments {settings.segments}: out of range",
            f"use 2 to {settings.nodes} with --underlay routed: each segment has a node"
            if settings.nodes > 1
            else "a single node has nobody behind a router: use --nodes 2 or more",
        )
    for wish in underlay:
        _check_room(wish, settings)
    ranges.check_apart([*pods, *services, *underlay])
    _check_load_balancers(settings, [*pods, *services])


def _check_load_balancers(settings: ClusterSettings, others: list[Wish]) -> None:
    if not settings.load_balancer_pool:
        return
    wishes = ranges.read_many(LOAD_BALANCERS, settings.load_balancer_pool)
    ranges.check_apart([*others, *wishes])
    places = [settings.place(index) for index in range(settings.nodes)]
    machines = {
        address: name
        for name, place in zip(settings.node_names, places, strict=True)
        for address in place.addresses
    }
    machines |= {address: "the router" for segment in settings.underlay for address in segment.gateways}
    machines |= {interface.ip: "the client outside" for interface in settings.outside.interfaces}
    for wish in wishes:
        for address, who in machines.items():
            if address.version == wish.cidr.version and address in wish.cidr:
                raise UsageError(
                    f"{wish}: has {address}, which is the address of {who}",
                    f"choose another, or leave {LOAD_BALANCERS} away: then it is {', '.join(spare_ranges(settings.underlay, settings.nodes))}",
                )


def _check_room(wish: Wish, settings: ClusterSettings) -> None:
    least = least_part(family_of(wish.cidr), settings.nodes)
    if part(wish.cidr, settings.segments) > least:
        shorter = least - (settings.segments - 1).bit_length()
        raise ranges.too_small_for_nodes(wish, settings.nodes, settings.segments, shorter)


def _check_fabric(settings: ClusterSettings) -> None:
    kind = settings.fabric
    if settings.tunnel_port and kind not in TUNNELS:
        raise UsageError(
            f"--tunnel-port {settings.tunnel_port}: fabric {kind.value} has no tunnels",
            "choose --fabric vxlan",
        )
    if not 0 <= settings.tunnel_port <= 65535:
        raise UsageError(
            f"--tunnel-port {settings.tunnel_port}: out of range", "use 1 to 65535, or 0 for the usual one"
        )
    if not 1 <= settings.vni < 1 << 24:
        raise UsageError(f"--vni {settings.vni}: out of range", "use 1 to 16777215 (RFC 7348)")
    if settings.vni != ClusterFacts().vni and kind is not FabricKind.VXLAN:
        raise UsageError(f"--vni {settings.vni}: fabric {kind.value} has none", "choose --fabric vxlan")
    if not settings.direct and kind not in TUNNELS:
        raise UsageError(
            f"--no-direct: fabric {kind.value} has no other way than the direct one", "choose --fabric vxlan"
        )
    least = least_underlay_mtu(settings)
    for flag, mtu in (("--underlay-mtu", settings.underlay_mtu), ("--router-mtu", settings.router_mtu)):
        if mtu and not least <= mtu <= MOST_MTU:
            raise UsageError(
                f"{flag} {mtu}: out of range for fabric {kind.value}",
                f"use {least} to {MOST_MTU}: packets of {MIN_MTU} bytes must pass (RFC 8200)",
            )
    if settings.router_mtu and settings.segments == 1:
        raise UsageError(f"--router-mtu {settings.router_mtu}: there is no router", "add --underlay routed")


def least_underlay_mtu(settings: ClusterSettings) -> int:
    """What the underlay must carry so that pods have what IPv6 asks of every link, bytes."""
    outer = family_of(ipaddress.ip_network(settings.underlay_cidrs[0]))
    return MIN_MTU + overhead(TUNNELS.get(settings.fabric, Way.DIRECT), outer)


def cluster_facts(settings: ClusterSettings) -> ClusterFacts:
    """What the model needs to know of the cluster."""
    return ClusterFacts(
        cluster_cidrs=tuple(ipaddress.ip_network(c) for c in settings.pod_cidrs),
        service_cidrs=tuple(ipaddress.ip_network(c) for c in settings.service_cidrs),
        dns_addresses=settings.dns_addresses,
        cluster_domain=settings.cluster_domain,
        node_port_range=settings.node_port_range,
        fabric=settings.fabric,
        direct=settings.direct,
        tunnel_port=settings.tunnel_port,
        vni=settings.vni,
        stretched=settings.stretched,
    )
