"""Certificates for tests of gateways: made once per name and validity, small keys.

In: names, times. Out: PEM, and Secrets of type kubernetes.io/tls. Not here: authorities that sign others (``local/certs.py``).
"""

from __future__ import annotations

import base64
import datetime as dt
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from netloom.api.core import Secret
from netloom.testing.gateway_objects import meta, of

SINCE, UNTIL = 1_760_000_000.0, 1_900_000_000.0
"""Validity of certificates that say nothing else; seconds since the epoch."""
WITHIN = 1_800_000_000.0
"""A time between the two."""


@lru_cache(maxsize=128)
def key_pair(*names: str, since: float = SINCE, until: float = UNTIL) -> tuple[str, str]:
    """A certificate that is signed by itself, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(since, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(until, dt.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = built.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return chain, private.decode()


def tls_secret(name: str, chain: str, key: str, type_: str = "kubernetes.io/tls") -> Secret:
    """A Secret with these texts under ``tls.crt`` and ``tls.key``."""
    data = {"tls.crt": _encoded(chain), "tls.key": _encoded(key)}
    return of(Secret, {"metadata": meta(name), "type": type_, "data": data})


def secret_for(name: str, *hosts: str, since: float = SINCE, until: float = UNTIL) -> Secret:
    """A sound Secret for these hosts."""
    return tls_secret(name, *key_pair(*hosts, since=since, until=until))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
