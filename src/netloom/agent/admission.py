"""A pod's network opens after its policies and is under them until its interface is gone: what CNI asks, and what it tells.

In: the pods of this node as the API server has them, and the addresses that CNI gives and takes back. Out: pods for the model, each
with the addresses that it really has: before its status says so; where its status still names others; and, for a pod whose object
is gone while its interface is there, until the interface is gone, too. And the word that the policies of addresses are in force.
Not here: addresses (``cni/ipam``), policies (``model/policy``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from netloom.api.core import Pod, PodIP
from netloom.cni.ipam.store import Lease
from netloom.engine.acks import Acks
from netloom.errors import Unavailable
from netloom.model.routes.local_pods import given_addresses, is_finished
from netloom.units import Addr, ObjectKey, parse_addr

PATIENCE_S = 10.0
"""How long a runtime waits for a pod to be known here and its policies to be in force; then it is told to try again."""

STATIC_POD_ANNOTATION = "kubernetes.io/config.hash"
"""Of an API object that mirrors a static pod: what the kubelet calls the pod itself."""

Mark = Callable[[ObjectKey, Pod | None], int]
Addresses = tuple[Addr, ...]


class Admission:
    """Gives pods of this node their addresses in the model before they have them, and takes them away after they have lost them.

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
        self._given: dict[ObjectKey, tuple[str, Addresses]] = {}
        """With the pod's uid; empty where that was before this agent started."""
        self._taken: dict[ObjectKey, tuple[str, Addresses]] = {}
        """What a pod has no longer, whatever its status says; with its uid."""
        self._left: dict[Addr, ObjectKey] = {}
        """Pods whose object is gone and whose interface is not, by each of their addresses."""
        self._waiting: dict[ObjectKey, list[asyncio.Future[Pod]]] = {}

    def remember(self, leases: Iterable[Lease]) -> None:
        """What was given before this agent started; to be called before the first pod is seen."""
        for lease in leases:
            if lease.pod:
                key = _key(lease.pod)
                self._given[key] = ("", self._given.get(key, ("", ()))[1] + lease.addresses)

    def orphans(self, leases: Iterable[Lease]) -> list[Lease]:
        """Those whose pod the API server has no more; to be asked when all pods have been seen.

        Nobody knows the labels of such a pod, so nobody knows its policies: what is left of its network has to go.
        """
        return [lease for lease in leases if lease.pod and _key(lease.pod) not in self._pods]

    def pod_changed(self, key: ObjectKey, pod: Pod | None) -> None:
        """A pod of any node is now this, or None: gone."""
        before = self._pods.get(key)
        if before is not None and (pod is None or pod.metadata.uid != before.metadata.uid):
            self._leave(key, before)
        if pod is None or pod.spec.node_name != self._node or pod.spec.host_network:
            self._pods.pop(key, None)
            self._given.pop(key, None)
            self._mark(key, pod)
            return
        self._pods[key] = pod
        self._mark(key, self._as_it_is(key, pod))
        for waiting in self._waiting.pop(key, ()):
            if not waiting.done():
                waiting.set_result(pod)

    def pod(self, name: str) -> Pod | None:
        """A pod of this node by namespace/name; None where none is known here."""
        return self._pods.get(_key(name))

    async def known(self, name: str) -> Pod:
        """The same, once it is known here.

        Raises:
            Unavailable: it is not in time.
        """
        key = _key(name)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return self._pods.get(key) or await self._known(key)
        except TimeoutError as error:
            raise Unavailable(
                f"pod {key} is not known to this node after {PATIENCE_S:.0f} s", "try again"
            ) from error

    async def meet(self, name: str, uid: str) -> None:
        """Return when the pod with this uid is known here: one of before with the same name has other labels, and so other policies.

        A runtime that names no pod, or says no uid, waits for nobody.

        Raises:
            Unavailable: it is not known in time.
        """
        if not name or not uid:
            return
        key = _key(name)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (pod := self._pods.get(key)) is None or not _is_called(pod, uid):
                    await self._known(key)
        except TimeoutError as error:
            what = (
                "is not known to this node"
                if key not in self._pods
                else f"is known to this node as another one than {uid}"
            )
            raise Unavailable(f"pod {key} {what} after {PATIENCE_S:.0f} s", "try again") from error

    async def admit(self, name: str, addresses: Addresses) -> None:
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
                self._taken.pop(key, None)
                await self._acks.in_force(self._mark(key, self._as_it_is(key, pod)))
        except TimeoutError as error:
            what = (
                "is not known to this node" if key not in self._pods else "has policies that are not in force"
            )
            hint = "try again; until then it stays without a network"
            raise Unavailable(f"pod {key} {what} after {PATIENCE_S:.0f} s", hint) from error

    def released(self, name: str, addresses: Addresses) -> None:
        """The interface that had these addresses is gone, or was never made; they may be given to others from now on."""
        for address in addresses:
            left = self._left.pop(address, None)
            if left is not None and left not in self._left.values():
                self._mark(left, None)
        key = _key(name)
        uid, given = self._given.get(key, ("", ()))
        rest = tuple(address for address in given if address not in addresses)
        if rest == given:
            return
        if rest:
            self._given[key] = (uid, rest)
        else:
            del self._given[key]
        if (pod := self._pods.get(key)) is not None:
            self._taken[key] = (pod.metadata.uid, addresses)
            self._mark(key, self._as_it_is(key, pod))

    async def _known(self, key: ObjectKey) -> Pod:
        waiting: asyncio.Future[Pod] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(waiting)
        return await waiting

    def _leave(self, key: ObjectKey, pod: Pod) -> None:
        """The object is gone. As long as its interface is there, what comes through it is this pod's, with its labels.

        It goes on under a name that no pod can have, and counts as one that is being deleted: whoever is given one of its
        addresses holds it.
        """
        uid, given = self._given.get(key, ("", ()))
        self._taken.pop(key, None)
        if not given or uid not in ("", pod.metadata.uid):
            return
        del self._given[key]
        name = f"{key.name}/{pod.metadata.uid}"
        when = pod.metadata.deletion_timestamp or "9999-12-31T23:59:59Z"
        metadata = msgspec.structs.replace(pod.metadata, name=name, deletion_timestamp=when)
        left = ObjectKey(key.namespace, name)
        self._left.update(dict.fromkeys(given, left))
        self._mark(left, _with(msgspec.structs.replace(pod, metadata=metadata), given))

    def _as_it_is(self, key: ObjectKey, pod: Pod) -> Pod:
        """The pod with the addresses that it has here; those of its status where nothing else is known."""
        uid, given = self._given.get(key, ("", ()))
        said = tuple(a for _, text in given_addresses(pod) if (a := parse_addr(text)) is not None)
        if given and uid == pod.metadata.uid:
            return pod if given == said and not is_finished(pod) else _with(pod, given)
        if given and not uid:
            # of an agent before this one: the pod may have been made anew since, and its status may be late
            every = tuple(dict.fromkeys((*said, *given)))
            return pod if every == said and not is_finished(pod) else _with(pod, every)
        uid, taken = self._taken.get(key, ("", ()))
        if taken and uid == pod.metadata.uid and any(address in taken for address in said):
            return _with(pod, tuple(address for address in said if address not in taken))
        return pod


def _is_called(pod: Pod, uid: str) -> bool:
    """Whether a runtime means this pod. Of a static pod it knows the kubelet's uid, which the API's object has in an annotation."""
    return uid in (pod.metadata.uid, pod.metadata.annotations.get(STATIC_POD_ANNOTATION))


def _with(pod: Pod, addresses: Addresses) -> Pod:
    """The pod with these addresses. Who has an interface has not finished, whatever the status says."""
    status = msgspec.structs.replace(
        pod.status,
        pod_ip=str(addresses[0]) if addresses else "",
        pod_ips=tuple(PodIP(str(address)) for address in addresses),
        phase="Running" if addresses and is_finished(pod) else pod.status.phase,
    )
    return msgspec.structs.replace(pod, status=status)


def _key(name: str) -> ObjectKey:
    namespace, _, own = name.partition("/")
    return ObjectKey(namespace, own)
