"""TLS of listeners: certificates that Secrets hold, and whom clients must prove to be.

Comes in: a listener and its references, Secrets, ConfigMaps, grants, the time. Goes out: a ``ListenerTls`` or why there is none. Not here: reading PEM
(``certificates.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from netloom.api.core import ConfigMap, Secret
from netloom.api.gateway import (
    FrontendTLSConfig,
    FrontendValidation,
    ListenerTLS,
    ObjectReference,
    SecretReference,
)
from netloom.model.gateways.certificates import Bad, KeyPair, read_authorities, read_key_pair
from netloom.model.gateways.grants import Grants, Referrer
from netloom.model.gateways.listeners import TERMINATE, ReadListener
from netloom.model.gateways.plan import Certificate, ClientCertificates, ListenerTls
from netloom.model.gateways.troubles import NOT_PERMITTED, UNSUPPORTED, Trouble
from netloom.units import ObjectKey

LEAST_VERSION = "netloom.io/least-tls-version"
"""Key of ``tls.options``."""
_VERSIONS = ("TLSv1.2", "TLSv1.3")
_BAD_CERTIFICATE = "InvalidCertificateRef"


class KeyPairs:
    """What Secrets hold; each is read once as long as it stays the same."""

    def __init__(self) -> None:
        self._read: dict[ObjectKey, tuple[str, Mapping[str, str], KeyPair | Bad]] = {}

    def of(self, secret: Secret) -> KeyPair | Bad:
        """The certificate and key of this Secret."""
        known = self._read.get(secret.key)
        if known is None or known[0] != secret.type or known[1] != secret.data:
            known = (secret.type, secret.data, read_key_pair(secret))
            self._read[secret.key] = known
        found = known[2]
        if isinstance(found, KeyPair):
            source = replace(
                found.certificate.source, uid=secret.metadata.uid, generation=secret.metadata.generation
            )
            return replace(found, certificate=replace(found.certificate, source=source))
        return found


class TlsReader:
    """Gives listeners their TLS, and remembers what it looked at."""

    def __init__(
        self,
        secrets: Mapping[ObjectKey, Secret],
        config_maps: Mapping[ObjectKey, ConfigMap],
        grants: Grants,
        pairs: KeyPairs,
        now: float,
    ) -> None:
        self._all_secrets = secrets
        self._all_config_maps = config_maps
        self._grants = grants
        self._pairs = pairs
        self._now = now
        self.secrets: set[ObjectKey] = set()
        """Every Secret that was asked for, there or not."""
        self.config_maps: set[ObjectKey] = set()
        self.boundary = float("inf")
        """When the next of the certificates begins or ends to be valid."""

    def equip(
        self, listener: ReadListener, given: ListenerTLS | None, frontend: FrontendTLSConfig | None
    ) -> ReadListener:
        """The listener with its TLS; without any certificate it goes down, alone."""
        if given is None or listener.mode != TERMINATE:
            return listener
        refused, unresolved = list(listener.refused), list(listener.unresolved)
        field = f"{listener.source.field}.tls"
        referrer = Referrer(listener.id.kind, listener.id.owner.namespace)
        certificates = []
        for index, ref in enumerate(given.certificate_refs):
            found = self._certificate(ref, referrer, f"{field}.certificateRefs[{index}]")
            if isinstance(found, Trouble):
                unresolved.append(found)
            else:
                certificates.append(found)
        if not given.certificate_refs:
            unresolved.append(Trouble(f"{field}.certificateRefs", _BAD_CERTIFICATE, "names no Secret"))
        least = given.options.get(LEAST_VERSION, _VERSIONS[0])
        if least not in _VERSIONS:
            problem = f'"{least}" is not {" or ".join(_VERSIONS)}'
            refused.append(Trouble(f"{field}.options[{LEAST_VERSION}]", UNSUPPORTED, problem))
        clients = None
        if listener.protocol == "HTTPS" and frontend is not None:
            clients = self._clients(listener, frontend, refused, unresolved)
        alpn = ("h2", "http/1.1") if listener.protocol == "HTTPS" else ()
        return replace(
            listener,
            refused=tuple(refused),
            unresolved=tuple(unresolved),
            tls=ListenerTls(tuple(certificates), clients, least, alpn) if certificates else None,
            is_down=not certificates,
        )

    def _certificate(self, ref: SecretReference, referrer: Referrer, field: str) -> Certificate | Trouble:
        if (ref.group, ref.kind) != ("", "Secret"):
            kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            return Trouble(field, _BAD_CERTIFICATE, f"{kind} is not supported; use a Secret")
        key = ObjectKey(ref.namespace or referrer.namespace, ref.name)
        self.secrets.add(key)
        if not self._grants.allows(referrer, "", "Secret", key.namespace, key.name):
            problem = f"no ReferenceGrant in {key.namespace} lets {referrer.kind}s of {referrer.namespace} refer to Secret {key.name}"
            return Trouble(field, NOT_PERMITTED, problem)
        secret = self._all_secrets.get(key)
        if secret is None:
            return Trouble(field, _BAD_CERTIFICATE, f"Secret {key} is not there")
        pair = self._pairs.of(secret)
        if isinstance(pair, Bad):
            return Trouble(field, _BAD_CERTIFICATE, f"Secret {key}: {pair.problem}")
        for limit in (pair.not_before, pair.certificate.not_after):
            if limit > self._now:
                self.boundary = min(self.boundary, limit)
        certificate = pair.at(self._now)
        if isinstance(certificate, Bad):
            return Trouble(field, _BAD_CERTIFICATE, f"Secret {key}: {certificate.problem}")
        return certificate

    def _clients(
        self,
        listener: ReadListener,
        frontend: FrontendTLSConfig,
        refused: list[Trouble],
        unresolved: list[Trouble],
    ) -> ClientCertificates | None:
        """Whom clients must prove to be at this port; where nobody can be believed, nobody is let in."""
        validation, field = validation_at(frontend, listener.port)
        if validation is None:
            return None
        namespace = listener.id.gateway.namespace
        found = []
        for index, ref in enumerate(validation.ca_certificate_refs):
            read = self._authorities(ref, namespace, f"{field}.caCertificateRefs[{index}]")
            if isinstance(read, Trouble):
                unresolved.append(read)
            else:
                found.append(read)
        if validation.mode not in ("AllowValidOnly", "AllowInsecureFallback"):
            problem = f'"{validation.mode}" is not AllowValidOnly or AllowInsecureFallback'
            refused.append(Trouble(f"{field}.mode", UNSUPPORTED, problem))
        if not found:
            problem = "none of them holds an authority that can be used"
            refused.append(Trouble(f"{field}.caCertificateRefs", "NoValidCACertificate", problem))
        return ClientCertificates("".join(found), validation.mode != "AllowInsecureFallback")

    def _authorities(self, ref: ObjectReference, namespace: str, field: str) -> str | Trouble:
        """References of the Gateway itself, also for the listeners of its ListenerSets."""
        if (ref.group, ref.kind) != ("", "ConfigMap"):
            kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            return Trouble(field, "InvalidCACertificateKind", f"{kind} is not supported; use a ConfigMap")
        key = ObjectKey(ref.namespace or namespace, ref.name)
        self.config_maps.add(key)
        if not self._grants.allows(Referrer("Gateway", namespace), "", "ConfigMap", key.namespace, key.name):
            problem = f"no ReferenceGrant in {key.namespace} lets Gateways of {namespace} refer to ConfigMap {key.name}"
            return Trouble(field, NOT_PERMITTED, problem)
        config_map = self._all_config_maps.get(key)
        read = Bad("is not there") if config_map is None else read_authorities(config_map)
        if isinstance(read, Bad):
            return Trouble(field, "InvalidCACertificateRef", f"ConfigMap {key} {read.problem}")
        return read


def validation_at(frontend: FrontendTLSConfig, port: int) -> tuple[FrontendValidation | None, str]:
    """What clients must show at this port, and where it is written."""
    for index, one in enumerate(frontend.per_port):
        if one.port == port:
            return one.tls.validation, f"spec.tls.frontend.perPort[{index}].tls.validation"
    return frontend.default.validation, "spec.tls.frontend.default.validation"
