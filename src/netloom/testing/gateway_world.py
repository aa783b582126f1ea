"""A small world with a gateway, for tests of what the model makes of it: objects in, doors, decisions and conditions out.

In: objects beside our GatewayClass. Out: a ``World`` that is asked in few words. Not here: making objects (``gateway_objects.py``).
"""

from __future__ import annotations

from typing import Any

from netloom.api.meta import KubeObject
from netloom.model.gateways.build import Built, StatusKey, compute
from netloom.model.gateways.matching import Decision, Request, decide
from netloom.model.gateways.plan import Door, Host, Listener, Share, Transport
from netloom.testing import gateway_objects as g
from netloom.units import ObjectKey

Said = dict[str, tuple[str, str]]
"""Type of a condition to status and reason."""


class World:
    """What our GatewayClass and these objects come to."""

    def __init__(self, *objects: KubeObject, now: float = 0.0) -> None:
        self.built: Built = compute(g.view_of(g.gateway_class(), *objects, now=now))

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """Desired status of ``namespace/name``."""
        namespace, _, own = name.rpartition("/")
        return self.built.statuses[StatusKey(kind, ObjectKey(namespace, own))]

    def has_status(self, kind: str, name: str) -> bool:
        """Whether anything is said of it at all."""
        namespace, _, own = name.rpartition("/")
        return StatusKey(kind, ObjectKey(namespace, own)) in self.built.statuses

    def gateway(self, name: str = "infra/edge") -> Said:
        """Conditions of a Gateway."""
        return g.conditions(self.status("Gateway", name))

    def listener(self, name: str, owner: str = "infra/edge", kind: str = "Gateway") -> Said:
        """Conditions of a listener."""
        return g.conditions(self.listener_status(name, owner, kind))

    def listener_status(self, name: str, owner: str = "infra/edge", kind: str = "Gateway") -> dict[str, Any]:
        """Status of a listener."""
        listeners: list[dict[str, Any]] = self.status(kind, owner)["listeners"]
        return next(one for one in listeners if one["name"] == name)

    def route(self, name: str = "shop/web", kind: str = "HTTPRoute", index: int = 0) -> Said:
        """Conditions of a route towards one of its parents."""
        return g.conditions(self.status(kind, name)["parents"][index])

    def message(self, type_: str, name: str = "shop/web", kind: str = "HTTPRoute") -> str:
        """Message of a route's condition towards its first parent."""
        conditions: list[dict[str, str]] = self.status(kind, name)["parents"][0]["conditions"]
        return next(one["message"] for one in conditions if one["type"] == type_)

    def door(self, port: int = 80, transport: Transport | None = None) -> Door:
        """The door at this port."""
        found = (d for d in self.built.plan.doors if d.port == port and transport in (None, d.transport))
        return next(found)

    def served(self, port: int = 80) -> Listener:
        """The only listener at this port."""
        (one,) = self.door(port).listeners
        return one

    def hosts(self, port: int = 80) -> dict[str, Host]:
        """Hosts of all listeners at this port."""
        return {host.name: host for one in self.door(port).listeners for host in one.hosts}

    def ask(
        self, url: str, port: int = 80, *, method: str = "GET", sni: str | None = None, **headers: str
    ) -> Decision:
        """What becomes of a request; ``url`` is ``host/path?query``."""
        host, slash, rest = url.partition("/")
        path, _, query = (slash + rest).partition("?")
        given = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        request = Request(
            host=host, path=path or "/", query=query, method=method, headers=given, server_name=sni
        )
        return decide(self.built.plan, self.door(port), request)

    def status_of(self, share: Share) -> int:
        """What requests of this share are answered with before any backend sees them; 0: a backend answers."""
        if not share.pool:
            return 500
        pool = self.built.plan.pools.get(share.pool)
        return 0 if pool is not None and pool.endpoints else 503

    def pools(self, url: str, port: int = 80, **how: Any) -> dict[str, int]:  # noqa: ANN401 - as ``ask``
        """Who gets the request: pools and their weights."""
        return {share.pool: share.weight for share in self.ask(url, port, **how).shares}

    def taken_by(self, url: str, port: int = 80, **how: Any) -> str:  # noqa: ANN401
        """Route and rule that take the request, as access logs name them; the status where none does."""
        decision = self.ask(url, port, **how)
        return decision.rule.name if decision.rule else str(decision.status)
