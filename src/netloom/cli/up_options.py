"""Options of ``netloom up``, and what they come to: a checked description of a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from netloom.cli.output import add_cluster
from netloom.errors import UsageError
from netloom.local.ranges import (
    DEFAULTS,
    FAMILY_FLAG,
    FAMILY_WORDS,
    LOAD_BALANCERS,
    POD,
    SERVICE,
    UNDERLAY,
    completed,
)
from netloom.local.settings import ClusterSettings, checked
from netloom.model.routes.ways import FabricKind
from netloom.units import Family

FLAT, ROUTED = "flat", "routed"
ROUTED_SEGMENTS = 2


def add_nodes_and_families(parser: argparse.ArgumentParser) -> None:
    """``--name``, and what a cluster consists of."""
    defaults = ClusterSettings()
    add_cluster(parser)
    parser.add_argument(
        "--nodes", type=int, default=defaults.nodes, help="how many nodes (default: %(default)s)"
    )
    parser.add_argument(
        "--zones",
        type=int,
        default=defaults.zones,
        help="spread the nodes over so many zones, zone-a, zone-b ... (default: no zones)",
    )
    parser.add_argument(
        "--node-grace",
        type=float,
        default=defaults.node_grace_s,
        metavar="SECONDS",
        help="a node that nothing is heard of for so long counts as dead (default: 10, or a second for each node where there are more)",
    )
    parser.add_argument(
        "--eviction-after",
        type=int,
        default=defaults.eviction_after_s,
        metavar="SECONDS",
        help="pods leave a dead node after this, unless their tolerations say otherwise (default: %(default)s)",
    )
    parser.add_argument(
        "--no-stand-ins",
        action="store_true",
        help="a pod whose image is not loaded waits for it (ErrImagePull), and has no stand-in",
    )
    add_families(parser)


def add_outside(parser: argparse.ArgumentParser) -> None:
    """The way in from outside."""
    group = parser.add_argument_group("from outside")
    group.add_argument(
        LOAD_BALANCERS,
        action="append",
        default=[],
        metavar="CIDR[,CIDR]|none",
        help="addresses for Services of type LoadBalancer (default: the last ones of the underlay, which nodes answer for)",
    )
    group.add_argument(
        "--publish",
        action="append",
        default=[],
        metavar="[ADDRESS:]PORT:NAMESPACE/SERVICE:PORT",
        help="a port of this host, on 127.0.0.1 unless said otherwise, that leads to a Service's LoadBalancer address; may be repeated",
    )


def add_families(parser: argparse.ArgumentParser) -> None:
    """Families and ranges."""
    parser.add_argument(
        FAMILY_FLAG,
        choices=tuple(FAMILY_WORDS),
        default="",
        help="families of pods, Services and nodes, with the ranges below (default: ipv4, or as the ranges say)",
    )
    for flag, whose in ((POD, "pods"), (SERVICE, "Services"), (UNDERLAY, "nodes")):
        v4, v6 = DEFAULTS[flag][Family.V4], DEFAULTS[flag][Family.V6]
        parser.add_argument(
            flag,
            action="append",
            default=[],
            metavar="CIDR[,CIDR]",
            help=f"addresses of {whose}, one range a family, the first family first (default: {v4} and {v6})",
        )


def add_fabric(parser: argparse.ArgumentParser) -> None:
    """What joins the nodes."""
    defaults = ClusterSettings()
    group = parser.add_argument_group("network of the nodes")
    group.add_argument(
        "--fabric",
        choices=tuple(kind.value for kind in FabricKind),
        default=defaults.fabric.value,
        help="how packets get to pods of other nodes (default: %(default)s)",
    )
    group.add_argument(
        "--direct",
        action=argparse.BooleanOptionalAction,
        default=defaults.direct,
        help="vxlan, udp: plain routes between nodes on one segment (default: yes)",
    )
    group.add_argument(
        "--tunnel-port",
        type=int,
        default=defaults.tunnel_port,
        metavar="PORT",
        help="UDP port of the tunnels (default: the fabric's own)",
    )
    group.add_argument(
        "--vni", type=int, default=defaults.vni, help="VXLAN network identifier (default: %(default)s)"
    )
    group.add_argument(
        "--stretched", action="store_true", help="pods of all nodes see each other as stations of one segment"
    )
    group.add_argument(
        "--underlay",
        choices=(FLAT, ROUTED),
        default=FLAT,
        help="flat: all nodes on one segment; routed: on several, behind a router that knows no pods (default: flat)",
    )
    group.add_argument(
        "--segments",
        type=int,
        default=0,
        metavar="N",
        help=f"how many, with --underlay routed (default: {ROUTED_SEGMENTS}; of three nodes two share one)",
    )
    group.add_argument(
        "--underlay-mtu",
        type=int,
        default=defaults.underlay_mtu,
        metavar="BYTES",
        help="MTU of the nodes' own interfaces (default: %(default)s)",
    )
    group.add_argument(
        "--router-mtu",
        type=int,
        default=defaults.router_mtu,
        metavar="BYTES",
        help="MTU between segments, which nodes have to find out (default: as --underlay-mtu)",
    )


def settings_from(options: argparse.Namespace) -> ClusterSettings:
    """What the user asked for, checked; what a verb does not offer is as usual.

    Raises:
        UsageError: it cannot be; names the flag.
    """
    defaults = ClusterSettings()
    given = {POD: options.pod_cidr, SERVICE: options.service_cidr, UNDERLAY: options.underlay_cidr}
    ranges = completed({flag: _split(texts) for flag, texts in given.items()}, options.ip_family)
    return checked(
        ClusterSettings(
            name=options.name,
            nodes=options.nodes,
            zones=getattr(options, "zones", defaults.zones),
            node_grace_s=getattr(options, "node_grace", defaults.node_grace_s),
            eviction_after_s=getattr(options, "eviction_after", defaults.eviction_after_s),
            pod_cidrs=ranges[POD],
            service_cidrs=ranges[SERVICE],
            underlay_cidrs=ranges[UNDERLAY],
            api_port=getattr(options, "api_port", defaults.api_port),
            dns_upstreams=tuple(getattr(options, "dns_upstream", defaults.dns_upstreams)),
            corefile=_corefile(getattr(options, "corefile", defaults.corefile)),
            load_balancer_pool=_load_balancer_pool(getattr(options, "load_balancer_pool", [])),
            published=tuple(getattr(options, "publish", defaults.published)),
            fabric=FabricKind(options.fabric),
            direct=options.direct,
            tunnel_port=options.tunnel_port,
            vni=options.vni,
            stretched=options.stretched,
            stand_ins=not getattr(options, "no_stand_ins", False),
            segments=_segments(options),
            underlay_mtu=options.underlay_mtu,
            router_mtu=options.router_mtu,
        )
    )


def _load_balancer_pool(texts: Sequence[str]) -> tuple[str, ...] | None:
    if not texts:
        return None
    ranges = _split(texts)
    return () if ranges == ("none",) else ranges


def _corefile(text: str) -> str:
    """The path for whoever reads it later, from elsewhere; read once now, so that what is wrong with it is said at once."""
    if not text:
        return ""
    from netloom.dns.config import OutsideSettings  # noqa: PLC0415 - rarely needed
    from netloom.dns.outside import settings_for_outside  # noqa: PLC0415 - as above

    path = str(Path(text).absolute())
    # the node's own resolvers are known later
    settings_for_outside(OutsideSettings(), corefile=path, node_resolvers=("192.0.2.53",), own=())
    return path


def _split(texts: Sequence[str]) -> tuple[str, ...]:
    """``a,b`` and ``a`` ``b`` mean the same."""
    return tuple(part.strip() for text in texts for part in text.split(","))


def _segments(options: argparse.Namespace) -> int:
    if options.underlay == ROUTED:
        if options.segments == 1:
            raise UsageError(
                "--segments 1: nothing to route", "use 2 or more, or leave --underlay routed away"
            )
        return int(options.segments) or ROUTED_SEGMENTS
    if options.segments not in (0, 1):
        raise UsageError(f"--segments {options.segments}: several need a router", "add --underlay routed")
    return 1
