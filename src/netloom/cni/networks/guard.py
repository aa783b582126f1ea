"""Who may act for an attachment: nobody while a plugin of an earlier agent still does. In: an attachment. Out: a descriptor to inherit.

An agent that is killed leaves its plugin running: it would go on making what the next call undoes. So each plugin inherits a
descriptor whose lock (an open file description lock on one byte of one file, fcntl(2)) lives until the last process that has it ends;
whoever comes next waits for that. Not here: two calls of one agent, which take their turns (``verbs``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from netloom.cni.ipam.store import Attachment
from netloom.errors import StorageError, Unavailable

_FLOCK = struct.Struct("@hhqqi4x")
_RETRY_S = 0.05


class PluginGuard:
    """The locks of a node's attachments.

    Args:
        path: the file that is locked; made where it is not there, and never written.
        patience_s: how long plugins of an earlier agent are waited for.
    """

    def __init__(self, path: Path | str, *, patience_s: float = 30.0) -> None:
        self._path = str(path)
        self._patience_s = patience_s

    @contextlib.asynccontextmanager
    async def held(self, attachment: Attachment) -> AsyncIterator[int]:
        """Nobody else acts for the attachment; the descriptor is for plugins to inherit.

        Raises:
            Unavailable: a plugin of an earlier agent does not end.
            StorageError: the file cannot be opened.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"{self._path}: {error.strerror}", "see that its directory is writable"
            ) from error
        try:
            await self._lock(fd, attachment)
            yield fd
        finally:
            os.close(fd)

    async def _lock(self, fd: int, attachment: Attachment) -> None:
        digest = hashlib.sha256(str(attachment).encode()).digest()
        byte = int.from_bytes(digest[:8]) >> 2
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while True:
            try:
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, wanted)
            except OSError as error:
                if error.errno not in {errno.EAGAIN, errno.EACCES}:
                    raise StorageError(
                        f"lock {self._path}: {error.strerror}", "is it on a local disk?"
                    ) from error
            else:
                return
            if loop.time() > until:
                raise Unavailable(
                    f"attachment {attachment}: a plugin that an earlier agent started still runs",
                    "it is waited for; end it if it hangs",
                )
            await asyncio.sleep(
                _RETRY_S
            )  # retry interval: the kernel tells nobody when a lock of this kind comes free
