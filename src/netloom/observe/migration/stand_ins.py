"""What a proof needs and manifests rarely have: certificates, passwords, and backends that say who they are.

Comes in: names. Goes out: Secrets; servers on loopback that answer with what they were asked. Not here: what is proven (``proof.py``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Iterable, Mapping

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from netloom.api.core import Secret
from netloom.units import ObjectKey

_DAY = dt.timedelta(days=1)
_NOBODY = "nobody:$6$0123456789abcdef$" + "x" * 86
HERE = "127.0.0.1"


def secrets_for(
    certificates: Iterable[ObjectKey], passwords: Iterable[ObjectKey], now: float
) -> Mapping[ObjectKey, Secret]:
    """A Secret for each name: with a certificate that nobody trusts, with a password that nobody has."""
    data = _certificate(now)
    found = {key: _secret(key, "kubernetes.io/tls", data) for key in certificates}
    return {**found, **{key: _secret(key, "Opaque", {"auth": _NOBODY.encode()}) for key in passwords}}


def _secret(key: ObjectKey, type_: str, data: Mapping[str, bytes]) -> Secret:
    meta = {"namespace": key.namespace, "name": key.name}
    encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
    return msgspec.convert({"metadata": meta, "type": type_, "data": encoded}, Secret)


def _certificate(now: float) -> Mapping[str, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in.invalid")])
    at = dt.datetime.fromtimestamp(now, dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _DAY)
        .not_valid_after(at + _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("stand-in.invalid")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"tls.crt": made.public_bytes(pem), "tls.key": private}


class Seen(msgspec.Struct, frozen=True):
    """What a backend was asked."""

    backend: str
    path: str
    headers: Mapping[str, str]


@contextlib.asynccontextmanager
async def backends(names: Iterable[str]) -> AsyncIterator[Mapping[str, int]]:
    """A server for each name, by its port on loopback; they answer 200 and say who they are and what they were asked."""
    servers = {}
    try:
        for name in names:
            servers[name] = await asyncio.start_server(_Backend(name).serve, HERE, 0)
        yield {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.close()


class _Backend:
    """One backend: one request a connection."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a request with what it was."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (one.partition(":") for one in lines)
            }
            target = first.split(" ")[1]
            body = json.dumps({"backend": self._name, "path": target, "headers": headers}).encode()
            said = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(said.encode() + (b"" if first.startswith("HEAD ") else body))
            await writer.drain()
        writer.close()
