"""The environment of a container: what its program gets, and what `exec` shows. Pure.

In: the container, facts of its pod, the ConfigMaps and Secrets that it names, the namespace's Services. Out: variables.
The rules are core/v1 EnvVar (``$(NAME)`` expansion, order of precedence) and the service variables of ``enableServiceLinks``. What a
reference leads to must be there, unless it is optional: the container waits for it (``CreateContainerConfigError``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from netloom.api.core import Service
from netloom.errors import NetloomError
from netloom.local.runner.downward import field_text, resource_text
from netloom.local.runner.references import KeyRef
from netloom.local.runner.spec import Container, EnvSource, EnvVar, Pod

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")

Maps = Mapping[tuple[str, str], Mapping[str, str]]
"""Data of the ConfigMaps and Secrets that are there, by kind (``ConfigMap``, ``Secret``) and name."""


class Surroundings(msgspec.Struct, frozen=True):
    """What the environment is made from besides the container's own fields."""

    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    """Addresses of the node, the preferred family first."""
    hostname: str = ""
    services: tuple[Service, ...] = ()
    """Services of the pod's namespace."""
    kubernetes: Service | None = None
    """Service ``default/kubernetes``."""
    one_user: bool = False
    """The pod knows one user only (``namespaces.has_one_user``)."""
    allocatable: Mapping[str, str] = {}
    """What the node has (``status.allocatable``), for limits that are not set."""


class Missing(NetloomError):
    """What a variable refers to is not there; ``str()`` of it is a kubelet's message."""


def needed_maps(container: Container) -> frozenset[tuple[str, str]]:
    """Kind and name of each ConfigMap and Secret that the environment reads."""
    found: set[tuple[str, str]] = set()
    for source in container.env_from:
        if source.config_map_ref is not None:
            found.add(("ConfigMap", source.config_map_ref.name))
        if source.secret_ref is not None:
            found.add(("Secret", source.secret_ref.name))
    for variable in container.env:
        if variable.value_from is None:
            continue
        found |= {(kind, reference.name) for kind, reference in _key_refs(variable.value_from)}
    return frozenset(found)


def environment(pod: Pod, container: Container, around: Surroundings, maps: Maps) -> dict[str, str]:
    """All variables, over those that every program is given; what `exec` into a stand-in has.

    Raises:
        Missing: a reference that is not optional leads nowhere.
    """
    found = {"PATH": PATH, "HOME": "/root", "HOSTNAME": around.hostname}
    if around.one_user:
        found["TAR_OPTIONS"] = (
            "--no-same-owner"  # kubectl cp unpacks as root, who keeps owners: here there is one only
        )
    return found | variables(pod, container, around, maps)


def variables(pod: Pod, container: Container, around: Surroundings, maps: Maps) -> dict[str, str]:
    """What the pod says of variables, with those of Services beneath: nothing that an image may say better.

    Raises:
        Missing: a reference that is not optional leads nowhere.
    """
    found: dict[str, str] = {}
    if around.kubernetes is not None:
        found |= service_variables(around.kubernetes)
    if pod.spec.enable_service_links:
        for service in sorted(around.services, key=lambda s: s.metadata.name):
            found |= service_variables(service)
    for source in container.env_from:
        for kind, reference in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if reference is not None:
                data = _map(maps, kind, reference.name, optional=bool(reference.optional))
                found |= {source.prefix + key: value for key, value in data.items()}
    for variable in container.env:
        value = _value(pod, container, variable, around, maps)
        if value is not None:
            found[variable.name] = expand(value, found) if variable.value is not None else value
    return found


def expand(text: str, known: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes the variable's value, where known; ``$$`` is a plain ``$``."""
    return _REFERENCE.sub(lambda m: "$" if m[0] == "$$" else known.get(m[1], m[0]), text)


def service_variables(service: Service) -> dict[str, str]:
    """Host, port and link variables of a Service that has a ClusterIP."""
    address = service.spec.cluster_ip
    if not address or address == "None" or not service.spec.ports:
        return {}
    name = service.metadata.name.upper().replace("-", "_")
    first = service.spec.ports[0]
    host = f"[{address}]" if ":" in address else address
    found = {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": str(first.port),
        f"{name}_PORT": f"{first.protocol.lower()}://{host}:{first.port}",
    }
    for port in service.spec.ports:
        protocol = port.protocol.lower()
        if port.name:
            found[f"{name}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
        link = f"{name}_PORT_{port.port}_{port.protocol}"
        found |= {
            link: f"{protocol}://{host}:{port.port}",
            f"{link}_PROTO": protocol,
            f"{link}_PORT": str(port.port),
            f"{link}_ADDR": address,
        }
    return found


def _value(pod: Pod, container: Container, variable: EnvVar, around: Surroundings, maps: Maps) -> str | None:
    source = variable.value_from
    if source is None:
        return variable.value or ""
    if source.field_ref is not None:
        return field_text(pod, source.field_ref, pod_ips=around.pod_ips, host_ips=around.host_ips)
    if source.resource_field_ref is not None:
        return resource_text(pod, container, source.resource_field_ref, around.allocatable)
    for kind, reference in _key_refs(source):
        data = _map(maps, kind, reference.name, optional=bool(reference.optional))
        if reference.key not in data and not reference.optional:
            place = f"{pod.metadata.namespace}/{reference.name}"
            raise Missing(f"couldn't find key {reference.key} in {kind} {place}")
        return data.get(reference.key)
    return None


def _key_refs(source: EnvSource) -> list[tuple[str, KeyRef]]:
    both = (("ConfigMap", source.config_map_key_ref), ("Secret", source.secret_key_ref))
    return [(kind, reference) for kind, reference in both if reference is not None]


def _map(maps: Maps, kind: str, name: str, *, optional: bool) -> Mapping[str, str]:
    found = maps.get((kind, name))
    if found is None and not optional:
        raise Missing(f'{kind.lower()} "{name}" not found')
    return found or {}
