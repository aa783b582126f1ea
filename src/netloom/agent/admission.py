"""A pod's network opens after its policies: what CNI asks before it makes an interface.

In: the pods of this node as the API server has them, and the addresses that CNI has chosen. Out: pods with these addresses for the
model, ahead of their status, and the word that the policies of these addresses are in force. Not here: addresses (``cni/ipam``),
policies (``model/policy``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from netloom.api.core import Pod, PodIP
from netloom.cni.ipam.store import Lease
from netloom.engine.acks import Acks
from netloom.errors import Unavailable
from netloom.units import Addr, ObjectKey

PATIENCE_S = 10.0
"""How long a runtime waits for a pod to be known here and its policies to be in force; then it is told to try again."""

Mark = Callable[[ObjectKey, Pod | None], int]


class Admission:
    """Gives pods of this node their addresses in the model before they have them.

    Args:
        node: this node's name.
        mark: takes a pod as it is to be modelled; gives the number for ``Acks.in_force``.
        acks: what is in force.
    """

    def __init__(self, *, node: str, mark: Mark, acks: Acks) -> None:
        self._node = node
        self._mark = mark
        self._acks = acks
        self._pods: dict[ObjectKey, Pod] = {}
        self._given: dict[ObjectKey, tuple[str, tuple[Addr, ...]]] = {}
        """With the pod's uid; empty where that was before this agent started."""
        self._waiting: dict[ObjectKey, list[asyncio.Future[Pod]]] = {}

    def remember(self, leases: Iterable[Lease]) -> None:
        """What was given before this agent started; to be called before the first pod is seen."""
        for lease in leases:
            if lease.pod:
                self._given[_key(lease.pod)] = ("", lease.addresses)

    def pod_changed(self, key: ObjectKey, pod: Pod | None) -> None:
        """A pod of any node is now this, or None: gone."""
        if pod is None or pod.spec.node_name != self._node or pod.spec.host_network:
            self._pods.pop(key, None)
            self._given.pop(key, None)
            self._mark(key, pod)
            return
        self._pods[key] = pod
        self._mark(key, self._addressed(key, pod))
        for waiting in self._waiting.pop(key, ()):
            if not waiting.done():
                waiting.set_result(pod)

    async def admit(self, name: str, addresses: tuple[Addr, ...]) -> None:
        """Return when the policies of this pod are in force for these addresses. A runtime that names no pod has none.

        Raises:
            Unavailable: the pod is not known here, or its policies did not come in force in time.
        """
        if not name:
            return
        key = _key(name)
        try:
            async with asyncio.timeout(PATIENCE_S):
                pod = self._pods.get(key) or await self._known(key)
                self._given[key] = (pod.metadata.uid, addresses)
                await self._acks.in_force(self._mark(key, self._addressed(key, pod)))
        except TimeoutError as error:
            what = (
                "is not known to this node" if key not in self._pods else "has policies that are not in force"
            )
            hint = "try again; until then it stays without a network"
            raise Unavailable(f"pod {key} {what} after {PATIENCE_S:.0f} s", hint) from error

    async def _known(self, key: ObjectKey) -> Pod:
        waiting: asyncio.Future[Pod] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(waiting)
        return await waiting

    def _addressed(self, key: ObjectKey, pod: Pod) -> Pod:
        """The pod with what it was given, for as long as its status has no address."""
        uid, given = self._given.get(key, ("", ()))
        if not given or uid not in ("", pod.metadata.uid) or pod.status.pod_ips or pod.status.pod_ip:
            return pod
        status = msgspec.structs.replace(
            pod.status, pod_ip=str(given[0]), pod_ips=tuple(PodIP(str(address)) for address in given)
        )
        return msgspec.structs.replace(pod, status=status)


def _key(name: str) -> ObjectKey:
    namespace, _, own = name.partition("/")
    return ObjectKey(namespace, own)
