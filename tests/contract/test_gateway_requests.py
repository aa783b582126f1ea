"""What HAProxy does with requests is what the plan says: hosts, paths, conditions, shares, filters."""

from __future__ import annotations

from tests.contract.gateway_world import (
    backend,
    curl,
    engine,
    free_port,
    http_door,
    plan,
    pool,
    rule,
)  # fmt: skip

from netloom.model.gateways.plan import Host


async def test_first():
    port = free_port()
    async with backend("a") as a, engine() as made:
        applied = await made.apply(
            plan([http_door(port, Host("shop.example", (rule("/"),)))], pool("shop/web/80", a.port))
        )
        assert applied.is_reloaded
        got = await curl(f"http://127.0.0.1:{port}/x?y=1", "-H", "Host: shop.example")
        assert got.said["path"] == "/x?y=1"
