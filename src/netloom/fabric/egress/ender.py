"""Ends flows of pods that leave by gateways, beside the changes that they ended with.

In: pods whose ways have changed. Out: flows that leave in another way are gone. Not here: which these are (``flows``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from netloom.errors import KernelError
from netloom.fabric.egress.flows import Outlook, has_ended
from netloom.linux import netns
from netloom.linux.conntrack import Conntrack as KernelConntrack
from netloom.program.conntrack import Flow, FlowFilter
from netloom.units import Addr, Family

log = logging.getLogger(__name__)

_REST_S = 0.04
"""From one look at conntrack to the next."""
_RETRY_S = 0.5


class Conntrack(Protocol):
    """What of ``linux.conntrack.Conntrack`` is used."""

    def dump(self, wanted: FlowFilter) -> list[Flow]:
        """The flows that fit; KernelError."""

    def delete(self, flows: Iterable[Flow]) -> int:
        """End flows; those that have gone are no error."""


class EgressEnder:
    """Looks after flows of one network namespace.

    Args:
        conntrack: the flows; None for those of ``netns_fd``.
        netns_fd: a network namespace; None for the caller's own.
    """

    def __init__(self, *, conntrack: Conntrack | None = None, netns_fd: int | None = None) -> None:
        self._conntrack = conntrack
        self._netns_fd = netns_fd
        self._suspects: dict[Addr, bool] | None = {}
        self._outlook: Outlook | None = None
        self._some = asyncio.Event()
        self.ended = 0
        """Flows ended so far."""

    def offer(self, suspects: Mapping[Addr, bool] | None, outlook: Outlook) -> None:
        """The ways of these pods may be others; see ``flows.has_ended``."""
        if suspects is None or self._suspects is None:
            self._suspects = None
        else:
            for pod, had_ways in suspects.items():
                self._suspects[pod] = had_ways or self._suspects.get(pod, False)
        self._outlook = outlook
        if suspects is None or suspects:
            self._some.set()

    async def run(self) -> None:
        """Until cancelled. What could not be looked at is tried again."""
        while True:
            await self._some.wait()
            rest = _REST_S
            try:
                await self.end_offered()
            except KernelError as error:
                log.error("flows of another way are still tracked, again in %.1f s: %s", _RETRY_S, error)  # noqa: TRY400 - says all in one line
                rest = _RETRY_S
            await asyncio.sleep(rest)

    async def end_offered(self) -> None:
        """End the flows of all that was offered.

        Raises:
            KernelError: conntrack could not be read; nothing of it is forgotten.
        """
        suspects, outlook = self._suspects, self._outlook
        self._suspects = {}
        self._some.clear()
        if outlook is None or suspects == {}:
            return
        try:
            self.ended += await netns.run_in_async(None, lambda: self._end(suspects, outlook))
        except BaseException:
            self.offer(suspects, self._outlook or outlook)
            raise

    def _end(self, suspects: Mapping[Addr, bool] | None, outlook: Outlook) -> int:
        if self._conntrack is not None:
            return _end(self._conntrack, suspects, outlook)
        with KernelConntrack(netns_fd=self._netns_fd) as conntrack:
            return _end(conntrack, suspects, outlook)


def _end(conntrack: Conntrack, suspects: Mapping[Addr, bool] | None, outlook: Outlook) -> int:
    ended = [
        flow
        for family in Family
        for flow in conntrack.dump(FlowFilter(family, None))
        if has_ended(flow, suspects, outlook)
    ]
    return conntrack.delete(ended) if ended else 0
