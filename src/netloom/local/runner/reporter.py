"""Sends a pod's status to the API: only what changed, one request at a time, until it is accepted. In: facts; out: patches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from netloom.clock import Clock
from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import PODS
from netloom.local.runner.spec import Condition, Pod
from netloom.local.runner.status import PodFacts, Status, pod_status

log = logging.getLogger(__name__)

_RETRY_S = (0.1, 5.0)


class Reporter:
    """The status of one pod.

    Args:
        client: the API.
        clock: the time.
        pod: gives the pod as it is known now.
        facts: gives its facts as they are now.
    """

    def __init__(
        self, *, client: KubeClient, clock: Clock, pod: Callable[[], Pod], facts: Callable[[], PodFacts]
    ) -> None:
        self._client = client
        self._clock = clock
        self._pod = pod
        self._facts = facts
        self._changed = asyncio.Event()
        self._sent: Status | None = None
        self._version = 0
        """Of the pod when that was sent."""

    def mark(self) -> None:
        """Something may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Send until cancelled."""
        wait_s = _RETRY_S[0]
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.send()
                wait_s = _RETRY_S[0]
            except NotFound:
                continue  # deleted meanwhile; the watch will say so
            except NetloomError as error:
                log.warning("status of pod %s: %s", self._pod().key, error)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_S[1])
                self._changed.set()

    async def send(self) -> None:
        """Send the present status, if it is another than the last one sent.

        Raises:
            NetloomError: the API did not take it.
        """
        pod = self._pod()
        status = pod_status(self._with_sent_conditions(pod), self._facts(), now=self._clock.wall())
        if status == self._sent and not self._is_contradicted(pod):
            return
        body = {"metadata": {"uid": pod.uid}, "status": status}
        written = await self._client.patch(
            PODS,
            pod.key,
            body,
            content_type="application/strategic-merge-patch+json",
            subresource="status",
        )
        self._sent = status
        self._version = _version((written.get("metadata") or {}).get("resourceVersion", ""))

    def _is_contradicted(self, pod: Pod) -> bool:
        """Others have said since that the pod is ready, or is not, as they do when nobody hears its node."""
        if self._sent is None or _version(pod.metadata.resource_version) <= self._version:
            return False
        there = {c.type: c.status for c in pod.status.conditions}
        return any(
            c["type"] == "Ready" and there.get("Ready") != c["status"] for c in self._sent["conditions"]
        )

    def _with_sent_conditions(self, pod: Pod) -> Pod:
        """The pod with the conditions that we sent last: the watch may not have brought them back yet."""
        if self._sent is None:
            return pod
        ours = {c["type"]: _condition(c) for c in self._sent["conditions"]}
        others = tuple(c for c in pod.status.conditions if c.type not in ours)
        status = msgspec.structs.replace(pod.status, conditions=(*others, *ours.values()))
        return msgspec.structs.replace(pod, status=status)


def _condition(sent: dict[str, Any]) -> Condition:
    return Condition(sent["type"], sent["status"], sent["lastTransitionTime"])


def _version(text: str) -> int:
    return int(text) if text.isdecimal() else 0
