"""Images from registries, fetched by skopeo on the host: it knows registries, mirrors and credentials. In: a name; out: Images.

What it fetches is a docker-archive in a directory of its own, and is then loaded as any other. Not here: the store.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import msgspec

from netloom.errors import NotFound, Unavailable, Unsupported
from netloom.linux import process
from netloom.local.images import references
from netloom.local.images.store import Image, ImageStore

_TRANSPORT = re.compile(
    r"(docker|oci|oci-archive|docker-archive|docker-daemon|containers-storage|dir):(?!\d+/).+", re.DOTALL
)
_PULL_S = 3600.0
_SAID = 2000


class Wish(msgspec.Struct, frozen=True):
    """What to pull, and how."""

    reference: str
    """As a pod names it, or with one of skopeo's transports."""
    names: tuple[str, ...] = ()
    authfile: str = ""
    plain_http: bool = False


async def pull(store: ImageStore, wish: Wish, *, now: float) -> tuple[Image, ...]:
    """Fetch and load an image.

    Raises:
        InvalidObject: the reference is none.
        Unsupported: skopeo is not installed.
        Unavailable: skopeo could not fetch it; in its own words.
        BadImage, StorageError: as for ``ImageStore.load``.
    """
    has_transport = _TRANSPORT.fullmatch(wish.reference) is not None
    names = wish.names
    if not has_transport:
        reference = references.parse(wish.reference)
        tag = reference.tag or references.DEFAULT_TAG
        names = (f"{reference.repository}:{tag}", *names)
    source = wish.reference if has_transport else f"docker://{_without_tag_of_digest(reference)}"
    with tempfile.TemporaryDirectory(prefix="netloom-pull-") as place:
        target = Path(place) / "image"
        try:
            await _copy(wish, source, f"docker-archive:{target}")
        except Unavailable as error:
            if "zstd" not in error.problem:
                raise
            await _copy(wish, source, f"oci:{target}")  # an archive in Docker's form cannot hold such layers
        return store.load(target, names=names, now=now)


async def _copy(wish: Wish, source: str, target: str) -> None:
    argv = ["skopeo", "copy", "--quiet"]
    if wish.authfile:
        argv += ["--src-authfile", wish.authfile]
    if wish.plain_http:
        argv += ["--src-tls-verify=false"]
    try:
        done = await process.run([*argv, "--", source, target], timeout_s=_PULL_S)
    except NotFound as error:
        raise Unsupported("skopeo is not installed; it fetches images", "apt-get install skopeo") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unavailable(
            f"{wish.reference}: {(said or ['skopeo failed'])[-1][:_SAID]}", "is the name right?"
        )


def _without_tag_of_digest(reference: references.Reference) -> str:
    """Of a tag and a digest skopeo takes one."""
    return f"{reference.repository}@{reference.digest}" if reference.digest else str(reference)
