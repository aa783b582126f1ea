"""What a node's agent is told at its start. In: a JSON or YAML file; out: AgentConfig with its ranges parsed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from netloom.agent.networks import NetworkSettings
from netloom.agent.path_mtu.prober import Checksums
from netloom.agent.route_settings import read_routes
from netloom.agent.servers.node import ServerSettings
from netloom.agent.servers.sockets import Place, parse_place
from netloom.cni.ipam.store import REUSE_DELAY_S
from netloom.errors import UsageError
from netloom.model.egress.settings import Egress
from netloom.model.inputs import ClusterFacts
from netloom.model.routes.ways import FabricKind
from netloom.units import Addr, Cidr, parse_addr, parse_cidr

PRIMARY = "primary"
"""The word for the node's own InternalIPs (kube-proxy ``--nodeport-addresses``)."""


class RouteEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of ``static_routes``; at least one of ``via`` and ``device`` says where it leads."""

    destination: str
    via: str = ""
    device: str = ""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's agent."""

    node: str
    """Name of the Node object that this agent is for."""
    kubeconfig: str = ""
    """Credentials; empty: the pod's own service account."""
    cluster_cidrs: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    dns_addresses: tuple[str, ...] = ()
    """ClusterIPs of the cluster's DNS; this node answers them itself."""
    cluster_domain: str = "cluster.local"
    node_port_range: tuple[int, int] = (30000, 32767)
    cni_socket: str = "/run/netloom/cni.sock"
    dns_feed_socket: str = "/run/netloom/dns.sock"
    """The socket of the node's DNS process; of the first where there are several."""
    dns_processes: int = 1
    """How many there are (``workers`` in the configuration of DNS). Policies with domain names need one: only the first is listened to."""
    udp_feed_socket: str = "/run/netloom/udp.sock"
    """The socket of the node's tunnel process, where the fabric is ``udp``."""
    speaker_socket: str = "/run/netloom/speaker.sock"
    """The socket of the node's speaker, which knows of dead nodes; there need not be one. Empty: nobody is asked."""
    networks: NetworkSettings = NetworkSettings()
    """Networks of pods beside the cluster's own."""
    address_store: str = "/var/lib/netloom/addresses.db"
    """Which pod has which address; must survive restarts."""
    reserved_addresses: tuple[str, ...] = ()
    """Addresses and ranges that no pod of this node is given."""
    reuse_delay_s: float = REUSE_DELAY_S
    """For how many seconds an address is given to nobody else when a pod has given it back, while there are others."""
    node_port_addresses: tuple[str, ...] = ()
    """Where NodePorts are served: CIDRs, or the one word ``primary`` for the node's own InternalIPs. Empty: all addresses."""
    localhost_node_ports: bool = True
    """Whether NodePorts are answered at 127.0.0.1 and ::1, too, where ``node_port_addresses`` has them."""
    health_address: str = "0.0.0.0:10256"
    """Where ``/healthz`` and ``/livez`` are answered; 0.0.0.0 means all addresses of both families. Empty: nowhere."""
    metrics_address: str = "127.0.0.1:10249"
    """Where ``/metrics`` is answered: to this node only, unless you say otherwise. Empty: nowhere."""
    drained_port: int = 9253
    """Port of pre-stop hooks, at 127.0.0.1 for the node itself and at 169.254.1.1 for its pods. 0: nowhere."""
    fabric: FabricKind = FabricKind.HOSTGW
    """What joins the nodes; the same on all nodes: ``hostgw``, ``l2``, ``vxlan``, ``udp``, ``wireguard`` or ``bgp``."""
    direct: bool = True
    """``vxlan`` and ``udp``: whether peers on one of this node's own networks get plain routes all the same."""
    tunnel_port: int = 0
    """UDP port of the tunnels, the same on all nodes; 0: 4789 for vxlan, 8285 for udp, 51820 for wireguard."""
    vni: int = 4096
    """VXLAN network identifier, 1 to 16777215."""
    probe_port: int = 10258
    """UDP port at which agents answer each other's probes of what the ways between nodes carry. 0: nobody asks."""
    tunnel_checksums: Checksums = Checksums.AUTO
    """Tunnels whose checksums the hardware spoils: ``auto`` has the kernel fill them in once probes have shown that, ``report`` only tells,
    ``off`` has the kernel fill them in from the beginning."""
    stretched: bool = False
    """Whether pods of all nodes see each other as stations of one segment, over whichever fabric joins the nodes."""

    masquerade: bool = True
    """Whether what pods send out of the cluster gets the node's address. false: the network outside has routes to pods."""
    no_masquerade: tuple[str, ...] = ()
    """Networks outside that have routes to pods: they see pods' own addresses."""
    static_routes: tuple[RouteEntry, ...] = ()
    """Routes that this node is to have besides."""

    def cluster_facts(self) -> ClusterFacts:
        """The settings of the cluster that the model depends on.

        Raises:
            UsageError: a range, an address or a number is none; names the field.
        """
        if not 0 <= self.tunnel_port <= 65535:
            raise UsageError(
                f"agent configuration: tunnel_port: {self.tunnel_port} is no UDP port", "1 to 65535"
            )
        if not 0 <= self.probe_port <= 65535:
            raise UsageError(
                f"agent configuration: probe_port: {self.probe_port} is no UDP port", "1 to 65535"
            )
        if not 1 <= self.vni < 1 << 24:
            raise UsageError(
                f"agent configuration: vni: {self.vni} is no VXLAN network identifier", "1 to 16777215"
            )
        return ClusterFacts(
            cluster_cidrs=_cidrs("cluster_cidrs", self.cluster_cidrs),
            service_cidrs=_cidrs("service_cidrs", self.service_cidrs),
            dns_addresses=_addresses("dns_addresses", self.dns_addresses),
            cluster_domain=self.cluster_domain,
            node_port_range=self.node_port_range,
            node_port_addresses=_node_port_addresses(self.node_port_addresses),
            fabric=self.fabric,
            direct=self.direct,
            tunnel_port=self.tunnel_port,
            vni=self.vni,
            stretched=self.stretched,
            egress=self.egress(),
        )

    def reserved(self) -> tuple[Cidr, ...]:
        """What no pod of this node is given.

        Raises:
            UsageError: an entry is neither an address nor a range; names the field.
        """
        return _cidrs("reserved_addresses", self.reserved_addresses)

    def egress(self) -> Egress:
        """What becomes of packets that leave the cluster.

        Raises:
            UsageError: a network, an address or a route is none; names the field.
        """
        inside = (
            *_cidrs("cluster_cidrs", self.cluster_cidrs),
            *_cidrs("service_cidrs", self.service_cidrs),
        )
        return Egress(
            masquerade=self.masquerade,
            no_masquerade=_cidrs("no_masquerade", self.no_masquerade),
            static_routes=read_routes([(r.destination, r.via, r.device) for r in self.static_routes], inside),
        )

    def server_settings(self) -> ServerSettings:
        """Where the node's own servers listen.

        Raises:
            UsageError: an address is none; names the field.
        """
        return ServerSettings(
            node=self.node,
            health=_place("health_address", self.health_address),
            metrics=_place("metrics_address", self.metrics_address),
            localhost_node_ports=self.localhost_node_ports,
        )


