"""Names of images (distribution's reference grammar). Pure. In: text as a pod or an archive has it; out: a Reference.

``nginx`` means ``docker.io/library/nginx:latest``, as with every container runtime that people know.
"""

from __future__ import annotations

import re

import msgspec

from netloom.errors import InvalidObject

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][\w.+-]*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
_ID = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{12,64})", re.ASCII)
_MOST = 4096
"""Characters of a name that are looked at; the grammar allows 255 for the path."""
_MOST_PATH = 255
DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"
_LIBRARY = "library/"


class Reference(msgspec.Struct, frozen=True):
    """A name of an image, whole."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Registry and path: ``docker.io/library/nginx``."""
        return f"{self.host}/{self.path}"

    def __str__(self) -> str:
        text = self.repository
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text


def parse(text: str, *, subject: str = "image") -> Reference:
    """A name with what it leaves out: registry, ``library/``, and the tag, unless it has a digest.

    Raises:
        InvalidObject: it is no image reference (status reason ``InvalidImageName``).
    """
    match = _REFERENCE.fullmatch(text) if len(text) <= _MOST else None
    if match is None or len(match["path"]) > _MOST_PATH:
        raise InvalidObject(
            subject,
            "image",
            f"{text[:200]!r} is no image reference",
            "write it as [registry/]name[:tag][@digest]",
        )
    host, path = match["host"] or "", match["path"]
    if host and "." not in host and ":" not in host and host != "localhost" and host == host.lower():
        host, path = "", f"{host}/{path}"  # a first part is a registry only where it looks like one
    if not host:
        host = DEFAULT_HOST
    if host in {"docker.io", "index.docker.io"}:
        host = DEFAULT_HOST
        path = path if "/" in path else f"{_LIBRARY}{path}"
    digest = match["digest"] or ""
    return Reference(host, path, match["tag"] or ("" if digest else DEFAULT_TAG), digest)


def meanings(reference: Reference) -> tuple[Reference, ...]:
    """What a name may mean, the likeliest first: a short one also what was built here, which some builders call ``localhost/name``."""
    short = reference.path.removeprefix(_LIBRARY)
    if reference.host != DEFAULT_HOST or short == reference.path:
        return (reference,)
    return reference, msgspec.structs.replace(reference, host="localhost", path=short)


def image_id(text: str) -> str:
    """The hexadecimal digits of an image's id or of its beginning (12 at least); empty where it is none."""
    match = _ID.fullmatch(text)
    return match["hex"] if match is not None else ""
