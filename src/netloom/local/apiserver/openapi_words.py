"""Words that OpenAPI documents of all kinds share: query parameters of the verbs, and media types of patches. Pure data.

Source: meta/v1 ListOptions, CreateOptions, PatchOptions, DeleteOptions.
"""

from __future__ import annotations

PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
PATCHES_OF_DEFINED = tuple(media for media in PATCHES if "strategic" not in media)
WRITE = ("dryRun", "fieldManager", "fieldValidation")
LIST = ("continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
         "sendInitialEvents", "timeoutSeconds", "watch", "allowWatchBookmarks")  # fmt: skip
DELETE = ("dryRun", "gracePeriodSeconds", "propagationPolicy")
PARAMETERS: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Send bookmarks, which carry only a resourceVersion."),
    "continue": ("string", "Where an earlier list of limited length left off."),
    "dryRun": ("string", "All: do everything but store the result."),
    "fieldManager": ("string", "Who writes; for managedFields."),
    "fieldSelector": ("string", "Only objects whose fields match, such as metadata.name=web."),
    "fieldValidation": ("string", "Unknown and double fields: Ignore, Warn or Strict."),
    "force": ("boolean", "Take fields over from other managers; apply only."),
    "gracePeriodSeconds": ("integer", "Seconds until the object is gone."),
    "labelSelector": ("string", "Only objects whose labels match."),
    "limit": ("integer", "At most so many objects."),
    "propagationPolicy": ("string", "Orphan, Background or Foreground."),
    "resourceVersion": ("string", "From which version on, or at which."),
    "resourceVersionMatch": ("string", "Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Begin a watch with what there is."),
    "timeoutSeconds": ("integer", "Seconds until the server ends the request."),
    "watch": ("boolean", "Stream changes."),
}
