"""The router of a local cluster as a switch that speaks BGP, where the fabric is ``bgp``: its configuration, its peers, its process.

Comes in: settings. Goes out: a configuration of BIRD, the BGPPeers by which the nodes find it, and a process in the cluster's own network
namespace. It is what a data centre has, and no part of what netloom does for one: every node of a segment may connect without being
known, and what one says is told to all others and is in the router's own routes. Not here: cables (``underlay.py``), the nodes' side
(``announce/bgp``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netloom.announce.bgp.bird import Bird
from netloom.announce.bgp.config import log_line
from netloom.api.bgp import DEFAULT_ASN
from netloom.errors import AlreadyExists, NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.resources import BGP_PEERS
from netloom.linux.signals import until_signal
from netloom.local.segments import Segment
from netloom.local.settings import ClusterSettings
from netloom.model.routes.ways import FabricKind
from netloom.program.names import BGP_ROUTE_METRIC
from netloom.units import Addr, Cidr

log = logging.getLogger(__name__)

ASN = DEFAULT_ASN + 1
"""Of the switch."""
HOLD_S = 9
_TRY_AGAIN_S = 1.0
_CHANNELS = {4: "ipv4", 6: "ipv6"}


def is_wanted(settings: ClusterSettings) -> bool:
    """Whether the cluster has a switch."""
    return settings.fabric is FabricKind.BGP


def render(settings: ClusterSettings, log_file: Path) -> str:
    """The switch's configuration of BIRD.

    Raises:
        UsageError: the path cannot be written in BIRD's language.
    """
    return "\n".join(_lines(settings, log_file)) + "\n"


def _lines(settings: ClusterSettings, log_file: Path) -> Iterator[str]:
    yield log_line(log_file)
    yield f"router id {_router_id(settings)};"
    yield "graceful restart wait 10;"
    yield "protocol device { }"
    yield "protocol bfd { accept direct; }"
    families = sorted({network.version for segment in settings.underlay for network in segment.networks})
    for version in families:
        channel = _CHANNELS[version]
        underlay = [n for segment in settings.underlay for n in segment.networks if n.version == version]
        yield f"filter 'told:{channel}' {{"
        own = ", ".join(f"{n}{{{n.prefixlen},{n.max_prefixlen - 1}}}" for n in underlay)
        yield f"  if net.len = 0 || net ~ [ {own} ] then reject;"
        yield "  accept;"
        yield "}"
        yield f"protocol kernel 'kernel:{channel}' {{"
        yield f"  {channel} {{ import none; export where source = RTS_BGP; }};"
        yield f"  metric {BGP_ROUTE_METRIC};"
        yield "  merge paths yes limit 64;"
        yield "  graceful restart;"
        yield "}"
    for segment in settings.underlay:
        for gateway, network in zip(segment.gateways, segment.networks, strict=True):
            yield from _session(segment, gateway, network)


def _session(segment: Segment, gateway: Addr, network: Cidr) -> Iterator[str]:
    channel = _CHANNELS[network.version]
    yield f"protocol bgp 'segment-{segment.index + 1}:{channel}' {{"
    yield f"  local {gateway} as {ASN};"
    yield f"  neighbor range {network} as {DEFAULT_ASN};"
    yield f'  dynamic name "node-{segment.index + 1}-{channel}-";'
    yield "  direct;"
    yield "  passive;"
    yield f"  hold time {HOLD_S};"
    yield "  error wait time 1, 2;"  # a node that comes back after a fault is not kept waiting
    yield "  error forget time 5;"
    yield "  bfd { passive; };"
    yield "  graceful restart on;"
    yield f"  {channel} {{ import filter 'told:{channel}'; export where source = RTS_BGP; }};"
    yield "}"


def _router_id(settings: ClusterSettings) -> ipaddress.IPv4Address:
    for gateway in settings.gateways:
        if isinstance(gateway, ipaddress.IPv4Address):
            return gateway
    digest = hashlib.sha256(settings.name.encode()).digest()
    return ipaddress.IPv4Address(int.from_bytes(digest[:4]) | 1)


def peers(settings: ClusterSettings) -> Iterator[dict[str, Any]]:
    """The BGPPeers: for each segment and family the switch's address, and the nodes that are there."""
    for segment in settings.underlay:
        here = [
            name
            for index, name in enumerate(settings.node_names)
            if settings.place(index).segment.index == segment.index
        ]
        names = {"key": "kubernetes.io/hostname", "operator": "In", "values": here}
        selector = {} if settings.segments == 1 else {"nodeSelector": {"matchExpressions": [names]}}
        for gateway in segment.gateways:
            name = f"switch-{segment.index + 1}{'-v6' if gateway.version == 6 else ''}"
            yield {
                "apiVersion": BGP_PEERS.api_version,
                "kind": BGP_PEERS.kind,
                "metadata": {"name": name},
                "spec": {
                    "peerAddress": str(gateway),
                    "peerASN": ASN,
                    "myASN": DEFAULT_ASN,
                    "holdTimeSeconds": HOLD_S,
                    **selector,
                },
            }


async def make_peers(client: KubeClient, settings: ClusterSettings) -> None:
    """Make the BGPPeers; those of a former run stay as people have left them.

    Raises:
        NetloomError: the API server refuses one.
    """
    for body in peers(settings):
        with contextlib.suppress(AlreadyExists):
            await client.create(BGP_PEERS, body)


def serve(settings: ClusterSettings, directory: Path) -> None:
    """Be the switch until SIGTERM."""
    asyncio.run(until_signal(_serve(settings, directory)))


async def _serve(settings: ClusterSettings, directory: Path) -> None:
    ended = asyncio.Event()
    bird = Bird(directory, on_end=ended.set)
    text = render(settings, bird.log)
    try:
        while True:
            ended.clear()
            try:
                await bird.bring(text, text)
            except NetloomError as error:
                log.error("the switch: %s", error)  # noqa: TRY400 - says all in one line
                await asyncio.sleep(_TRY_AGAIN_S)
                continue
            await ended.wait()
    finally:
        bird.drop()
