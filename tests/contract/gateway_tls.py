"""Certificates and doors that end TLS, for tests of the engine."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.contract.gateway_world import GATEWAY, source

from netloom.model.gateways.plan import Certificate, Door, Host, Listener, ListenerTls, Transport

DAY = dt.timedelta(days=1)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
YEARS = NOW + 20 * 365 * DAY


class Authority:
    """Signs certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        made = self._builder(self.name, self.key).add_extension(
            x509.BasicConstraints(True, None), critical=True
        )
        self.pem = made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 900 * DAY)
            .not_valid_after(YEARS)
        )

    def certificate(self, secret: str, *names: str) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, secret)])
        made = self._builder(subject, key).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        chain = made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        return Certificate(source("Secret", secret), chain, pem, names, YEARS.timestamp())


def listener(name: str, hostname: str, tls: ListenerTls | None, *hosts: Host, **also: object) -> Listener:
    return Listener(name, source("Gateway", "edge", f"spec.listeners[{name}]"), hostname, tls, hosts, **also)  # type: ignore[arg-type]


def tls_door(port: int, *listeners: Listener) -> Door:
    return Door(GATEWAY, source("Gateway", "edge"), 443, Transport.TLS, listeners, port)
