from __future__ import annotations

import asyncio

# As in tests/unit/kube: Python 3.11 would make a loop that nobody closes, and a ResourceWarning is an error here.
asyncio.set_event_loop(None)
