"""All servers of a node in one: health for load balancers and probes, health checks of Services, metrics, NodePorts at localhost.

Comes in: configuration, the health of the changes, the Node, sources of metrics, and the model's state and changes, in the form in which a
dataplane takes them. Goes out: open ports. How it is wired::

    health = UpdateHealth(clock=clock)
    servers = NodeServers(
        settings=config.server_settings(), clock=clock, health=health,
        node=lambda: nodes.items.get(me), samples=(acks.samples, ...), report=report,
    )
    tasks.create_task(servers.run())       # at once: /healthz and /metrics are there before the watches have been read
    health.queued()                        # for each change that a watch tells
    servers.start(state, facts)            # when the whole state is in force, and after every later start of the plane
    servers.apply(delta)                   # when a change is in force
    health.in_force(began=...)             # after a turn that succeeded

``start``, ``apply`` and the methods of ``UpdateHealth`` neither wait nor fail. Not here: what is healthy (``health.py``), and what
should be served (the model).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec

from netloom.agent.servers.health import HealthPages, UpdateHealth, is_eligible
from netloom.agent.servers.http import Handler, HttpListener
from netloom.agent.servers.listeners import Listener, Listeners
from netloom.agent.servers.localhost import LocalhostNodePorts, is_in
from netloom.agent.servers.page import MetricsPage, ProcessSamples
from netloom.agent.servers.service_health import ServiceHealth
from netloom.agent.servers.sockets import NodeSockets, Place, raise_open_files
from netloom.api.core import Node
from netloom.clock import Clock
from netloom.errors import KernelError
from netloom.metrics import Sample, SampleSource, gauge
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source
from netloom.model.state import Delta, NetworkState

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 10.0
"""How often ports that were taken are tried again, the node's addresses read, and idle connections looked for."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node's servers listen."""

    node: str
    """Name of the Node, for what is reported."""
    health: Place | None = None
    """``/healthz`` and ``/livez``; None: nowhere."""
    metrics: Place | None = None
    """``/metrics``; None: nowhere."""
    localhost_node_ports: bool = True
    """Whether NodePorts are answered at localhost, too, where the addresses chosen for NodePorts have it."""


class NodeServers:
    """Everything that one node serves besides packets; see the module for how it is wired.

    Args:
        settings: where to listen.
        clock: for times in answers and for idle times.
        health: of the changes.
        node: the Node object as it is now; None where it is not known yet, or is gone.
        samples: sources of metrics of other rooms; those of the servers and of the process are there anyway.
        report: is told of ports that cannot be opened, each once.
        netns_fd: the node's network namespace; None: this process is in it.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each part
        self,
        *,
        settings: ServerSettings,
        clock: Clock,
        health: UpdateHealth,
        node: Callable[[], Node | None],
        samples: Iterable[SampleSource] = (),
        report: Callable[[Iterable[Finding]], None],
        netns_fd: int | None = None,
    ) -> None:
        self._settings = settings
        self._report = report
        self._facts: NodeFacts | None = None
        self._changed = asyncio.Event()
        self._sockets = NodeSockets(netns_fd=netns_fd)
        self._node = node
        pages = HealthPages(health=health, is_eligible=self._is_eligible, clock=clock)
        own: tuple[SampleSource, ...] = (pages.samples, self.samples, ProcessSamples(clock=clock))
        metrics = MetricsPage(sources=(*samples, *own))
        self._handlers: dict[str, tuple[Place | None, Handler]] = {
            "health_address": (settings.health, pages.handle),
            "metrics_address": (settings.metrics, metrics.handle),
        }
        self._fixed: Listeners[str] = Listeners(open_one=self._open_fixed, source_of=self._configured)
        self._fixed.want(field for field, (place, _) in self._handlers.items() if place is not None)
        self._checks = ServiceHealth(sockets=self._sockets, is_healthy=lambda: health.is_healthy)
        self._localhost = LocalhostNodePorts(sockets=self._sockets, clock=clock)

    def start(self, state: NetworkState, facts: NodeFacts) -> None:
        """This is the whole state, and what the node is; both as a dataplane is told them."""
        self._facts = facts
        self._checks.start(state.health_checks)
        if self._settings.localhost_node_ports:
            self._localhost.start(state.frontends)
        self._follow_addresses()
        self._wake()

    def apply(self, delta: Delta) -> None:
        """This has changed."""
        self._checks.apply(delta.health_checks)
        if self._settings.localhost_node_ports:
            self._localhost.apply(delta.frontends)
        self._wake()

    async def run(self) -> None:
        """Serve until cancelled. Nothing that happens to a port ends it."""
        raise_open_files()
        loop = asyncio.get_running_loop()
        try:
            while True:
                next_look = loop.time() + LOOK_AGAIN_S
                while loop.time() < next_look:
                    await self.settle()
                    await self._until_changed(next_look)
                self.look_again()
        finally:
            self.close()

    async def settle(self) -> None:
        """One turn of :meth:`run`: open what should be open and was not tried yet."""
        self._changed.clear()
        found: list[Finding] = []
        for part in (self._fixed, self._checks, self._localhost):
            found += await part.settle()
        if found:
            self._report(found)

    def look_again(self) -> None:
        """Let the next turn try again what failed, at the addresses that the node has now; end what has rested for too long."""
        self._follow_addresses()
        for part in (self._fixed, self._checks, self._localhost):
            part.retry()

    def close(self) -> None:
        """Close all ports and end all connections."""
        for part in (self._fixed, self._checks, self._localhost):
            part.close()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Ports that are not open, and why."""
        return (*self._fixed.findings, *self._checks.findings, *self._localhost.findings)

    def port_of(self, field: str) -> int | None:
        """The port of ``health_address`` or ``metrics_address``, where it is open; it may have been left to the kernel."""
        listener = self._fixed.listener_of(field)
        return listener.port if isinstance(listener, HttpListener) else None

    def samples(self) -> Iterable[Sample]:
        """Metrics of the servers themselves."""
        text = "Ports of the node's own servers that could not be opened."
        yield gauge("netloom_ports_failed", text, len(self.findings))
        yield from self._checks.samples()
        yield from self._localhost.samples()

    async def _until_changed(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            return

    def _is_eligible(self) -> bool:
        """A Node that is not known yet is, one that was known and is gone is not (a Node without finalizers goes at once)."""
        node = self._node()
        return self._facts is None if node is None else is_eligible(node)

    def _wake(self) -> None:
        if not (self._checks.is_settled and self._localhost.is_settled):
            self._changed.set()

    def _follow_addresses(self) -> None:
        facts = self._facts
        if facts is None:
            return
        cidrs = facts.node_port_cidrs
        if cidrs is None:
            self._checks.listen_at(None)
            self._localhost.serve_at(facts, ())
            return
        try:
            present = self._sockets.addresses()
        except KernelError as error:
            log.warning("the node's addresses for NodePorts stay as they were: %s", error)
            return
        self._checks.listen_at(tuple(a for a in present if is_in(a, cidrs)))
        self._localhost.serve_at(facts, present)

    def _configured(self, field: str) -> Source:
        return Source("agent configuration", "", self._settings.node, field=field)

    async def _open_fixed(self, field: str) -> Listener:
        place, handler = self._handlers[field]
        assert place is not None  # noqa: S101 - only those that have one are wanted
        server = HttpListener(sock=self._sockets.listen(place), handler=handler)
        await server.start()
        return server
