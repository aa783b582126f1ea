"""The environment of a container, as far as `exec` shows it: a stand-in runs no program of the image. Pure.

In: the container, facts of its pod, the ConfigMaps and Secrets that it names, the namespace's Services. Out: variables.
The rules are core/v1 EnvVar (``$(NAME)`` expansion, order of precedence) and the service variables of ``enableServiceLinks``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from netloom.api.core import Service
from netloom.local.runner.spec import Container, EnvVar, FieldRef, Pod

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")

Maps = Mapping[tuple[str, str], Mapping[str, str]]
"""Data of ConfigMaps and Secrets, by kind (``ConfigMap``, ``Secret``) and name."""


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
        if variable.value_from.config_map_key_ref is not None:
            found.add(("ConfigMap", variable.value_from.config_map_key_ref.name))
        if variable.value_from.secret_key_ref is not None:
            found.add(("Secret", variable.value_from.secret_key_ref.name))
    return frozenset(found)


def environment(pod: Pod, container: Container, around: Surroundings, maps: Maps) -> dict[str, str]:
    """All variables. What refers to a map or key that is not there is left out."""
    found = {"PATH": PATH, "HOME": "/root", "HOSTNAME": around.hostname}
    if around.one_user:
        found["TAR_OPTIONS"] = (
            "--no-same-owner"  # kubectl cp unpacks as root, who keeps owners: here there is one only
        )
    if around.kubernetes is not None:
        found |= service_variables(around.kubernetes)
    if pod.spec.enable_service_links:
        for service in sorted(around.services, key=lambda s: s.metadata.name):
            found |= service_variables(service)
    for source in container.env_from:
        for kind, reference in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if reference is not None:
                data = maps.get((kind, reference.name), {})
                found |= {source.prefix + key: value for key, value in data.items()}
    for variable in container.env:
        value = _value(pod, variable, around, maps)
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


def _value(pod: Pod, variable: EnvVar, around: Surroundings, maps: Maps) -> str | None:
    source = variable.value_from
    if source is None:
        return variable.value or ""
    if source.field_ref is not None:
        return _field(pod, source.field_ref, around)
    for kind, reference in (("ConfigMap", source.config_map_key_ref), ("Secret", source.secret_key_ref)):
        if reference is not None:
            return maps.get((kind, reference.name), {}).get(reference.key)
    return None


def _field(pod: Pod, reference: FieldRef, around: Surroundings) -> str | None:
    """The fields that the downward API offers to variables (core/v1 ObjectFieldSelector)."""
    path = reference.field_path
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path):
        values = pod.metadata.labels if match[1] == "labels" else pod.metadata.annotations
        return values.get(match[2], "")
    return {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": next(iter(around.host_ips), ""),
        "status.hostIPs": ",".join(around.host_ips),
        "status.podIP": next(iter(around.pod_ips), ""),
        "status.podIPs": ",".join(around.pod_ips),
    }.get(path)
