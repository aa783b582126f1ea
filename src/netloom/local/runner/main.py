"""One node's runner: constructors and one TaskGroup, nothing else. In: a configuration file. Runs in the node's namespace."""

from __future__ import annotations

import asyncio
from pathlib import Path

from netloom.clock import Clock, SystemClock
from netloom.kube import kubeconfig
from netloom.kube.client import KubeClient
from netloom.local.runner import config as runner_config
from netloom.local.runner.addresses import NodeAddresses
from netloom.local.runner.cni_client import CniClient
from netloom.local.runner.config import RunnerConfig
from netloom.local.runner.events import Events
from netloom.local.runner.node import NodeRegistration
from netloom.local.runner.pods import Pods, ServicesByNamespace
from netloom.local.runner.records import Records
from netloom.local.runner.standins.client import StandIns
from netloom.local.runner.standins.feed import State
from netloom.local.runner.standins.process import raise_file_limit
from netloom.local.runner.streams.server import StreamServer
from netloom.local.runner.streams.target import Targets
from netloom.local.runner.tools import Tools


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
        tools = Tools(
            config=config,
            client=client,
            clock=clock,
            cni=cni,
            records=Records(Path(config.state_dir) / "sandboxes"),
            standins=self._standins,
            events=self._events,
            services=services.of,
            addresses=self._addresses,
            starts=asyncio.Semaphore(config.sandbox_starts),
        )
        self.pods = Pods(tools=tools, services=services)
        targets = Targets(pods=self.pods, tools=tools, services=services)
        self._server = StreamServer(targets=targets, standins=self._standins, clock=clock)
        self._node = NodeRegistration(
            config=config, client=client, clock=clock, addresses=self._addresses, agent_ready=cni.is_ready
        )
        self._addresses.on_change(self.pods.node_moved)

    async def run(self) -> None:
        """Until cancelled. Pods go on without the runner, and the next one takes them up."""
        async with await self._server.listen(self._config.runner_socket), asyncio.TaskGroup() as group:
            group.create_task(self._addresses.run(), name="addresses")
            group.create_task(self._node.run(), name="node")
            group.create_task(self.pods.run(self._client), name="pods")
            group.create_task(self._events.run(), name="events")

    def _hear(self, state: State) -> None:
        self.pods.hear(state)

    def _standins_lost(self) -> None:
        self.pods.standins_lost()


async def serve(config: RunnerConfig, *, clock: Clock | None = None) -> None:
    """Run a node until cancelled."""
    raise_file_limit()
    async with KubeClient(kubeconfig.load(config.kubeconfig), user_agent="netloom-runner") as client:
        await Runner(config=config, client=client, clock=clock or SystemClock()).run()


def main(config_path: str) -> None:
    """The process's entry point."""
    asyncio.run(serve(runner_config.load(config_path)))
