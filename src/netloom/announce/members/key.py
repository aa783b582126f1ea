"""The key by which speakers know each other. In: the API. Out: 32 bytes out of a Secret, which the first speaker makes. Not here: what it is used for."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
from typing import Any

from netloom.errors import AlreadyExists, NetloomError, NotFound, UsageError
from netloom.kube.client import KubeClient
from netloom.kube.resources import SECRETS
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

_FIELD = "key"
_BYTES = 32
_RETRY_S = (0.2, 1.0, 5.0)


def secret_key(text: str) -> ObjectKey:
    """The Secret's name as the configuration has it.

    Raises:
        UsageError: it is not ``namespace/name``.
    """
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise UsageError(
            f"speaker configuration: members_key: {text!r} names no Secret", "write kube-system/NAME"
        )
    return ObjectKey(namespace, name)


async def shared_key(client: KubeClient, secret: ObjectKey) -> bytes:
    """The key that all speakers of the cluster have; waits until the API gives it."""
    tries = 0
    while True:
        try:
            return await read_or_make(client, secret)
        except NetloomError as error:
            log.log(
                logging.WARNING if tries in (0, 5) else logging.DEBUG,
                "the members' key cannot be had yet: %s",
                error,
            )
        await asyncio.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
        tries += 1


async def read_or_make(client: KubeClient, secret: ObjectKey) -> bytes:
    """What the Secret has; two that make it at once get the same, for the API makes only one.

    Raises:
        NetloomError: the API does not give it; UsageError: it holds no key.
    """
    try:
        found = await client.get(SECRETS, secret)
    except NotFound:
        try:
            found = await client.create(SECRETS, _body(secret))
        except AlreadyExists:
            found = await client.get(SECRETS, secret)
    text = (found.get("data") or {}).get(_FIELD, "")
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _BYTES:
        problem = f"Secret {secret}: data.{_FIELD} is no key of {_BYTES} bytes"
        raise UsageError(problem, "delete the Secret: the first speaker makes it anew")
    return key


def _body(secret: ObjectKey) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": secret.namespace, "name": secret.name},
        "type": "Opaque",
        "data": {_FIELD: base64.b64encode(secrets.token_bytes(_BYTES)).decode()},
    }
