"""Further networks of this node's pods: what ``cni/networks`` needs, joined. In: settings, a client. Out: what the verbs call, and tasks.

Two watches (NetworkAttachmentDefinitions, NetworkPools), a record beside the address store, a socket for ``netloom-ipam``, and the two
works that go on after the API server was away. Not here: any decision.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

import msgspec

from netloom.api.core import Pod
from netloom.api.networks import NetworkAttachmentDefinition, NetworkPool
from netloom.clock import Clock
from netloom.cni.delegate import Delegates
from netloom.cni.networks.attachments import SecondaryNetworks
from netloom.cni.networks.definitions import Definitions
from netloom.cni.networks.guard import PluginGuard
from netloom.cni.networks.ipam import PLUGIN, PoolIpam
from netloom.cni.networks.isolation import Isolation
from netloom.cni.networks.leases import PoolLeases
from netloom.cni.networks.own import OwnNetwork
from netloom.cni.networks.plans import OWN_PLUGIN, Planner
from netloom.cni.networks.plugin_view import make_view
from netloom.cni.networks.publish import StatusPublisher
from netloom.cni.networks.record import NetworkRecord
from netloom.cni.result import Answer
from netloom.cni.server import CallHandler, CniServer
from netloom.errors import InvalidObject, NotFound
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.watch import Reflector
from netloom.linux.netns import Namespaces
from netloom.model.inputs import ClusterFacts
from netloom.units import Cidr, ObjectKey


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How further networks are handled on a node."""

    plugin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    """Where plugins are looked for, in this order; ``netloom-ipam`` must be in one of them."""
    config_dirs: tuple[str, ...] = ("/etc/cni/multus/net.d", "/etc/cni/net.d")
    """Where the configuration of a NetworkAttachmentDefinition is looked for that has none itself."""
    namespace_isolation: bool = True
    """Whether pods may have networks of their own namespace only (Multus ``namespaceIsolation``)."""
    shared_namespaces: tuple[str, ...] = ()
    """Namespaces whose networks all pods may have nevertheless (Multus ``globalNamespaces``)."""
    default_namespace: str = "kube-system"
    """Where networks of ``v1.multus-cni.io/default-network`` are that say no namespace."""
    plugin_state: str = ""
    """A directory that plugins see in place of /var/lib and /run, with all else read-only: for nodes that share a machine. Empty:
    they see what the agent sees."""
    plugin_timeout_s: float = 45.0
    """How long one plugin may take."""


