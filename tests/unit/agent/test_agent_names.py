"""What the DNS process is told by an agent that has just started."""

from __future__ import annotations

import asyncio

from netloom.agent.names import NamesFeed
from netloom.dns.clients import Clients
from netloom.dns.counters import Counters
from netloom.dns.feed_server import FeedServer
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.wire import encode_name
from netloom.dns.zone import Zone
from netloom.model.inputs import Changes
from netloom.model.names.records import NameSettings
from netloom.testing.builders import pod, service


class NotedZone(Zone):
    """Notes the whole sets that arrive."""

    def __init__(self, prepared: PreparedAnswers) -> None:
        super().__init__(prepared=prepared)
        self.sets: asyncio.Queue[tuple[int, frozenset[bytes]]] = asyncio.Queue()

    def replace(self, generation, zones, names, changed=None) -> None:
        self.sets.put_nowait((generation, frozenset(names)))
        super().replace(generation, zones, names, changed)


async def test_nothing_is_told_before_the_cluster_is_known(tmp_path):
    path = str(tmp_path / "dns.sock")
    counters = Counters()
    prepared = PreparedAnswers(counters=counters)
    zone = NotedZone(prepared)
    clients = Clients(prepared=prepared)
    server = FeedServer(path=path, zone=zone, clients=clients, counters=counters)
    server.open()
    await server.start()
    networks = ["10.244.1.0/24"]
    feed = NamesFeed(
        settings=NameSettings(), socket_path=path, node="node-1", networks=lambda: tuple(networks)
    )
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
        elsewhere = pod("shop/db", "10.244.2.4", node="node-2")
        here = pod("shop/web", "10.244.1.3", node="node-1")
        feed.update(Changes(pods={here.key: here, elsewhere.key: elsewhere}))
        async with asyncio.timeout(10):
            await feed.in_force(2)
        assert clients.by_address[b"\x0a\xf4\1\3"].pod == "shop/web"
        assert clients.at(b"\x0a\xf4\2\4") is None
        networks.append("10.244.2.0/24")
        feed.update(Changes())
        async with asyncio.timeout(10):
            await zone.sets.get()
        assert clients.at(b"\x0a\xf4\2\4") is not None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()
