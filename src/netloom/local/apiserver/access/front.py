"""The door of the API server: every request is from somebody, and somebody may or may not.

Comes in: requests, before anything of them is read but path and headers. Goes out: who asks, or 401 or 403; answers to reviews, to
requests for tokens, and to who wants to know how tokens are checked. Wiring of this package; not here: HTTP beyond headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from netloom.clock import Clock
from netloom.local.apiserver.access import attributes
from netloom.local.apiserver.access.acting import impersonated
from netloom.local.apiserver.access.authenticate import Authenticator
from netloom.local.apiserver.access.authorizer import Authorizer
from netloom.local.apiserver.access.identity import Identity
from netloom.local.apiserver.access.reviews import Reviews
from netloom.local.apiserver.access.token_requests import TokenRequests
from netloom.local.apiserver.access.tokens import Keys
from netloom.local.apiserver.store import Store

ISSUER = "https://kubernetes.default.svc.cluster.local"
JWKS_PATH = "/openid/v1/jwks"
CONFIGURATION_PATH = "/.well-known/openid-configuration"


class Trust(msgspec.Struct, frozen=True):
    """What a server is told about whom it knows.

    Attributes:
        keys: sign and check the tokens of service accounts.
        ca: PEM of the authority of the server's certificate, which every namespace is given.
        sockets: who it is that opens a unix socket, by its path.
        audiences: for whom tokens are that may be used here; the first is the default of new ones. Empty: the issuer.
    """

    keys: Keys
    ca: str = ""
    sockets: Mapping[str, Identity] = {}
    audiences: tuple[str, ...] = ()


def alone() -> Trust:
    """For a server of its own, with keys that nobody else has."""
    return Trust(Keys.fresh(ISSUER))


class Front:
    """Who asks, and may they."""

    def __init__(self, *, store: Store, clock: Clock, trust: Trust) -> None:
        audiences: Sequence[str] = trust.audiences or (trust.keys.issuer,)
        self._keys = trust.keys
        self.authorizer = Authorizer(store)
        self._authenticator = Authenticator(
            store=store, keys=trust.keys, clock=clock, audiences=audiences, sockets=trust.sockets
        )
        self.reviews = Reviews(self._authenticator, self.authorizer)
        self.tokens = TokenRequests(store=store, keys=trust.keys, clock=clock, audiences=audiences)

    def admit(self, request: web.Request, path: str, parts: Sequence[str]) -> Identity:
        """Whom the request is to be answered as.

        Raises:
            ApiError: 400, 401, 403.
        """
        identity = self._authenticator.identify(request)
        identity = impersonated(request.headers, identity, self.authorizer.require)
        self.authorizer.require(identity, attributes.of_request(request.method, path, parts, request.query))
        return identity

    def published(self, path: str) -> dict[str, Any] | None:
        """What whoever checks tokens by themselves reads (OpenID Connect Discovery 1.0), or None for another path."""
        match path:
            case "/openid/v1/jwks":
                return self._keys.jwks()
            case "/.well-known/openid-configuration":
                return self._keys.openid_configuration(f"{self._keys.issuer}{JWKS_PATH}")
            case _:
                return None
