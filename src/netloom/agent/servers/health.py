"""Whether this node's Services are in force, and whether the node should get new connections from outside.

Comes in: who queued a change and when it was in force, and the Node. Goes out: the answers of ``/healthz`` and ``/livez`` as
kube-proxy gives them (KEP-3836), so that load balancers and probes made for it work. Not here: sockets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus

import msgspec

from netloom.agent.servers.http import Request, Response
from netloom.api.core import Node
from netloom.clock import Clock, rfc3339
from netloom.metrics import Sample, counter, gauge

TIMEOUT_S = 120.0
"""How long a change may wait until the node counts as unhealthy. (kube-proxy takes twice its ``syncPeriod``.)"""
TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"
"""Taint of a node that the cluster autoscaler is about to remove (KEP-3836)."""


class UpdateHealth:
    """Knows whether changes get into force in time. A node at which nothing waits is healthy, also before its first change.

    Args:
        clock: both of its times are used.
        timeout_s: how long a change may wait.
    """

    def __init__(self, *, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._pending_since: float | None = None
        self._newest = 0.0
        self._last_in_force: float | None = None

    def queued(self) -> None:
        """A change has come that is not in force yet."""
        self._newest = self._clock.monotonic()
        if self._pending_since is None:
            self._pending_since = self._newest

    def in_force(self, *, began: float | None = None) -> None:
        """What was queued is in force.

        Args:
            began: monotonic time at which the changes were taken; what was queued since then still waits. None: nothing does.
        """
        self._last_in_force = self._clock.wall()
        waits = began is not None and self._pending_since is not None and self._newest > began
        # when exactly the oldest of those that wait came is not known; it was not before the turn began
        self._pending_since = began if waits else None

    @property
    def is_healthy(self) -> bool:
        """No change waits for longer than it may."""
        since = self._pending_since
        return since is None or self._clock.monotonic() - since < self._timeout_s

    def limits(self) -> str:
        """Why pods may not reach all that they should; empty where nothing waits for too long. For CNI STATUS."""
        if self.is_healthy:
            return ""
        return f"changes of the cluster wait for more than {self._timeout_s:.0f} s to get into force on this node"

    @property
    def last_in_force(self) -> float | None:
        """Seconds since the epoch at which something was put in force; None: not yet."""
        return self._last_in_force


class HealthAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Body of ``/livez``."""

    last_updated: str
    """Now where the node is healthy, else when something was last in force (RFC 3339; empty: never)."""
    current_time: str


class EligibilityAnswer(HealthAnswer, frozen=True, rename="camel"):
    """Body of ``/healthz``."""

    node_eligible: bool


def is_eligible(node: Node) -> bool:
    """Whether load balancers should send new connections to this node: not to one that is being deleted (KEP-3836)."""
    going = bool(node.metadata.deletion_timestamp)
    return not going and all(taint.key != TO_BE_DELETED for taint in node.spec.taints)


class HealthPages:
    """``/healthz`` for load balancers, ``/livez`` for whoever restarts the agent.

    Args:
        health: of the changes.
        is_eligible: whether the node should get new connections from load balancers.
        clock: for the times in answers.
    """

    def __init__(self, *, health: UpdateHealth, is_eligible: Callable[[], bool], clock: Clock) -> None:
        self._health = health
        self._is_eligible = is_eligible
        self._clock = clock
        self._answers: Counter[tuple[str, int]] = Counter()

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path not in ("/healthz", "/livez"):
            return Response.text(HTTPStatus.NOT_FOUND, "there are /healthz and /livez\n")
        eligible = self._is_eligible()
        healthy = self._health.is_healthy
        for_balancers = request.path == "/healthz"
        status = (
            HTTPStatus.OK if healthy and (eligible or not for_balancers) else HTTPStatus.SERVICE_UNAVAILABLE
        )
        now = rfc3339(self._clock.wall())
        last = now if status is HTTPStatus.OK else self._last()
        body: HealthAnswer = (
            EligibilityAnswer(last, now, eligible) if for_balancers else HealthAnswer(last, now)
        )
        self._answers[(request.path, status)] += 1
        return Response.json(status, body)

    def samples(self) -> Iterable[Sample]:
        """What was answered, and whether the node is healthy."""
        yield gauge(
            "netloom_healthy", "1 where no change waits for longer than it may.", self._health.is_healthy
        )
        yield gauge(
            "netloom_node_eligible",
            "1 where load balancers may send new connections to this node.",
            self._is_eligible(),
        )
        for (path, status), count in sorted(self._answers.items()):
            text = "Answers of the node's health pages, by path and HTTP status."
            yield counter("netloom_health_answers_total", text, count, path=path, code=str(int(status)))

    def _last(self) -> str:
        last = self._health.last_in_force
        return "" if last is None else rfc3339(last)
