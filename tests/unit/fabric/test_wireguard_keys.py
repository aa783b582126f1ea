"""The node's key: made once, kept, its owner's only, whole or not at all."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from netloom.errors import StorageError
from netloom.fabric.wireguard.keys import load_or_make


def test_it_is_made_once_and_kept(tmp_path: Path, caplog):
    path = tmp_path / "wireguard.key"
    with caplog.at_level(logging.DEBUG):
        pair = load_or_make(path)
    assert load_or_make(path) == pair
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text().strip() not in caplog.text
    assert path.read_text().strip() not in repr(pair)
    assert repr(pair.private) not in repr(pair)


def test_who_removes_it_gets_another(tmp_path: Path):
    path = tmp_path / "wireguard.key"
    first = load_or_make(path)
    path.unlink()
    assert load_or_make(path) != first


def test_others_may_read_it_no_longer(tmp_path: Path, caplog):
    path = tmp_path / "wireguard.key"
    pair = load_or_make(path)
    path.chmod(0o644)
    assert load_or_make(path) == pair
    assert path.stat().st_mode & 0o777 == 0o600
    assert "others could read it" in caplog.text


@pytest.mark.parametrize("text", [b"", b"no key", b"AAAA", b"\xff" * 44, b"A" * 43 + b"=", b"x" * 300])
def test_something_else_is_kept_aside_and_a_key_made(tmp_path: Path, text: bytes):
    path = tmp_path / "wireguard.key"
    path.write_bytes(text)
    pair = load_or_make(path)
    assert load_or_make(path) == pair
    assert (tmp_path / "wireguard.key.unreadable").read_bytes() == text


def test_a_draft_of_a_killed_agent_is_no_key(tmp_path: Path):
    draft = tmp_path / f".wireguard.key.{os.getpid()}"
    draft.write_bytes(b"half a k")
    load_or_make(tmp_path / "wireguard.key")
    assert not draft.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(StorageError, match="nowhere"):
        load_or_make(tmp_path / "nowhere" / "wireguard.key")


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "wireguard.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        load_or_make(tmp_path / "wireguard.key")
