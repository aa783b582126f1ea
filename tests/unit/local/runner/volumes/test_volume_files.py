"""Files of volumes that are made of values: which ones, and how they come to a directory."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netloom.local.runner.spec import Pod
from netloom.local.runner.volumes import atomic, payload
from netloom.local.runner.volumes.payload import File, MountFailed, Values
from netloom.local.runner.volumes.spec import TokenSource, Volume

POD = msgspec.yaml.decode("metadata: {name: web-1, namespace: shop, uid: u-1, labels: {app: web}}", type=Pod)
MAPS = {("ConfigMap", "conf"): {"color": b"blue", "ini": b"x=1\n"}, ("Secret", "pw"): {"word": b"hush"}}


def files(volume: str, **values: object) -> dict[str, File]:
    source = msgspec.yaml.decode(f"{{name: v, {volume}}}", type=Volume).projection
    assert source is not None
    return payload.files_of(POD, source, Values(**({"maps": MAPS} | values)))


def test_a_config_map_shows_all_keys_or_those_it_is_told():
    assert files("configMap: {name: conf}") == {"color": File(b"blue", 0o644), "ini": File(b"x=1\n", 0o644)}
    some = files("configMap: {name: conf, defaultMode: 0400, items: [{key: ini, path: a/b, mode: 0755}]}")
    assert some == {"a/b": File(b"x=1\n", 0o755)}


def test_a_secret_has_its_modes():
    assert files("secret: {secretName: pw, defaultMode: 0400}") == {"word": File(b"hush", 0o400)}


@pytest.mark.parametrize(
    ("volume", "why"),
    [
        ("configMap: {name: gone}", 'configmap "gone" not found'),
        ("secret: {secretName: gone}", 'secret "gone" not found'),
        ("configMap: {name: conf, items: [{key: lost, path: a}]}", "non-existent config key: lost"),
        ("secret: {secretName: pw, items: [{key: lost, path: a}]}", "non-existent secret key: lost"),
        ("projected: {sources: [{clusterTrustBundle: {path: a}}]}", "clusterTrustBundle"),
        ("downwardAPI: {items: [{path: a, fieldRef: {fieldPath: spec.nothing}}]}", "nothing is told at a"),
    ],
)
def test_what_is_missing_is_named(volume: str, why: str):
    with pytest.raises(MountFailed, match=why):
        files(volume)


@pytest.mark.parametrize("volume", ["configMap: {name: gone, optional: true}", "secret: {secretName: pw, optional: true, items: [{key: lost, path: a}]}"])  # fmt: skip
def test_what_is_optional_may_be_missing(volume: str):
    assert files(volume) == {}


def test_a_projected_volume_has_everything_at_its_place():
    token = TokenSource("token", "vault", 600)
    told = files(
        "projected: {sources: [{serviceAccountToken: {path: token, audience: vault, expirationSeconds: 600}}, "
        "{configMap: {name: conf, items: [{key: color, path: ca.crt}]}}, "
        "{downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}]}",
        tokens={token: "t0ken"},
    )
    assert {path: file.content for path, file in told.items()} == {
        "token": b"t0ken",
        "ca.crt": b"blue",
        "namespace": b"shop",
    }


def test_a_token_belongs_to_the_only_user():
    told = files(
        "projected: {sources: [{serviceAccountToken: {path: token}}]}", token_user=1000, tokens_closed=True
    )
    assert (told["token"].mode, told["token"].user) == (0o600, 1000)


def shown(directory: Path) -> dict[str, bytes]:
    """What a reader sees: names that do not begin with two dots, through all links."""
    found = {}
    for entry in sorted(os.listdir(directory)):
        if not entry.startswith(".."):
            top = directory / entry
            for path in [top, *top.rglob("*")] if top.is_dir() else [top]:
                if path.is_file():
                    found[str(path.relative_to(directory))] = path.read_bytes()
    return found


def test_an_update_is_one_rename(tmp_path: Path):
    assert atomic.write(tmp_path, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)})
    first = os.readlink(tmp_path / "..data")
    assert not atomic.write(tmp_path, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)})
    assert os.readlink(tmp_path / "..data") == first
    open_file = (tmp_path / "a").open()
    assert atomic.write(tmp_path, {"a": File(b"3", 0o640), "c": File(b"4", 0o644)})
    assert shown(tmp_path) == {"a": b"3", "c": b"4"}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert open_file.read() == "1"
    open_file.close()
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert len([n for n in os.listdir(tmp_path) if n.startswith("..")]) == 2


@pytest.mark.parametrize("path", ["../a", "/etc/a", "a/../../b", "..data", "", "..x/y"])
def test_no_path_leads_out(tmp_path: Path, path: str):
    with pytest.raises(MountFailed, match="invalid path"):
        atomic.write(tmp_path / "v", {path: File(b"", 0o644)})


_NAME = st.text("abc.-_", min_size=1, max_size=3).filter(lambda n: not n.startswith("..") and n != ".")
_FILES = st.dictionaries(
    _NAME.map(lambda n: f"f{n}") | st.tuples(_NAME, _NAME).map(lambda p: f"d{p[0]}/{p[1]}"),
    st.builds(File, st.binary(max_size=4), st.sampled_from((0o600, 0o644))),
    max_size=4,
)


@settings(max_examples=30)
@given(history=st.lists(_FILES, min_size=1, max_size=4))
def test_what_was_there_before_leaves_no_trace(history, tmp_path_factory):
    directory = tmp_path_factory.mktemp("v")
    for wanted in history:
        atomic.write(directory, wanted)
        assert shown(directory) == {path: file.content for path, file in wanted.items()}
