"""Plans in a few words: manifests in, sentences out, for tests.

Comes in: YAML as a user writes it. Goes out: ``"lost: shop/web -> shop/db: 5432/tcp"``. Not here: what should come out.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import yaml

from netloom.api.core import Pod, PodIP, PodStatus
from netloom.api.meta import KubeObject
from netloom.kube.yaml_loader import Loader
from netloom.observe.estate.estate import Estate, Ref, applied, ref_of
from netloom.observe.estate.kinds import BY_NAME
from netloom.observe.plan import Change, PlanReport, plan
from netloom.observe.plan_rows import Row
from netloom.observe.plan_services import ServiceRow

SHOP = """
{kind: Namespace, metadata: {name: shop, labels: {team: shop}}}
---
{kind: Namespace, metadata: {name: lab, labels: {team: lab}}}
---
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}}}
---
kind: Deployment
metadata: {name: api, namespace: shop}
spec: {template: {metadata: {labels: {app: api}}, spec: {containers: [{ports: [{name: http, containerPort: 9000}]}]}}}
---
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 2
  template: {metadata: {labels: {app: db}}, spec: {containers: [{ports: [{name: sql, containerPort: 5432}]}]}}
---
kind: Deployment
metadata: {name: probe, namespace: lab}
spec: {template: {metadata: {labels: {app: probe}}}}
"""
"""Three workloads that belong together, and one that does not."""


def objects(text: str) -> list[tuple[Ref, KubeObject]]:
    """Objects, in order; those without a namespace are of ``shop``."""
    found: list[tuple[Ref, KubeObject]] = []
    for raw in yaml.load_all(text, Loader=Loader):
        if raw is None:
            continue
        kind = BY_NAME[raw["kind"]]
        if kind.resource.namespaced:
            raw["metadata"].setdefault("namespace", "shop")
        obj = msgspec.convert(raw, kind.type)
        found.append((ref_of(raw["kind"], obj), obj))
    return found


def estate(*texts: str) -> Estate:
    """What these manifests make."""
    return applied(Estate(), (one for text in texts for one in objects(text)))


def live(*texts: str) -> Estate:
    """The same as a running cluster: each pod that has none gets an address."""
    found = estate(*texts)
    pods = {
        key: _running(pod, f"10.244.{1 + place // 200}.{place % 200 + 10}")
        for place, (key, pod) in enumerate(sorted(found.of(Pod).items()))
    }
    return Estate({**found.objects, "Pod": pods}, is_live=True)


def _running(pod: Pod, address: str) -> Pod:
    if pod.status.pod_ips or pod.status.phase not in ("Pending", "Running"):
        return pod
    status = PodStatus(phase="Running", pod_ip=address, pod_ips=(PodIP(address),))
    return msgspec.structs.replace(pod, status=status)


def planned(before: Estate, apply: str = "", delete: Iterable[str] = ()) -> PlanReport:
    """The plan for a change; ``delete`` names objects, such as ``NetworkPolicy shop/db``."""
    refs = []
    for text in delete:
        kind, _, name = text.partition(" ")
        namespace, _, own = name.rpartition("/")
        refs.append(Ref(kind, namespace, own))
    return plan(before, Change(tuple(objects(apply)), tuple(refs)))


def said(report: PlanReport) -> list[str]:
    """Every row as a sentence, in order of the alphabet."""
    rows: tuple[Row | ServiceRow, ...] = (
        *report.lost,
        *report.gained,
        *report.services_lost,
        *report.services_gained,
    )
    return sorted(sentence(row) for row in rows)


def sentence(row: Row | ServiceRow) -> str:
    """``lost: shop/web -> shop/db: 5432/tcp``; ``gained: internet -> Service shop/web:80/tcp [shop/web 8080/tcp]``."""
    if isinstance(row, Row):
        family = f" ({row.family})" if row.family else ""
        return f"{row.effect}: {row.sender} -> {row.receiver}: {row.ports}{family}"
    note = f" ({row.note})" if row.note else ""
    return f"{row.effect}: {row.sender} -> {row.door} [{row.target}]{note}"
