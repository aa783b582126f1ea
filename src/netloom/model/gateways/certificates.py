"""Certificates of Secrets and authorities of ConfigMaps: read, and checked to be what they are used for.

Comes in: objects, the time. Goes out: a ``Certificate``, PEM of authorities, or in words what is wrong, naming the key of the object. Not here: which
listener shows it (``listener_tls.py``). Nothing here verifies a chain up to a root: clients do.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from netloom.api.core import ConfigMap, Secret
from netloom.model.gateways.plan import Certificate
from netloom.model.provenance import source_of

TLS_TYPE = "kubernetes.io/tls"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
CHAIN, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"


class Bad(msgspec.Struct, frozen=True, gc=False):
    """What is wrong, and until or from when: at that time it must be looked at anew."""

    problem: str
    until: float | None = None


class KeyPair(msgspec.Struct, frozen=True, gc=False):
    """A chain that belongs to its key, whatever the time is."""

    certificate: Certificate
    not_before: float
    since: str
    until: str
    """The same and ``not_after`` in words."""

    def at(self, now: float) -> Certificate | Bad:
        """The certificate, unless it is not valid at this time (seconds since the epoch)."""
        if now < self.not_before:
            return Bad(f"{CHAIN} is not valid before {self.since}", self.not_before)
        if now >= self.certificate.not_after:
            return Bad(f"{CHAIN} expired at {self.until}")
        return self.certificate


def read_key_pair(secret: Secret) -> KeyPair | Bad:
    """The certificate of a Secret of type kubernetes.io/tls."""
    if secret.type != TLS_TYPE:
        return Bad(f"type is {secret.type}, and {TLS_TYPE} is needed")
    chain, key = _value(secret.data, CHAIN), _value(secret.data, KEY)
    for found in (chain, key):
        if isinstance(found, Bad):
            return found
    return _checked(secret, bytes(chain), bytes(key))  # type: ignore[arg-type] # neither is Bad


def read_authorities(config_map: ConfigMap) -> str | Bad:
    """The PEM certificates under ``ca.crt``."""
    text = config_map.data.get(AUTHORITY, "")
    if not text:
        return Bad(f"has no {AUTHORITY}")
    return check_authorities(text)


def check_authorities(text: str) -> str | Bad:
    """PEM certificates, one or more; whatever else stands between them is left out."""
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        return Bad(f"{AUTHORITY} holds no PEM certificate that can be read")
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in found)


def _value(data: Mapping[str, str], key: str) -> bytes | Bad:
    text = data.get(key, "")
    if not text:
        return Bad(f"has no {key}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return Bad(f"{key} is not base64")


def _checked(secret: Secret, chain: bytes, key: bytes) -> KeyPair | Bad:
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        leaf = certificates[0]
        public = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return Bad(f"{CHAIN} holds no PEM certificate that can be read")
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return Bad(f"{KEY} is no PEM private key that can be read without a password")
    if _spki(private.public_key()) != _spki(public):
        return Bad(f"{KEY} is not the key of {CHAIN}")
    found = Certificate(
        source=source_of("Secret", secret.metadata),
        chain="".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates),
        key=private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        names=_names(leaf),
        not_after=leaf.not_valid_after_utc.timestamp(),
    )
    since, until = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    return KeyPair(found, since.timestamp(), since.strftime(_TIME), until.strftime(_TIME))


def _spki(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return] # every kind of public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """DNS names of the subject alternative names; the common name where there are none (old certificates)."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))
    except (x509.ExtensionNotFound, ValueError):
        common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return tuple(str(one.value).lower() for one in common)
