"""A container runtime as the CNI specification describes it: lists of plugins, executed one after the other. For tests.

In: a list of network configurations, as a file in a runtime's directory has it, and namespaces. Out: the last plugin's answer.
Each plugin is a real program that runs inside the node's namespace; what a runtime has to add (name, version, prevResult,
runtimeConfig for the capabilities that a plugin says it has) is added here. And a node whose agent's socket answers our shim.
Not here: containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from netloom.cni.attach import prepare_node
from netloom.cni.ipam.store import AddressStore
from netloom.cni.server import CniServer
from netloom.cni.verbs import PodNetwork, Verbs
from netloom.linux import netns, process
from netloom.linux.netns import Namespaces
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.testing.hosts import Host
from netloom.testing.netns import fresh_netns
from netloom.units import Addr

REFERENCE_PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins are."""
NODE_ADDRESSES = (ipaddress.ip_address("172.30.0.11"), ipaddress.ip_address("2001:db8:30::11"))
RANGES = (ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("2001:db8:44:1::/64"))
POD_NAME = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0"


class Said(msgspec.Struct, frozen=True):
    """What a plugin printed, and its exit code."""

    code: int
    body: dict[str, Any]


class CniNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node with an agent's socket."""

    host: Host
    verbs: Verbs
    store: AddressStore
    socket_path: Path
    shim: Path

    def state(self) -> dict[str, object]:
        """All that an attachment may leave on the node: links, addresses, routes, neighbours and leases."""
        with Rtnl(self.host.netns_fd) as rtnl:
            return {
                "links": sorted(link.name for link in rtnl.links()),
                "addresses": sorted(f"{a.device} {a.interface}" for a in rtnl.addresses()),
                "routes": sorted(str(route) for route in rtnl.routes()),
                "neighbours": sorted(str(neighbour) for neighbour in rtnl.neighbours()),
                "leases": self.store.leases(),
            }

    def pod_links(self) -> list[str]:
        """Node sides of pods' interfaces."""
        with Rtnl(self.host.netns_fd) as rtnl:
            return [link.name for link in rtnl.links() if names.is_pod_link(link.name)]


