"""Wait until the nodes have an object in force. In: a Service, a Pod, or what gateways serve; out: a report, in time or not.

What is waited for is taken at the start: the Service and each of its EndpointSlices as they are then; the Pod as it is as soon as
it has an address; a Gateway, route or Ingress as it is then. Not here: the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TypeVar

import msgspec

from netloom.agent import acks_lease
from netloom.agent.acks_follow import AGENTS, GATEWAYS, AckFollower, Speakers
from netloom.agent.acks_lease import Lack, Wanted
from netloom.api.core import Node, Pod, Service
from netloom.api.discovery import SERVICE_NAME_LABEL, EndpointSlice
from netloom.api.meta import KubeObject
from netloom.clock import Clock
from netloom.errors import NetloomError, NotFound, Unavailable
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.kube.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from netloom.kube.versions import is_number
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey

T = TypeVar("T")


GATEWAY_KINDS: Mapping[str, tuple[str, resources.Resource]] = {
    "Gateway": ("gateways", resources.GATEWAYS),
    "ListenerSet": ("listener_sets", resources.LISTENER_SETS),
    "HTTPRoute": ("http_routes", resources.HTTP_ROUTES),
    "GRPCRoute": ("grpc_routes", resources.GRPC_ROUTES),
    "TLSRoute": ("tls_routes", resources.TLS_ROUTES),
    "TCPRoute": ("tcp_routes", resources.TCP_ROUTES),
    "UDPRoute": ("udp_routes", resources.UDP_ROUTES),
    "Ingress": ("ingresses", resources.INGRESSES),
}
"""By kind: what nodes' gateways tell of it as, and its resource."""


class Report(msgspec.Struct, frozen=True):
    """What came of waiting."""

    subject: str
    """Kind, namespace and name."""
    in_force: bool
    """On all nodes that were waited for."""
    waited_s: float
    nodes: tuple[str, ...] = ()
    """Those that were waited for."""
    not_ready: tuple[str, ...] = ()
    """Those that were not, because they are not Ready."""
    wanted: tuple[Wanted, ...] = ()
    """Empty where a Pod had no address in time."""
    lacking: tuple[Lack, ...] = ()

    @property
    def is_comparable(self) -> bool:
        """Whether the API server's resourceVersions are numbers; otherwise only equal ones count."""
        return all(is_number(want.version) for want in self.wanted)


