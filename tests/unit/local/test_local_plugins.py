"""The shim under its second name, for plugins of a node."""

import os

import pytest

from netloom.errors import StorageError
from netloom.local.plugins import plugin_dir


def test_it_is_the_shim_and_a_newer_one_replaces_it(tmp_path):
    shim = tmp_path / "shim"
    for content in ("one", "two"):
        shim.unlink(missing_ok=True)
        shim.write_text(content)
        shim.chmod(0o755)
        made = plugin_dir(tmp_path / "bin", shim) / "netloom-ipam"
        assert made.read_text() == content
        assert os.access(made, os.X_OK)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "bin").write_text("a file")
    with pytest.raises(StorageError, match="netloom-ipam"):
        plugin_dir(tmp_path / "bin", tmp_path / "shim")
