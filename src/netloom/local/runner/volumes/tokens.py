"""Tokens of service accounts for pods (authentication.k8s.io/v1 TokenRequest). In: a pod, what it asks for. Out: tokens, renewed in time.

A token is bound to its pod, and is asked for anew when four fifths of its life are over, or a day. It is kept in memory and in
the pod's volume, and nowhere else; never logged.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from netloom.clock import Clock
from netloom.errors import NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.resources import SERVICE_ACCOUNTS
from netloom.local.runner.spec import Pod
from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.spec import TokenSource

_LIFE_LEFT = 0.2
"""A token of which less than this part is left is asked for anew."""
_LONGEST_S = 86400.0


class _Token(msgspec.Struct, frozen=True):
    text: str
    renew: float
    """Seconds since the epoch."""


class Tokens:
    """The tokens of one pod.

    Args:
        client: the API.
        clock: the time.
    """

    def __init__(self, *, client: KubeClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._held: dict[TokenSource, _Token] = {}

    @property
    def renew_s(self) -> float | None:
        """Seconds until a token has to be asked for anew; None where there is none."""
        if not self._held:
            return None
        return max(0.0, min(token.renew for token in self._held.values()) - self._clock.wall())

    async def get(self, pod: Pod, source: TokenSource) -> str:
        """A token with most of its life before it.

        Raises:
            MountFailed: the API does not give one.
        """
        held, now = self._held.get(source), self._clock.wall()
        if held is not None and now < held.renew:
            return held.text
        try:
            answer = await self._client.create(SERVICE_ACCOUNTS, _request(pod, source), subresource="token")
        except NetloomError as error:
            raise MountFailed(f"failed to fetch token: {error.problem}") from error
        status = answer.get("status") or {}
        ends = dt.datetime.fromisoformat(str(status["expirationTimestamp"])).timestamp()
        life_s = min(ends - now, _LONGEST_S)
        token = self._held[source] = _Token(str(status["token"]), now + life_s * (1 - _LIFE_LEFT))
        return token.text


def _request(pod: Pod, source: TokenSource) -> dict[str, Any]:
    meta = pod.metadata
    bound = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": pod.uid}
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {"name": pod.spec.service_account_name or "default", "namespace": meta.namespace},
        "spec": {
            "audiences": [source.audience] if source.audience else [],
            "expirationSeconds": source.expiration_seconds,
            "boundObjectRef": bound,
        },
    }
