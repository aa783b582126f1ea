"""Who asks: client certificates and bearer tokens over TLS, unix sockets by who may open them.

Comes in: a request. Goes out: an Identity, or 401 where a credential is shown that is not good. Who shows nothing is
``system:anonymous``. Not here: whom they act for (acting.py). Source: Kubernetes docs, "Authenticating"; RFC 6750, section 2.1.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from netloom.clock import Clock
from netloom.local.apiserver.access.accounts import Accounts
from netloom.local.apiserver.access.identity import (
    CREDENTIAL_ID,
    NOBODY,
    Identity,
    authenticated,
)
from netloom.local.apiserver.access.tokens import BadToken, Keys
from netloom.local.apiserver.status import unauthorized
from netloom.local.apiserver.store import Store

LOCAL = Identity("system:admin", ("system:masters", "system:authenticated"))
"""Who opens a unix socket that is nobody else's: only its owner can."""
_KEPT = 1024


class Authenticator:
    """Tells who a request is from.

    Args:
        store: where service accounts are.
        keys: signs and checks their tokens.
        clock: the time.
        audiences: for whom a token must be, to be good here.
        sockets: who it is that opens each unix socket, by its path; those that are not named are the administrator's.
    """

    def __init__(
        self,
        *,
        store: Store,
        keys: Keys,
        clock: Clock,
        audiences: Sequence[str],
        sockets: Mapping[str, Identity],
    ) -> None:
        self._accounts = Accounts(store=store, keys=keys, clock=clock)
        self._audiences = frozenset(audiences)
        self._sockets = dict(sockets)
        self._certificates: dict[Any, Identity] = {}

    def identify(self, request: web.Request) -> Identity:
        """Who asks.

        Raises:
            ApiError: 401, a token that is not good.
        """
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        certificate = transport.get_extra_info("peercert")
        if certificate:
            found = self._by_certificate(certificate, transport.get_extra_info("ssl_object"))
            if found is not None:
                return found
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return self.by_token(token.strip())
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            return self._sockets.get(sock.getsockname(), LOCAL)
        if header:
            raise unauthorized()
        return NOBODY

    def by_token(self, token: str) -> Identity:
        """Whose token it is.

        Raises:
            ApiError: 401.
        """
        try:
            return self._accounts.identity(token, self._audiences)[0]
        except BadToken as error:
            raise unauthorized() from error

    def review(self, token: str, audiences: Sequence[str]) -> tuple[Identity, tuple[str, ...]]:
        """Whose token it is, and for which of the audiences; none: for this server.

        Raises:
            BadToken: it is nobody's, or for somebody else.
        """
        return self._accounts.identity(token, frozenset(audiences) or self._audiences)

    def _by_certificate(self, certificate: Mapping[str, Any], tls: ssl.SSLObject | None) -> Identity | None:
        # the TLS layer has checked the certificate against the CA
        key = (certificate.get("serialNumber"), certificate.get("subject"))
        found = self._certificates.get(key)
        if found is None:
            found = _named_by(certificate, tls)
            if found is None:
                return None
            if len(self._certificates) >= _KEPT:
                self._certificates.clear()
            self._certificates[key] = found
        return found


def _named_by(certificate: Mapping[str, Any], tls: ssl.SSLObject | None) -> Identity | None:
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    user = next((value for field, value in names if field == "commonName"), "")
    if not user:
        return None
    groups = [value for field, value in names if field == "organizationName"]
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    extra = ((CREDENTIAL_ID, (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)),) if der else ()
    return authenticated(user, groups, extra=extra)
