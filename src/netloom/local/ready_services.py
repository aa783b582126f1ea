"""Waiting until the Services that were applied lead to all of their pods, on every node: by watching.

In: a client, manifests whose workloads are ready. Out: returns when it is so, or Unavailable that names what was still missing. A ready
pod is not yet an endpoint, and an endpoint is not yet in force everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from netloom.agent.acks_wait import Waiter
from netloom.api.core import Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.selectors import from_labels
from netloom.clock import Clock
from netloom.errors import Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.manifests import Manifest
from netloom.kube.resources import ENDPOINT_SLICES, PODS, SERVICES
from netloom.kube.watch import Reflector
from netloom.local.ready import Step
from netloom.units import ObjectKey

Selectors = dict[ObjectKey, Mapping[str, str]]


async def services(
    client: KubeClient, manifests: Iterable[Manifest], *, step: Step, clock: Clock, timeout_s: float
) -> None:
    """Wait until the Services with a selector among these manifests lead to every ready pod that they select, on every node.

    Raises:
        Unavailable: some did not in time; names them.
    """
    wanted: Selectors = {}
    for manifest in manifests:
        meta, spec = manifest.body["metadata"], manifest.body.get("spec") or {}
        if manifest.resource is SERVICES and spec.get("selector") and spec.get("type") != "ExternalName":
            wanted[ObjectKey(meta.get("namespace") or "default", meta["name"])] = spec["selector"]
    if not wanted:
        return
    step(f"waiting for {len(wanted)} services to lead to their pods on every node")
    left: list[str] = []
    try:
        async with asyncio.timeout(timeout_s):
            await _until_endpoints(client, wanted, left)
            left[:] = []
            async with asyncio.TaskGroup() as group:
                for key in wanted:
                    group.create_task(_in_force(client, key, clock, timeout_s, left), name=f"wait for {key}")
    except TimeoutError:
        left = left or [str(key) for key in wanted]
    if left:
        raise Unavailable(
            f"not ready after {timeout_s:.0f} s: services {', '.join(left)}",
            "see: netloom wait service/NAME, and the logs in the cluster's directory",
        )


async def _in_force(
    client: KubeClient, key: ObjectKey, clock: Clock, timeout_s: float, left: list[str]
) -> None:
    report = await Waiter(client, clock=clock, timeout_s=timeout_s).service(key)
    if not report.in_force:
        left.append(str(key))


async def _until_endpoints(client: KubeClient, wanted: Selectors, left: list[str]) -> None:
    changed = asyncio.Event()

    pods = Reflector(client, PODS, Pod, on_change=lambda *_: changed.set())
    slices = Reflector(client, ENDPOINT_SLICES, EndpointSlice, on_change=lambda *_: changed.set())
    served = Reflector(client, SERVICES, Service, on_change=lambda *_: changed.set())
    watches: tuple[Reflector[Any], ...] = (pods, slices, served)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one.run(), name="watch") for one in watches]
        for one in watches:
            await one.synced.wait()
        while missing := without_some(wanted, served.items, pods.items, slices.items):
            left[:] = missing
            await changed.wait()
            changed.clear()
        for task in running:
            task.cancel()


def without_some(
    wanted: Selectors,
    services: Mapping[ObjectKey, Service],
    pods: Mapping[ObjectKey, Pod],
    slices: Mapping[ObjectKey, EndpointSlice],
) -> list[str]:
    """Services that lack a ready pod among their ready endpoints, in one of the families that they are served in. Pure."""
    there: dict[ObjectKey | None, set[str]] = {}
    for one in slices.values():
        ready = (endpoint.addresses for endpoint in one.endpoints if endpoint.is_ready)
        there.setdefault(one.service, set()).update(address for found in ready for address in found)
    missing = []
    for key, labels in wanted.items():
        selector = from_labels(dict(labels))
        families = services[key].spec.ip_families if key in services else ()
        if not families or any(
            not there.get(key, set()).issuperset(_addresses(pod, families))
            for place, pod in pods.items()
            if place.namespace == key.namespace
            and pod.is_ready
            and pod.metadata.deletion_timestamp is None
            and selector.matches(pod.metadata.labels)
        ):
            missing.append(str(key))
    return missing


def _addresses(pod: Pod, families: Iterable[str]) -> Iterator[str]:
    """Those that a Service of these families has for it."""
    given = [entry.ip for entry in pod.status.pod_ips] or [pod.status.pod_ip]
    return (text for text in given if ("IPv6" if ":" in text else "IPv4") in families)
