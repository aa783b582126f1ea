"""The CNI plugin that other plugins ask for addresses of pools, for one node: our shim under its other name.

In: the compiled shim. Out: a directory with ``netloom-ipam`` in it. Not here: the shim itself (``preflight``).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from netloom.cni.networks.ipam import PLUGIN
from netloom.errors import StorageError


def plugin_dir(directory: Path, shim: Path) -> Path:
    """The directory, made and filled; whatever shim was there before is replaced.

    Raises:
        StorageError: it cannot be written.
    """
    target = directory / PLUGIN
    try:
        directory.mkdir(exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(shim, target)
        except OSError:  # on another file system, or another user's
            shutil.copy(shim, target)
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror}", "see that its directory is writable") from error
    return directory
