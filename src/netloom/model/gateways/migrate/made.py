"""What a migration makes, and what it loses: values, and the small parts of objects that several modules write.

Comes in: parts. Goes out: ``Made``, ``Loss``. Not here: which are made.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from netloom.api.gateway import GROUP
from netloom.model.gateways.migrate.annotations import PREFIX
from netloom.model.gateways.migrate.outcome import Boundary
from netloom.model.gateways.migrate.read import Old
from netloom.units import ObjectKey

Object = dict[str, Any]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65535
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+")
_LONGEST = 256


class Weight(enum.Enum):
    """How much a loss matters."""

    LOST = "lost"
    """It has no counterpart, and something is not as before."""
    CHANGED = "changed"
    """It is there, and differs at an edge that is said."""
    IDLE = "not needed"


class Loss(msgspec.Struct, frozen=True):
    """Something of an Ingress that does not come over as it was."""

    weight: Weight
    ingress: str
    """namespace/name."""
    field: str
    value: str
    says: str
    boundaries: tuple[Boundary, ...] = ()
    """Samples that show it."""
    place: tuple[str, str] = ("", "")
    """Host and path that it is about; an empty path: all of the host."""

    @property
    def words(self) -> str:
        """In one line."""
        shown = self.value if len(self.value) <= 60 else self.value[:57] + "..."
        said = f" ({' '.join(shown.split())})" if shown else ""
        return f"Ingress {self.ingress}: {self.field}{said}: {self.says}"


class Made:
    """Collects objects and losses."""

    def __init__(self) -> None:
        self.objects: list[Object] = []
        self.losses: list[Loss] = []
        self._grants: dict[tuple[str, str, str, str], set[tuple[str, str]]] = {}

    def add(self, api_version: str, kind: str, key: ObjectKey, spec: Object) -> None:
        """An object."""
        meta = {"namespace": key.namespace, "name": key.name} if key.namespace else {"name": key.name}
        self.objects.append({"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": spec})

    def add_route(self, kind: str, key: ObjectKey, spec: Object) -> None:
        """A route of Gateway API."""
        self.add(f"{GROUP}/v1", kind, key, spec)

    def lose(
        self,
        old: Old,
        annotation: str,
        says: str,
        *,
        weight: Weight = Weight.LOST,
        boundaries: tuple[Boundary, ...] = (),
        place: tuple[str, str] = ("", ""),
    ) -> None:
        """An annotation does not come over as it was."""
        field = f"metadata.annotations[{PREFIX}{annotation}]"
        value = old.said.get(annotation, "")
        self.losses.append(Loss(weight, str(old.key), field, value, says, boundaries, place))

    def change(
        self,
        old: Old,
        field: str,
        value: str,
        says: str,
        boundaries: Iterable[Boundary],
        place: tuple[str, str],
    ) -> None:
        """A field comes over, and differs at an edge."""
        self.losses.append(Loss(Weight.CHANGED, str(old.key), field, value, says, tuple(boundaries), place))

    def leave_out(self, old: Old, field: str, value: str, says: str, place: tuple[str, str]) -> None:
        """A field does not come over."""
        self.losses.append(Loss(Weight.LOST, str(old.key), field, value, says, (), place))

    def grant(self, group: str, kind: str, namespace: str, target: ObjectKey, *, target_kind: str) -> None:
        """Objects of this kind and namespace refer to the target; nothing to do within a namespace."""
        if namespace != target.namespace:
            of = (target.namespace, group, kind, namespace)
            self._grants.setdefault(of, set()).add((target_kind, target.name))

    def finish(self) -> None:
        """Write the ReferenceGrants that the objects need."""
        for (into, group, kind, namespace), targets in sorted(self._grants.items()):
            spec = {
                "from": [{"group": group, "kind": kind, "namespace": namespace}],
                "to": [{"group": "", "kind": k, "name": n} for k, n in sorted(targets)],
            }
            name = f"{kind.lower()}s-of-{namespace}"
            self.add(f"{GROUP}/v1beta1", "ReferenceGrant", ObjectKey(into, name), spec)


def service_of_url(url: str) -> tuple[ObjectKey, int, str] | None:
    """Service, port and path of a URL inside the cluster; None where it is elsewhere: ``http://auth.shop.svc:8080/ask``."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host, _, port = authority.partition(":")
    labels = host.split(".")
    if (
        not separator
        or scheme != "http"
        or labels[2:3] != ["svc"]
        or labels[3:] not in ([], ["cluster", "local"])
    ):
        return None
    if not all(map(_LABEL.fullmatch, labels[:2])) or (port and not _PORT.fullmatch(port)):
        return None
    number = int(port or 80)
    return (
        (ObjectKey(labels[1], labels[0]), number, f"{slash}{path}" or "/")
        if 0 < number <= _LAST_PORT
        else None
    )


def is_header(name: str) -> bool:
    """Whether this can be the name of a header (RFC 9110)."""
    return len(name) <= _LONGEST and _HEADER.fullmatch(name) is not None
