"""How a layer is packed: plain, gzip, or zstd, for which the program of that name is asked. In: packed bytes; out: plain ones."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, cast

from netloom.errors import NotFound
from netloom.linux import process
from netloom.linux.process import PIPE, Command
from netloom.local.images.limits import BadImage

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_END_S = 60.0


@contextlib.contextmanager
def unpacked(packed: IO[bytes]) -> Iterator[IO[bytes]]:
    """The plain bytes of a layer.

    Raises:
        BadImage: it is packed with zstd, which is not installed or finds it damaged.
    """
    head = packed.read(4)
    packed.seek(0)
    if head[:2] == _GZIP:
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=packed))
    elif head == _ZSTD:
        with _zstd(packed) as plain:
            yield plain
    else:
        yield packed


@contextlib.contextmanager
def _zstd(packed: IO[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(packed, file)
        file.seek(0)
        try:
            unpacking = process.spawn_now(Command(argv=("zstd", "-dcq"), stdin=file.fileno(), stdout=PIPE))
        except NotFound as error:
            raise BadImage("a layer is packed with zstd", "install it: apt-get install zstd") from error
        try:
            assert unpacking.stdout is not None  # noqa: S101 - a pipe, as asked for
            yield unpacking.stdout
            if unpacking.wait_now(_END_S) != 0:
                raise BadImage("a layer that is packed with zstd is damaged")
        finally:
            unpacking.close()
