"""The readiness gate `netloom.io/in-force`. In: pods of this node that name it; out: their condition, True when all nodes know them.

A pod is in force when every Ready node has its address, and the way to this node, programmed. The agent of the pod's own node says
so, once. Where the pod's address becomes another one, the condition goes back to False first. Not here: what Ready means
(the kubelet counts the gates of `spec.readinessGates`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from netloom.agent.acks_follow import AckFollower
from netloom.agent.acks_lease import Wanted
from netloom.api.core import Pod
from netloom.clock import Clock, rfc3339
from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import PODS
from netloom.kube.status import Conflict
from netloom.metrics import Histogram, Sample, gauge
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

CONDITION = "netloom.io/in-force"
_FINISHED = ("Succeeded", "Failed")
_AT_ONCE = 8
_RETRY_S = (0.05, 5.0)


class _Gated(msgspec.Struct, frozen=True):
    """A pod whose gate is shut."""

    key: ObjectKey
    uid: str
    address: str
    wanted: tuple[Wanted, ...]
    since: float
    shut_first: bool = False
    """Its gate is open for an address that it no longer has."""


class ReadinessGates:
    """Opens the gates of this node's pods.

    Args:
        client: an open client.
        node: name of this node.
        node_version: gives the resourceVersion of this Node, which the other nodes need for the way here.
        follower: of what all nodes have in force.
        clock: the time.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        node: str,
        node_version: Callable[[], str],
        follower: AckFollower,
        clock: Clock,
    ) -> None:
        self._client = client
        self._node = node
        self._node_version = node_version
        self._follower = follower
        self._clock = clock
        self._shut: dict[ObjectKey, _Gated] = {}
        self._opened: dict[ObjectKey, tuple[str, str]] = {}
        self._some = asyncio.Event()
        self._waited_s = Histogram()

    def pod_changed(self, key: ObjectKey, pod: Pod | None) -> None:
        """A pod of any node is now this, or gone. Cheap for those without the gate."""
        if pod is None or not _is_gated(pod, self._node):
            if key in self._shut or key in self._opened:
                self._opened.pop(key, None)
                self._forget(key)
            return
        uid, address = pod.metadata.uid, pod.status.pod_ip
        if _is_over(pod) or not address:
            self._forget(key)
            return
        is_open = any(c.type == CONDITION and c.status == "True" for c in pod.status.conditions)
        opened_for = self._opened.get(key, ("", ""))
        moved = opened_for[0] == uid and opened_for[1] != address
        if is_open and not moved:
            self._opened[key] = (uid, address)
            self._forget(key)
            return
        waiting = self._shut.get(key)
        if waiting is not None and (waiting.uid, waiting.address) == (uid, address):
            return  # what it waits for is the version in which the address came first
        wanted = (
            Wanted(f"Pod {key}", "pods", pod.metadata.resource_version),
            Wanted(f"Node {self._node}", "nodes", self._node_version()),
        )
        self._shut[key] = _Gated(key, uid, address, wanted, self._clock.monotonic(), moved and is_open)
        self._some.set()
        self._follower.poke()

    async def run(self) -> None:
        """Open gates until cancelled."""
        retry_s = _RETRY_S[0]
        while True:
            await self._some.wait()
            self._some.clear()
            while self._shut:
                done = await self._follower.until(self._due)
                failed = [error for error in await self._work_on(done) if error is not None]
                if not failed:
                    retry_s = _RETRY_S[0]
                    continue
                log.warning("readiness gates, again in %.2f s: %s", retry_s, failed[0])
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _RETRY_S[1])

    def samples(self) -> tuple[Sample, ...]:
        """What is to be seen from outside."""
        return (
            gauge(
                "netloom_gated_pods",
                "Pods of this node whose readiness gate waits for the nodes.",
                len(self._shut),
            ),
            self._waited_s.sample(
                "netloom_gate_seconds", "From a pod's address to the opening of its readiness gate."
            ),
        )

    def _forget(self, key: ObjectKey) -> None:
        if self._shut.pop(key, None) is not None:
            self._follower.poke()

    def _due(self) -> tuple[_Gated, ...] | None:
        """Those whose gate can be opened, or has to be shut; empty where none waits any more."""
        due = tuple(g for g in self._shut.values() if g.shut_first or self._follower.is_everywhere(g.wanted))
        return due if due or not self._shut else None

    async def _work_on(self, due: tuple[_Gated, ...]) -> list[NetloomError | None]:
        outcomes: list[NetloomError | None] = []
        for start in range(0, len(due), _AT_ONCE):
            batch = due[start : start + _AT_ONCE]
            outcomes += await asyncio.gather(*(self._settle(gated) for gated in batch))
        return outcomes

    async def _settle(self, gated: _Gated) -> NetloomError | None:
        try:
            await self._write(gated, open_=not gated.shut_first)
        except (NotFound, Conflict):
            pass  # gone, or another pod of this name: the watch says so
        except NetloomError as error:
            return error
        if self._shut.get(gated.key) is not gated:
            return None  # it has changed meanwhile
        if gated.shut_first:
            self._shut[gated.key] = msgspec.structs.replace(gated, shut_first=False)
        else:
            del self._shut[gated.key]
            self._opened[gated.key] = (gated.uid, gated.address)
            self._waited_s.observe(self._clock.monotonic() - gated.since)
        return None

    async def _write(self, gated: _Gated, *, open_: bool) -> None:
        reason, message = (
            ("InForceOnAllNodes", f"all Ready nodes have {gated.address} in force")
            if open_
            else ("AddressChanged", f"the address is {gated.address} now")
        )
        condition = {
            "type": CONDITION,
            "status": "True" if open_ else "False",
            "lastTransitionTime": rfc3339(self._clock.wall()),
            "reason": reason,
            "message": message,
        }
        await self._client.patch(
            PODS,
            gated.key,
            {"metadata": {"uid": gated.uid}, "status": {"conditions": [condition]}},
            content_type="application/strategic-merge-patch+json",
            subresource="status",
        )


def _is_gated(pod: Pod, node: str) -> bool:
    gates = pod.spec.readiness_gates
    return bool(gates) and pod.spec.node_name == node and any(g.condition_type == CONDITION for g in gates)


def _is_over(pod: Pod) -> bool:
    """Nobody will ask for it any more."""
    return pod.metadata.deletion_timestamp is not None or pod.status.phase in _FINISHED
