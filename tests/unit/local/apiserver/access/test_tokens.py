"""Tokens: what one key signs it reads; anything else is refused. An independent library agrees on the signature."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.apiserver.access.tokens import BadToken, Keys

ISSUER = "https://issuer.example.org"
NOW = 1_700_000_000.0
CLAIMS = {
    "iss": ISSUER,
    "sub": "system:serviceaccount:shop:web",
    "aud": ["api"],
    "exp": NOW + 600,
    "nbf": NOW,
    "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web", "uid": "1"}},
}
KEYS = Keys.fresh(ISSUER)


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_what_is_signed_is_read() -> None:
    claims = KEYS.read(KEYS.sign(CLAIMS), NOW + 1)
    assert claims.kubernetes is not None
    assert (claims.audiences, claims.kubernetes.serviceaccount.name) == (("api",), "web")


def test_the_published_key_checks_the_signature() -> None:
    (key,) = KEYS.jwks()["keys"]
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(unpadded(key["x"])), int.from_bytes(unpadded(key["y"])), ec.SECP256R1()
    )
    head, body, signature = KEYS.sign(CLAIMS).split(".")
    raw = unpadded(signature)
    encoded = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    numbers.public_key().verify(encoded, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    assert json.loads(unpadded(head)) == {"alg": "ES256", "kid": key["kid"]}


@pytest.mark.parametrize(
    ("changes", "now", "why"),
    [
        ({}, NOW + 700, "expired"),
        ({}, NOW - 60, "not valid yet"),
        ({"exp": None}, NOW, "no end"),
        ({"iss": "https://other.example.org"}, NOW, "another issuer"),
    ],
)
def test_tokens_that_are_not_good(changes, now, why) -> None:
    claims = {k: v for k, v in (CLAIMS | changes).items() if v is not None}
    with pytest.raises(BadToken, match=why):
        KEYS.read(KEYS.sign(claims), now)


def test_another_clusters_token_is_refused() -> None:
    with pytest.raises(BadToken, match="signature"):
        KEYS.read(Keys.fresh(ISSUER).sign(CLAIMS), NOW)


def test_no_signature_is_no_way_in() -> None:
    body = KEYS.sign(CLAIMS).split(".")[1]
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for token in (f"{none}.{body}.", f"{none}.{body}.AAAA"):
        with pytest.raises(BadToken):
            KEYS.read(token, NOW)


@given(st.data())
def test_a_token_with_one_other_letter_is_refused(data) -> None:
    token = KEYS.sign(CLAIMS)
    # the last letter of a signature holds four bits that nobody reads
    at = data.draw(st.integers(0, len(token) - 2))
    letter = data.draw(st.sampled_from("ABCdef012-_"))
    changed = token[:at] + letter + token[at + 1 :]
    if changed != token and "." not in token[at]:
        with pytest.raises(BadToken):
            KEYS.read(changed, NOW)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin1")))
def test_any_text_is_refused_and_nothing_else_happens(text) -> None:
    with pytest.raises(BadToken):
        KEYS.read(text, NOW)
    with pytest.raises(BadToken):
        KEYS.read(f"{text}.{text}.{text}", NOW)


def test_a_key_that_is_none_is_named() -> None:
    with pytest.raises(BadToken, match="cannot be read"):
        Keys.load(b"no key", ISSUER)