class _InNode:
    """The server on a thread inside the node's namespace, with a loop of its own: what an agent has by being there itself."""

    def __init__(self, server: CniServer) -> None:
        self._server = server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Until :meth:`stop`."""
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        await self._server.run()

    def stop(self) -> None:
        """End it from another thread."""
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)


@contextlib.asynccontextmanager
async def cni_node(
    directory: Path,
    shim: Path,
    *,
    network: Callable[[], PodNetwork | None] | None = None,
    **seams: Any,  # noqa: ANN401 - further arguments of Verbs
) -> AsyncIterator[CniNode]:
    """A node that answers the shim; ``seams`` are further arguments of :class:`Verbs`."""
    with fresh_netns() as node_fd:
        with Rtnl(node_fd) as rtnl:
            for address in NODE_ADDRESSES:
                rtnl.add_address("lo", ipaddress.ip_interface(address))
        netns.run_in(node_fd, prepare_node)
        store = AddressStore(directory / "ipam.db")
        known = PodNetwork(ranges=RANGES, node_addresses=NODE_ADDRESSES, mtu=1400)
        verbs = Verbs(store=store, network=network or (lambda: known), **seams)
        path = directory / "cni.sock"
        server = CniServer(path, verbs)
        server.open()
        inside = _InNode(server)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(netns.run_in_async(node_fd, inside.run))
                host = Host("node-1", node_fd, NODE_ADDRESSES)
                try:
                    yield CniNode(host=host, verbs=verbs, store=store, socket_path=path, shim=shim)
                finally:
                    inside.stop()
        finally:
            store.close()


class PluginFailed(Exception):
    """A plugin of a list answered with an error."""

    def __init__(self, plugin: str, said: Said) -> None:
        self.plugin = plugin
        self.said = said
        super().__init__(f"{plugin}: {said.body}")


class Network:
    """A network of a runtime.

    Args:
        node: where it is.
        plugins: the list's ``plugins``; the type ``netloom-cni`` is our shim, a path any program, others are the reference plugins.
        version: the list's ``cniVersion``.
        name: the list's ``name``.
        interface: CNI_IFNAME.
        unchecked: plugins whose CHECK is known to find what is not so (a runtime's ``disableCheck``).
    """

    def __init__(
        self,
        node: CniNode,
        plugins: Sequence[Mapping[str, Any]],
        *,
        version: str = "1.0.0",
        name: str = "netloom",
        interface: str = "eth0",
        unchecked: Sequence[str] = (),
    ) -> None:
        self._node = node
        self._plugins = [dict(plugin) for plugin in plugins]
        self._version = version
        self._name = name
        self._interface = interface
        self._unchecked = frozenset(unchecked)
        self.results: dict[str, dict[str, Any]] = {}
        """The last answer to ADD of each container, as libcni keeps it in files."""

    async def add(
        self,
        container: str,
        netns_fd: int,
        *,
        wanted: Mapping[str, Any] | None = None,
        arguments: str = POD_NAME,
    ) -> dict[str, Any]:
        """ADD by all plugins.

        Args:
            container: CNI_CONTAINERID.
            netns_fd: the container's namespace.
            wanted: values of capabilities.
            arguments: CNI_ARGS.

        Raises:
            PluginFailed: one did not; those before it have done their part.
        """
        result: dict[str, Any] | None = None
        for plugin in self._plugins:
            said = await self._call(
                "ADD",
                plugin,
                container,
                netns_fd=netns_fd,
                previous=result,
                wanted=wanted,
                arguments=arguments,
            )
            result = said.body
        assert result is not None  # noqa: S101 - for tests
        self.results[container] = result
        return result

    async def check(self, container: str, netns_fd: int, *, wanted: Mapping[str, Any] | None = None) -> None:
        """CHECK by all plugins, in the order of ADD.

        Raises:
            PluginFailed: one found something.
        """
        for plugin in self._plugins:
            if plugin["type"] in self._unchecked:
                continue
            await self._call(
                "CHECK", plugin, container, netns_fd=netns_fd, previous=self.results[container], wanted=wanted
            )

    async def delete(
        self, container: str, netns_fd: int | None, *, wanted: Mapping[str, Any] | None = None
    ) -> None:
        """DEL by all plugins, the last one first; the result is forgotten when all have answered.

        Raises:
            PluginFailed: one did not.
        """
        for plugin in reversed(self._plugins):
            await self._call(
                "DEL",
                plugin,
                container,
                netns_fd=netns_fd,
                previous=self.results.get(container),
                wanted=wanted,
            )
        self.results.pop(container, None)

    async def _call(  # noqa: PLR0913 - what a runtime hands over
        self,
        command: str,
        plugin: Mapping[str, Any],
        container: str,
        *,
        netns_fd: int | None,
        previous: Mapping[str, Any] | None,
        wanted: Mapping[str, Any] | None,
        arguments: str = POD_NAME,
    ) -> Said:
        config = {key: value for key, value in plugin.items() if key != "capabilities"}
        config |= {"cniVersion": self._version, "name": self._name}
        has = {key for key, value in plugin.get("capabilities", {}).items() if value}
        if given := {key: value for key, value in (wanted or {}).items() if key in has}:
            config["runtimeConfig"] = given
        if previous is not None:
            config["prevResult"] = previous
        said = await call(
            self._node,
            command,
            container,
            netns_fd,
            config,
            plugin=plugin["type"],
            arguments=arguments,
            variables={"CNI_IFNAME": self._interface},
        )
        if said.code != 0:
            raise PluginFailed(plugin["type"], said)
        return said


async def call(  # noqa: PLR0913 - what a runtime hands over
    node: CniNode,
    command: str,
    container: str,
    netns_fd: int | None,
    config: Mapping[str, Any] | bytes,
    *,
    plugin: str = "netloom-cni",
    arguments: str = POD_NAME,
    variables: Mapping[str, str] | None = None,
) -> Said:
    """Execute one plugin inside the node's namespace."""
    program = node.shim if plugin == "netloom-cni" else REFERENCE_PLUGINS / plugin
    environment = {
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": f"{node.shim.parent}:{REFERENCE_PLUGINS}",
        "CNI_ARGS": arguments,
        "NETLOOM_CNI_SOCKET": str(node.socket_path),
        # not the one of the host's own iptables
        "XTABLES_LOCKFILE": str(node.socket_path.with_name("xtables.lock")),
    }
    if netns_fd is not None:
        environment["CNI_NETNS"] = f"/proc/{os.getpid()}/fd/{netns_fd}"
    environment |= variables or {}
    done = await process.run(
        [str(program)],
        input=config if isinstance(config, bytes) else json.dumps(config).encode(),
        env=environment,
        timeout_s=30,
        ns=Namespaces(net=node.host.netns_fd),
    )
    return Said(done.returncode, json.loads(done.stdout) if done.stdout.strip() else {})


def addresses_of(result: Mapping[str, Any]) -> tuple[Addr, ...]:
    """The addresses of a result, in its order."""
    return tuple(ipaddress.ip_interface(ip["address"]).ip for ip in result["ips"])
