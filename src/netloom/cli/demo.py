"""``netloom demo``: a three-node cluster with the example shop, and a report of what every pod can reach.

Exits with 8 if anything of the report is untrue; the cluster then stays, to be looked at.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from netloom.api.core import Node, Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.cli.output import Progress, add_output, emit, table
from netloom.cli.status import pod_line, pod_table
from netloom.cli.up import UpReport, bring_up
from netloom.cli.up_options import add_fabric, add_families, settings_from
from netloom.errors import AlreadyExists, UsageError
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import load
from netloom.kube.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from netloom.local import cluster
from netloom.local.verify import Outcome, Subject, summary, verify

EXAMPLE = "examples/shop"
NAMESPACE = "shop"
_ASKED = {
    "pod": "every pod reaches every pod, and is seen there with its own address",
    "localhost": "containers of a pod reach each other on localhost",
    "service-name": "every Service answers by name, from every pod",
    "service-address": "every Service answers by address, from every pod",
    "node-port": "every NodePort answers on every node, from every pod",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--name", default="demo", help="name of the cluster (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=3, help="how many nodes (default: %(default)s)")
    add_families(parser)
    parser.add_argument(
        "--example", default=EXAMPLE, metavar="DIR", help="what to apply (default: %(default)s)"
    )
    add_fabric(parser)
    add_output(parser)


class DemoReport(msgspec.Struct, frozen=True):
    """What ``netloom demo --output json`` prints."""

    cluster: UpReport
    checks: Mapping[str, Any]
    wrong: tuple[Outcome, ...]
    check_s: float


def run(options: argparse.Namespace) -> int:
    """Bring it up, look, and tell."""
    if not Path(options.example).is_dir():
        raise UsageError(
            f"--example {options.example}: no such directory", "run it in the checkout, or name a directory"
        )
    progress = Progress(quiet=options.output != "text")
    settings = settings_from(options)
    try:
        up = bring_up(settings, [options.example], progress=progress, timeout_s=60)
    except AlreadyExists:
        progress.step(f"cluster {options.name} is there from a former run: starting anew")
        asyncio.run(cluster.stop(options.name, step=progress.step))
        up = bring_up(settings, [options.example], progress=progress, timeout_s=60)
    subject, outcomes, check_s = asyncio.run(_look(up, progress))
    progress.done()
    wrong = tuple(o for o in outcomes if o.wrong)
    report = DemoReport(up, summary(outcomes), wrong, round(check_s, 3))
    emit(report, options.output, _text(report, subject, outcomes))
    return 8 if wrong or not outcomes else 0


async def _look(up: UpReport, progress: Progress) -> tuple[Subject, list[Outcome], float]:
    loop = asyncio.get_running_loop()
    async with KubeClient(load(up.kubeconfig)) as client:
        subject = Subject(
            pods=[msgspec.convert(o, Pod) for o in (await client.list(PODS, NAMESPACE))[0]],
            services=[msgspec.convert(o, Service) for o in (await client.list(SERVICES, NAMESPACE))[0]],
            slices=[
                msgspec.convert(o, EndpointSlice) for o in (await client.list(ENDPOINT_SLICES, NAMESPACE))[0]
            ],
            nodes=[msgspec.convert(o, Node) for o in (await client.list(NODES))[0]],
        )
        progress.step(f"asking {len(subject.pods)} pods what they can reach")
        began = loop.time()
        outcomes = await verify(client, subject)
        return subject, outcomes, loop.time() - began


def _text(report: DemoReport, subject: Subject, outcomes: Sequence[Outcome]) -> str:
    up = report.cluster
    nodes = (
        (n.metadata.name, next(a.address for a in n.status.addresses), n.spec.pod_cidr) for n in subject.nodes
    )
    lines = [
        f"cluster {up.name}: {len(up.nodes)} nodes ready in {up.ready_s:.1f} s, the shop in {up.total_s:.1f} s",
        "",
        table(("NODE", "ADDRESS", "POD-CIDR"), nodes),
        "",
        pod_table(tuple(pod_line(p) for p in subject.pods)),
        "",
        _service_table(subject, outcomes),
        "",
        f"asked from inside the pods, with real packets ({sum(c['asked'] for c in report.checks.values())} probes"
        f" in {report.check_s:.1f} s):",
    ]
    lines += [
        _verdict(text, report.checks.get(kind, {"asked": 0, "wrong": 0})) for kind, text in _ASKED.items()
    ]
    lines += [
        f"  WRONG  {o.source} -> {o.question.subject} at {o.question.host}: {o.wrong}"
        for o in report.wrong[:20]
    ]
    return "\n".join([*lines, "", _next(up)])


def _verdict(text: str, counts: Mapping[str, int]) -> str:
    asked, wrong = counts["asked"], counts["wrong"]
    mark = "NO " if wrong else "yes" if asked else "-  "
    return f"  {mark}  {text} ({asked - wrong} of {asked})"


def _service_table(subject: Subject, outcomes: Sequence[Outcome]) -> str:
    answered: dict[str, set[str]] = {}
    for o in outcomes:
        if o.question.asks.startswith("service") and not o.wrong:
            answered.setdefault(o.question.subject.rpartition(":")[0], set()).add(
                o.seen.pod.partition("/")[2]
            )
    rows = (_service_row(s, len(answered.get(str(s.key), ()))) for s in subject.services)
    return table(("SERVICE", "TYPE", "ADDRESS", "PORTS", "PODS-THAT-ANSWERED"), rows)


def _service_row(service: Service, answered: int) -> tuple[str, ...]:
    spec = service.spec
    ports = ",".join(f"{p.port}{f':{p.node_port}' if p.node_port else ''}/{p.protocol}" for p in spec.ports)
    address = spec.cluster_ip or f"-> {spec.external_name}"
    kind = "headless" if service.is_headless else spec.type
    return str(service.key), kind, address, ports or "-", str(answered)


def _next(up: UpReport) -> str:
    return f"""next:
  export KUBECONFIG="$(.venv/bin/netloom kubeconfig --name {up.name} --path)"
  kubectl -n shop get pods,services -o wide
  kubectl -n shop exec deploy/web -- curl -s http://cart
  .venv/bin/netloom why --name {up.name} shop/web shop/cart:80
  .venv/bin/netloom down --name {up.name}"""
