"""Where volumes lie: paths of the host, and parts of volumes, from which nothing leads out."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from unittest import mock

import pytest

from netloom.linux.namespaces import has_one_user
from netloom.local.runner.volumes import atomic, places
from netloom.local.runner.volumes.hostpaths import PROVISIONED, HostPaths
from netloom.local.runner.volumes.payload import MountFailed


@pytest.fixture
def hosts(tmp_path: Path) -> HostPaths:
    (tmp_path / "machine" / "hidden" / "keys").mkdir(parents=True)
    (tmp_path / "machine" / "file").write_text("x")
    return HostPaths(
        own=tmp_path / "own", shared=tmp_path / "shared", hidden=(str(tmp_path / "machine" / "hidden"),)
    )


def test_what_the_machine_has_is_read_only(hosts: HostPaths, tmp_path: Path):
    place = hosts.find(str(tmp_path / "machine" / "file"), "File")
    assert (place.source, place.read_only, place.hidden) == (tmp_path / "machine" / "file", True, ())


def test_what_it_lacks_is_made_for_the_node(hosts: HostPaths, tmp_path: Path):
    place = hosts.find("/nowhere/data", "DirectoryOrCreate")
    assert (place.source, place.read_only) == (tmp_path / "own" / "nowhere/data", False)
    assert place.source.is_dir()
    assert hosts.find("/nowhere/data", "Directory").source == place.source
    made = hosts.find("/nowhere/file", "FileOrCreate")
    assert made.source.is_file()


def test_provisioned_volumes_are_the_same_on_all_nodes(hosts: HostPaths, tmp_path: Path):
    place = hosts.find(f"{PROVISIONED}/pv-1", "DirectoryOrCreate")
    assert (place.source, place.read_only) == (tmp_path / "shared" / "pv-1", False)


@pytest.mark.parametrize("kind", ["Directory", "File", "Socket", "BlockDevice", "CharDevice"])
def test_what_must_be_there_and_is_not_is_told(hosts: HostPaths, kind: str):
    with pytest.raises(MountFailed, match="hostPath type check failed: /nowhere is not a"):
        hosts.find("/nowhere", kind)


def test_the_keys_of_the_cluster_are_never_shown(hosts: HostPaths, tmp_path: Path):
    for path in ("hidden", "hidden/keys", "other/../hidden"):
        place = hosts.find(str(tmp_path / "machine" / path), "")
        assert place.source.is_relative_to(tmp_path / "own")
    (tmp_path / "link").symlink_to(tmp_path / "machine" / "hidden")
    assert hosts.find(str(tmp_path / "link"), "").source.is_relative_to(tmp_path / "own")
    above = hosts.find(str(tmp_path / "machine"), "Directory")
    assert above.hidden == (str(tmp_path / "machine" / "hidden"),)


@pytest.mark.parametrize("kind", ["", "Directory", "DirectoryOrCreate", "File", "FileOrCreate"])
@pytest.mark.parametrize(("root", "path"), [("own", "/nowhere"), ("shared", f"{PROVISIONED}/pv-1")])
def test_links_that_pods_made_lead_nowhere(hosts: HostPaths, tmp_path: Path, root: str, path: str, kind: str):
    place = hosts.find(path, "DirectoryOrCreate")
    assert place.source.is_relative_to(tmp_path / root)
    (place.source / "x").symlink_to("/")
    (place.source / "keys").symlink_to(tmp_path / "machine" / "hidden")
    for tried in ("x", "keys", f"x{tmp_path}/new", "keys/new"):
        with pytest.raises(MountFailed, match="leads out"):
            hosts.find(f"{path}/{tried}", kind)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "machine" / "hidden" / "new").exists()


def test_what_pods_may_exchange_is_held(hosts: HostPaths, tmp_path: Path):
    place = hosts.find("/nowhere/data", "")
    held = place.hold()
    assert held is not None
    assert os.path.samestat(os.fstat(held), place.source.stat())
    os.close(held)
    place.source.rmdir()
    place.source.symlink_to("/")
    with pytest.raises(MountFailed, match="leads out"):
        place.hold()
    assert hosts.find(str(tmp_path / "machine" / "file"), "").hold() is None


@pytest.mark.parametrize("kind", ["", "Socket"])
def test_sockets_of_the_machine_are_refused(hosts: HostPaths, tmp_path: Path, kind: str, monkeypatch):
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        with pytest.raises(MountFailed, match="is a socket of the machine"):
            hosts.find(str(tmp_path / "s"), kind)


def test_sockets_of_the_node_are_shown(hosts: HostPaths, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(hosts.find("/nowhere", "DirectoryOrCreate").source)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        assert hosts.find("/nowhere/s", "Socket").source == tmp_path / "own/nowhere/s"


@pytest.mark.parametrize("path", ["/run", "/var/run", "/run/dbus"])
def test_a_node_has_a_run_directory_of_its_own(hosts: HostPaths, tmp_path: Path, path: str):
    place = hosts.find(path, "")
    assert (place.source, place.read_only) == (tmp_path / "own" / path[1:], False)
    assert os.path.realpath("/run") in hosts.find("/", "Directory").hidden


def test_a_group_is_given_nothing_through_links(tmp_path: Path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "f").write_text("x")
    (tmp_path / "secret").write_text("x")
    for path in (tmp_path / "v" / "f", tmp_path / "secret"):
        path.chmod(0o600)
    (tmp_path / "v" / "link").symlink_to("../secret")
    with mock.patch.object(os.path, "islink", return_value=False):  # as if it were exchanged after a look
        atomic.give_to_group(tmp_path / "v", os.getgid())
    modes = [path.stat().st_mode & 0o7777 for path in (tmp_path / "v" / "f", tmp_path / "secret")]
    assert modes == ([0o600, 0o600] if has_one_user() else [0o660, 0o600])


def test_a_part_of_a_volume_may_be_reached_by_links_that_stay_in_it(tmp_path: Path):
    (tmp_path / "v" / "..1").mkdir(parents=True)
    (tmp_path / "v" / "..1" / "key").write_text("x")
    (tmp_path / "v" / "..data").symlink_to("..1")
    (tmp_path / "v" / "key").symlink_to("..data/key")
    fd = places.below(tmp_path / "v", "key")
    assert os.path.samestat(os.fstat(fd), (tmp_path / "v" / "..1" / "key").stat())
    os.close(fd)
    os.close(places.below(tmp_path / "v", "new/deep"))
    assert (tmp_path / "v" / "new" / "deep").is_dir()


def test_no_link_leads_out_of_a_volume(tmp_path: Path):
    (tmp_path / "v").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "v" / "out").symlink_to("../secret")
    (tmp_path / "v" / "root").symlink_to("/etc")
    for path in ("out", "root/passwd", "../secret"):
        with pytest.raises(MountFailed, match="leads out"):
            places.below(tmp_path / "v", path)
