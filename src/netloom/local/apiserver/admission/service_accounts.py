"""Pods run as a service account: the one that they name or ``default``, which must be there; its token is mounted into them.

Comes in: a pod that is about to be made. Goes out: the same with its account, the account's image pull secrets, and a projected volume
with token, authority and namespace. Pure but for the account, which the caller finds. Source: Kubernetes docs, "Admission
Controllers: ServiceAccount"; "Managing Service Accounts: bound service account token volume".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netloom.local.apiserver import kinds
from netloom.local.apiserver.access.nodes import named_by
from netloom.local.apiserver.kind import Kind

Furniture = tuple[tuple[Kind, dict[str, Any]], ...]
DEFAULT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT_CA = "kube-root-ca.crt"
_VOLUME = "kube-api-access-"
_MIRROR = "kubernetes.io/config.mirror"
_EXPIRATION_S = 3607
"""An hour, and what tells it from one that somebody asked for."""


def furniture(ca: str) -> Furniture:
    """What a new namespace has: the account that pods run as, and the authority of the API server's certificate."""
    account = (kinds.SERVICE_ACCOUNTS, {"metadata": {"name": DEFAULT}})
    if not ca:
        return (account,)
    return (account, (kinds.CONFIG_MAPS, {"metadata": {"name": ROOT_CA}, "data": {"ca.crt": ca}}))


def is_mirror(pod: Mapping[str, Any]) -> bool:
    """It stands for a static pod of a node, which needs no account."""
    return _MIRROR in (pod["metadata"].get("annotations") or {})


def names_account(pod: Mapping[str, Any]) -> bool:
    """It says itself which account it runs as."""
    spec = pod.get("spec") or {}
    return bool(spec.get("serviceAccountName") or spec.get("serviceAccount"))


def mirror_problem(pod: Mapping[str, Any]) -> str:
    """Why a mirror pod cannot be: nobody has looked at what it names."""
    spec = pod.get("spec") or {}
    if names_account(pod):
        return "a mirror pod may not reference service accounts"
    if any(resource == "secrets" for resource, _ in named_by(spec, pod["metadata"].get("name", ""))):
        return "a mirror pod may not reference secrets"
    for volume in spec.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any(source.get("serviceAccountToken") for source in sources):
            return "a mirror pod may not use ServiceAccountToken volume projections"
    return ""


def account_name(pod: Mapping[str, Any]) -> str:
    """The account that the pod runs as."""
    spec = pod.get("spec") or {}
    return spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT


def admit(pod: dict[str, Any], account: Mapping[str, Any], new_suffix: Callable[[], str]) -> None:
    """Give the pod what its account has."""
    spec = pod["spec"]
    spec["serviceAccountName"] = spec["serviceAccount"] = account["metadata"]["name"]
    if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(one) for one in account["imagePullSecrets"]]
    if _wants_token(spec, account):
        _mount(spec, new_suffix)


def _wants_token(spec: Mapping[str, Any], account: Mapping[str, Any]) -> bool:
    for holder in (spec, account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def _mount(spec: dict[str, Any], new_suffix: Callable[[], str]) -> None:
    name = next((v["name"] for v in spec.get("volumes") or () if str(v.get("name")).startswith(_VOLUME)), "")
    is_new = not name
    name = name or _VOLUME + new_suffix()
    needed = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = (
            container.setdefault("volumeMounts", [])
            if container.get("volumeMounts") is None
            else container["volumeMounts"]
        )
        if any(m.get("mountPath") == MOUNT_PATH for m in mounts):
            continue
        mounts.append({"name": name, "readOnly": True, "mountPath": MOUNT_PATH})
        needed = True
    if needed and is_new:
        spec["volumes"] = [*(spec.get("volumes") or ()), {"name": name, "projected": _projected()}]


def _projected() -> dict[str, Any]:
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _EXPIRATION_S, "path": "token"}},
            {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {
                            "path": "namespace",
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                        }
                    ]
                }
            },
        ],
        "defaultMode": 0o644,
    }
