"""The servers at ``spec.healthCheckNodePort``: what cloud load balancers ask to know whether a node has endpoints of a Service.

Comes in: the model's health checks. Goes out: HTTP at the node's NodePort addresses, with kube-proxy's codes and document. Only
Services with externalTrafficPolicy Local have such a port (core/v1 ServiceSpec.healthCheckNodePort).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

import msgspec

from netloom.agent.servers.http import HttpListener, Request, Response
from netloom.agent.servers.listeners import Listener, Listeners
from netloom.agent.servers.sockets import NodeSockets, Place
from netloom.metrics import Sample, counter, gauge
from netloom.model.provenance import Finding, Source
from netloom.model.services.frontends import HealthCheck
from netloom.units import Addr

WEIGHT_HEADER = "X-Load-Balancing-Endpoint-Weight"
"""Number of local endpoints, for balancers that weigh nodes."""


class ServiceName(msgspec.Struct, frozen=True):
    """Of whom an answer speaks."""

    namespace: str
    name: str


class ServiceAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Body of an answer."""

    service: ServiceName
    local_endpoints: int
    service_proxy_healthy: bool


class ServiceHealth:
    """All health check servers of a node.

    Args:
        sockets: of the node.
        is_healthy: whether changes of Services get into force in time.
    """

    def __init__(self, *, sockets: NodeSockets, is_healthy: Callable[[], bool]) -> None:
        self._sockets = sockets
        self._is_healthy = is_healthy
        self._checks: dict[int, HealthCheck] = {}
        self._addresses: tuple[Addr | None, ...] = (None,)
        self._listeners: Listeners[Place] = Listeners(open_one=self._open, source_of=self._source_of)
        self._answers: Counter[int] = Counter()

    def start(self, checks: Mapping[int, HealthCheck]) -> None:
        """These are all."""
        self._checks = dict(checks)
        self._want()

    def apply(self, changes: Mapping[int, HealthCheck | None]) -> None:
        """By port, the new value, or None where it is gone."""
        for port, check in changes.items():
            known = port in self._checks
            if check is not None:
                self._checks[port] = check
            elif known:
                del self._checks[port]
            if known is (check is not None):
                continue  # only the numbers are others
            for address in self._addresses:
                if known:
                    self._listeners.drop(Place(address, port))
                else:
                    self._listeners.add(Place(address, port))

    def listen_at(self, addresses: tuple[Addr, ...] | None) -> None:
        """The node's addresses for NodePorts; None: all, of now and later."""
        self._addresses = (None,) if addresses is None else addresses
        self._want()

    def retry(self) -> None:
        """Try ports again that could not be opened."""
        self._listeners.retry()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left for :meth:`settle`."""
        return self._listeners.is_settled

    async def settle(self) -> tuple[Finding, ...]:
        """Open what is missing; the findings that are new."""
        return await self._listeners.settle()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Ports that could not be opened."""
        return self._listeners.findings

    def close(self) -> None:
        """Close all."""
        self._checks.clear()
        self._listeners.close()

    def samples(self) -> Iterable[Sample]:
        """What is served, and what was answered."""
        yield gauge(
            "netloom_service_health_ports", "Open health check ports of Services.", self._listeners.open_count
        )
        for status, count in sorted(self._answers.items()):
            text = "Answers of health check ports of Services, by HTTP status."
            yield counter("netloom_service_health_answers_total", text, count, code=str(status))

    def _want(self) -> None:
        self._listeners.want(Place(address, port) for port in self._checks for address in self._addresses)

    def _source_of(self, place: Place) -> Source:
        return self._checks[place.port].source

    async def _open(self, place: Place) -> Listener:
        sock = self._sockets.listen(place)
        server = HttpListener(sock=sock, handler=lambda request: self._answer(place.port, request))
        await server.start()
        return server

    def _answer(self, port: int, _: Request) -> Response:
        """Whatever the path is: health checks of clouds ask for paths of their own."""
        check = self._checks[port]
        count, healthy = check.local_endpoints, self._is_healthy()
        status = HTTPStatus.OK if count and healthy else HTTPStatus.SERVICE_UNAVAILABLE
        self._answers[status] += 1
        name = ServiceName(check.service.namespace, check.service.name)
        body = ServiceAnswer(name, count, healthy)
        return Response.json(status, body, ((WEIGHT_HEADER, str(count)),))
