"""The Node object and its lease: what a kubelet says of its machine. In: configuration, the agent's readiness; out: API objects.

Ready (core/v1 NodeCondition) is true while the agent serves CNI; the lease is renewed as long as this process lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from netloom.api.meta import KubeObject
from netloom.clock import Clock, rfc3339
from netloom.errors import AlreadyExists, NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import LEASES, NAMESPACES, NODES
from netloom.kube.watch import Reflector
from netloom.local.runner.addresses import NodeAddresses
from netloom.local.runner.config import RunnerConfig
from netloom.local.runner.status import REPLACE
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

KUBELET_VERSION = "v1.32.0-netloom"
"""What `kubectl get nodes` shows; the API level that the runner follows."""
LEASE_NAMESPACE = "kube-node-lease"
_RENEWALS = 5
"""Of the lease in a grace period: so many may go astray."""
_SHARE = 0.1
"""Of the time that the agent has not been ready for, so much passes between two questions: each costs a process, and there may be 50 nodes."""
_SOON_S = 0.1
"""Seconds between two looks while the agent is not ready."""
_LATER_S = 5.0
_STRATEGIC = "application/strategic-merge-patch+json"
_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


class _Said(msgspec.Struct, frozen=True):
    type: str
    status: str = ""


class _Status(msgspec.Struct, frozen=True):
    conditions: tuple[_Said, ...] = ()


class _OwnNode(KubeObject, frozen=True):
    """The Node as others may have changed it."""

    status: _Status = _Status()

    @property
    def version(self) -> int:
        """``metadata.resourceVersion``."""
        return _version(self.metadata.resource_version)


def _version(text: str) -> int:
    return int(text) if text.isdecimal() else 0


class NodeRegistration:
    """One node in the API.

    Args:
        config: the node.
        client: the API.
        clock: the time.
        addresses: of the node.
        agent_ready: asks whether the node's agent serves pods now.
    """

    def __init__(
        self,
        *,
        config: RunnerConfig,
        client: KubeClient,
        clock: Clock,
        addresses: NodeAddresses,
        agent_ready: Callable[[], Awaitable[bool]],
    ) -> None:
        self._config = config
        self._client = client
        self._clock = clock
        self._addresses = addresses
        self._agent_ready = agent_ready
        self._uid = ""
        self._said: tuple[bool, tuple[str, ...]] | None = None
        """What was said last: readiness and addresses."""
        self._version = 0
        """Of the Node when that was said."""
        self._moved = asyncio.Event()
        addresses.on_change(self._moved.set)
        self._own: Reflector[_OwnNode] = Reflector(
            client,
            NODES,
            _OwnNode,
            on_change=self._told,
            field_selector=f"metadata.name={config.node_name}",
        )

    async def run(self) -> None:
        """Register, then follow the agent and renew the lease, until cancelled."""
        await self._insist(self.register, "register")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_agent(), name="node readiness")
            group.create_task(self._renew(), name="node lease")
            group.create_task(self._own.run(), name="own node")

    async def register(self) -> None:
        """Create the Node, or bring those of its labels up to date that say what it is.

        Where it is (zone, region) is set when it is made, and then other people's.

        Raises:
            NetloomError: the API did not take it.
        """
        arch = _ARCH.get(platform.machine(), platform.machine())
        name = self._config.node_name
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": arch,
        }
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels | self._config.labels},
            "spec": {},
            "status": self._status(ready=False),
        }
        try:
            made = await self._client.create(NODES, body)
        except AlreadyExists:
            made = await self._client.patch(NODES, ObjectKey("", name), {"metadata": {"labels": labels}})
        self._uid = made["metadata"]["uid"]

    async def set_ready(self, ready: bool) -> None:
        """Say whether pods can run here, and where the node is; nothing is sent where that was said last.

        Raises:
            NetloomError: the API did not take it.
        """
        saying = (ready, self._addresses.now)
        if saying == self._said:
            return
        status = self._status(ready=ready)
        written = await self._client.patch(
            NODES,
            ObjectKey("", self._config.node_name),
            # the merge key of addresses is their type, and there may be two of one type
            {"status": {**status, "addresses": [*status["addresses"], REPLACE]}},
            content_type=_STRATEGIC,
            subresource="status",
        )
        self._said = saying
        self._version = _version((written.get("metadata") or {}).get("resourceVersion", ""))

    async def _follow_agent(self) -> None:
        since = self._clock.monotonic()
        while True:
            ready = await self._agent_ready()
            try:
                await self.set_ready(ready)
            except NotFound:
                await self._insist(self.register, "register")  # somebody deleted the Node
                self._said = None
            except NetloomError as error:
                log.warning("status of node %s: %s", self._config.node_name, error)
            now = self._clock.monotonic()
            if ready and self._said is not None and self._said[0]:
                since = now
                await self._wait(_LATER_S)
            else:
                await self._wait(min(_LATER_S, max(_SOON_S, (now - since) * _SHARE)))

    def _told(self, _: ObjectKey, node: _OwnNode | None) -> None:
        """Others may say of the node what is not so, such as that nobody hears it: then it is said anew."""
        if self._said is None or node is None:
            return
        ready = next((c.status for c in node.status.conditions if c.type == "Ready"), "")
        if ready != str(self._said[0]) and node.version > self._version:
            self._said = None
            self._moved.set()

    async def _wait(self, seconds: float) -> None:
        """So long, or until the node has other addresses."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()
                self._moved.clear()

    async def _renew(self) -> None:
        while True:
            try:
                await self.renew_once()
            except NetloomError as error:
                log.warning("lease of node %s: %s", self._config.node_name, error)
            await asyncio.sleep(self._config.node_grace_s / _RENEWALS)

    async def renew_once(self) -> None:
        """Renew the lease (coordination.k8s.io/v1), which is made where it is missing.

        Raises:
            NetloomError: the API did not take it.
        """
        name = self._config.node_name
        now = rfc3339(self._clock.wall()).removesuffix("Z") + ".000000Z"  # metav1.MicroTime
        duration = max(1, round(self._config.node_grace_s))
        spec = {"holderIdentity": name, "leaseDurationSeconds": duration, "renewTime": now}
        try:
            await self._client.patch(LEASES, ObjectKey(LEASE_NAMESPACE, name), {"spec": spec})
        except NotFound:
            await self._create_lease(name, spec)

    async def _create_lease(self, name: str, spec: dict[str, Any]) -> None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
            "spec": spec,
        }
        try:
            await self._client.create(LEASES, body)
        except NotFound:
            await self._client.create(
                NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}
            )
            await self._client.create(LEASES, body)
        except AlreadyExists:
            return  # made by ourselves, when the answer got lost

    async def _insist(self, attempt: Callable[[], Awaitable[None]], what: str) -> None:
        wait_s = 0.05
        while True:
            try:
                await attempt()
            except NetloomError as error:
                log.info("%s node %s: %s", what, self._config.node_name, error)
            else:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, 2.0)

    def _status(self, *, ready: bool) -> dict[str, Any]:
        now = rfc3339(self._clock.wall())
        has = quantities(self._config)
        addresses = [{"type": "InternalIP", "address": a} for a in self._addresses.now]
        return {
            "addresses": [*addresses, {"type": "Hostname", "address": self._config.node_name}],
            "capacity": has,
            "allocatable": has,
            "conditions": [
                _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", now),
                _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", now),
                _condition("PIDPressure", "False", "KubeletHasSufficientPID", now),
                _condition("Ready", "True", "KubeletReady", now, "the node's agent serves pods")
                if ready
                else _condition(
                    "Ready", "False", "NetworkPluginNotReady", now, "the node's agent is not ready"
                ),
            ],
            "nodeInfo": _node_info(),
        }


def quantities(config: RunnerConfig) -> dict[str, str]:
    """What a node has (``status.capacity`` and ``allocatable``): all nodes share one machine, and each says the whole of it."""
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{_memory_kib()}Ki",
        "pods": str(config.max_pods),
    }


def _condition(kind: str, status: str, reason: str, now: str, message: str = "") -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


def _node_info() -> dict[str, str]:
    return {
        "architecture": _ARCH.get(platform.machine(), platform.machine()),
        "bootID": _first_line("/proc/sys/kernel/random/boot_id"),
        "containerRuntimeVersion": "netloom://0.1.0",
        "kernelVersion": platform.release(),
        "kubeProxyVersion": "",
        "kubeletVersion": KUBELET_VERSION,
        "machineID": "",
        "operatingSystem": "linux",
        "osImage": _os_image(),
        "systemUUID": "",
    }


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _memory_kib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
