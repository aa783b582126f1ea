"""Ingresses as manifests have them, read for what is turned: rules, TLS, annotations of the retired controller.

Comes in: raw documents. Goes out: ``Old`` Ingresses, oldest first, and Services by key. Not here: what annotations mean.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netloom.model.gateways.migrate.annotations import PREFIX
from netloom.units import Cidr, ObjectKey

_CLASS = "kubernetes.io/ingress.class"


class OldBackend(msgspec.Struct, frozen=True):
    """A Service's port, by number or by name."""

    service: ObjectKey
    port: int | str

    def __str__(self) -> str:
        return f"{self.service}:{self.port}"


class OldPath(msgspec.Struct, frozen=True):
    """A path of a host. Empty host: any."""

    host: str
    path: str
    kind: str
    backend: OldBackend | None
    field: str


class OldTls(msgspec.Struct, frozen=True):
    """Hosts and their Secret."""

    hosts: tuple[str, ...]
    secret: str


class Old(msgspec.Struct, frozen=True):
    """An Ingress."""

    key: ObjectKey
    created: str
    place: int
    said: Mapping[str, str]
    """Annotations of the retired controller, without their prefix."""
    paths: tuple[OldPath, ...] = ()
    tls: tuple[OldTls, ...] = ()
    default: OldBackend | None = None
    class_name: str = ""

    @property
    def age(self) -> tuple[str, ObjectKey]:
        """The oldest first; of those without a time in the order of names."""
        return self.created or "~", self.key

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts of its rules, once each, as written."""
        return tuple(dict.fromkeys(path.host for path in self.paths))

    def is_on(self, name: str, *, otherwise: bool = False) -> bool:
        """Whether an annotation says true."""
        return self.said.get(name, str(otherwise)).strip().lower() in ("true", "1", "t")

    def number(self, name: str, usual: int = 0) -> int:
        """What an annotation says as a whole number; ``usual`` where it says none."""
        text = self.said.get(name, "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else usual

    def networks(self) -> tuple[Cidr, ...]:
        """Ranges of clients that are let in; what is no range is left out."""
        text = self.said.get("whitelist-source-range") or self.said.get("allowlist-source-range") or ""
        found = []
        for part in (part.strip() for part in text.split(",")):
            try:
                found.append(ipaddress.ip_network(part, strict=False))
            except ValueError:
                continue
        return tuple(found)

    def has_tls(self, host: str) -> bool:
        """Whether the Ingress has a certificate for a host."""
        return any(host in tls.hosts or not tls.hosts for tls in self.tls)


def read_old(documents: Iterable[Mapping[str, Any]]) -> tuple[Old, ...]:
    """The Ingresses among documents, the oldest first."""
    found = [
        _ingress(document, place)
        for place, document in enumerate(documents)
        if document.get("kind") == "Ingress" and document.get("apiVersion") == "networking.k8s.io/v1"
    ]
    return tuple(sorted(found, key=lambda one: one.age))


def port_numbers(documents: Iterable[Mapping[str, Any]]) -> Mapping[tuple[ObjectKey, str], int]:
    """Numbers of named ports of the Services among documents."""
    found: dict[tuple[ObjectKey, str], int] = {}
    for document in documents:
        if document.get("kind") == "Service":
            meta = document.get("metadata") or {}
            key = ObjectKey(meta.get("namespace") or "default", str(meta.get("name")))
            for port in (document.get("spec") or {}).get("ports") or ():
                found[key, str(port.get("name") or "")] = int(port.get("port") or 0)
    return found


def _ingress(document: Mapping[str, Any], place: int) -> Old:
    meta, spec = document.get("metadata") or {}, document.get("spec") or {}
    namespace = meta.get("namespace") or "default"
    annotations = meta.get("annotations") or {}
    paths = []
    for number, rule in enumerate(spec.get("rules") or ()):
        for index, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            paths.append(
                OldPath(
                    str(rule.get("host") or "").lower(),
                    str(path.get("path") or "/"),
                    str(path.get("pathType") or "ImplementationSpecific"),
                    _backend(path.get("backend"), namespace),
                    f"spec.rules[{number}].http.paths[{index}]",
                )
            )
    return Old(
        ObjectKey(namespace, str(meta.get("name"))),
        str(meta.get("creationTimestamp") or ""),
        place,
        {k.removeprefix(PREFIX): str(v) for k, v in annotations.items() if k.startswith(PREFIX)},
        tuple(paths),
        tuple(
            OldTls(tuple(str(h).lower() for h in tls.get("hosts") or ()), str(tls.get("secretName") or ""))
            for tls in spec.get("tls") or ()
        ),
        _backend(spec.get("defaultBackend"), namespace),
        str(spec.get("ingressClassName") or annotations.get(_CLASS) or ""),
    )


def _backend(backend: Mapping[str, Any] | None, namespace: str) -> OldBackend | None:
    service = (backend or {}).get("service")
    if not service:
        return None
    port = service.get("port") or {}
    return OldBackend(
        ObjectKey(namespace, str(service.get("name"))), port.get("number") or str(port.get("name") or "")
    )
