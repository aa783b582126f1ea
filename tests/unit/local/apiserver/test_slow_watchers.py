"""A client that does not keep up is let go before it costs memory."""

from __future__ import annotations

import pytest
from tests.unit.local.apiserver.conftest import config_map

from netloom.local.apiserver import kinds, watches
from netloom.local.apiserver.store import Store
from netloom.local.apiserver.watches import Hub, Interest


def test_bytes_that_wait_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "QUEUE_BYTES", 2000)
    hub = Hub(store)
    slow = hub.subscribe(Interest(kinds.CONFIG_MAPS), store.revision)
    fast = hub.subscribe(Interest(kinds.CONFIG_MAPS), store.revision)
    seen = 0
    for number in range(30):
        document = config_map(f"a{number}") | {"data": {"text": "x" * 200}}
        document["metadata"]["namespace"] = "shop"
        store.put(kinds.CONFIG_MAPS, document)
        seen += len(fast.take())
    assert (fast.lagged, seen) == (False, 30)
    assert slow.lagged
    assert slow.ended
    assert 0 < len(slow.take()) < 30
