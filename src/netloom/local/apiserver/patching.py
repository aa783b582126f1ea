"""PATCH: which kind of patch a body is, and the document that it makes of another.

Comes in: body, content type, the current document. Goes out: a new document, or an ApiError. Not here: the algorithms
(patch.py, strategic.py) and server-side apply, which is no function of two documents (objects.py, apply.py).
"""

from __future__ import annotations

from typing import Any

from netloom.local.apiserver import bodies, status
from netloom.local.apiserver.custom.served import CustomKind
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.patch import BadPatch, json_patch, merge_patch_object
from netloom.local.apiserver.status import Cause
from netloom.local.apiserver.strategic import strategic_merge

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


def media_of(content_type: str) -> str:
    """The kind of patch, one of ACCEPTED.

    Raises:
        ApiError: 415.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media not in ACCEPTED:
        raise status.unsupported_media(ACCEPTED)
    return media


def media_for(kind: Kind, content_type: str) -> str:
    """The same for a kind: defined ones know no strategic merge patch.

    Raises:
        ApiError: 415.
    """
    media = media_of(content_type)
    if media == STRATEGIC_PATCH and isinstance(kind, CustomKind):
        raise status.unsupported_media((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
    return media


def patched(
    kind: Kind, name: str, current: dict[str, Any], media: str, body: bytes, *, gvk: str
) -> dict[str, Any]:
    """The current document with the patch applied.

    Args:
        kind: what the client is talking about, for error messages.
        name: the same, its name.
        current: the document to patch; it is not changed.
        media: the kind of patch, of `media_of`.
        body: the patch, encoded.
        gvk: the schema of the document, which for a Scale is not that of ``kind``.

    Raises:
        ApiError: 400 for a malformed patch, 422 for one that does not fit.
    """
    patch = bodies.decode(body, media)
    try:
        match media:
            case "application/json-patch+json":
                return json_patch(current, patch)
            case "application/merge-patch+json":
                return merge_patch_object(current, patch)
            case _:
                return strategic_merge(gvk, current, patch)
    except BadPatch as bad:
        if bad.code == 422:
            cause = Cause("FieldValueInvalid", str(bad), bad.field)
            raise status.invalid_object(kind, name, [cause]) from bad
        raise status.ApiError(bad.code, "BadRequest", str(bad)) from bad
    except RecursionError as error:
        raise status.bad_request("the patch is nested too deeply") from error
