"""The Gateway that takes the place of the controller: HTTP, HTTPS for each host with a certificate, TLS for what is passed through.

Comes in: Ingresses. Goes out: names of listeners for hosts; the Gateway, further ListenerSets, grants for its Secrets. Not here: routes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from netloom.api.gateway import GROUP
from netloom.model.gateways.migrate.made import Loss, Made, Object, Weight
from netloom.model.gateways.migrate.outcome import Boundary
from netloom.model.gateways.migrate.read import Old
from netloom.units import ObjectKey

HTTP = "http"
_MOST = 64
_EVERYBODY = {"namespaces": {"from": "All"}}


class Secure(msgspec.Struct, frozen=True):
    """A listener with TLS."""

    name: str
    host: str
    secret: ObjectKey | None
    """None: connections are passed through."""


class Doorway:
    """Listeners, by host.

    Args:
        mains: Ingresses that are no canaries, the oldest first.
        key: of the Gateway.
    """

    def __init__(self, mains: Iterable[Old], key: ObjectKey) -> None:
        self.key = key
        self._secure: dict[str, Secure] = {}
        self._doubles: list[tuple[Old, str, Secure]] = []
        for old in mains:
            for tls in old.tls:
                for host in tls.hosts or old.hosts or ("",):
                    self._take(old, host, tls.secret)
        for old in mains:
            for host in old.hosts:
                if old.is_on("ssl-passthrough"):
                    self._secure[host] = Secure(_listener("tls", host), host, None)

    def secure(self, host: str) -> Secure | None:
        """The listener with TLS for a host."""
        return self._secure.get(host)

    def parents(self, host: str, *, http: bool, https: bool) -> list[Object]:
        """ParentRefs of a route for a host."""
        found = []
        if http:
            found.append(self._parent(HTTP))
        secure = self._secure.get(host)
        if https and secure is not None:
            found.append(self._parent(secure.name))
        return found

    def write(self, made: Made, class_name: str) -> None:
        """Add the Gateway, and what it needs."""
        for old, host, first in self._doubles:
            says = f"{host} has its certificate from Secret {first.secret}, which an older Ingress names"
            made.losses.append(
                Loss(Weight.CHANGED, str(old.key), "spec.tls", host, says, (Boundary.OTHER_HOST,))
            )
        listeners: list[Object] = [
            {"name": HTTP, "port": 80, "protocol": "HTTP", "allowedRoutes": _EVERYBODY},
            *(self._listener(one) for one in self._secure.values()),
        ]
        spec: Object = {"gatewayClassName": class_name, "listeners": listeners[:_MOST]}
        if self.key.namespace == "gateways":
            made.objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gateways"}})
        if len(listeners) > _MOST:
            spec["allowedListeners"] = {"namespaces": {"from": "Same"}}
        made.add(f"{GROUP}/v1", "Gateway", self.key, spec)
        for number in range(_MOST, len(listeners), _MOST):
            more = {"parentRef": {"name": self.key.name}, "listeners": listeners[number : number + _MOST]}
            name = f"{self.key.name}-{number // _MOST + 1}"
            made.add(f"{GROUP}/v1", "ListenerSet", ObjectKey(self.key.namespace, name), more)
        for one in self._secure.values():
            if one.secret is not None:
                kind = "Gateway" if self._place(one) == self.key.name else "ListenerSet"
                made.grant(GROUP, kind, self.key.namespace, one.secret, target_kind="Secret")

    def _take(self, old: Old, host: str, secret: str) -> None:
        mine = Secure(_listener("https", host), host, ObjectKey(old.key.namespace, secret))
        first = self._secure.setdefault(host, mine)
        if first.secret != mine.secret:
            self._doubles.append((old, host, first))

    def _listener(self, one: Secure) -> Object:
        tls: dict[str, Any] = {"mode": "Passthrough"}
        if one.secret is not None:
            ref = {"name": one.secret.name}
            if one.secret.namespace != self.key.namespace:
                ref["namespace"] = one.secret.namespace
            tls = {"mode": "Terminate", "certificateRefs": [ref]}
        found: Object = {
            "name": one.name,
            "port": 443,
            "protocol": "TLS" if one.secret is None else "HTTPS",
            "tls": tls,
            "allowedRoutes": _EVERYBODY,
        }
        if one.host:
            found["hostname"] = one.host
        return found

    def _place(self, one: Secure) -> str:
        """The object that has the listener: the Gateway, or one of its ListenerSets."""
        number = list(self._secure).index(one.host) + 1
        return self.key.name if number < _MOST else f"{self.key.name}-{number // _MOST + 1}"

    def _parent(self, listener: str) -> Object:
        secure = next((one for one in self._secure.values() if one.name == listener), None)
        place = self.key.name if secure is None else self._place(secure)
        found: Object = {"name": place, "namespace": self.key.namespace, "sectionName": listener}
        if place != self.key.name:
            found["kind"] = "ListenerSet"
        return found


def _listener(word: str, host: str) -> str:
    """Name of a listener: ``https-shop.example``."""
    return f"{word}-{host.replace('*', 'any')}" if host else word
