"""What this agent writes on its own Node for the others to read: annotations.

Comes in: an annotation and its text, the Node as it changes. Goes out: patches, until the Node says it. Nothing else of the
Node is touched. Not here: what is to be said.
"""

from __future__ import annotations

import asyncio
import logging

from netloom.api.core import Node
from netloom.errors import NetloomError
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_RETRY_S = (0.1, 0.5, 2.0, 10.0)
"""Seconds to wait after the first, second ... failure in a row."""


class NodeNotes:
    """The annotations of one Node that its agent keeps.

    Args:
        client: of the API.
        node: name of the Node.
    """

    def __init__(self, *, client: KubeClient, node: str) -> None:
        self._client = client
        self._key = ObjectKey("", node)
        self._wanted: dict[str, str] = {}
        self._said: dict[str, str] | None = None
        self._news = asyncio.Event()

    def say(self, annotation: str, text: str) -> None:
        """From now on the Node has this annotation."""
        if self._wanted.get(annotation) != text:
            self._wanted[annotation] = text
            self._news.set()

    def node_changed(self, key: ObjectKey, node: Node | None) -> None:
        """Any Node is now this, or None: gone."""
        if key == self._key:
            self._said = None if node is None else node.metadata.annotations
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            missing = self._missing()
            if not missing:
                continue
            try:
                body = {"metadata": {"annotations": missing}}
                await self._client.patch(resources.NODES, self._key, body)
                failures = 0
            except NetloomError as error:
                wait = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
                failures += 1
                log.warning("Node %s: annotations not written, again in %.1f s: %s", self._key, wait, error)
                await asyncio.sleep(wait)
                self._news.set()

    def _missing(self) -> dict[str, str]:
        if self._said is None:
            return {}
        return {name: text for name, text in self._wanted.items() if self._said.get(name) != text}