class Waiter:
    """Waits for one object.

    Args:
        client: an open client.
        clock: the time.
        timeout_s: for all of it.
        only: wait for these nodes, whether Ready or not; none: for all Ready nodes.
    """

    def __init__(
        self, client: KubeClient, *, clock: Clock, timeout_s: float, only: tuple[str, ...] = ()
    ) -> None:
        self._client = client
        self._clock = clock
        self._timeout_s = timeout_s
        self._only = only
        self._began = clock.monotonic()

    async def service(self, key: ObjectKey) -> Report:
        """Wait for a Service and its EndpointSlices.

        Raises:
            NotFound: there is no such Service, or no such node.
            Unavailable: no node is Ready, or the API server does not answer.
        """
        return await self._wait(f"Service {key}", wanted_of_service(self._client, key))

    async def pod(self, key: ObjectKey) -> Report:
        """Wait for a Pod's address; at first until it has one.

        Raises:
            NotFound: there is no such Pod, or it went away; or there is no such node.
            Unavailable: no node is Ready, or the API server does not answer.
        """
        return await self._wait(f"Pod {key}", wanted_of_pod(self._client, key))

    async def gateway(self, kind: str, key: ObjectKey) -> Report:
        """Wait for an object that gateways serve, as it is now: of one of the kinds of ``GATEWAY_KINDS``.

        Raises:
            NotFound: there is no such object, or no such node.
            Unavailable: no node is Ready, or the API server does not answer.
        """
        field, resource = GATEWAY_KINDS[kind]

        async def find() -> tuple[Wanted, ...]:
            meta = (await self._client.get(resource, key))["metadata"]
            return (Wanted(f"{kind} {key}", field, meta["resourceVersion"]),)

        return await self._wait(f"{kind} {key}", find(), GATEWAYS)

    async def _wait(
        self, subject: str, find: Awaitable[tuple[Wanted, ...]], speakers: Speakers = AGENTS
    ) -> Report:
        nodes = Reflector(self._client, NODES, Node, on_change=lambda _, __: follower.nodes_changed())
        follower = AckFollower(self._client, nodes=nodes.items, speakers=speakers, linger_s=0)
        wanted: tuple[Wanted, ...] = ()

        async def work() -> None:
            nonlocal wanted
            wanted = await find
            await nodes.synced.wait()
            self._check({key.name: node for key, node in nodes.items.items()})
            await follower.everywhere(wanted, only=self._only)

        in_force = True
        try:
            async with asyncio.timeout(self._timeout_s):
                await while_running((nodes.run, follower.run), work())
        except TimeoutError:
            in_force = False
        ready, not_ready = acks_lease.ready_and_not(nodes.items.values())
        return Report(
            subject,
            in_force=in_force,
            waited_s=round(self._clock.monotonic() - self._began, 6),
            nodes=self._only or tuple(ready),
            not_ready=() if self._only else tuple(not_ready),
            wanted=wanted,
            lacking=() if in_force else follower.lacking(wanted, only=self._only),
        )

    def _check(self, known: dict[str, Node]) -> None:
        for name in self._only:
            if name not in known:
                raise NotFound(f"Node {name}: there is none of this name", "see: kubectl get nodes")
        if not self._only and not acks_lease.ready_and_not(known.values())[0]:
            raise Unavailable("no Node is Ready, so nothing is in force anywhere", "see: kubectl get nodes")


async def wanted_of_service(client: KubeClient, key: ObjectKey) -> tuple[Wanted, ...]:
    """The Service and its EndpointSlices as they are now.

    Raises:
        NotFound: there is no such Service.
    """
    service = msgspec.convert(await client.get(SERVICES, key), Service)
    label = f"{SERVICE_NAME_LABEL}={key.name}"
    found, _ = await client.list(ENDPOINT_SLICES, key.namespace, label_selector=label)
    slices = [msgspec.convert(s, EndpointSlice) for s in found]
    return (
        wanted_of("Service", "services", service),
        *(wanted_of("EndpointSlice", "slices", s) for s in slices),
    )


async def wanted_of_pod(client: KubeClient, key: ObjectKey) -> tuple[Wanted, ...]:
    """The Pod as it is as soon as it has an address.

    Raises:
        NotFound: there is no such Pod, or it went away while it had none.
    """
    changed = asyncio.Event()
    reflector = Reflector(
        client,
        PODS,
        Pod,
        on_change=lambda _, __: changed.set(),
        namespace=key.namespace,
        field_selector=f"metadata.name={key.name}",
    )

    async def work() -> tuple[Wanted, ...]:
        await reflector.synced.wait()
        while (pod := reflector.items.get(key)) is not None:
            if pod.status.pod_ip:
                return (wanted_of("Pod", "pods", pod),)
            changed.clear()
            await changed.wait()
        raise NotFound(
            f"Pod {key}: there is none, or it went away before it had an address", "see: kubectl get pods"
        )

    return await while_running((reflector.run,), work())


def wanted_of(kind: str, plural: str, object_: KubeObject) -> Wanted:
    """An object as it is now."""
    return Wanted(f"{kind} {object_.key}", plural, object_.metadata.resource_version)


async def while_running(others: Iterable[Callable[[], Coroutine[None, None, None]]], work: Awaitable[T]) -> T:
    """Wait for ``work`` while the others run, and end them then. Errors of ``work`` come out as they are."""
    failed: NetloomError | None = None
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(other(), name="watch") for other in others]
        try:
            found = await work
        except NetloomError as error:
            failed = error
        finally:
            for task in running:
                task.cancel()
    if failed is not None:
        raise failed
    return found
