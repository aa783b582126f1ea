"""Further networks on one node, without a cluster: real plugins, a real record, and an API server that is a dictionary.

In: a node's namespace, a directory. Out: a :class:`SecondaryRig` whose ``networks`` attaches pods. Not here: the pod's first interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from netloom.api.core import Pod
from netloom.api.meta import ObjectMeta
from netloom.api.networks import AttachmentSpec, NetworkAttachmentDefinition, NetworkPool, NetworkPoolSpec
from netloom.clock import SystemClock
from netloom.cni.attach import PodInterface
from netloom.cni.delegate import Delegates, InlinePlugin
from netloom.cni.ipam.store import Attachment
from netloom.cni.networks.attachments import SecondaryNetworks
from netloom.cni.networks.definitions import Definitions
from netloom.cni.networks.guard import PluginGuard
from netloom.cni.networks.ipam import PoolIpam
from netloom.cni.networks.isolation import Isolation
from netloom.cni.networks.leases import PoolLeases
from netloom.cni.networks.plans import Planner
from netloom.cni.networks.plugin_view import make_view
from netloom.cni.networks.publish import StatusPublisher
from netloom.cni.networks.record import NetworkRecord
from netloom.cni.request import CniRequest
from netloom.cni.server import CniServer
from netloom.errors import AlreadyExists, NotFound, Unavailable
from netloom.kube.resources import Resource
from netloom.kube.status import Conflict
from netloom.linux.netns import Namespaces
from netloom.units import ObjectKey

PLUGIN_DIR = "/usr/lib/cni"
"""Where Debian's package containernetworking-plugins has them."""


class ScriptedLeases:
    """Objects by kind and key, with versions and uids, as an API server keeps them; away where ``is_away``.

    Args:
        path: a file that they are kept in, for processes that are killed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.objects: dict[tuple[str, ObjectKey], dict[str, Any]] = {}
        if path is not None and path.exists():
            for plural, name, body in msgspec.json.decode(path.read_bytes()):
                self.objects[plural, ObjectKey("", name)] = body
        self.patches: list[tuple[str, ObjectKey, object]] = []
        self.is_away = False
        self.asked: list[str] = []
        self._version = 0

    def _ask(self, verb: str) -> None:
        self.asked.append(verb)
        if self.is_away:
            raise Unavailable(f"{verb}: the API server does not answer", "try again")

    async def get(self, resource: Resource, key: ObjectKey) -> dict[str, Any]:
        """One object."""
        self._ask("get")
        await asyncio.sleep(0)
        if (resource.plural, key) not in self.objects:
            raise NotFound(f"{resource.kind} {key}: is not there")
        return self.objects[resource.plural, key]

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """Those with one label."""
        self._ask("list")
        await asyncio.sleep(0)
        name, _, value = label_selector.partition("=")
        found = [o for (plural, _), o in self.objects.items() if plural == resource.plural]
        return [o for o in found if (o["metadata"].get("labels") or {}).get(name) == value], str(
            self._version
        )

    async def create(self, resource: Resource, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object."""
        self._ask("create")
        await asyncio.sleep(0)
        key = ObjectKey("", body["metadata"]["name"])
        if (resource.plural, key) in self.objects:
            raise AlreadyExists(f"{resource.kind} {key}: is there")
        return self._put(resource, key, body, f"uid-{self._version}")

    async def update(self, resource: Resource, body: Mapping[str, Any]) -> dict[str, Any]:
        """A changed object; its version must be the present one."""
        self._ask("update")
        await asyncio.sleep(0)
        key = ObjectKey("", body["metadata"]["name"])
        there = self.objects.get((resource.plural, key))
        if there is None:
            raise NotFound(f"{resource.kind} {key}: is not there")
        if body["metadata"].get("resourceVersion") != there["metadata"]["resourceVersion"]:
            raise Conflict(f"{resource.kind} {key}: has changed")
        return self._put(resource, key, body, there["metadata"]["uid"])

    async def delete(self, resource: Resource, key: ObjectKey, *, preconditions_uid: str = "") -> None:
        """An object less."""
        self._ask("delete")
        await asyncio.sleep(0)
        there = self.objects.get((resource.plural, key))
        if there is None:
            raise NotFound(f"{resource.kind} {key}: is not there")
        if preconditions_uid and there["metadata"]["uid"] != preconditions_uid:
            raise Conflict(f"{resource.kind} {key}: is another one")
        del self.objects[resource.plural, key]
        self._save()

    async def patch(
        self, resource: Resource, key: ObjectKey, body: object, *, subresource: str = ""
    ) -> dict[str, Any]:
        """Remembered in ``patches``."""
        self._ask("patch")
        self.patches.append((resource.plural, key, body))
        return {}

    def _save(self) -> None:
        if self._path is not None:
            rows = [(plural, key.name, body) for (plural, key), body in self.objects.items()]
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(rows))
            fresh.replace(self._path)

    def _put(self, resource: Resource, key: ObjectKey, body: Mapping[str, Any], uid: str) -> dict[str, Any]:
        self._version += 1
        metadata = {**body["metadata"], "uid": uid, "resourceVersion": str(self._version)}
        self.objects[resource.plural, key] = {**body, "metadata": metadata}
        self._save()
        return self.objects[resource.plural, key]


