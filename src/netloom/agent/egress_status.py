"""What EgressGateways say of themselves: which node has each address, and for how many pods. In: the model's word. Out: their status.

One node writes the status of a gateway, as the model says; what is right already is not written. Not here: who has an address.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.api.egress import EgressAddress, EgressGateway
from netloom.errors import NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.resources import EGRESS_GATEWAYS
from netloom.model.inputs import NodeFacts
from netloom.model.state import Delta, NetworkState
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_REST_S = 0.1
"""From one write to the next: pods come and go in numbers."""
_RETRY_S = 1.0


class EgressStatus:
    """Writes for one node; told by the engine of what is in force, and by the watch of what the objects say.

    Args:
        client: of the API.
        gateways: the EgressGateways, as the API server has them.
    """

    def __init__(self, *, client: KubeClient, gateways: Mapping[ObjectKey, EgressGateway]) -> None:
        self._client = client
        self._gateways = gateways
        self._wanted: dict[ObjectKey, tuple[EgressAddress, ...]] = {}
        self._news = asyncio.Event()

    def start(self, state: NetworkState, _facts: NodeFacts) -> None:
        """All that is in force."""
        self._wanted = dict(state.egress.statuses)
        self._news.set()

    def apply(self, delta: Delta) -> None:
        """A change that is in force."""
        for key, addresses in delta.egress.statuses.items():
            if addresses is None:
                self._wanted.pop(key, None)
            else:
                self._wanted[key] = addresses
            self._news.set()

    def gateway_changed(self, key: ObjectKey, _gateway: Any) -> None:  # noqa: ANN401 - a struct of the kind, or None
        """The object is another now: perhaps its status is not what it should be."""
        if key in self._wanted:
            self._news.set()

    async def run(self) -> None:
        """Until cancelled. What could not be written is tried again."""
        while True:
            await self._news.wait()
            self._news.clear()
            rest = _REST_S
            for key, addresses in list(self._wanted.items()):
                try:
                    await self._write(key, addresses)
                except NetloomError as error:
                    log.warning(
                        "EgressGateway %s: status not written, again in %.0f s: %s", key, _RETRY_S, error
                    )
                    self._news.set()
                    rest = _RETRY_S
            await asyncio.sleep(rest)

    async def _write(self, key: ObjectKey, addresses: tuple[EgressAddress, ...]) -> None:
        known = self._gateways.get(key)
        if known is not None and known.status.addresses != addresses:
            body = {"status": {"addresses": msgspec.to_builtins(addresses)}}
            await self._client.patch(EGRESS_GATEWAYS, key, body, subresource="status")
