"""Ingresses of the retired controller as one Gateway, routes, policies and grants, and the list of what does not come over.

Comes in: documents. Goes out: ``Migration``. Not here: what single annotations become (``filters.py``, ``policies.py`` ...), the proof (``compare.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from netloom.model.gateways.migrate.annotations import KNOWN, Fate
from netloom.model.gateways.migrate.doorway import Doorway
from netloom.model.gateways.migrate.host_routes import HostRoutes
from netloom.model.gateways.migrate.made import Loss, Made, Object, Weight
from netloom.model.gateways.migrate.outcome import Boundary
from netloom.model.gateways.migrate.policies import policy_of
from netloom.model.gateways.migrate.read import Old, port_numbers, read_old
from netloom.units import ObjectKey

_SAID_ELSEWHERE = frozenset(
    {
        "rewrite-target",
        "use-regex",
        "permanent-redirect",
        "temporal-redirect",
        "enable-cors",
        "proxy-read-timeout",
    }
    | {
        "limit-rps",
        "limit-rpm",
        "proxy-next-upstream",
        "affinity-mode",
        "auth-type",
        "auth-url",
        "custom-headers",
    }
    | {"mirror-target", "server-alias", "canary-by-header-pattern", "auth-secret-type", "backend-protocol"}
    | {"proxy-ssl-name", "proxy-ssl-verify"}
)
"""In part: whoever turns them says what is lost, if anything is."""


class Migration(msgspec.Struct, frozen=True):
    """What becomes of Ingresses."""

    ingresses: tuple[Old, ...]
    objects: tuple[Object, ...]
    losses: tuple[Loss, ...]

    @property
    def is_whole(self) -> bool:
        """Nothing is lost; edges may differ."""
        return not any(loss.weight is Weight.LOST for loss in self.losses)


def migrate(
    documents: Sequence[Mapping[str, Any]], *, class_name: str = "netloom", gateway: str = ""
) -> Migration:
    """Turn the Ingresses among documents; Services and ConfigMaps among them are read where something depends on them.

    Args:
        documents: objects as manifests have them.
        class_name: the GatewayClass of what is made.
        gateway: ``namespace/name`` of the Gateway; empty: ``ingress``, in the namespace of the Ingresses if they have one in common, else in
            ``gateways``.
    """
    olds = read_old(documents)
    made = Made()
    if not olds:
        return Migration((), (), ())
    mains = [one for one in olds if not one.is_on("canary")]
    door = Doorway(mains, _gateway_key(olds, gateway))
    routes = HostRoutes(olds, door, port_numbers(documents), _config_maps(documents), made)
    for old in mains:
        targets = routes.make(old)
        policy = policy_of(old, made)
        if policy and targets:
            refs = [{"group": "gateway.networking.k8s.io", "kind": k, "name": n} for k, n in targets]
            made.add("netloom.io/v1alpha1", "TrafficPolicy", old.key, {"targetRefs": refs, **policy})
    for old in olds:
        _unspoken(old, made)
        _orphans(old, mains, made)
    door.write(made, class_name)
    made.finish()
    return Migration(olds, tuple(sorted(made.objects, key=_order)), tuple(dict.fromkeys(made.losses)))


_ORDER = ("Namespace", "Gateway", "ReferenceGrant", "HTTPRoute", "GRPCRoute", "TLSRoute", "TrafficPolicy")


def _order(document: Object) -> tuple[int, str, str]:
    kind, meta = document["kind"], document["metadata"]
    place = _ORDER.index(kind) if kind in _ORDER else len(_ORDER)
    return place, meta.get("namespace", ""), meta["name"]


def _gateway_key(olds: Iterable[Old], said: str) -> ObjectKey:
    namespaces = {one.key.namespace for one in olds}
    namespace, slash, name = said.rpartition("/")
    if slash:
        return ObjectKey(namespace, name)
    return ObjectKey(namespaces.pop() if len(namespaces) == 1 else "gateways", name or "ingress")


def _config_maps(documents: Iterable[Mapping[str, Any]]) -> Mapping[ObjectKey, Mapping[str, str]]:
    found = {}
    for document in documents:
        if document.get("kind") == "ConfigMap":
            meta = document.get("metadata") or {}
            key = ObjectKey(meta.get("namespace") or "default", str(meta.get("name")))
            found[key] = {str(k): str(v) for k, v in (document.get("data") or {}).items()}
    return found


def _unspoken(old: Old, made: Made) -> None:
    """Annotations that nothing is made of."""
    for name in old.said:
        known = KNOWN.get(name)
        if known is None:
            made.lose(old, name, "is not known here")
        elif known.fate is Fate.NONE:
            made.lose(old, name, known.becomes)
        elif known.fate is Fate.IDLE:
            made.lose(old, name, known.becomes, weight=Weight.IDLE)
        elif known.fate is Fate.PART and name not in _SAID_ELSEWHERE:
            made.lose(old, name, known.becomes, weight=Weight.CHANGED)


def _orphans(old: Old, mains: Sequence[Old], made: Made) -> None:
    """Canaries of paths that no main Ingress has were never asked."""
    if not old.is_on("canary"):
        return
    places = {(path.host, path.path) for main in mains for path in main.paths}
    for path in old.paths:
        if (path.host, path.path) not in places:
            says = "no other Ingress has this host and path: a canary alone gets nothing"
            place = (path.host, path.path)
            made.change(old, path.field, f"{path.host}{path.path}", says, (Boundary.PLAIN,), place)
