"""What the client wants back: plain objects, Tables, or metadata only. And whether it speaks JSON at all.

Comes in: the Accept header. Goes out: a View. Source: Kubernetes API concepts, "Receiving resources as Tables" and
"Metadata-only fetches"; RFC 9110, section 12.5.1 (quality values are not weighed: clients list the best first).
"""

from __future__ import annotations

import functools
from typing import Literal

import msgspec

from netloom.local.apiserver.status import not_acceptable

_META = "meta.k8s.io"
_DISCOVERY = "apidiscovery.k8s.io"
_PLAIN = {"application/json", "application/*", "*/*", ""}

Shape = Literal["object", "table", "metadata", "aggregated"]


class View(msgspec.Struct, frozen=True):
    """The shape of an answer; ``version`` is that of the group which the shape belongs to."""

    shape: Shape = "object"
    version: str = "v1"


@functools.lru_cache(maxsize=256)
def view(accept: str) -> View:
    """The first of the media types in an Accept header that we can serve.

    Raises:
        ApiError: 406, there is none (a client that insists on protobuf).
    """
    for choice in accept.split(","):
        media, *params = (part.strip() for part in choice.split(";"))
        if media.lower() not in _PLAIN:
            continue
        wanted = dict(p.partition("=")[::2] for p in params)
        match wanted.get("as"), wanted.get("g"), wanted.get("v", "v1"):
            case None, _, _:
                return View()
            case "Table", g, ("v1" | "v1beta1") as version if g == _META:
                return View("table", version)
            case (("PartialObjectMetadata" | "PartialObjectMetadataList"), g, "v1") if g == _META:
                return View("metadata")
            case "APIGroupDiscoveryList", g, ("v2" | "v2beta1") as version if g == _DISCOVERY:
                return View("aggregated", version)
            case _:
                continue
    raise not_acceptable()
