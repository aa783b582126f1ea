"""What an image name means here. In: ``spec.containers[].image``; out: what status says of it, or why it cannot be.

No image is loaded: every container runs as a stand-in app. The name must still be one, as with every container runtime.
"""

from __future__ import annotations

import re

from netloom.errors import InvalidObject

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?"
)
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[\w][\w.-]{{0,127}})?(?:@[A-Za-z][\w.+-]*:[0-9a-fA-F]{{32,}})?",
    re.ASCII,
)


def standin_image_id(image: str, *, subject: str) -> str:
    """The ``imageID`` that a container status shows for an image that a stand-in runs in place of.

    Args:
        image: as written in the pod.
        subject: pod and container, for the error.

    Raises:
        InvalidObject: the name is no image reference (status reason ``InvalidImageName``).
    """
    if not _REFERENCE.fullmatch(image):
        raise InvalidObject(
            subject, "image", f"{image!r} is no image reference", "write it as [registry/]name[:tag][@digest]"
        )
    return f"standin://{image}"
