"""Waits until no node sends new connections to the ending pods of a Service on this node. In: who asks; out: an answer.

The question may come before our own watches have seen that a pod ends, so the pods, the Service and its slices are read afresh
at first; from there on the watch says what changes. Then every node must have that state of the slices in force. Not here: HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from netloom.agent.acks_follow import AckFollower
from netloom.agent.acks_lease import Lack, Wanted
from netloom.agent.drained import EndingPod, ending_pod, why_in_use
from netloom.api.core import Pod, Service
from netloom.api.discovery import SERVICE_NAME_LABEL, EndpointSlice
from netloom.errors import InvalidObject, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import ENDPOINT_SLICES, PODS, SERVICES
from netloom.kube.versions import is_number, reached
from netloom.units import Addr, ObjectKey


class ServiceSlices:
    """The slices of one Service: as read afresh, and as the watch has changed them since."""

    def __init__(self, service: ObjectKey) -> None:
        self._service = service
        self._slices: dict[ObjectKey, EndpointSlice] = {}
        self._gone: Wanted | None = None
        self._read_at: str | None = None
        self._early: list[tuple[ObjectKey, EndpointSlice | None, str]] = []

    @property
    def slices(self) -> tuple[EndpointSlice, ...]:
        """As they are."""
        return tuple(self._slices.values())

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """What a node must have in force to have them so."""
        found = [
            Wanted(f"EndpointSlice {key}", "slices", slice_.metadata.resource_version)
            for key, slice_ in self._slices.items()
        ]
        return (*found, *(() if self._gone is None else (self._gone,)))

    def fill(self, slices: Iterable[EndpointSlice], version: str) -> None:
        """They were read afresh; what the watch has told meanwhile is taken over if it is newer."""
        self._slices = {slice_.key: slice_ for slice_ in slices}
        self._read_at = version
        early, self._early = self._early, []
        for key, slice_, seen in early:
            self.changed(key, slice_, seen)

    def changed(self, key: ObjectKey, slice_: EndpointSlice | None, seen: str) -> None:
        """The watch tells of a slice of any Service.

        Args:
            key: of the slice.
            slice_: as it is now; None where it is gone.
            seen: the resourceVersion that the watch has reached with this.
        """
        if self._read_at is None:
            self._early.append((key, slice_, seen))
            return
        known = self._slices.get(key)
        is_ours = slice_ is not None and slice_.service == self._service
        version = slice_.metadata.resource_version if slice_ is not None else seen
        if (known is None and not is_ours) or _is_older(version, self._read_at, known):
            return
        if slice_ is not None and is_ours:
            self._slices[key] = slice_
        else:
            del self._slices[key]
            self._gone = Wanted(f"end of EndpointSlice {key}", "slices", version)


def _is_older(version: str, read_at: str, known: EndpointSlice | None) -> bool:
    """Whether a watch that lags behind tells of something that the fresh reading had already."""
    at = known.metadata.resource_version if known is not None else read_at
    return is_number(version) and is_number(at) and reached(at, version) and version != at


class Question(msgspec.Struct):
    """One wait, as far as it has come; read by whoever must answer when the time is over."""

    services: tuple[ObjectKey, ...] = ()
    pods: tuple[EndingPod, ...] = ()
    reason: str = ""
    """Why new connections may still go there by the slices."""
    wanted: tuple[Wanted, ...] = ()
    """What the nodes are waited for with."""


class DrainWaiter:
    """Answers whether ending pods of this node are drained.

    Args:
        client: an open client.
        node: name of this node.
        slices_seen: gives the resourceVersion that the watch of EndpointSlices has reached.
        follower: of what all nodes have in force.
    """

    def __init__(
        self, *, client: KubeClient, node: str, slices_seen: Callable[[], str], follower: AckFollower
    ) -> None:
        self._client = client
        self._node = node
        self._seen = slices_seen
        self._follower = follower
        self._views: list[ServiceSlices] = []

    def slice_changed(self, key: ObjectKey, slice_: EndpointSlice | None) -> None:
        """The agent's watch tells of a slice."""
        for view in self._views:
            view.changed(key, slice_, self._seen())
        if self._views:
            self._follower.poke()

    async def service(self, key: ObjectKey, question: Question) -> None:
        """Wait until all ending pods of this Service on this node are drained.

        Raises:
            NotFound: there is no such Service.
            InvalidObject: it has no selector, so nobody knows which pods are its endpoints.
            NetloomError: the API server does not answer.
        """
        question.services = (key,)
        service = msgspec.convert(await self._client.get(SERVICES, key), Service)
        if not service.spec.selector:
            raise InvalidObject(
                f"Service {key}",
                "spec.selector",
                "is empty, so which pods are its endpoints is not known",
                "name a Service that selects the pod",
            )
        found, _ = await self._client.list(
            PODS,
            key.namespace,
            label_selector=",".join(f"{k}={v}" for k, v in sorted(service.spec.selector.items())),
            field_selector=f"spec.nodeName={self._node}",
        )
        question.pods = _ending(found)
        if question.pods:
            await self._until_drained(service, question)

    async def pod(self, address: Addr, question: Question) -> None:
        """Wait until the pod of this node with this address is drained of all Services that select it.

        Raises:
            NotFound: no pod of this node has this address.
            NetloomError: the API server does not answer.
        """
        found, _ = await self._client.list(
            PODS, field_selector=f"spec.nodeName={self._node},status.podIP={address}"
        )
        pods = [msgspec.convert(p, Pod) for p in found]
        live = [p for p in pods if not p.spec.host_network and p.status.phase not in ("Succeeded", "Failed")]
        if not live:
            raise NotFound(
                f"address {address}: is of no pod of node {self._node}",
                "ask from inside the pod; a pod of the host's network names its Service: /drained/NAMESPACE/SERVICE",
            )
        pod = live[0]
        question.pods = _ending(found)
        if not question.pods:
            return
        listed, _ = await self._client.list(SERVICES, pod.metadata.namespace)
        services = [s for s in (msgspec.convert(d, Service) for d in listed) if _selects(s, pod)]
        question.services = tuple(s.key for s in services)
        for service in services:
            await self._until_drained(service, question)

    def lacking(self, question: Question) -> tuple[Lack, ...]:
        """Which nodes lack what that is still waited for."""
        return self._follower.lacking(question.wanted)

    async def _until_drained(self, service: Service, question: Question) -> None:
        with self._view(service.key) as view:
            label = f"{SERVICE_NAME_LABEL}={service.metadata.name}"
            found, version = await self._client.list(
                ENDPOINT_SLICES, service.metadata.namespace, label_selector=label
            )
            view.fill((msgspec.convert(s, EndpointSlice) for s in found), version)

            def is_in_use() -> bool:
                question.reason = why_in_use(service, view.slices, question.pods, self._node)
                return bool(question.reason)

            while True:
                await self._follower.until(lambda: None if is_in_use() else True)
                question.wanted = view.wanted
                await self._follower.everywhere(question.wanted)
                question.wanted = ()
                if (
                    not is_in_use()
                ):  # while the nodes were waited for, the others may have become unready again
                    return

    @contextmanager
    def _view(self, service: ObjectKey) -> Iterator[ServiceSlices]:
        view = ServiceSlices(service)
        self._views.append(view)
        try:
            yield view
        finally:
            self._views.remove(view)


def _ending(documents: Iterable[Mapping[str, object]]) -> tuple[EndingPod, ...]:
    found = (ending_pod(msgspec.convert(document, Pod)) for document in documents)
    return tuple(pod for pod in found if pod is not None)


def _selects(service: Service, pod: Pod) -> bool:
    selector = service.spec.selector or {}
    is_external = service.spec.type == "ExternalName"
    return bool(selector) and not is_external and selector.items() <= pod.metadata.labels.items()
