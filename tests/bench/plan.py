"""`netloom plan` on a large estate: reading it, and comparing it before and after a change. Single-threaded, no cluster.

1,000 workloads in 100 namespaces with 2,000 policies: in each namespace default deny, one policy for each workload, some of them
with named ports, ranges and blocks of addresses, and egress rules for half of them. Three changes: one policy, a label of a
namespace that policies everywhere select, and every default deny taken away at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from tests.bench import rooms
from tests.bench.report import Row

from netloom.api.core import Namespace, Service
from netloom.api.networking import NetworkPolicy
from netloom.observe.estate.estate import Estate, Ref, applied, ref_of
from netloom.observe.estate.kinds import Workload
from netloom.observe.plan import Change, plan
from netloom.observe.plan_text import render_plan

_TARGET_S = 5.0
_PER_NAMESPACE = 10
Spec = dict[str, Any]


def run() -> list[Row]:
    """The rows."""
    namespaces = rooms.either(100, 5)
    began = time.perf_counter()
    estate = applied(
        Estate(), ((ref, msgspec.convert(raw, type_)) for ref, raw, type_ in _objects(namespaces))
    )
    made_s = time.perf_counter() - began
    policies = len(estate.objects["NetworkPolicy"])
    workloads = len(estate.objects["Deployment"])
    rows = []
    for what, change in _changes(estate, namespaces):
        began = time.perf_counter()
        report = plan(estate, change)
        render_plan(report)
        took = time.perf_counter() - began
        note = f"{len(report.lost) + len(report.gained)} rows; objects decoded in {made_s:.1f} s"
        rows.append(
            Row(
                bench="plan",
                what=f"{workloads:,} workloads, {policies:,} policies: {what}",
                ours=round(took, 2),
                unit="s",
                most=_TARGET_S,
                note=note,
            )
        )
    return rows


def _changes(estate: Estate, namespaces: int) -> Iterator[tuple[str, Change]]:
    name = "deny-all"
    one = _policy("ns-1", "w-3", {"podSelector": {"matchLabels": {"app": "w-3"}}, "ingress": [{}]})
    ref, policy = _decoded(one)
    yield "one policy", Change(apply=((ref, policy),))
    space = Namespace(metadata=msgspec.convert({"name": "ns-2", "labels": {"team": "other"}}, type=_META))
    yield "a namespace's label", Change(apply=((ref_of("Namespace", space), space),))
    gone = tuple(Ref("NetworkPolicy", f"ns-{n}", name) for n in range(namespaces))
    yield "no default deny", Change(delete=gone)


_META = type(Namespace().metadata)


def _decoded(given: tuple[Ref, Spec, type]) -> tuple[Ref, Any]:
    ref, raw, type_ = given
    return ref, msgspec.convert(raw, type_)


def _objects(namespaces: int) -> Iterator[tuple[Ref, Spec, type]]:
    for n in range(namespaces):
        space = f"ns-{n}"
        labels = {"team": f"team-{n % 7}", "tier": "front" if n % 3 else "back"}
        yield Ref("Namespace", "", space), {"metadata": {"name": space, "labels": labels}}, Namespace
        yield _policy(space, "deny-all", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
        for w in range(_PER_NAMESPACE):
            app = f"w-{w}"
            yield _workload(space, app, n + w)
            yield _service(space, app)
            yield _policy(space, app, _rules(n, w))
            if w != 5:  # 20 policies in each namespace
                yield _policy(space, f"{app}-more", _more(n, w))


def _workload(space: str, app: str, number: int) -> tuple[Ref, Spec, type]:
    ports = [{"name": "http", "containerPort": 8000 + number % 5}, {"containerPort": 9090}]
    template = {
        "metadata": {"labels": {"app": app, "role": f"r{number % 4}", "uninteresting": f"{space}-{app}"}},
        "spec": {"containers": [{"name": "c", "ports": ports}]},
    }
    spec = {"replicas": 3, "template": template}
    meta = {"namespace": space, "name": app}
    return Ref("Deployment", space, app), {"metadata": meta, "spec": spec}, Workload


def _service(space: str, app: str) -> tuple[Ref, Spec, type]:
    spec = {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": "http"}]}
    return Ref("Service", space, app), {"metadata": {"namespace": space, "name": app}, "spec": spec}, Service


def _policy(space: str, name: str, spec: Spec) -> tuple[Ref, Spec, type]:
    meta = {"namespace": space, "name": name}
    return Ref("NetworkPolicy", space, name), {"metadata": meta, "spec": spec}, NetworkPolicy


def _rules(n: int, w: int) -> Spec:
    """Who may come to a workload: a neighbour, a team, and some clients outside."""
    others = {"namespaceSelector": {"matchLabels": {"team": f"team-{(n + w) % 7}"}}, "podSelector": _role(w)}
    block = {"ipBlock": {"cidr": f"198.51.{n % 100}.0/24", "except": [f"198.51.{n % 100}.{w * 16}/28"]}}
    return {
        "podSelector": {"matchLabels": {"app": f"w-{w}"}},
        "ingress": [
            {
                "from": [{"podSelector": {"matchLabels": {"app": f"w-{(w + 1) % 10}"}}}],
                "ports": [{"port": "http"}],
            },
            {"from": [others, block], "ports": [{"port": 8000 + w, "endPort": 8100 + w}]},
        ],
    }


def _more(n: int, w: int) -> Spec:
    """Half of these say where a workload may go."""
    selector = {"matchLabels": {"app": f"w-{w}"}}
    if w % 2:
        to = [
            {"namespaceSelector": {"matchLabels": {"tier": "back"}}},
            {"ipBlock": {"cidr": f"203.0.{n % 9}.0/24"}},
        ]
        rule = {"to": to, "ports": [{"port": "http"}, {"protocol": "UDP", "port": 53}, {"port": 9000 + n}]}
        return {
            "podSelector": selector,
            "policyTypes": ["Egress"],
            "egress": [rule, {"to": [{"podSelector": {}}]}],
        }
    return {
        "podSelector": selector,
        "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 9090}]}],
    }


def _role(w: int) -> Spec:
    return {
        "matchExpressions": [{"key": "role", "operator": "In", "values": [f"r{w % 4}", f"r{(w + 1) % 4}"]}]
    }
