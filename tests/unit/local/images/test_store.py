"""The store: what producers write is taken, what is no image leaves nothing, names move, containers hold their images."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import msgspec
import pytest

from netloom.errors import InvalidObject, NotFound, Unavailable, UsageError
from netloom.local.images.limits import BadImage, Limits
from netloom.local.images.store import ImageStore
from netloom.testing import images as made
from netloom.testing.images import Entry, Image

BASE = made.layer(
    [Entry(name="etc/release", content=b"base\n"), Entry(name="bin/tool", content=b"#!", mode=0o755)]
)
TOP = made.layer([Entry(name="etc/release", content=b"top\n")])
IMAGE = Image(layers=(BASE, TOP), config={"Cmd": ["tool"], "Env": ["A=1"], "User": "7"})
NOW = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def leftovers(store: ImageStore) -> list[str]:
    """What lies in the store besides what belongs there."""
    known = {image.id.removeprefix("sha256:") for image in store.all()} | {"index.json", "lock"}
    return [name for name in os.listdir(store.root) if name not in known] if store.root.exists() else []


def release(store: ImageStore, name: str) -> str:
    image = store.find(name)
    assert image is not None
    return (store.files(image.id) / "etc/release").read_text()


def test_all_three_forms_are_the_same_image(store: ImageStore, tmp_path: Path):
    store.load(made.docker_archive(tmp_path / "a.tar", IMAGE, ["app:1"]), now=NOW)
    store.load(made.oci_archive(tmp_path / "b.tar", IMAGE, ["app:2"]), now=NOW)
    store.load(made.oci_layout(tmp_path / "c", IMAGE, []), names=["app:3"], now=NOW)
    packed = tmp_path / "d.tar.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    store.load(packed, names=["app:4"], now=NOW)
    (image,) = store.all()
    assert image.id == IMAGE.id
    assert set(image.names) >= {f"docker.io/library/app:{n}" for n in (2, 3, 4)}
    assert image.run.cmd == ("tool",)
    assert image.run.user == "7"
    assert release(store, "app:3") == "top\n"
    assert leftovers(store) == []


def test_found_by_name_id_and_digest(store: ImageStore, tmp_path: Path):
    (image,) = store.load(made.oci_archive(tmp_path / "b.tar", IMAGE, ["app:2"]), now=NOW)
    (digest,) = image.digests
    for name in (
        "app:2",
        "docker.io/library/app:2",
        image.id,
        image.id[7:19],
        f"app@{digest}",
        f"app:2@{digest}",
    ):
        assert store.find(name) == image, name
    assert store.find("app") is store.find("other:2") is store.find(f"other@{digest}") is None
    with pytest.raises(InvalidObject):
        store.find("App:2")


def test_a_name_moves_to_what_was_loaded_last(store: ImageStore, tmp_path: Path):
    store.load(made.docker_archive(tmp_path / "a.tar", IMAGE, ["app:1"]), now=NOW)
    other = Image(layers=(BASE,))
    store.load(made.docker_archive(tmp_path / "b.tar", other, ["app:1"]), now=NOW)
    assert release(store, "app:1") == "base\n"
    former = store.find(IMAGE.id)
    assert former is not None
    assert former.names == ()
    assert store.remove(IMAGE.id) == (IMAGE.id,)


def test_removed_with_its_last_name(store: ImageStore, tmp_path: Path):
    archive = made.docker_archive(tmp_path / "a.tar", IMAGE, ["app:1", "app:2"])
    store.load(archive, now=NOW)
    assert store.remove("app:1") == ("docker.io/library/app:1",)
    assert release(store, "app:2") == "top\n"
    assert store.remove("app:2") == ("docker.io/library/app:2", IMAGE.id)
    assert store.all() == ()
    assert sorted(os.listdir(store.root)) == ["index.json", "lock"]
    with pytest.raises(NotFound):
        store.remove("app:2")


def test_an_image_that_a_container_runs_stays(store: ImageStore, tmp_path: Path):
    store.load(made.docker_archive(tmp_path / "a.tar", IMAGE, ["app:1"]), now=NOW)
    held = store.hold(IMAGE.id)
    try:
        with pytest.raises(Unavailable, match="in use"):
            store.remove("app:1")
        assert release(store, "app:1") == "top\n"
    finally:
        os.close(held)
    store.remove("app:1")
    with pytest.raises(NotFound):
        store.hold(IMAGE.id)


def test_a_draft_of_somebody_who_died_goes(store: ImageStore, tmp_path: Path):
    (store.root / "draft-dead/x").mkdir(parents=True)
    store.load(made.docker_archive(tmp_path / "a.tar", IMAGE, ["app:1"]), now=NOW)
    assert leftovers(store) == []


def broken(tmp_path: Path) -> dict[str, Path]:
    """Files that are no images, by what is wrong with them."""
    whole = made.docker_archive(tmp_path / "whole.tar", IMAGE, ["app:1"]).read_bytes()
    parts = made.oci_parts(IMAGE, ["app:1"])
    found = {
        "empty": b"",
        "text": b"this is no archive\n" * 100,
        "cut": whole[: len(whole) // 2],
        "gzip": gzip.compress(whole)[:-500],
        "no manifest": made.layer([Entry(name="x")]),
        "manifest is no JSON": made.layer([Entry(name="manifest.json", content=b"{")]),
        "manifest of another shape": made.layer([Entry(name="manifest.json", content=b'[{"Config": 1}]')]),
        "layer missing": made.layer(
            [Entry(name=n, content=c) for n, c in parts.items() if "blobs" not in n or b"config" in c]
        ),
        "damaged blob": made.layer(
            [Entry(name=n, content=c[:-1] + b"!" if c[:2] == b"\x1f\x8b" else c) for n, c in parts.items()]
        ),
        "damaged manifest": made.layer(
            [
                Entry(name=n, content=c + b" " if b"schemaVersion" in c and "blobs" in n else c)
                for n, c in parts.items()
            ]
        ),
        "manifest is huge": made.layer([Entry(name="manifest.json", content=b" " * (9 << 20))]),
    }
    for name, content in found.items():
        (tmp_path / name).write_bytes(content)
    other = Image(layers=(BASE,), architecture="s390x")
    paths = {name: tmp_path / name for name in found}
    paths["other machine"] = made.docker_archive(tmp_path / "other.tar", other, ["app:1"])
    paths["no name"] = made.oci_layout(tmp_path / "layout", IMAGE, [])
    paths["a link"] = made.oci_layout(tmp_path / "linked", IMAGE, ["app:1"])
    (tmp_path / "linked/index.json").unlink()
    (tmp_path / "linked/index.json").symlink_to(tmp_path / "layout/index.json")
    return paths


@pytest.mark.parametrize(
    "what",
    [
        *("empty", "text", "cut", "gzip", "no manifest", "manifest is no JSON", "manifest of another shape"),
        *(
            "layer missing",
            "damaged blob",
            "damaged manifest",
            "manifest is huge",
            "other machine",
            "no name",
            "a link",
        ),
    ],
)
def test_what_is_no_image_is_refused_and_leaves_nothing(store: ImageStore, tmp_path: Path, what: str):
    path = broken(tmp_path)[what]
    with pytest.raises(BadImage) as refused:
        store.load(path, now=NOW)
    assert str(path) in str(refused.value), "the word names the file"
    assert store.all() == ()
    assert leftovers(store) == []


def test_what_is_not_there_and_what_cannot_be_named(store: ImageStore, tmp_path: Path):
    with pytest.raises(NotFound):
        store.load(tmp_path / "nothing", now=NOW)
    with pytest.raises(BadImage):
        store.load(Path("/dev/zero"), now=NOW)
    archive = made.docker_archive(tmp_path / "a.tar", IMAGE, ["app:1"])
    for name in ("App", f"app@{IMAGE.id}"):
        with pytest.raises(InvalidObject):
            store.load(archive, names=[name], now=NOW)
    both = msgspec.json.decode(made.oci_parts(IMAGE, ["app:1"])["index.json"])
    assert both["manifests"]
    two = Image(layers=(BASE,))
    parts = {**made.oci_parts(two, []), **made.oci_parts(IMAGE, ["a:1"])}
    index = msgspec.json.decode(parts["index.json"])
    index["manifests"] += msgspec.json.decode(made.oci_parts(two, ["b:1"])["index.json"])["manifests"]
    parts["index.json"] = msgspec.json.encode(index)
    several = tmp_path / "several.tar"
    several.write_bytes(made.layer(Entry(name=n, content=c) for n, c in parts.items()))
    with pytest.raises(UsageError):
        store.load(several, names=["c:1"], now=NOW)
    assert len(store.load(several, now=NOW)) == 2


def test_sizes_and_numbers_are_bounded(tmp_path: Path):
    archive = made.docker_archive(tmp_path / "a.tar", IMAGE, ["app:1"])
    for limits in (
        Limits(unpacked=6),
        Limits(entries=2),
        Limits(layers=1),
        Limits(document=20),
        Limits(members=2),
    ):
        store = ImageStore(tmp_path / "images", limits=limits)
        with pytest.raises(BadImage):
            store.load(archive, now=NOW)
        assert leftovers(store) == []
    nul = tmp_path / "zeros.gz"
    nul.write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(BadImage):
        ImageStore(tmp_path / "images", limits=Limits(unpacked=1 << 10)).load(nul, now=NOW)


def test_a_header_that_is_an_archive_of_its_own_is_refused(store: ImageStore, tmp_path: Path):
    member = tarfile.TarInfo("long")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 31
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(BadImage):
        store.load(tmp_path / "a.tar", now=NOW)