def _cidrs(field: str, texts: tuple[str, ...]) -> tuple[Cidr, ...]:
    found = []
    for i, text in enumerate(texts):
        cidr = parse_cidr(text)
        if cidr is None:
            raise UsageError(
                f"agent configuration: {field}[{i}]: {text!r} is no CIDR", "write it as 10.244.0.0/16"
            )
        found.append(cidr)
    return tuple(found)


def _addresses(field: str, texts: tuple[str, ...]) -> tuple[Addr, ...]:
    found = []
    for i, text in enumerate(texts):
        address = parse_addr(text)
        if address is None:
            raise UsageError(
                f"agent configuration: {field}[{i}]: {text!r} is no address", "write it as 10.96.0.10"
            )
        found.append(address)
    return tuple(found)


def _node_port_addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    if texts == (PRIMARY,):
        return texts
    for i, text in enumerate(texts):
        if text == PRIMARY:
            raise UsageError(
                f"agent configuration: node_port_addresses[{i}]: {PRIMARY!r} stands among others",
                "write it alone, or write CIDRs only",
            )
        if parse_cidr(text) is None:
            raise UsageError(
                f"agent configuration: node_port_addresses[{i}]: {text!r} is no CIDR",
                f"write networks such as 192.0.2.0/24 and 2001:db8::/32, without host bits, or the one word {PRIMARY!r}",
            )
    return texts


def _place(field: str, text: str) -> Place | None:
    if not text:
        return None
    place = parse_place(text)
    if place is None:
        raise UsageError(
            f"agent configuration: {field}: {text!r} is no address with a port",
            "write it as 127.0.0.1:10249 or [::1]:10249; empty turns the server off",
        )
    return place


def load(path: str) -> AgentConfig:
    """Read a configuration file.

    Raises:
        UsageError: it cannot be read, or has a field that is wrong or unknown.
    """
    try:
        return msgspec.yaml.decode(Path(path).read_bytes(), type=AgentConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: {error}", "see: netloom agent --help") from error
