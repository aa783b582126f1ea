"""Waiting until a cluster, and what was applied to it, is ready: by watching, never by looking again and again.

In: a client. Out: returns when it is so, or Unavailable that names what was still missing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from netloom.api.core import Node, Pod
from netloom.api.meta import KubeObject
from netloom.errors import Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.manifests import Manifest
from netloom.kube.resources import DEPLOYMENTS, NODES, PODS, REPLICA_SETS, Resource
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

T = TypeVar("T", bound=msgspec.Struct)
Step = Callable[[str], None]


class _Replicas(msgspec.Struct, frozen=True):
    replicas: int = 1


class _Reached(msgspec.Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    ready_replicas: int = 0
    updated_replicas: int | None = None


class Workload(KubeObject, frozen=True):
    """apps/v1 Deployment and ReplicaSet, as far as readiness goes."""

    spec: _Replicas = _Replicas()
    status: _Reached = _Reached()

    @property
    def is_ready(self) -> bool:
        """All replicas of the newest generation are ready."""
        updated = self.status.updated_replicas
        return (
            self.status.observed_generation >= self.metadata.generation
            and self.status.ready_replicas >= self.spec.replicas
            and (updated is None or updated >= self.spec.replicas)
        )


def is_node_ready(node: Node) -> bool:
    """Condition ``Ready`` is True: its agent has programmed the cluster and its DNS server answers."""
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


async def nodes(client: KubeClient, names: Iterable[str], *, step: Step, timeout_s: float) -> None:
    """Wait until these nodes are ready.

    Raises:
        Unavailable: some were not in time; names them.
    """
    wanted = {ObjectKey("", name) for name in names}

    def missing(seen: Mapping[ObjectKey, Node]) -> list[str]:
        return [k.name for k in sorted(wanted) if k not in seen or not is_node_ready(seen[k])]

    await _until_none(client, NODES, Node, missing, step=step, what="nodes", timeout_s=timeout_s)


async def workloads(
    client: KubeClient, manifests: Iterable[Manifest], *, step: Step, timeout_s: float
) -> None:
    """Wait until the Deployments, ReplicaSets and Pods among these manifests are ready.

    Raises:
        Unavailable: some were not in time; names them.
    """
    wanted: dict[Resource, set[ObjectKey]] = {}
    for m in manifests:
        if m.resource in (DEPLOYMENTS, REPLICA_SETS, PODS) and (name := m.body["metadata"].get("name")):
            key = ObjectKey(m.body["metadata"].get("namespace") or "default", name)
            wanted.setdefault(m.resource, set()).add(key)
    for resource, keys in wanted.items():
        kind: type[Pod | Workload] = Pod if resource is PODS else Workload
        missing = functools.partial(_unready, keys)
        await _until_none(
            client, resource, kind, missing, step=step, what=resource.plural, timeout_s=timeout_s
        )


def _unready(keys: set[ObjectKey], seen: Mapping[ObjectKey, Pod | Workload]) -> list[str]:
    return [str(k) for k in sorted(keys) if (o := seen.get(k)) is None or not o.is_ready]


async def _until_none(  # noqa: PLR0913 - one private wait behind two public ones
    client: KubeClient,
    resource: Resource,
    kind: type[T],
    missing: Callable[[Mapping[ObjectKey, T]], list[str]],
    *,
    step: Step,
    what: str,
    timeout_s: float,
) -> None:
    changed = asyncio.Event()
    reflector = Reflector(client, resource, kind, on_change=lambda *_: changed.set())
    left: list[str] = []
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            task = group.create_task(reflector.run(), name=f"watch {resource.plural}")
            await reflector.synced.wait()
            while left := missing(reflector.items):
                step(
                    f"waiting for {len(left)} {what}: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}"
                )
                await changed.wait()
                changed.clear()
            task.cancel()
    except TimeoutError:
        raise Unavailable(
            f"not ready after {timeout_s:.0f} s: {what} {', '.join(left) or '(API server does not answer)'}",
            "see: kubectl describe, and the logs in the cluster's directory",
        ) from None
