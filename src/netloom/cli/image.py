"""``netloom image``: images of real programs for pods: load them from files, pull them, list and remove them."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from netloom.cli.output import Progress, add_output, emit, table
from netloom.clock import SystemClock
from netloom.local.images import pull
from netloom.local.images.store import Image, ImageStore
from netloom.local.paths import images_home

_EPILOG = """Pods whose image is loaded run its program; all others have a stand-in. Images are shared by all clusters of one home, and by all
nodes; a cluster need not run to load one.

for example:
  netloom image load shop.tar                     what docker save, podman save or skopeo copy wrote
  netloom image load layout/ --tag shop:1         an OCI layout, which often names no name
  netloom image pull registry.example.org/shop:1  by skopeo, with its credentials
  netloom image ls
  netloom image rm shop:1

exit codes: 0 done, 2 not an image, 4 no such file or image, 5 skopeo is not installed, 6 in use, 7 no space
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.epilog = _EPILOG
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    load = acts.add_parser(
        "load", help="take the images of a docker-archive, an OCI archive or an OCI layout"
    )
    load.add_argument("files", metavar="FILE", nargs="+", type=Path)
    load.add_argument(
        "--tag", action="append", default=[], metavar="NAME", help="call it so, too; may be repeated"
    )
    add_output(load)
    get = acts.add_parser("pull", help="fetch an image from a registry and load it")
    get.add_argument("reference", metavar="REF", help="as a pod names it, or with a transport of skopeo")
    get.add_argument("--authfile", type=Path, metavar="FILE", help="credentials, as skopeo reads them")
    get.add_argument(
        "--plain-http",
        action="store_true",
        help="the registry speaks HTTP, or its certificate cannot be checked",
    )
    get.add_argument(
        "--tag", action="append", default=[], metavar="NAME", help="call it so, too; may be repeated"
    )
    add_output(get)
    add_output(acts.add_parser("ls", help="list the images that are loaded"))
    rm = acts.add_parser("rm", help="remove images, or names of them")
    rm.add_argument("images", metavar="IMAGE", nargs="+", help="name or id")
    add_output(rm)


def run(options: argparse.Namespace) -> int:
    """Do one of the acts."""
    store = ImageStore(images_home())
    act = {"load": _load, "pull": _pull, "ls": _list, "rm": _remove}[options.act]
    act(store, options)
    return 0


def _load(store: ImageStore, options: argparse.Namespace) -> None:
    progress = Progress(quiet=options.output != "text")
    loaded: list[Image] = []
    for path in options.files:
        progress.step(f"loading {path}")
        loaded += store.load(path, names=options.tag, now=SystemClock().wall())
    progress.done()
    _emit(loaded, options)


def _pull(store: ImageStore, options: argparse.Namespace) -> None:
    progress = Progress(quiet=options.output != "text")
    progress.step(f"pulling {options.reference}")
    wish = pull.Wish(
        options.reference, tuple(options.tag), str(options.authfile or ""), plain_http=options.plain_http
    )
    loaded = asyncio.run(pull.pull(store, wish, now=SystemClock().wall()))
    progress.done()
    _emit(loaded, options)


def _emit(loaded: list[Image] | tuple[Image, ...], options: argparse.Namespace) -> None:
    lines = [f"loaded {', '.join(image.names)} ({image.id[7:19]}, {_size(image.size)})" for image in loaded]
    emit({"images": loaded}, options.output, "\n".join(lines))


def _list(store: ImageStore, options: argparse.Namespace) -> None:
    images = store.all()
    rows = [
        (name, image.id[7:19], _size(image.size)) for image in images for name in (image.names or ("<none>",))
    ]
    text = table(("IMAGE", "ID", "SIZE"), rows) if rows else "no image is loaded: every pod has a stand-in"
    emit({"images": images}, options.output, text)


def _remove(store: ImageStore, options: argparse.Namespace) -> None:
    gone = [name for image in options.images for name in store.remove(image)]
    emit({"removed": gone}, options.output, "\n".join(f"removed {name}" for name in gone))


def _size(size: int) -> str:
    amount, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB"):  # noqa: B007 - the last one is what is shown
        if amount < 1000:
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
