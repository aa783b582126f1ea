"""Layers become files: later over earlier, whiteouts, links; and whatever a layer says, nothing outside is touched."""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.images.limits import BadImage, Limits
from netloom.local.images.unpack import Unpacker
from netloom.testing import images as made
from netloom.testing.images import Entry, directory, symlink


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").write_text("untouched")
    yield tmp_path / "root"
    assert (tmp_path / "outside").read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]


def unpack(root: Path, *layers: list[Entry], limits: Limits | None = None) -> None:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpacker = Unpacker(fd, where="test", limits=limits or Limits())
        for entries in layers:
            raw = made.layer(entries)
            with tempfile.TemporaryFile() as file:
                file.write(raw)
                file.seek(0)
                unpacker.layer(file, made.digest(raw))
    finally:
        os.close(fd)


def tree(root: Path) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_text()
        else:
            found[name] = "/"
    return found


def test_later_layers_lie_over_earlier_ones(root: Path):
    unpack(
        root,
        [
            Entry(name="a", content=b"1"),
            directory("d"),
            Entry(name="d/x", content=b"1"),
            Entry(name="f/g", content=b"1"),
        ],
        [
            Entry(name="a", content=b"2"),
            Entry(name="d", content=b"now a file"),
            directory("f"),
            Entry(name="f/h", content=b"2"),
        ],
    )
    assert tree(root) == {"a": "2", "d": "now a file", "f": "/", "f/g": "1", "f/h": "2"}


def test_whiteouts_take_away_what_was_below_and_nothing_of_their_own_layer(root: Path):
    unpack(
        root,
        [Entry(name=f"d/{n}", content=b"1") for n in "abc"] + [Entry(name="gone/x"), Entry(name="kept")],
        [
            Entry(name="d/new", content=b"2"),
            Entry(name="d/.wh..wh..opq"),
            Entry(name="d/late", content=b"2"),
            Entry(name=".wh.gone"),
            Entry(name=".wh.never"),
            Entry(name="kept", content=b"2"),
            Entry(name=".wh.kept"),
            Entry(name=".wh..wh.plnk/1"),
        ],
    )
    found = tree(root)
    found.pop(".wh..wh.plnk", None), found.pop(".wh..wh.plnk/1", None)
    assert found == {"d": "/", "d/late": "2", "d/new": "2", "kept": "2"}


def test_links_modes_and_times(root: Path):
    unpack(
        root,
        [
            directory("usr/bin"),
            symlink("bin", "usr/bin"),
            Entry(name="bin/tool", content=b"x", mode=0o4755),
            Entry(name="again", kind=tarfile.LNKTYPE, link="bin/tool"),
            directory("closed", 0o700),
            Entry(name="pipe", kind=tarfile.FIFOTYPE),
            Entry(name="dev/null", kind=tarfile.CHRTYPE),
        ],
    )
    tool = root / "usr/bin/tool"
    assert tool.stat().st_ino == (root / "again").stat().st_ino
    assert stat.S_IMODE(tool.stat().st_mode) == 0o4755
    assert int(tool.stat().st_mtime) == 1_700_000_000
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0o700
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    assert not (root / "dev/null").exists(), "devices are not an image's to give"


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(name="../outside", content=b"!")],
        [Entry(name="a/../../outside", content=b"!")],
        [Entry(name="hard", kind=tarfile.LNKTYPE, link="../outside")],
        [directory("d"), Entry(name="hard", kind=tarfile.LNKTYPE, link="d")],
        [Entry(name="hard", kind=tarfile.LNKTYPE, link="nothing")],
        [symlink("l", "l"), Entry(name="l/x")],
        [Entry(name="f"), Entry(name="f/x")],
        [Entry(name="a/.wh...")],
        [Entry(name="/".join(["d"] * 300))],
        [Entry(name="x" * 300)],
    ],
)
def test_what_an_image_must_not_say_is_refused(root: Path, entries: list[Entry]):
    with pytest.raises(BadImage):
        unpack(root, entries)


@pytest.mark.parametrize("target", ["..", "../..", "/", "/..", "../outside", "/proc/self/root", "d/../../.."])
def test_links_out_of_the_image_stay_in_it(root: Path, target: str):
    unpack(
        root,
        [symlink("l", target), symlink("file", f"{target}/outside")],
        [Entry(name="file", content=b"!"), Entry(name=".wh.file")],
    )
    with contextlib.suppress(BadImage):
        unpack(root, [Entry(name="l/outside", content=b"!"), Entry(name="l/.wh.outside")])


NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "outside"]), min_size=1, max_size=4
)
TARGETS = st.lists(st.sampled_from(["a", "b", "..", "/", "outside"]), min_size=1, max_size=4).map("/".join)
ENTRIES = st.builds(
    Entry,
    name=NAMES.map("/".join),
    kind=st.sampled_from(
        [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
    ),
    link=TARGETS,
    content=st.just(b""),
    mode=st.sampled_from([0o644, 0o755, 0, 0o7777]),
)


@given(st.lists(st.lists(ENTRIES, max_size=8), min_size=1, max_size=3))
def test_whatever_layers_say_nothing_outside_is_touched(layers: list[list[Entry]]):
    with tempfile.TemporaryDirectory() as place:
        outside, root = Path(place, "outside"), Path(place, "root")
        outside.write_text("untouched")
        root.mkdir()
        before = outside.stat()
        with contextlib.suppress(BadImage):
            unpack(root, *layers)
        after = outside.stat()
        assert sorted(os.listdir(place)) == ["outside", "root"]
        assert outside.read_text() == "untouched"
        assert (after.st_mode, after.st_nlink, after.st_uid) == (before.st_mode, 1, before.st_uid)
