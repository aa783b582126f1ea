"""The engine of gateways: keeps HAProxy alive, and what it does equal to a plan.

Comes in: the directory for its files, addresses to listen at, and plans. Goes out: ``Applied`` for each plan, samples for metrics. Not
here: what HAProxy is told (``haproxy/``), where plans come from (``model/gateways``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from netloom.clock import Clock
from netloom.gateway.applied import Applied
from netloom.metrics import Sample
from netloom.model.gateways.plan import Plan
from netloom.units import Addr


class Engine:
    """One HAProxy, and the listening sockets that outlive it.

    Args:
        directory: for configuration, keys and sockets; made, with mode 0700, where it is not there. At most 80 bytes.
        addresses: where doors listen; they need not be there yet.
        clock: for durations.
    """

    def __init__(self, directory: Path, addresses: Sequence[Addr], clock: Clock) -> None:
        self._directory = directory
        self._addresses = tuple(addresses)
        self._clock = clock

    async def run(self) -> None:
        """Keep HAProxy alive until cancelled; then it has ended, too."""
        raise NotImplementedError

    async def apply(self, plan: Plan) -> Applied:
        """Return when the plan is in force; of plans that come meanwhile only the newest is done, and all who wait are told of it.

        Raises:
            Unavailable: HAProxy does not come up at all; :meth:`run` goes on trying.
        """
        raise NotImplementedError

    def samples(self) -> Iterable[Sample]:
        """Requests, status codes, connections, reloads; as of the last reading."""
        raise NotImplementedError
