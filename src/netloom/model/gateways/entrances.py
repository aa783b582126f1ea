"""Names of the Services through which gateways have addresses: one for each Gateway, one for all Ingresses. Pure.

In: a Gateway's key and class. Out: the key of its Service. The controller makes the Services (``controller/gateway_services.py``), the model
reads their node ports and addresses. Source of the name: GEP-1762 (``<gateway>-<class>``).
"""

from __future__ import annotations

import hashlib

from netloom.units import ObjectKey

INGRESS = ObjectKey("netloom-system", "netloom-ingress")
"""The Service of all Ingresses of our class; their doors have this key as their gateway, too."""
INGRESS_PORTS = (80, 443)
_LONGEST = 63
"""Of a Service's name (RFC 1035 label)."""


def service_of_gateway(gateway: ObjectKey, class_name: str) -> ObjectKey:
    """The key of a Gateway's Service. Where the name would be no name of a Service, its end is a digest of what it should be."""
    name = f"{gateway.name}-{class_name}"
    if len(name) <= _LONGEST and "." not in name and name[0].isalpha():
        return ObjectKey(gateway.namespace, name)
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    stem = f"gw-{name}" if not name[0].isalpha() else name
    stem = stem.replace(".", "-")[: _LONGEST - 1 - len(digest)].rstrip("-")
    return ObjectKey(gateway.namespace, f"{stem}-{digest}")
