"""Volumes in the kernel: seen at their places whatever the machine has there, and removed without what they showed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from netloom.linux import mounts, process
from netloom.linux.netns import Namespaces
from netloom.local.runner import sandbox
from netloom.local.runner.rootfs import PodView
from netloom.local.runner.running import Mount
from netloom.local.runner.sandbox import Sandbox, SandboxPlan
from netloom.local.runner.volumes import places
from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.places import Places
from netloom.local.runner.volumes.view import view_of

pytestmark = pytest.mark.netns


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    made = await sandbox.make(SandboxPlan(PodView("web-1", "", ""), host_network=True))
    yield made
    await made.destroy()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "f").write_text("seen")
    return tmp_path / "volume"


async def say(namespaces: Namespaces, script: str) -> str:
    done = await process.run(("sh", "-c", script), ns=namespaces)
    return (done.stdout + done.stderr).decode().strip()


PLACES = ("/data", "/data/deep/er", "/etc/app", "/etc/app/sub", "/usr/share/netloom/html", "/tmp/x", "/var/run/secrets/a", "/mnt")  # fmt: skip


async def test_a_volume_is_seen_wherever_it_is_wanted(box: Sandbox, volume: Path):
    wanted = [Mount(source=str(volume), target=place) for place in PLACES if place != "/mnt"]
    wanted.append(Mount(source=str(volume), target="/mnt", read_only=True))
    wanted.append(Mount(source=str(volume / "f"), target="/etc/app.conf"))
    mnt = await view_of(box.namespaces.mnt, wanted)
    inside = msgspec.structs.replace(box.namespaces, mnt=mnt)
    try:
        for place in PLACES:
            assert await say(inside, f"cat {place}/f") == "seen"
        assert await say(inside, "cat /etc/app.conf") == "seen"
        assert await say(inside, "cat /etc/hostname") == "web-1"
        assert "Read-only" in await say(inside, "touch /mnt/new")
        assert "Read-only" in await say(inside, "touch /new")
        assert "Read-only" in await say(inside, "touch /etc/new")
        assert "new" in (await say(inside, "touch /data/new && ls /data/deep/er")).split()
        assert "No such file" in await say(box.namespaces, "ls /data")
    finally:
        os.close(mnt)
    assert (volume / "new").exists()
    assert not os.access("/data", os.F_OK)


async def test_two_containers_of_a_pod_have_volumes_of_their_own(box: Sandbox, volume: Path):
    views = [await view_of(box.namespaces.mnt, [Mount(source=str(volume), target=t)]) for t in ("/a", "/b")]
    first, second = (msgspec.structs.replace(box.namespaces, mnt=mnt) for mnt in views)
    assert await say(first, "cat /a/f; ls -d /b 2>/dev/null") == "seen"
    assert await say(second, "cat /b/f; ls -d /a 2>/dev/null") == "seen"
    for mnt in views:
        os.close(mnt)


async def test_a_directory_is_not_mounted_onto_a_file(box: Sandbox, volume: Path):
    with pytest.raises(MountFailed, match="/etc/passwd: a directory is to be mounted there"):
        await view_of(box.namespaces.mnt, [Mount(source=str(volume), target="/etc/passwd")])


def test_removing_a_pod_lets_go_of_what_is_mounted_and_removes_only_its_own(tmp_path: Path, volume: Path):
    room = Places(tmp_path / "state")
    room.make(room.volume("u-1", "disk"))
    memory = room.volume("u-1", "memory", in_memory=True)
    room.make(memory, size=1 << 20)
    (memory / "secret").write_text("x")
    places.stage(volume, room.staged("u-1", "subpaths", "c", "0"))
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "f").write_text("seen")
    shown = room.staged("u-1", "host", "root")
    places.stage_without(tmp_path, shown, (str(volume), str(tmp_path / "state")))
    assert sorted(os.listdir(shown)) == ["seen", "state", "volume"]
    assert [os.listdir(shown / name) for name in ("seen", "state", "volume")] == [["f"], [], []]
    assert os.statvfs(memory).f_blocks * os.statvfs(memory).f_frsize == 1 << 20
    assert room.uids() == {"u-1"}
    room.remove("u-1")
    assert room.uids() == frozenset()
    assert [path.read_text() for path in (volume / "f", tmp_path / "seen" / "f")] == ["seen", "seen"]
    assert places.mounts_below(tmp_path / "state") == [tmp_path / "state" / "memory"]
    mounts.umount(str(tmp_path / "state" / "memory"))
