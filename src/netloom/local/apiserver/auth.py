"""Who asks, and whether they may: client certificates on TCP, file permissions on the unix socket.

Comes in: a connection. Goes out: an Identity, or 401 or 403. No roles here: administrators and nodes may do everything,
nobody else anything but ask for health and version. Source: Kubernetes docs, "X509 client certificates".
"""

from __future__ import annotations

import asyncio
import socket

import msgspec

from netloom.local.apiserver.status import ApiError, unauthorized

PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version")
_TRUSTED_GROUPS = frozenset({"system:masters", "system:nodes"})


class Identity(msgspec.Struct, frozen=True):
    """A user and their groups (CN and O of the certificate)."""

    user: str
    groups: tuple[str, ...] = ()

    @property
    def is_trusted(self) -> bool:
        """May do everything."""
        return not _TRUSTED_GROUPS.isdisjoint(self.groups)


_LOCAL = Identity("system:admin", ("system:masters", "system:authenticated"))


def identify(transport: asyncio.BaseTransport | None) -> Identity | None:
    """Who is at the other end, or None. The TLS layer has checked the certificate against the CA."""
    if transport is None:
        return None
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return _LOCAL
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return None
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    user = next((value for field, value in names if field == "commonName"), "")
    groups = tuple(value for field, value in names if field == "organizationName")
    return Identity(user, (*groups, "system:authenticated")) if user else None


def admit(identity: Identity | None, path: str) -> None:
    """Let the request through.

    Raises:
        ApiError: 401 without a certificate, 403 with one of another group; health and version are for all.
    """
    if path in PUBLIC_PATHS or path.startswith(("/livez/", "/readyz/", "/healthz/")):
        return
    if identity is None:
        raise unauthorized()
    if not identity.is_trusted:
        raise ApiError(
            403,
            "Forbidden",
            f'forbidden: User "{identity.user}" cannot use path "{path}": its certificate is of none of the groups '
            + ", ".join(sorted(_TRUSTED_GROUPS)),
        )
