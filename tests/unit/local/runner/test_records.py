from __future__ import annotations

import logging
from pathlib import Path

import pytest

from netloom.errors import StorageError
from netloom.local.runner.records import Records, SandboxRecord

ONE = SandboxRecord(uid="u", namespace="shop", name="web-1", container_id="c1", pid=7, start_ticks=9)


def test_records_survive(tmp_path: Path):
    records = Records(tmp_path / "sandboxes")
    assert records.all() == []
    records.put(ONE)
    assert Records(tmp_path / "sandboxes").all() == [ONE]
    records.delete("c1")
    records.delete("c1")
    assert records.all() == []


def test_one_broken_record_does_not_hide_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    records = Records(tmp_path)
    records.put(ONE)
    (tmp_path / "torn.json").write_bytes(b'{"uid": "x"')
    (tmp_path / "c2.new").write_bytes(b"never finished")
    with caplog.at_level(logging.WARNING):
        assert records.all() == [ONE]
    assert "torn.json" in caplog.text


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/sandboxes"):
        Records(tmp_path / "file" / "sandboxes").put(ONE)
