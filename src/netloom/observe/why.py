"""``why``: what happens to a connection, and which object and field is responsible for each step.

Comes in: a cluster as the API server has it, and two ends as a user writes them. Goes out: a report, as a value (JSON) or as
text. Read-only, without any agent. Not here: the walk itself (``model/walk``), the command (``cli``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from netloom.api.bgp import BGPPeer
from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Namespace, Node, Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.egress import EgressGateway
from netloom.api.load_balancers import LoadBalancerPool
from netloom.api.networking import NetworkPolicy
from netloom.api.pools import IPBlock, IPPool
from netloom.errors import Untrue
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.model.announcing.view import AnnounceView
from netloom.model.inputs import ClusterFacts, ClusterView
from netloom.model.provenance import Source
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.steps import Outcome, Stage, Step
from netloom.model.walk.targets import read_destination, read_origin
from netloom.model.walk.urls import Asked
from netloom.model.walk.walk import walk
from netloom.observe.loading import load_kind

_ARRIVES = (Outcome.DELIVERED, Outcome.EXTERNAL)
_MOST_WHOLE_BRANCHES = 4
_MOST_BRANCHES = 20
_MOST_LEFT_OUT = 8
_WIDEST_TEXT = 80


class ReportStep(msgspec.Struct, frozen=True):
    """One step; ``stage`` is one of ``model.walk.steps.Stage``."""

    stage: str
    where: str
    text: str
    sources: tuple[Source, ...]


class ReportBranch(msgspec.Struct, frozen=True):
    """One of the ways that a new connection may take; ``share`` such as ``1/3``."""

    share: str
    steps: tuple[ReportStep, ...]
    verdict: Outcome
    reason: str
    hint: str
    sources: tuple[Source, ...]


class WhyReport(msgspec.Struct, frozen=True):
    """The whole answer. ``steps`` are those that all branches share."""

    source: str
    destination: str
    verdict: Outcome
    reason: str
    hint: str
    sources: tuple[Source, ...]
    steps: tuple[ReportStep, ...]
    branches: tuple[ReportBranch, ...]

    @property
    def exit_code(self) -> int:
        """0 where every connection arrives or leaves the cluster, else that of ``errors.Untrue``."""
        return 0 if self.verdict in _ARRIVES else Untrue.exit_code


async def load_view(client: KubeClient) -> AnnounceView:
    """The cluster now, one list for each kind. An object that cannot be decoded counts as not there, as in ``kube.watch``.

    Raises:
        Unavailable: the API server does not answer.
    """
    return AnnounceView(
        services=await load_kind(client, resources.SERVICES, Service),
        slices=await load_kind(client, resources.ENDPOINT_SLICES, EndpointSlice),
        pods=await load_kind(client, resources.PODS, Pod),
        nodes=await load_kind(client, resources.NODES, Node),
        namespaces=await load_kind(client, resources.NAMESPACES, Namespace),
        policies=await load_kind(client, resources.NETWORK_POLICIES, NetworkPolicy),
        cluster_policies=await load_kind(client, resources.CLUSTER_NETWORK_POLICIES, ClusterNetworkPolicy),
        pools=await load_kind(client, resources.IP_POOLS, IPPool),
        blocks=await load_kind(client, resources.IP_BLOCKS, IPBlock),
        egress_gateways=await load_kind(client, resources.EGRESS_GATEWAYS, EgressGateway),
        load_balancer_pools=await load_kind(client, resources.LOAD_BALANCER_POOLS, LoadBalancerPool),
        bgp_peers=await load_kind(client, resources.BGP_PEERS, BGPPeer),
    )


def explain(
    view: ClusterView, facts: ClusterFacts, source: str, destination: str, *, namespace: str = "default"
) -> WhyReport:
    """What happens to a new connection; the forms of both ends are those of ``model/walk/targets.py``.

    Names without a namespace are of ``namespace`` for the source, and of the source's own for the destination.

    Raises:
        UsageError: an end cannot be read, or leaves open which port is meant.
        NotFound: there is no such object.
    """
    return explain_in(ClusterModel(view, facts), source, destination, namespace=namespace)


def explain_in(
    cluster: ClusterModel,
    source: str,
    destination: str,
    *,
    namespace: str = "default",
    asked: Asked | None = None,
) -> WhyReport:
    """As :func:`explain`, in a cluster that has been read already; of a URL ``asked`` is the rest of the request.

    Raises:
        UsageError, NotFound: as for :func:`explain`.
    """
    origin = read_origin(source, cluster, namespace)
    here = origin.pod.namespace if origin.pod is not None else namespace
    result = walk(cluster, origin, read_destination(destination, cluster, here, asked))
    ending = result.ending
    return WhyReport(
        source=result.origin,
        destination=result.destination,
        verdict=ending.outcome,
        reason=ending.reason,
        hint=ending.hint,
        sources=ending.sources,
        steps=_report_steps(result.steps),
        branches=tuple(
            ReportBranch(
                share=str(branch.share),
                steps=_report_steps(branch.steps),
                verdict=branch.ending.outcome,
                reason=branch.ending.reason,
                hint=branch.ending.hint,
                sources=branch.ending.sources,
            )
            for branch in result.branches
        ),
    )


def render_text(report: WhyReport) -> str:
    """The report for people: one line a step, what is responsible at its right, the verdict last."""
    single = report.branches[0] if len(report.branches) == 1 else None
    steps = [*report.steps, *(single.steps if single is not None else ())]
    shown = report.branches[:_MOST_WHOLE_BRANCHES] if single is None else ()
    rows = [step for branch in shown for step in branch.steps]
    columns = _Columns([*steps, *rows])
    lines = [report.source, f"  -> {report.destination}"]
    if steps:
        lines.append("")
        lines.extend(columns.rows(steps, ""))
    for branch in shown:
        lines.extend(("", f"{branch.share}:"))
        lines.extend(columns.rows(branch.steps, "  "))
        lines.append(f"  {_verdict(branch)}")
    if single is None:
        lines.extend(_short_branches(report.branches[_MOST_WHOLE_BRANCHES:]))
    lines.extend(("", _verdict(report)))
    lines.extend(f"  because of {source}" for source in report.sources)
    if report.hint:
        lines.append(f"  {report.hint}")
    return "\n".join(lines) + "\n"


class _Columns:
    """Widths that fit all steps, so that a reader's eye can go down."""

    def __init__(self, steps: Sequence[ReportStep]) -> None:
        self._stage = max((len(step.stage) for step in steps), default=0)
        self._where = max((len(step.where) for step in steps), default=0)
        self._text = min(max((len(step.text) for step in steps), default=0), _WIDEST_TEXT)

    def rows(self, steps: Sequence[ReportStep], indent: str) -> Iterator[str]:
        for stage, group in itertools.groupby(steps, key=lambda step: step.stage):
            found = list(group)
            most = _MOST_LEFT_OUT if stage == Stage.LEFT_OUT.value else len(found)
            for step in found[:most]:
                yield from self._row(step, indent)
            if len(found) > most:
                yield f"{indent}{'':{self._stage}}  ... and {len(found) - most} more"

    def _row(self, step: ReportStep, indent: str) -> Iterator[str]:
        head = f"{indent}{step.stage:{self._stage}}  {step.where:{self._where}}  "
        first, *rest = [str(source) for source in step.sources] or [""]
        yield f"{head}{step.text:{self._text}}  {first}".rstrip()
        yield from (f"{'':{len(head) + self._text}}  {source}" for source in rest)


def _short_branches(branches: tuple[ReportBranch, ...]) -> Iterator[str]:
    if not branches:
        return
    room = _MOST_BRANCHES - _MOST_WHOLE_BRANCHES
    yield ""
    yield from (f"{branch.share}: {_verdict(branch)}" for branch in branches[:room])
    if len(branches) > room:
        yield f"... and {len(branches) - room} more"


def _verdict(ended: WhyReport | ReportBranch) -> str:
    return f"{ended.verdict.value}: {ended.reason}"


def _report_steps(steps: tuple[Step, ...]) -> tuple[ReportStep, ...]:
    return tuple(ReportStep(step.stage.value, step.where, step.text, step.sources) for step in steps)
