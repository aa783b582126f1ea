"""TLS towards an API server, from PEM in memory. In: a ClientConfig; out: an SSL context. Not here: requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator
from typing import BinaryIO

from netloom.errors import UsageError
from netloom.kube.kubeconfig import ClientConfig

_BUFFER = 64 << 10
"""Bytes that a TLS connection reads at once, four records. asyncio takes 256 KiB and writes to all of it, for each of a node's 30 watches, at both ends."""


def spare_memory() -> None:
    """Let TLS connections of this process that are made from now on have small buffers."""
    sslproto.SSLProtocol.max_size = _BUFFER  # a class variable that asyncio reads for each connection


class _Resuming(ssl.SSLContext):
    """Takes up the session of its last connection (RFC 8446, 2.2): who is at both ends is proved once, not for each of 30 watches.

    asyncio has no argument for that. A server that has begun anew does not know the session, and the proof is given again.
    """

    _last: ssl.SSLObject | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """A connection's TLS; with the session of the one before, as far as that got one."""
        self._last = super().wrap_bio(
            incoming,
            outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
            session=session or self._former(),
        )
        return self._last

    def _former(self) -> ssl.SSLSession | None:
        try:
            known = None if self._last is None else self._last.session
        except ValueError:  # OpenSSL's word for one that has not got so far
            return None
        return known if known is not None and known.has_ticket else None


class OneFirst:
    """Lets a client's first request go alone: the connections of those that wait for it then take up its session."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._has_met = False

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A request, from its connection to its answer."""
        if self._has_met:
            yield
            return
        async with self._lock:
            yield
            self._has_met = True


def client_context(config: ClientConfig) -> ssl.SSLContext | bool:
    """Verifies the server against the config's CA and shows its client certificate; False for plain http.

    Raises:
        UsageError: a certificate or key is no PEM, or they do not belong together.
    """
    if not config.server.startswith("https://"):
        return False
    spare_memory()
    try:
        context = _Resuming(ssl.PROTOCOL_TLS_CLIENT)
        if config.ca_data:
            context.load_verify_locations(cadata=config.ca_data.decode("ascii"))
        else:
            context.load_default_certs()
        if config.client_cert:
            # OpenSSL reads key pairs from files only; these live in memory and end with the block.
            with _memory_file(config.client_cert) as cert, _memory_file(config.client_key) as key:
                context.load_cert_chain(f"/proc/self/fd/{cert.fileno()}", f"/proc/self/fd/{key.fileno()}")
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(
            f"credentials for {config.server}: {error}",
            "give PEM certificates and the key that belongs to them",
        ) from error
    return context


def _memory_file(content: bytes) -> BinaryIO:
    file = os.fdopen(os.memfd_create("netloom-pem", os.MFD_CLOEXEC), "w+b")
    file.write(content)
    file.flush()
    return file
