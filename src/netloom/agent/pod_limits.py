"""The bandwidth of this node's pods, kept as their annotations say: when an interface is made, and when an annotation changes.

In: pods, what a runtime says. Out: limits in the kernel, and Findings about annotations that cannot be used. Of a pod that the API server
knows its annotations count alone: what a runtime says of it is what they were when it was made. Not here: what annotations mean
(``cni/bandwidth``), how the kernel is told (``cni/limits``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from netloom.api.core import Pod
from netloom.cni.bandwidth import Bandwidth, has_annotations, read_annotations
from netloom.cni.ipam.lease import Lease
from netloom.cni.limits import Limits
from netloom.errors import NetloomError
from netloom.linux import netns
from netloom.model.provenance import Finding, source_of
from netloom.model.routes.local_pods import given_addresses
from netloom.program.names import pod_link
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

RETRY_S = 5.0


class PodLimits:
    """Follows the annotations of the pods of one node.

    Args:
        node: this node's name.
        leases: reads which attachment has which address; called on a thread that may block.
        report: is told of annotations that cannot be used, each once.
        netns_fd: the node's network namespace; None: this process is in it.
    """

    def __init__(
        self,
        *,
        node: str,
        leases: Callable[[], Iterable[Lease]],
        report: Callable[[Iterable[Finding]], None],
        netns_fd: int | None = None,
    ) -> None:
        self._node = node
        self._leases = leases
        self._report = report
        self._netns_fd = netns_fd
        self._pods: dict[ObjectKey, Pod] = {}
        self._changed: set[ObjectKey] = set()
        self._some = asyncio.Event()

    def wanted(self, name: str, said: Bandwidth | None) -> Bandwidth | None:
        """The limits of a pod (namespace/name; empty where it is none of the cluster) of which a runtime says this. From any thread."""
        namespace, _, own = name.partition("/")
        pod = self._pods.get(ObjectKey(namespace, own))
        return said if pod is None else _wanted(pod)

    def pod_changed(self, key: ObjectKey, pod: Pod | None) -> None:
        """A pod of any node is now this, or None: gone."""
        before = self._pods.get(key)
        if pod is None or pod.spec.node_name != self._node or pod.spec.host_network:
            self._pods.pop(key, None)
            return
        self._pods[key] = pod
        was = before.metadata.annotations if before is not None else {}
        if has_annotations(pod.metadata.annotations) or has_annotations(was):
            same = before is not None and read_annotations(was) == read_annotations(pod.metadata.annotations)
            if not same:
                self._changed.add(key)
                self._tell(pod)
                self._some.set()

    async def run(self) -> None:
        """Until cancelled: first all pods, then those whose annotations change."""
        self._changed.update(self._pods)
        try:
            await self._in_namespace(self._clear)
        except NetloomError as error:
            log.warning("what is left of the limits of pods that are gone stays: %s", error)
        while True:
            await self.settle()
            await self._some.wait()

    async def settle(self) -> None:
        """One turn of :meth:`run`: bring the pods that changed to what their annotations say."""
        self._some.clear()
        keys, self._changed = self._changed, set()
        if not keys:
            return
        pods = [self._pods[key] for key in keys if key in self._pods]
        failed = await self._in_namespace(lambda: self._put(pods))
        if failed:
            self._changed |= failed
            asyncio.get_running_loop().call_later(RETRY_S, self._some.set)

    async def _in_namespace(self, work: Callable[[], set[ObjectKey]]) -> set[ObjectKey]:
        return await netns.run_in_async(self._netns_fd, work)

    def _tell(self, pod: Pod) -> None:
        subject = source_of("Pod", pod.metadata)
        _, wrong = read_annotations(pod.metadata.annotations)
        if wrong:
            self._report([Finding(subject.at(one.field), one.problem, one.hint) for one in wrong])

    # --- on a thread that dies

    def _put(self, pods: list[Pod]) -> set[ObjectKey]:
        """Those that could not be brought to what they should be."""
        failed = set()
        leases = list(self._leases())
        with Limits() as limits:
            for pod in pods:
                wanted = _wanted(pod)
                for link in _links(pod, leases):
                    try:
                        if limits.defects(link, wanted):
                            limits.put(link, wanted)
                    except NetloomError as error:
                        log.warning(
                            "pod %s: its bandwidth is not limited as its annotations say: %s", pod.key, error
                        )
                        failed.add(pod.key)
        return failed

    def _clear(self) -> set[ObjectKey]:
        with Limits() as limits:
            limits.remove_orphans()
        return set()


def _wanted(pod: Pod) -> Bandwidth | None:
    limits, _ = read_annotations(pod.metadata.annotations)
    return limits if limits.ingress_rate or limits.egress_rate else None


def _links(pod: Pod, leases: Iterable[Lease]) -> list[str]:
    """The node's side of the interface that has the pod's own address; not of its further networks, which have limits of their own."""
    own = {text for _, text in given_addresses(pod)}
    return [
        pod_link(lease.attachment.container, lease.attachment.interface)
        for lease in leases
        if lease.pod == str(pod.key) and any(str(address) in own for address in lease.addresses)
    ]
