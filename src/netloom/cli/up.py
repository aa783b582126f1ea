"""``netloom up``: start a cluster, apply manifests, wait until all of it is ready. All or nothing."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Sequence

import msgspec

from netloom.cli.output import Progress, add_output, emit
from netloom.cli.up_options import add_fabric, add_nodes_and_families, add_outside, settings_from
from netloom.clock import SystemClock
from netloom.errors import InvalidObject, NetloomError, Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import load
from netloom.kube.manifests import Manifest
from netloom.kube.manifests import load as load_manifests
from netloom.local import cluster, ready
from netloom.local.paths import ClusterPaths
from netloom.local.ready_services import services
from netloom.local.settings import ClusterSettings

READY_S = 60.0
FIELD_MANAGER = "netloom"
_EPILOG = """for example:
  netloom up --nodes 5 -f examples/shop
  netloom up --ip-family dual                                 pods, Services and nodes with IPv4 and IPv6
  netloom up --pod-cidr fd00:10:244::/48,10.244.0.0/16        the same, IPv6 first
  netloom up --fabric vxlan --underlay routed                 two nodes on one segment, one behind a router
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_nodes_and_families(parser)
    parser.add_argument(
        "-f",
        "--filename",
        metavar="FILE_OR_DIR",
        action="append",
        default=[],
        help="apply these manifests; may be repeated",
    )
    parser.add_argument(
        "--api-port", type=int, default=0, help="port of the API server on 127.0.0.1 (default: any free)"
    )
    parser.add_argument(
        "--dns-upstream",
        metavar="ADDRESS[:PORT]",
        action="append",
        default=[],
        help="resolver for names outside the cluster; may be repeated (default: the host's)",
    )
    parser.add_argument(
        "--corefile",
        metavar="FILE",
        default="",
        help="CoreDNS configuration: how names outside the cluster are answered; /etc/resolv.conf in it means the host's resolvers",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=READY_S,
        metavar="SECONDS",
        help="how long to wait (default: %(default)s)",
    )
    add_outside(parser)
    add_fabric(parser)
    add_output(parser)
    parser.epilog = _EPILOG


class UpReport(msgspec.Struct, frozen=True):
    """What ``netloom up --output json`` prints."""

    name: str
    nodes: tuple[str, ...]
    api_server: str
    kubeconfig: str
    objects: int
    ready_s: float
    """Seconds from the start to nodes ready: API answering, DNS and Services programmed."""
    total_s: float
    """The same, with everything applied and ready."""


def run(options: argparse.Namespace) -> int:
    """Bring it up."""
    report = bring_up(
        settings_from(options),
        options.filename,
        progress=Progress(quiet=options.output != "text"),
        timeout_s=options.timeout,
    )
    emit(report, options.output, _text(report))
    return 0


def bring_up(
    settings: ClusterSettings, files: Sequence[str], *, progress: Progress, timeout_s: float
) -> UpReport:
    """Start a cluster and wait until it is ready; on any failure nothing of it stays but what a former run had left.

    Raises:
        NetloomError: says what is wrong; see ``cluster.start``, ``load_manifests`` and ``ready``.
    """
    clock = SystemClock()
    began = clock.monotonic()
    manifests = load_manifests(files)
    resumed = settings.name in cluster.all_names()
    paths = cluster.start(settings, clock=clock, step=progress.step)
    try:
        ready_s = asyncio.run(
            _make_ready(paths, settings, manifests, progress=progress, timeout_s=timeout_s, began=began)
        )
    except BaseException as error:
        if isinstance(error, Unavailable):
            error.hint = "; ".join(cluster.complaints(paths)) or error.hint
        progress.step("failed, taking it down")
        with contextlib.suppress(NetloomError):
            asyncio.run(cluster.stop(settings.name, step=progress.step, keep=resumed))
        progress.done()
        raise
    progress.done()
    return UpReport(
        name=settings.name,
        nodes=settings.node_names,
        api_server=load(str(paths.kubeconfig)).server,
        kubeconfig=str(paths.kubeconfig),
        objects=len(manifests),
        ready_s=round(ready_s, 3),
        total_s=round(time.monotonic() - began, 3),
    )


async def _make_ready(
    paths: ClusterPaths,
    settings: ClusterSettings,
    manifests: list[Manifest],
    *,
    progress: Progress,
    timeout_s: float,
    began: float,
) -> float:
    async with KubeClient(load(str(paths.kubeconfig))) as client:
        await ready.nodes(client, settings.node_names, step=progress.step, timeout_s=timeout_s)
        ready_s = time.monotonic() - began
        await apply(client, manifests, progress)
        await ready.workloads(client, manifests, step=progress.step, timeout_s=timeout_s)
        await services(client, manifests, step=progress.step, clock=SystemClock(), timeout_s=timeout_s)
    return ready_s


async def apply(client: KubeClient, manifests: Sequence[Manifest], progress: Progress) -> None:
    """Server-side apply, in order.

    Raises:
        InvalidObject: the API server refused one; names its file.
    """
    for number, manifest in enumerate(manifests, 1):
        progress.step(
            f"applying {number}/{len(manifests)}: {manifest.resource.kind} {manifest.body['metadata'].get('name', '')}"
        )
        try:
            await client.apply(manifest.resource, manifest.body, field_manager=FIELD_MANAGER, force=True)
        except Unavailable:
            raise
        except InvalidObject as error:
            raise InvalidObject(manifest.subject, error.field, error.problem, error.hint) from error
        except NetloomError as error:
            raise InvalidObject(manifest.subject, "", error.problem, error.hint) from error


def _text(report: UpReport) -> str:
    name = "" if report.name == "default" else f" --name {report.name}"
    applied = (
        f", {report.objects} objects applied and ready in {report.total_s:.1f} s" if report.objects else ""
    )
    return f"""cluster {report.name}: {len(report.nodes)} nodes ready in {report.ready_s:.1f} s{applied}
API server {report.api_server}

  export KUBECONFIG="$(netloom kubeconfig --path{name})"
  kubectl get pods -A -o wide"""
