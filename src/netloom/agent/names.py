"""Joins the cluster's names to the node's DNS process: changes in, generations out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from netloom.dns.feed import Audience, FeedClient, feed_path
from netloom.model.inputs import Changes
from netloom.model.names.askers import Askers
from netloom.model.names.names import Names
from netloom.model.names.records import NameSettings, NamesState


class NamesFeed:
    """Keeps the names up to date, and who asks on this node, and offers each difference to the DNS process.

    Args:
        settings: of the names.
        socket_path: the DNS process's socket; the first one's where there are several.
        processes: how many there are.
        node: this node's name: its pods are known by their addresses, and names are completed for them by their search path.
        networks: who is answered besides these pods, as CIDRs; None: everybody.
    """

    def __init__(
        self,
        *,
        settings: NameSettings,
        socket_path: str,
        node: str,
        processes: int = 1,
        networks: Callable[[], tuple[str, ...] | None] = lambda: None,
    ) -> None:
        self._names = Names(settings)
        self._askers = Askers(node=node, settings=settings)
        self._networks = networks
        self._told = networks()
        self._generation = 0
        self._known = asyncio.Event()
        self._clients = tuple(
            FeedClient(path=feed_path(socket_path, n), snapshot=self._snapshot, audience=self._audience)
            for n in range(processes)
        )

    @property
    def is_answered(self) -> bool:
        """True while every DNS process is connected and answers everything told so far."""
        return all(c.connected and 0 < self._generation <= c.acknowledged for c in self._clients)

    @property
    def is_connected(self) -> bool:
        """True while every DNS process is connected and has had the whole set."""
        return all(c.connected for c in self._clients)

    async def in_force(self, generation: int) -> None:
        """Return when every DNS process answers this generation or a later one."""
        for client in self._clients:
            await client.in_force(generation)

    async def run(self) -> None:
        """Keep the DNS process fed until cancelled, from the moment that the whole cluster is known.

        What is missing in a set is denied: a DNS process that goes on answering from the agent before us must not be told
        an empty one.
        """
        await self._known.wait()
        async with asyncio.TaskGroup() as tasks:
            for client in self._clients:
                tasks.create_task(client.run(), name="dns-feed")

    def update(self, changes: Changes) -> None:
        """Take note; the DNS process hears of it at once, if it is there and an answer has changed."""
        delta = self._names.update(changes)
        askers = self._askers.update(changes.pods)
        if self._networks() != self._told:  # this node has other addresses now
            for client in self._clients:
                client.refresh()
        if self._generation and delta.is_empty and askers.is_empty:
            return  # most endpoints have no name: their coming and going wakes nobody
        self._generation += 1
        self._known.set()
        for client in self._clients:
            client.offer(self._generation, delta, askers)

    def _snapshot(self) -> tuple[int, NamesState]:
        return self._generation, self._names.state

    def _audience(self) -> Audience:
        self._told = self._networks()
        return Audience(self._askers.state, self._told)
