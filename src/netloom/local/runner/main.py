"""One node's runner: constructors and one TaskGroup, nothing else. In: a configuration file. Runs in the node's namespace."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from netloom.clock import Clock, SystemClock
from netloom.kube import kubeconfig
from netloom.kube.client import KubeClient
from netloom.local.images.store import ImageStore
from netloom.local.runner import config as runner_config
from netloom.local.runner.addresses import NodeAddresses
from netloom.local.runner.cni_client import CniClient
from netloom.local.runner.config import RunnerConfig
from netloom.local.runner.crun.runtime import CrunRuntime
from netloom.local.runner.events import Events
from netloom.local.runner.node import NodeRegistration, quantities
from netloom.local.runner.pods import Pods, ServicesByNamespace
from netloom.local.runner.records import Records
from netloom.local.runner.running import Runtime
from netloom.local.runner.standins.client import StandIns
from netloom.local.runner.standins.feed import State
from netloom.local.runner.standins.process import raise_file_limit
from netloom.local.runner.streams.server import StreamServer
from netloom.local.runner.streams.target import Targets
from netloom.local.runner.tools import Tools
from netloom.local.runner.volumes.hostpaths import HostPaths
from netloom.local.runner.volumes.places import Places
from netloom.local.runner.volumes.podvolumes import VolumeTools
from netloom.local.runner.volumes.watched import Watched
from netloom.local.runner.without_images import WithoutImages


class Runner:
    """Everything of one node, put together."""

    def __init__(self, *, config: RunnerConfig, client: KubeClient, clock: Clock) -> None:
        self._config = config
        self._client = client
        cni = CniClient(shim=config.cni_shim, config=config.cni_config, socket=config.cni_socket)
        self._events = Events(client=client, clock=clock, node=config.node_name)
        self._standins = StandIns(
            socket_path=config.standin_socket, on_state=self._hear, on_lost=self._standins_lost
        )
        services = ServicesByNamespace()
        self._addresses = NodeAddresses(config.node_addresses, device=config.node_device)
        state = Path(config.state_dir)
        self._watched = KubeClient(client.config, user_agent="netloom-runner", connections=0)
        volumes = VolumeTools(
            client=client,
            clock=clock,
            places=Places(state),
            hosts=HostPaths(
                own=state / "host",
                shared=Path(config.shared_dir or state / "shared"),
                hidden=config.hidden_dirs,
            ),
            watched=Watched(client=self._watched, on_change=self._refreshed),
            allocatable=quantities(config),
        )
        runtime: Runtime = WithoutImages()
        if config.images_dir:
            images = ImageStore(Path(config.images_dir))
            runtime = CrunRuntime(state=state, images=images, clock=clock, standins=config.stand_ins)
        tools = Tools(
            config=config,
            client=client,
            clock=clock,
            cni=cni,
            records=Records(state / "sandboxes"),
            standins=self._standins,
            events=self._events,
            services=services.of,
            addresses=self._addresses,
            runtime=runtime,
            volumes=volumes,
            starts=asyncio.Semaphore(config.sandbox_starts),
        )
        self.pods = Pods(tools=tools, services=services)
        self._server = StreamServer(targets=Targets(pods=self.pods, tools=tools), clock=clock)
        self._node = NodeRegistration(
            config=config, client=client, clock=clock, addresses=self._addresses, agent_ready=cni.is_ready
        )
        self._addresses.on_change(self.pods.node_moved)

    async def run(self) -> None:
        """Until cancelled. Pods go on without the runner, and the next one takes them up."""
        async with (
            self._watched,
            await self._server.listen(self._config.runner_socket),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._addresses.run(), name="addresses")
            group.create_task(self._node.run(), name="node")
            group.create_task(self.pods.run(self._client), name="pods")
            group.create_task(self._events.run(), name="events")

    def _hear(self, state: State) -> None:
        self.pods.hear(state)

    def _refreshed(self, uid: str) -> None:
        self.pods.refreshed(uid)

    def _standins_lost(self) -> None:
        self.pods.standins_lost()


async def serve(config: RunnerConfig, *, clock: Clock | None = None) -> None:
    """Run a node until cancelled."""
    raise_file_limit()
    async with KubeClient(kubeconfig.load(config.kubeconfig), user_agent="netloom-runner") as client:
        await Runner(config=config, client=client, clock=clock or SystemClock()).run()


def main(config_path: str) -> None:
    """The process's entry point."""
    # What programs in pods start with, and what they find of directories that are made for them: others of the pod's users
    # can read it. Whatever is the node's own lies in a directory that is closed to others.
    os.umask(0o022)
    asyncio.run(serve(runner_config.load(config_path)))