class WatchedDefinitions:
    """Definitions as a watch has them."""

    def __init__(self) -> None:
        self.items: dict[ObjectKey, NetworkAttachmentDefinition] = {}
        self.synced = asyncio.Event()
        self.synced.set()

    def put(self, key: str, config: Mapping[str, Any] | str) -> None:
        """Add one: namespace/name and its configuration."""
        namespace, _, name = key.partition("/")
        text = config if isinstance(config, str) else json.dumps(config)
        meta = ObjectMeta(namespace=namespace, name=name)
        self.items[ObjectKey(namespace, name)] = NetworkAttachmentDefinition(
            metadata=meta, spec=AttachmentSpec(text)
        )


class SecondaryRig:
    """Everything behind ``SecondaryNetworks`` on one node; a second rig in the same directory is the agent after a restart."""

    def __init__(  # noqa: PLR0913 - what a node differs in, by keyword
        self,
        directory: Path,
        *,
        node_fd: int | None = None,
        api: ScriptedLeases | None = None,
        plugin_dirs: Sequence[str] = (PLUGIN_DIR,),
        environment: Mapping[str, str] | None = None,
        isolation: Isolation | None = None,
        inline: Mapping[str, InlinePlugin] | None = None,
        patience_s: float = 10.0,
    ) -> None:
        self.api = api or ScriptedLeases()
        self.definitions = WatchedDefinitions()
        self.pools: dict[str, NetworkPool] = {}
        self.pods: dict[str, Pod] = {}
        self.told: list[tuple[str, str]] = []
        # what plugins remember is of this test, and nothing of the machine is written
        self._view = make_view(directory / "plugins", keep=(*plugin_dirs, str(directory)))
        self.record = NetworkRecord(directory / "networks.db")
        self.leases = PoolLeases(
            api=self.api, record=self.record, find_pool=self._find_pool, node="node-1", clock=SystemClock()
        )
        self.networks = SecondaryNetworks(
            pods=self.pods.get,
            planner=Planner(
                definitions=Definitions(watched=self.definitions, fetch=_absent),
                isolation=isolation or Isolation(),
                tell=lambda pod, reason, words, is_warning: self.told.append((reason, words)),
            ),
            delegates=Delegates(
                plugin_dirs=plugin_dirs,
                environment=environment,
                timeout_s=20.0,
                inline=inline,
                ns=Namespaces(net=node_fd, mnt=self._view),
            ),
            record=self.record,
            guard=PluginGuard(directory / "networks.lock", patience_s=patience_s),
            leases=self.leases,
            publisher=StatusPublisher(api=self.api),
            keep=(ipaddress.ip_network("10.244.0.0/16"), ipaddress.ip_network("10.96.0.0/16")),
            tell=lambda pod, reason, words, is_warning: self.told.append((reason, words)),
        )

    def pod(self, name: str, **annotations: str) -> None:
        """A pod of this node with annotations; underscores stand for what Python has no name for."""
        namespace, _, own = name.partition("/")
        meta = ObjectMeta(
            namespace=namespace,
            name=own,
            uid=f"uid-of-{own}",
            annotations={
                {"networks": "k8s.v1.cni.cncf.io/networks", "default": "v1.multus-cni.io/default-network"}[
                    key
                ]: text
                for key, text in annotations.items()
            },
        )
        self.pods[name] = Pod(metadata=meta)

    def statuses(self) -> list[dict[str, Any]]:
        """The status that was written last."""
        body: Any = self.api.patches[-1][2]
        text = body["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]
        return msgspec.json.decode(text, type=list[dict[str, Any]])

    @contextlib.asynccontextmanager
    async def ipam(self, socket_path: Path) -> AsyncIterator[None]:
        """Addresses of pools are answered at a socket; the plugins' environment must say ``NETLOOM_CNI_SOCKET``."""
        server = CniServer(socket_path, PoolIpam(leases=self.leases))
        server.open()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(server.run())
            yield
            running.cancel()
        server.close()

    def pool(
        self,
        name: str,
        *cidrs: str,
        gateways: Sequence[str] = (),
        reserved: Sequence[str] = (),
        keep_seconds: int = 0,
    ) -> None:
        """A NetworkPool."""
        spec = NetworkPoolSpec(
            cidrs=tuple(cidrs), gateways=tuple(gateways), reserved=tuple(reserved), keep_seconds=keep_seconds
        )
        self.pools[name] = NetworkPool(metadata=ObjectMeta(name=name), spec=spec)

    async def _find_pool(self, name: str) -> NetworkPool | None:
        return self.pools.get(name)

    def leased(self) -> list[str]:
        """Names of the leases that there are."""
        return sorted(key.name for plural, key in self.api.objects if plural == "networkleases")

    def close(self) -> None:
        """Close the record and let go of the plugins' view."""
        self.record.close()
        if self._view >= 0:
            os.close(self._view)
            self._view = -1


def call(pod: str, command: str = "ADD", container: str = "c1", path: str = "") -> CniRequest:
    """A runtime's call for a pod's first interface."""
    return CniRequest(
        command=command,
        version="1.1.0",
        network="netloom",
        attachment=Attachment(container, "eth0"),
        netns_path=path,
        pod=pod,
    )


def first_interface(container: str = "c1", address: str = "10.244.1.5") -> PodInterface:
    """A pod's first interface, as the verbs have made it."""
    return PodInterface(
        container=container,
        interface="eth0",
        addresses=(ipaddress.ip_address(address),),
        mtu=1400,
        node_addresses=(ipaddress.ip_address("172.30.0.11"),),
    )


async def _absent(key: ObjectKey) -> NetworkAttachmentDefinition:
    raise NotFound(f"NetworkAttachmentDefinition {key}: is not there")
