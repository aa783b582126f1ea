"""Files of a HAProxy: in one directory that only we can read, each replaced as a whole.

Comes in: what is told. Goes out: files. Not here: what is in them (``haproxy/told.py``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from netloom.errors import StorageError
from netloom.gateway.haproxy import told as texts
from netloom.gateway.haproxy.config import LUA
from netloom.gateway.haproxy.difference import Running, renamed_maps
from netloom.gateway.processes import INNER_FOLDER

_SCRIPT = Path(__file__).with_name("gateway.lua")
_FOLDERS = ("maps", "certs", "lists", "authorities", "keys")


class Files:
    """The directory, and what was written there.

    Args:
        directory: made where it is not there; mode 0700, or 0710 where HAProxy becomes another user.
        user: number of the user and group that HAProxy becomes, which gets to its sockets in here and to nothing else; None: it stays who it is.
    """

    def __init__(self, directory: Path, user: int | None = None) -> None:
        self.directory = directory
        self._user = user
        self._written: dict[str, str] = {}

    def forget_sockets(self) -> None:
        """Take away what processes that are no more have left."""
        shutil.rmtree(self.directory / INNER_FOLDER, ignore_errors=True)

    def write(self, running: Running) -> None:
        """Write what a process is to start with; what nobody refers to any more goes.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            self._prepare()
            wanted = contents(running)
            for name, text in wanted.items():
                if self._written.get(name) != text:
                    self._replace(name, text)
                    self._written[name] = text
            for name in self._written.keys() - wanted.keys():
                (self.directory / name).unlink(missing_ok=True)
                del self._written[name]
        except OSError as error:
            raise StorageError(
                f"files of the gateway in {self.directory}: {error.strerror or error}",
                "see that the directory is writable and the disk not full",
            ) from error

    def _prepare(self) -> None:
        if self._written:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        inner = self.directory / INNER_FOLDER
        inner.mkdir(exist_ok=True)
        inner.chmod(0o700)
        if self._user is None:
            self.directory.chmod(0o700)
        else:
            os.chown(inner, self._user, self._user)
            os.chown(self.directory, -1, self._user)
            self.directory.chmod(0o710)
        for folder in _FOLDERS:
            (self.directory / folder).mkdir(exist_ok=True)
            for left in (self.directory / folder).iterdir():
                left.unlink()

    def _replace(self, name: str, text: str) -> None:
        path = self.directory / name
        beside = path.with_name(f"{path.name}.new")
        beside.unlink(missing_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w") as file:
            file.write(text)
        beside.replace(path)


def contents(running: Running) -> dict[str, str]:
    """Every file by its name."""
    told = running.told
    files: dict[str, str] = {texts.CONFIG: texts.text(told, running.slots), LUA: _SCRIPT.read_text()}
    maps: Mapping[str, Mapping[str, str]] = renamed_maps(running, told)
    files |= {name: texts.map_text(entries) for name, entries in maps.items()}
    files |= {name: texts.list_text(lines) for name, lines in told.lists.items()}
    return files | dict(told.files) | dict(told.certificates)
