"""What the server serves, told to clients: groups, versions, resources, and the server's own version.

Comes in: the registry of kinds. Goes out: documents, encoded once. Pure. Source: meta/v1 APIGroupList and
APIResourceList; apidiscovery.k8s.io/v2 APIGroupDiscoveryList.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any

import msgspec

from netloom.local.apiserver import kinds
from netloom.local.apiserver.custom.served import verbs_of
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.kind import Kind, Subresource

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+netloom",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "python",
    "platform": "linux/amd64",
}
AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


class Review(msgspec.Struct, frozen=True):
    """A question about users, in version v1 of its group: answered, never stored."""

    group: str
    kind: str
    namespaced: bool = False

    @property
    def name(self) -> str:
        """Its plural."""
        return f"{self.kind.lower()}s"

    @property
    def api_version(self) -> str:
        """Group and version."""
        return f"{self.group}/v1"


REVIEWS = (
    Review("authentication.k8s.io", "SelfSubjectReview"),
    Review("authentication.k8s.io", "TokenReview"),
    Review("authorization.k8s.io", "LocalSubjectAccessReview", namespaced=True),
    Review("authorization.k8s.io", "SelfSubjectAccessReview"),
    Review("authorization.k8s.io", "SelfSubjectRulesReview"),
    Review("authorization.k8s.io", "SubjectAccessReview"),
)
"""In the order in which discovery lists them."""


Served = tuple[Kind, ...]
_KEPT = 64
"""Pages that are kept; each change of what is served makes new ones."""
_VERSION_WORD = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


class Page(msgspec.Struct, frozen=True):
    """A document of discovery, with its entity tag (RFC 9110, section 8.8.3)."""

    body: bytes
    etag: str
    media_type: str = "application/json"


def _page(document: Json, media_type: str = "application/json") -> Page:
    body = msgspec.json.encode(document)
    return Page(body, f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"', media_type)


@functools.cache
def version() -> Page:
    """``/version``."""
    return _page(VERSION)


@functools.cache
def core_versions() -> Page:
    """``/api``: the versions of the core group."""
    return _page(
        {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }
    )


@functools.lru_cache(maxsize=_KEPT)
def groups(served: Served = kinds.ALL) -> Page:
    """``/apis``: every other group."""
    found = [_group(name, versions) for name, versions in _named(served).items()]
    return _page({"kind": "APIGroupList", "apiVersion": "v1", "groups": found})


@functools.lru_cache(maxsize=_KEPT)
def group(name: str, served: Served = kinds.ALL) -> Page | None:
    """``/apis/{group}``, or None."""
    versions = _named(served).get(name)
    if versions is None:
        return None
    return _page({"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)})


@functools.lru_cache(maxsize=_KEPT)
def resources(api_version: str, served: Served = kinds.ALL) -> Page | None:
    """``/api/v1`` and ``/apis/{group}/{version}``: the resources in it, or None."""
    found: list[dict[str, Any]] = []
    for kind in served:
        if kind.api_version == api_version:
            found.append(_resource(kind))
            found += [_subresource(kind, s) for s in sorted(kind.subresources, key=lambda s: s.name)]
    found += [_review(review) for review in REVIEWS if review.api_version == api_version]
    if not found:
        return None
    return _page(
        {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": found}
    )


@functools.lru_cache(maxsize=_KEPT)
def aggregated(root: str, version_: str, served: Served = kinds.ALL) -> Page:
    """``/api`` or ``/apis`` as one document with all resources; ``version_`` is v2 or v2beta1."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for kind in served:
        found.setdefault(kind.group, {}).setdefault(kind.version, []).append(_discovered_kind(kind))
    for review in REVIEWS:
        found.setdefault(review.group, {}).setdefault("v1", []).append(_discovered_review(review))
    items = [
        _discovered(name, versions) for name, versions in found.items() if bool(name) == (root == "apis")
    ]
    document = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version_}",
        "metadata": {},
        "items": items,
    }
    return _page(document, AGGREGATED_TYPE.format(version_))


def priority(version_: str) -> tuple[int, int, int, str]:
    """Sorts versions as clients are to prefer them: v2, v1, v1beta2, v1beta1, v1alpha1, then all other words."""
    match = _VERSION_WORD.fullmatch(version_)
    if match is None:
        return (3, 0, 0, version_)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version_)


def _named(served: Served) -> dict[str, list[str]]:
    """Groups but core with their versions, the best first."""
    found: dict[str, set[str]] = {}
    for name, version_ in [(k.group, k.version) for k in served] + [(r.group, "v1") for r in REVIEWS]:
        if name:
            found.setdefault(name, set()).add(version_)
    return {name: sorted(versions, key=priority) for name, versions in found.items()}


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    found = [{"groupVersion": f"{name}/{version_}", "version": version_} for version_ in versions]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def _resource(kind: Kind) -> dict[str, Any]:
    resource: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(verbs_of(kind)),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    return resource


def _subresource(kind: Kind, subresource: Subresource) -> dict[str, Any]:
    resource: dict[str, Any] = {
        "name": f"{kind.plural}/{subresource.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
    }
    if subresource.version:
        resource |= {"group": subresource.group, "version": subresource.version}
    return resource | {"kind": subresource.kind, "verbs": list(subresource.verbs)}


def _review(review: Review) -> dict[str, Any]:
    return {
        "name": review.name,
        "singularName": review.kind.lower(),
        "namespaced": review.namespaced,
        "kind": review.kind,
        "verbs": ["create"],
    }


def _discovered(name: str, versions: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": None},
        "versions": [
            {"version": version_, "resources": versions[version_], "freshness": "Current"}
            for version_ in sorted(versions, key=priority)
        ],
    }


def _discovered_kind(kind: Kind) -> dict[str, Any]:
    resource: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(verbs_of(kind)),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    if kind.subresources:
        resource["subresources"] = [
            {
                "subresource": s.name,
                "responseKind": {
                    "group": s.group if s.version else kind.group,
                    "version": s.version or kind.version,
                    "kind": s.kind,
                },
                "verbs": list(s.verbs),
            }
            for s in sorted(kind.subresources, key=lambda s: s.name)
        ]
    return resource


def _discovered_review(review: Review) -> dict[str, Any]:
    return {
        "resource": review.name,
        "responseKind": {"group": review.group, "version": "v1", "kind": review.kind},
        "scope": "Namespaced" if review.namespaced else "Cluster",
        "singularResource": review.kind.lower(),
        "verbs": ["create"],
    }
