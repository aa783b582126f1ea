"""Tokens of service accounts: signed, read, and what they claim. No store here: whether what they name is still there is not said.

Comes in: a key, claims, texts. Goes out: JSON Web Tokens (RFC 7519) signed with ES256 (RFC 7518), and the claims of good ones; the
public key as a JSON Web Key Set (RFC 7517). The claims are those of Kubernetes docs, "Managing Service Accounts".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from netloom.errors import NetloomError

LEGACY_ISSUER = "kubernetes/serviceaccount"
"""Of tokens that stand in Secrets of type ``kubernetes.io/service-account-token``."""
_HALF = 32
"""Bytes of each number of a P-256 signature."""
_LEEWAY_S = 10.0
_LONGEST = 16 << 10
_KEPT = 2048


class BadToken(NetloomError):
    """A text that is no token of this cluster, or one whose time is over; says why, and never the token."""


class Ref(msgspec.Struct, frozen=True):
    """An object that a token names."""

    name: str = ""
    uid: str = ""


class Bound(msgspec.Struct, frozen=True, rename={"warn_after": "warnafter"}):
    """The private claim ``kubernetes.io``."""

    namespace: str = ""
    serviceaccount: Ref = Ref()
    pod: Ref | None = None
    secret: Ref | None = None
    node: Ref | None = None


class Claims(msgspec.Struct, frozen=True):
    """What a token says; times in seconds since 1970."""

    iss: str = ""
    sub: str = ""
    aud: tuple[str, ...] | str = ()
    exp: float | None = None
    nbf: float | None = None
    iat: float | None = None
    jti: str = ""
    kubernetes: Bound | None = msgspec.field(name="kubernetes.io", default=None)
    legacy_namespace: str = msgspec.field(name="kubernetes.io/serviceaccount/namespace", default="")
    legacy_name: str = msgspec.field(name="kubernetes.io/serviceaccount/service-account.name", default="")
    legacy_uid: str = msgspec.field(name="kubernetes.io/serviceaccount/service-account.uid", default="")
    legacy_secret: str = msgspec.field(name="kubernetes.io/serviceaccount/secret.name", default="")

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom it is."""
        return (self.aud,) if isinstance(self.aud, str) else self.aud


class Keys:
    """Signs and checks with one key.

    Args:
        key: an elliptic curve key on P-256.
        issuer: what tokens say in ``iss``.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, issuer: str) -> None:
        self._private = key
        self._public = key.public_key()
        self.issuer = issuer
        der = self._public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = _b64(hashlib.sha256(der).digest())
        self._good: dict[str, Claims] = {}

    @classmethod
    def load(cls, pem: bytes, issuer: str) -> Keys:
        """Keys from a private key in PEM.

        Raises:
            BadToken: it is no key on P-256.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except ValueError as error:
            raise BadToken(f"the key of the service accounts cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise BadToken("the key of the service accounts is no elliptic curve key on P-256")
        return cls(key, issuer)

    @classmethod
    def fresh(cls, issuer: str) -> Keys:
        """New keys, which nobody else has."""
        return cls(ec.generate_private_key(ec.SECP256R1()), issuer)

    def sign(self, claims: dict[str, Any]) -> str:
        """A token with these claims."""
        header = {"alg": "ES256", "kid": self.key_id}
        told = f"{_b64(msgspec.json.encode(header))}.{_b64(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._private.sign(told.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{told}.{_b64(r.to_bytes(_HALF) + s.to_bytes(_HALF))}"

    def read(self, token: str, now: float) -> Claims:
        """The claims of a token that this key has signed and whose time it is.

        Raises:
            BadToken: anything else.
        """
        claims = self._good.get(token)
        if claims is None:
            claims = self._checked(token)
            if len(self._good) >= _KEPT:
                self._good.clear()
            self._good[token] = claims
        if claims.exp is not None and now > claims.exp + _LEEWAY_S:
            raise BadToken("the token has expired")
        if claims.nbf is not None and now < claims.nbf - _LEEWAY_S:
            raise BadToken("the token is not valid yet")
        if claims.exp is None and claims.iss != LEGACY_ISSUER:
            raise BadToken("the token has no end")
        return claims

    def _checked(self, token: str) -> Claims:
        pieces = token.split(".") if len(token) <= _LONGEST else []
        if len(pieces) != 3:
            raise BadToken("it is no JSON Web Token")
        try:
            header = msgspec.json.decode(_unb64(pieces[0]))
            signature = _unb64(pieces[2])
            if not isinstance(header, dict) or header.get("alg") != "ES256" or len(signature) != 2 * _HALF:
                raise BadToken("it is not signed with ES256")
            r, s = int.from_bytes(signature[:_HALF]), int.from_bytes(signature[_HALF:])
            self._public.verify(
                encode_dss_signature(r, s), f"{pieces[0]}.{pieces[1]}".encode(), ec.ECDSA(hashes.SHA256())
            )
            claims = msgspec.json.decode(_unb64(pieces[1]), type=Claims)
        except (ValueError, InvalidSignature, binascii.Error, msgspec.MsgspecError) as error:
            raise BadToken("its signature is not that of this cluster's key") from error
        if claims.iss not in (self.issuer, LEGACY_ISSUER):
            raise BadToken("it is of another issuer")
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public key (RFC 7517, RFC 7518 section 6.2)."""
        numbers = self._public.public_numbers()
        return {
            "keys": [
                {
                    "use": "sig",
                    "kty": "EC",
                    "kid": self.key_id,
                    "crv": "P-256",
                    "alg": "ES256",
                    "x": _b64(numbers.x.to_bytes(_HALF)),
                    "y": _b64(numbers.y.to_bytes(_HALF)),
                }
            ]
        }

    def openid_configuration(self, jwks_uri: str) -> dict[str, Any]:
        """What OpenID Connect Discovery 1.0 asks of an issuer, as far as Kubernetes tells it."""
        return {
            "issuer": self.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
