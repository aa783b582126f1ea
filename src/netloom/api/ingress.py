"""networking.k8s.io/v1: Ingress and IngressClass, and what their specs say.

An object keeps its spec as it was written (``Written``): ``read_spec`` gives the typed one, every field of which may be absent, and names what could
not be read. Not here: what it means (``model/gateways/ingress.py``).
"""

from __future__ import annotations

import msgspec

from netloom.api.gateway import Written

CONTROLLER = "netloom.io/ingress"
"""IngressClass ``spec.controller`` of ours."""
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
"""How Ingresses named their class before ``spec.ingressClassName``."""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    """Base of what is written in specs: every field may be absent."""


class ServiceBackendPort(_Spec, frozen=True):
    """A port of a Service: by number, or by name."""

    name: str = ""
    number: int = 0


class IngressServiceBackend(_Spec, frozen=True):
    """A Service and its port."""

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()


class ResourceReference(_Spec, frozen=True):
    """An object of some implementation (core/v1 TypedLocalObjectReference)."""

    api_group: str = msgspec.field(name="apiGroup", default="")
    kind: str = ""
    name: str = ""


class IngressBackend(_Spec, frozen=True):
    """Where requests go: a Service, or an object of some implementation."""

    service: IngressServiceBackend | None = None
    resource: ResourceReference | None = None


class HTTPIngressPath(_Spec, frozen=True):
    """A path and its backend."""

    path: str = ""
    path_type: str = ""
    backend: IngressBackend = IngressBackend()


class HTTPIngressRuleValue(_Spec, frozen=True):
    """The paths of a rule."""

    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(_Spec, frozen=True):
    """The paths of one host; without one, of all."""

    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(_Spec, frozen=True):
    """A Secret with a certificate, and the hosts that it is for."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(_Spec, frozen=True):
    """What an Ingress asks for."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTLS, ...] = msgspec.field(default=())
    rules: tuple[IngressRule, ...] = ()


class Ingress(Written, frozen=True):
    """networking.k8s.io/v1 Ingress."""

    KIND = "Ingress"


class IngressClassSpec(_Spec, frozen=True):
    """Whose the class is."""

    controller: str = ""


class IngressClass(Written, frozen=True):
    """networking.k8s.io/v1 IngressClass, of the whole cluster."""

    KIND = "IngressClass"
