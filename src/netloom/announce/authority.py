"""Whether this node may take addresses that it did not have: only who sees most of the others, or the API, knows that they are gone.

Comes in: who is alive, and the API's word. Goes out: yes or no. A node that is cut off from both keeps what it had, and takes nothing. Not here: what it takes.
"""

from __future__ import annotations

import asyncio
import logging

from netloom.announce.members.state import Members
from netloom.clock import Clock
from netloom.errors import NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.resources import NODES
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_VALID_S = 3.0
_ANSWER_S = 2.0
_RETRY_S = 0.2


class Authority:
    """Asks the API while most of the others are silent and there is something to take.

    Args:
        members: the others.
        client: of the API.
        node: this one's name.
        clock: the time.
    """

    def __init__(self, *, members: Members, client: KubeClient, node: str, clock: Clock) -> None:
        self._members = members
        self._client = client
        self._node = node
        self._clock = clock
        self._alone_since: float | None = None
        self._confirmed_at = float("-inf")
        self._wanted = asyncio.Event()

    def may_take(self, now: float) -> bool:
        """Whether new addresses may be taken now; asks where that is not known yet."""
        if self._members.has_majority(now):
            self._alone_since = None
            return True
        if self._alone_since is None:
            self._alone_since = now
        is_confirmed = self._confirmed_at >= max(self._alone_since, now - _VALID_S)
        if not is_confirmed:
            self._wanted.set()
        return is_confirmed

    async def run(self) -> None:
        """Ask whenever it is needed, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            asked_at = self._clock.monotonic()
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await self._client.get(NODES, ObjectKey("", self._node))
                self._confirmed_at = asked_at
            except (NetloomError, TimeoutError) as error:
                log.debug("most other nodes are silent, and the API does not answer: %s", error)
                await asyncio.sleep(_RETRY_S)