class NodeNetworks:
    """Further networks of one node. ``run`` until cancelled.

    Args:
        node: this node's name.
        settings: how they are handled.
        address_store: the address store's file; the record is beside it.
        cni_socket: the agent's socket for CNI; that of ``netloom-ipam`` is beside it.
        facts: of the cluster.
        pods: this cluster's pods.
        client: an open client.
        events: where Events go.
        own: the plugin for further interfaces in the cluster's own network.
        clock: the time.
    """

    def __init__(  # noqa: PLR0913 - one node's seams, by keyword
        self,
        *,
        node: str,
        settings: NetworkSettings,
        address_store: str,
        cni_socket: str,
        facts: ClusterFacts,
        pods: Mapping[ObjectKey, Pod],
        client: KubeClient,
        events: EventRecorder,
        own: OwnNetwork,
        clock: Clock,
    ) -> None:
        self._client = client
        self._pods = pods
        self._events = events
        self._definitions: Reflector[NetworkAttachmentDefinition] = Reflector(
            client, resources.NETWORK_ATTACHMENT_DEFINITIONS, NetworkAttachmentDefinition, on_change=_nothing
        )
        self._pools: Reflector[NetworkPool] = Reflector(
            client, resources.NETWORK_POOLS, NetworkPool, on_change=_nothing
        )
        record = NetworkRecord(Path(address_store).with_name("networks.db"))
        ipam_socket = Path(cni_socket).with_name("ipam.sock")
        self._leases = PoolLeases(
            api=client,
            record=record,
            find_pool=self._find_pool,
            node=node,
            clock=clock,
        )
        self._publisher = StatusPublisher(api=client)
        self._ipam = PoolIpam(leases=self._leases)
        self._ipam_server = CniServer(ipam_socket, self._ipam)
        self.secondary = SecondaryNetworks(
            pods=self._pod,
            planner=self._planner(settings),
            delegates=_delegates(settings, own, ipam_socket),
            record=record,
            guard=PluginGuard(Path(address_store).with_name("networks.lock")),
            leases=self._leases,
            publisher=self._publisher,
            keep=_of_the_cluster(facts),
            tell=self._tell,
        )

    def _planner(self, settings: NetworkSettings) -> Planner:
        return Planner(
            definitions=Definitions(
                watched=self._definitions, fetch=self._fetch, config_dirs=settings.config_dirs
            ),
            isolation=Isolation(settings.namespace_isolation, frozenset(settings.shared_namespaces)),
            tell=self._tell,
            default_namespace=settings.default_namespace,
        )

    def answering(self, verbs: CallHandler) -> CallHandler:
        """The verbs, and beside them ``netloom-ipam`` for callers that know only the agent's main socket."""
        return _ByPlugin(verbs, self._ipam)

    async def run(self) -> None:
        """Follow, answer and catch up until cancelled."""
        self._ipam_server.open()
        works: tuple[Callable[[], Coroutine[None, None, None]], ...] = (
            self._definitions.run,
            self._pools.run,
            self._ipam_server.run,
            self._leases.run,
            self._publisher.run,
        )
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work(), name="networks")

    def _pod(self, name: str) -> Pod | None:
        namespace, _, own = name.partition("/")
        return self._pods.get(ObjectKey(namespace, own))

    async def _find_pool(self, name: str) -> NetworkPool | None:
        key = ObjectKey("", name)
        if (found := self._pools.items.get(key)) is not None:
            return found
        try:
            body = await self._client.get(resources.NETWORK_POOLS, key)
            return msgspec.convert(body, type=NetworkPool)
        except NotFound:
            return None
        except msgspec.ValidationError as error:
            raise InvalidObject(f"NetworkPool {name}", "", str(error)) from error

    async def _fetch(self, key: ObjectKey) -> NetworkAttachmentDefinition:
        body = await self._client.get(resources.NETWORK_ATTACHMENT_DEFINITIONS, key)
        try:
            return msgspec.convert(body, type=NetworkAttachmentDefinition)
        except msgspec.ValidationError as error:
            raise InvalidObject(f"NetworkAttachmentDefinition {key}", "", str(error)) from error

    def _tell(self, pod: Pod, reason: str, words: str, is_warning: bool) -> None:
        self._events.emit(
            resources.PODS, pod.key, pod.metadata.uid, reason=reason, message=words, warning=is_warning
        )


class _ByPlugin:
    """Calls of ``netloom-ipam`` that came to the socket of the verbs: from plugins that a runtime started itself."""

    def __init__(self, verbs: CallHandler, ipam: PoolIpam) -> None:
        self._verbs = verbs
        self._ipam = ipam

    async def answer(self, variables: dict[str, str], config: bytes, netns_fd: int | None) -> Answer:
        """Whose it is, its configuration says."""
        if PLUGIN.encode() in config and _is_ipam(config):
            return await self._ipam.answer(variables, config, netns_fd)
        return await self._verbs.answer(variables, config, netns_fd)


class _Kinds(msgspec.Struct):
    type: str = ""
    ipam: dict[str, object] | None = None


def _is_ipam(config: bytes) -> bool:
    try:
        kinds = msgspec.json.decode(config, type=_Kinds)
    except msgspec.DecodeError:
        return False
    return (kinds.ipam or {}).get("type") == PLUGIN and kinds.type not in {"netloom", "netloom-cni"}


def _delegates(settings: NetworkSettings, own: OwnNetwork, ipam_socket: Path) -> Delegates:
    keep = (*settings.plugin_dirs, str(ipam_socket.parent))
    view = make_view(Path(settings.plugin_state), keep=keep) if settings.plugin_state else None
    return Delegates(
        plugin_dirs=settings.plugin_dirs,
        environment={"NETLOOM_CNI_SOCKET": str(ipam_socket)},
        timeout_s=settings.plugin_timeout_s,
        inline={OWN_PLUGIN: own},
        ns=None if view is None else Namespaces(mnt=view),
    )


def _of_the_cluster(facts: ClusterFacts) -> tuple[Cidr, ...]:
    """What a pod goes on reaching through its first interface."""
    return (*facts.cluster_cidrs, *facts.service_cidrs, *map(ipaddress.ip_network, facts.dns_addresses))


def _nothing(key: ObjectKey, item: object) -> None:
    """Nobody waits for changes: they are looked at when a pod asks."""
