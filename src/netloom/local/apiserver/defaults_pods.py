"""Defaults of pods and pod templates, and how defaults are written into documents. Pure.

Comes in: parts of a document, changed in place. Goes out: nothing. Not here: defaults of other kinds (defaults.py, and the
modules that it names). Source: API reference of core/v1 PodSpec, field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver.jsonvalue import Json

Document = dict[str, Any]

_FILE_MODE = 0o644
_TOKEN_SECONDS = 3600
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def objects(value: Json) -> Iterator[Document]:
    """The objects of a list; nothing where it is no list."""
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def object_at(parent: Document, field: str) -> Document:
    """The object at a field; made and put there where it is missing."""
    found = parent.setdefault(field, {})
    return found if isinstance(found, dict) else {}


def member(parent: Mapping[str, Any], field: str) -> Document:
    """The object at a field, or an empty one that belongs to nobody."""
    found = parent.get(field)
    return found if isinstance(found, dict) else {}


def fill(target: Document, values: Mapping[str, Any]) -> None:
    """Fields that are missing or empty get these values."""
    for field, value in values.items():
        if target.get(field) in (None, ""):
            target[field] = value


# core/v1 Pod and everything with a pod template


def pod(document: Document) -> None:
    """A core/v1 Pod; it gets more than a template does."""
    spec = object_at(document, "spec")
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for field in _CONTAINER_LISTS:
        for container in objects(spec.get(field)):
            _requests_from_limits(container)
            if spec.get("hostNetwork") is True:
                for port in objects(container.get("ports")):
                    if not port.get("hostPort") and "containerPort" in port:
                        port["hostPort"] = port["containerPort"]
    status = member(document, "status")
    _first_and_all(status, "podIP", "podIPs")
    _first_and_all(status, "hostIP", "hostIPs")


def _first_and_all(status: Document, one: str, several: str) -> None:
    """The single address and the list of addresses say the same; whichever is there fills the other."""
    if status.get(one) and not status.get(several):
        status[several] = [{"ip": status[one]}]
    elif not status.get(one) and (first := next(objects(status.get(several)), None)):
        status[one] = first.get("ip", "")


def _requests_from_limits(container: Document) -> None:
    resources = member(container, "resources")
    if limits := member(resources, "limits"):
        resources["requests"] = {**limits, **member(resources, "requests")}


def pod_spec(spec: Document) -> None:
    """The spec of a pod or of a pod template."""
    fill(
        spec,
        {
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30,
        },
    )
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for field in _CONTAINER_LISTS:
        for container in objects(spec.get(field)):
            _container(container)
    for volume in objects(spec.get("volumes")):
        _volume(volume)


def _container(container: Document) -> None:
    fill(
        container,
        {
            "imagePullPolicy": _pull_policy(str(container.get("image", ""))),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        },
    )
    container.setdefault("resources", {})
    for port in objects(container.get("ports")):
        fill(port, {"protocol": "TCP"})
    for variable in objects(container.get("env")):
        _field_reference(member(variable, "valueFrom"))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _probe(probe)
    for hook in ("postStart", "preStop"):
        _http_get(member(member(container, "lifecycle"), hook))


def _pull_policy(image: str) -> str:
    """``Always`` for the tag latest, also where it is only meant; a digest always names the same image."""
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def _probe(probe: Document) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        # zero means the default too: the fields are plain integers
        probe[field] = probe.get(field) or value
    _http_get(probe)
    if "grpc" in probe:
        member(probe, "grpc").setdefault("service", "")


def _http_get(handler: Document) -> None:
    if get := member(handler, "httpGet"):
        fill(get, {"path": "/", "scheme": "HTTP"})


def _field_reference(source: Document) -> None:
    if reference := member(source, "fieldRef"):
        fill(reference, {"apiVersion": "v1"})


def _volume(volume: Document) -> None:
    if not any(field != "name" for field in volume):
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if source in volume:
            member(volume, source).setdefault("defaultMode", _FILE_MODE)
    if template := member(member(volume, "ephemeral"), "volumeClaimTemplate"):
        fill(object_at(template, "spec"), {"volumeMode": "Filesystem"})
    if "hostPath" in volume:
        member(volume, "hostPath").setdefault("type", "")
    for item in objects(member(volume, "downwardAPI").get("items")):
        _field_reference(item)
    for projection in objects(member(volume, "projected").get("sources")):
        if "serviceAccountToken" in projection:
            member(projection, "serviceAccountToken").setdefault("expirationSeconds", _TOKEN_SECONDS)
        for item in objects(member(projection, "downwardAPI").get("items")):
            _field_reference(item)


def template(spec: Document) -> None:
    """The pod template of a workload's spec, where there is one."""
    if isinstance(found := spec.get("template"), dict):
        pod_spec(object_at(found, "spec"))
