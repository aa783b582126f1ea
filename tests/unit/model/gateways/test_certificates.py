from __future__ import annotations

import pytest

from netloom.api.core import Secret
from netloom.model.gateways.certificates import (
    Bad,
    KeyPair,
    check_authorities,
    read_authorities,
    read_key_pair,
)
from netloom.testing import gateway_objects as g
from netloom.testing.gateway_certificates import SINCE, UNTIL, WITHIN, key_pair, secret_for, tls_secret

CHAIN, KEY = key_pair("shop.example.org", "*.Shop.example.org")
OTHER_CHAIN, OTHER_KEY = key_pair("other.example.org")


def read(secret: Secret) -> KeyPair | Bad:
    return read_key_pair(secret)


def test_a_certificate_of_a_secret_has_its_names_and_its_end():
    pair = read(tls_secret("shop/a", CHAIN, KEY))
    assert isinstance(pair, KeyPair)
    assert pair.certificate.names == ("shop.example.org", "*.shop.example.org")
    assert pair.certificate.not_after == UNTIL
    assert str(pair.certificate.source) == "Secret shop/a"
    assert pair.at(WITHIN) is pair.certificate


def test_a_chain_is_kept_whole():
    pair = read(tls_secret("shop/a", CHAIN + "some words\n" + OTHER_CHAIN, KEY))
    assert isinstance(pair, KeyPair)
    assert pair.certificate.chain.count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (tls_secret("shop/a", CHAIN, OTHER_KEY), "tls.key is not the key of tls.crt"),
        (tls_secret("shop/a", OTHER_CHAIN + CHAIN, KEY), "tls.key is not the key of tls.crt"),
        (tls_secret("shop/a", "no PEM", KEY), "tls.crt holds no PEM certificate"),
        (tls_secret("shop/a", CHAIN.replace("M", "!", 9), KEY), "tls.crt holds no PEM certificate"),
        (tls_secret("shop/a", CHAIN, "no PEM"), "tls.key is no PEM private key"),
        (tls_secret("shop/a", CHAIN, ""), "has no tls.key"),
        (tls_secret("shop/a", CHAIN, KEY, type_="Opaque"), "type is Opaque"),
        (g.of(Secret, {"metadata": g.meta("shop/a"), "type": "kubernetes.io/tls"}), "has no tls.crt"),
        (
            g.of(
                Secret,
                {
                    "metadata": g.meta("shop/a"),
                    "type": "kubernetes.io/tls",
                    "data": {"tls.crt": "%", "tls.key": "%"},
                },
            ),
            "tls.crt is not base64",
        ),
    ],
)
def test_a_secret_that_cannot_be_used_says_why(secret, problem):
    found = read(secret)
    assert isinstance(found, Bad)
    assert problem in found.problem


def test_a_certificate_is_used_from_its_beginning_to_its_end():
    pair = read(secret_for("shop/a", "shop.example.org"))
    assert isinstance(pair, KeyPair)
    assert isinstance(pair.at(SINCE), type(pair.certificate))
    early, late = pair.at(SINCE - 1), pair.at(UNTIL)
    assert isinstance(early, Bad)
    assert early.until == SINCE
    assert "not valid before 2025-10-09" in early.problem
    assert isinstance(late, Bad)
    assert "expired at 2030-03-17" in late.problem


def test_authorities_are_certificates_and_nothing_else():
    assert read_authorities(g.config_map("shop/ca", ca_crt="# ours\n" + CHAIN)) == CHAIN
    assert isinstance(read_authorities(g.config_map("shop/ca")), Bad)
    assert isinstance(check_authorities(KEY), Bad)
