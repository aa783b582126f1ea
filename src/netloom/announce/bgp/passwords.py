"""Passwords of BGP sessions, followed in their Secrets. In: which are wanted. Out: their texts, and a call when one changes.

They are in memory and in BIRD's configuration, never in a log or a message. Not here: what a password may be (``config.py``).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterable

from netloom.api.bgp import SecretKey
from netloom.api.core import Secret
from netloom.kube.client import KubeClient
from netloom.kube.resources import SECRETS
from netloom.kube.watch import Reflector
from netloom.units import ObjectKey


class Passwords:
    """The Secrets that sessions name, each with a watch of its own: a node reads no other.

    Args:
        client: of the API.
        on_change: called when one of them is another now.
    """

    def __init__(self, client: KubeClient, on_change: Callable[[], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._followed: dict[ObjectKey, tuple[Reflector[Secret], asyncio.Task[None]]] = {}

    def follow(self, wanted: Iterable[SecretKey], tasks: asyncio.TaskGroup) -> None:
        """These, and no others."""
        keys = {ObjectKey(one.namespace, one.name) for one in wanted}
        for key in [key for key in self._followed if key not in keys]:
            self._followed.pop(key)[1].cancel()
        for key in sorted(keys - self._followed.keys()):
            reflector = Reflector(
                self._client,
                SECRETS,
                Secret,
                on_change=lambda _key, _secret: self._on_change(),
                namespace=key.namespace,
                field_selector=f"metadata.name={key.name}",
            )
            task = tasks.create_task(reflector.run(), name=f"secret {key}")
            self._followed[key] = reflector, task

    async def synced(self) -> None:
        """Return when each has been read once."""
        for reflector, _ in list(self._followed.values()):
            await reflector.synced.wait()

    def find(self, wanted: SecretKey) -> tuple[str, str]:
        """The password and nothing; or nothing, and why there is none."""
        key = ObjectKey(wanted.namespace, wanted.name)
        followed = self._followed.get(key)
        secret = None if followed is None else followed[0].items.get(key)
        if secret is None:
            return "", f"there is no Secret {key}"
        if wanted.key not in secret.data:
            return "", f"Secret {key} has no {wanted.key}"
        try:
            return base64.b64decode(secret.data[wanted.key]).decode().rstrip("\r\n"), ""
        except (binascii.Error, UnicodeDecodeError):
            return "", f"Secret {key}: {wanted.key} is no text"
