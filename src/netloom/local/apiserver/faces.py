"""Kinds that are two ways to see the same objects: an events.k8s.io/v1 Event is a core/v1 Event. Pure.

Comes in: a document as one kind. Goes out: a new one as the other; what both have stays. Not here: who asks for which
(custom/versions.py). Source: API references of events.k8s.io/v1 and core/v1 Event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver.kind import Face

_EVENT = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""Fields of events.k8s.io/v1, and what core/v1 calls them."""
_BACK = {kept: seen for seen, kept in _EVENT.items()}


def as_kept(face: Face, document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of the face as the kind that is kept."""
    return {**_renamed(document, _EVENT), "apiVersion": face.kept.api_version}


def as_face(face: Face, document: Mapping[str, Any]) -> dict[str, Any]:
    """A document that is kept, as the face shows it."""
    if document.get("apiVersion") == face.api_version:
        return dict(document)
    return {**_renamed(document, _BACK), "apiVersion": face.api_version}


def _renamed(document: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(field, field): value for field, value in document.items()}
