"""What the DNS process is told by an agent that has just started."""

from __future__ import annotations

import asyncio

from netloom.agent.names import NamesFeed
from netloom.dns.counters import Counters
from netloom.dns.feed import FeedServer
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.wire import encode_name
from netloom.dns.zone import Zone
from netloom.model.inputs import Changes
from netloom.model.names.records import NameSettings
from netloom.testing.builders import service


class NotedZone(Zone):
    """Notes the whole sets that arrive."""

    def __init__(self, counters: Counters) -> None:
        super().__init__(prepared=PreparedAnswers(counters=counters))
        self.sets: asyncio.Queue[tuple[int, frozenset[bytes]]] = asyncio.Queue()

    def replace(self, generation, zones, names) -> None:
        self.sets.put_nowait((generation, frozenset(names)))
        super().replace(generation, zones, names)


async def test_nothing_is_told_before_the_cluster_is_known(tmp_path):
    path = str(tmp_path / "dns.sock")
    counters = Counters()
    zone = NotedZone(counters)
    server = FeedServer(path=path, zone=zone, counters=counters)
    server.open()
    await server.start()
    feed = NamesFeed(settings=NameSettings(), socket_path=path)
    task = asyncio.get_running_loop().create_task(feed.run())
    try:
        for _ in range(100):  # turns of the loop, far more than a connection over a unix socket takes
            await asyncio.sleep(0)
        assert not feed.is_connected
        web = service("default/web", "10.96.0.20")
        feed.update(Changes(services={web.key: web}))
        async with asyncio.timeout(10):
            generation, names = await zone.sets.get()
        assert generation == 1
        assert encode_name("web.default.svc.cluster.local.") in names
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()
