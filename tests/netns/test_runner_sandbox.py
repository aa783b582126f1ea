"""Sandboxes in the kernel: what a pod sees of the host, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from netloom.errors import NotFound
from netloom.linux import mounts, process
from netloom.linux.process import NEW_MNT, NEW_UTS, Command
from netloom.local.runner import rootfs, sandbox
from netloom.local.runner.records import SandboxRecord
from netloom.local.runner.rootfs import PodView
from netloom.local.runner.sandbox import Sandbox, SandboxPlan

pytestmark = pytest.mark.netns

VIEW = PodView("web-1", "nameserver 10.96.0.10\n", "127.0.0.1\tlocalhost\n")
Make = Callable[[SandboxPlan], Awaitable[Sandbox]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with AsyncExitStack() as made:

        async def one(plan: SandboxPlan) -> Sandbox:
            box = await sandbox.make(plan)
            made.push_async_callback(box.destroy)
            return box

        yield one


async def say(box: Sandbox, *argv: str) -> str:
    done = await box.run(argv)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


async def test_a_pod_has_its_own_names_processes_and_loopback(make: Make):
    box = await make(SandboxPlan(VIEW))
    assert await say(box, "hostname") == "web-1\n"
    assert await say(box, "cat", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname") == (
        "nameserver 10.96.0.10\n127.0.0.1\tlocalhost\nweb-1\n"
    )
    processes = (await say(box, "ps", "-eo", "comm", "--no-headers")).split()
    assert processes == ["catatonit", "ps"]
    assert "LOWER_UP" in await say(box, "ip", "link", "show", "lo")
    assert os.uname().nodename != "web-1", "the host keeps its own"


async def test_the_host_is_read_only_and_a_few_places_are_the_pods_own(make: Make, tmp_path: Path):
    box = await make(SandboxPlan(VIEW))
    for place in ("/", "/etc", "/usr"):
        refused = await box.run(("touch", f"{place}/netloom-test"))
        assert refused.returncode != 0
        assert b"Read-only file system" in refused.stderr
    for place in ("/tmp", "/run", "/dev/shm"):
        await say(box, "touch", f"{place}/netloom-test")
        assert "netloom-test" not in os.listdir(place)
    other = await make(SandboxPlan(VIEW))
    assert (await other.run(("test", "-e", "/tmp/netloom-test"))).returncode == 1


async def test_hidden_directories_are_empty(make: Make):
    box = await make(SandboxPlan(PodView("web-1", "", "", ("/etc/ssl", "/nowhere/at/all"))))
    assert os.listdir("/etc/ssl")
    assert await say(box, "ls", "-A", "/etc/ssl") == ""


async def test_hosts_can_change_while_the_pod_lives(make: Make):
    box = await make(SandboxPlan(VIEW))
    await box.write_hosts("10.244.1.5\tweb-1\n")
    assert await say(box, "cat", "/etc/hosts") == "10.244.1.5\tweb-1\n"
    assert "10.244.1.5" in await say(box, "getent", "hosts", "web-1")


async def test_host_network_pods_share_the_network_and_nothing_else(make: Make):
    box = await make(SandboxPlan(VIEW, host_network=True))
    ours = os.readlink("/proc/self/ns/net")
    assert (await say(box, "readlink", "/proc/self/ns/net")).strip() == ours
    assert (await say(box, "readlink", "/proc/self/ns/uts")).strip() != os.readlink("/proc/self/ns/uts")


async def test_nothing_stays_when_a_sandbox_ends():
    box = await sandbox.make(SandboxPlan(VIEW))
    sleeper = await box.spawn(Command(argv=("sleep", "1000")))
    pid = box.pid
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(sleeper.wait())  # as whoever runs something inside does
        await box.destroy()
    assert waiting.result() == -9
    sleeper.close()
    assert sandbox.start_ticks(pid) == 0
    await box.destroy()


async def test_the_end_of_the_holder_is_seen(make: Make):
    box = await make(SandboxPlan(VIEW))
    os.kill(box.pid, 9)
    await box.ended()


async def test_a_sandbox_can_be_taken_up_by_its_record(make: Make):
    box = await make(SandboxPlan(VIEW))
    record = SandboxRecord(
        uid="u", namespace="n", name="p", container_id="c", pid=box.pid, start_ticks=box.start_ticks
    )
    again = sandbox.adopt(record)
    assert again is not None
    assert await say(again, "hostname") == "web-1\n"
    await again.destroy()
    assert sandbox.adopt(record) is None, "the process is gone"
    ours = SandboxRecord(uid="u", namespace="n", name="p", container_id="c", pid=os.getpid(), start_ticks=1)
    assert sandbox.adopt(ours) is None, "another process has the number by now"


async def test_programs_that_are_not_there(make: Make):
    box = await make(SandboxPlan(VIEW))
    with pytest.raises(NotFound):
        await box.run(("netloom-no-such-program",))


def etc(files: dict[str, str], links: dict[str, str]) -> None:
    """Put another /etc in place, with what programs need and these."""
    mounts.make_private("/")
    mounts.mount("tmpfs", "/mnt", "tmpfs")
    Path("/mnt/etc").mkdir()
    mounts.bind("/etc", "/mnt/etc")
    mounts.mount("tmpfs", "/etc", "tmpfs")
    for name in ("passwd", "ld.so.cache"):
        Path("/etc", name).symlink_to(f"/mnt/etc/{name}")
    for name, content in files.items():
        Path("/etc", name).write_text(content)
    for name, target in links.items():
        Path("/etc", name).symlink_to(target)


@pytest.mark.parametrize(
    ("files", "links"),
    [
        pytest.param(
            {"hosts": "h", "hostname": "n"},
            {"resolv.conf": "../run/systemd/resolve/stub-resolv.conf"},
            id="systemd-resolved",
        ),
        pytest.param({"hosts": "h", "resolv.conf": "r"}, {}, id="no hostname"),
        pytest.param({"hosts": "h", "hostname": "n"}, {"resolv.conf": "/nowhere/resolv.conf"}, id="dangling"),
        pytest.param({}, {}, id="none at all"),
    ],
)
async def test_hosts_with_an_unusual_etc(files: dict[str, str], links: dict[str, str]):
    def prepare() -> None:
        etc(files | {"other": "kept"}, links)
        rootfs.prepare(VIEW)

    out = os.memfd_create("out")
    argv = ("cat", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/other")
    running = await process.spawn(Command(argv=argv, stdout=out), new=NEW_MNT | NEW_UTS, prepare=prepare)
    assert await running.wait() == 0
    running.close()
    with os.fdopen(out, "rb") as file:
        file.seek(0)
        assert file.read().decode() == VIEW.resolv_conf + VIEW.hosts + "web-1\nkept"
