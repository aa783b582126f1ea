"""Containers of images in the kernel: what a program sees and may, how it ends, what is beside it, and that nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from netloom.clock import SystemClock
from netloom.errors import NotFound, Unavailable
from netloom.linux.namespaces import has_one_user
from netloom.linux.process import DEVNULL, PIPE, Command
from netloom.local.images.store import ImageStore
from netloom.local.runner import sandbox
from netloom.local.runner.crun import layers
from netloom.local.runner.crun.container import CrunContainer
from netloom.local.runner.crun.runtime import CrunRuntime
from netloom.local.runner.rootfs import PodView
from netloom.local.runner.running import ContainerSpec, Mount, PullPolicy, Refused, Security
from netloom.local.runner.sandbox import Sandbox, SandboxPlan
from netloom.local.runner.standins.feed import ReadLog
from netloom.local.runner.streams.remote import Inbox, Size, Wish
from netloom.testing import images as made
from netloom.testing.images import Entry, Image

pytestmark = pytest.mark.netns

APPLETS = [
    "sh",
    "ls",
    "cat",
    "sleep",
    "echo",
    "id",
    "mount",
    "ps",
    "kill",
    "touch",
    "env",
    "rm",
    "head",
    "stty",
    "test",
    "grep",
    "hostname",
    "true",
    "readlink",
    "tty",
    "nc",
    "stat",
]
Start = Callable[..., Awaitable[CrunContainer]]


def busybox() -> Image:
    path = Path("/usr/bin/busybox")
    if not path.exists():
        pytest.skip("busybox is not installed: apt-get install busybox-static")
    return Image(
        layers=(
            made.layer(
                [
                    *made.programs({"bin/busybox": path}, {f"bin/{name}": "busybox" for name in APPLETS}),
                    made.directory("tmp", 0o1777),
                    Entry(
                        name="etc/passwd",
                        content=b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n",
                    ),
                    Entry(name="etc/group", content=b"web:x:1001:\nextra:x:77:web\n"),
                    Entry(name="srv/old", content=b"of the image\n"),
                ]
            ),
        ),
        config={
            "Entrypoint": ["sh", "-c"],
            "Cmd": ["exec sleep 1000"],
            "Env": ["PATH=/bin", "FROM=image"],
            "WorkingDir": "/srv/app",
        },
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    place = tmp_path_factory.mktemp("images")
    found = ImageStore(place / "store")
    found.load(made.docker_archive(place / "busy.tar", busybox(), ["busy:1"]), now=1.0)
    return found


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    found = await sandbox.make(
        SandboxPlan(PodView("web-0", "nameserver 192.0.2.1\n", "127.0.0.1 localhost\n"))
    )
    yield found
    await found.destroy()


@pytest.fixture
async def runtime(store: ImageStore, tmp_path: Path) -> AsyncIterator[CrunRuntime]:
    found = CrunRuntime(state=tmp_path, images=store, clock=SystemClock())
    yield found
    await found.forget("u1")
    assert not list((tmp_path / "containers").glob("*")), "nothing of the pod is left"
    assert not list((tmp_path / "crun").glob("*")), "crun knows nothing of it"


@pytest.fixture
def start(runtime: CrunRuntime, box: Sandbox) -> Start:
    async def one(script: str = "", **more: object) -> CrunContainer:
        base = {
            "id": secrets.token_hex(32),
            "pod_uid": "u1",
            "namespace": "shop",
            "pod_name": "web-0",
            "name": "c",
            "image": "busy:1",
            "hostname": "web-0",
            "resolv_conf": "nameserver 192.0.2.1\n",
            "hosts": "127.0.0.1 localhost\n",
            "args": (script,) if script else (),
        }
        spec = ContainerSpec(**(base | more))  # type: ignore[arg-type]
        return await runtime.start(spec, box)

    return one


async def log_of(runtime: CrunRuntime, *, previous: bool = False, name: str = "c") -> str:
    wish = ReadLog(uid="u1", container=name, follow=not previous, previous=previous)
    return "".join([f"{line.text}\n" async for lines in runtime.read_log(wish) for line in lines])


async def test_a_program_sees_its_image_and_its_pod(start: Start, runtime: CrunRuntime, tmp_path: Path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("of a volume\n")
    mounts = (Mount(source=str(tmp_path / "volume"), target="/srv/volume", read_only=True),)
    container = await start(
        "pwd; hostname; cat /srv/old /srv/volume/file /etc/resolv.conf /etc/hosts; echo $FROM $MINE; touch /srv/new; "
        "touch /srv/volume/x 2>/dev/null || echo read-only; echo last words > /dev/termination-log; ls /proc | grep -c '^[0-9]'; exit 3",
        env={"MINE": "pod"},
        mounts=mounts,
    )
    end = await container.ended()
    assert (end.exit_code, end.reason, end.message) == (3, "Error", "last words\n")
    assert container.started - 1 <= end.finished
    said = await log_of(runtime)
    assert said.splitlines()[:7] == [
        *(
            "/srv/app",
            "web-0",
            "of the image",
            "of a volume",
            "nameserver 192.0.2.1",
            "127.0.0.1 localhost",
            "image pod",
        )
    ]
    assert "read-only\n" in said
    assert int(said.splitlines()[-1]) <= 3, "only its own processes are in /proc"
    assert os.listdir(tmp_path / "volume") == ["file"]


async def test_what_one_life_writes_the_next_one_has_not(start: Start, runtime: CrunRuntime):
    first = await start("echo first; touch /srv/written; ls /srv")
    await first.ended()
    await first.remove()
    second = await start("echo second; ls /srv")
    assert (await second.ended()).reason == "Completed"
    assert await log_of(runtime) == "second\napp\nold\n"
    assert await log_of(runtime, previous=True) == "first\napp\nold\nwritten\n"


@pytest.mark.parametrize(("refusals", "is_overlay"), [(0, True), (1, True), (2, False)])
async def test_where_the_kernel_refuses_overlays_of_a_kind(
    start: Start, runtime: CrunRuntime, monkeypatch: pytest.MonkeyPatch, refusals: int, is_overlay: bool
):
    """On disk, in memory, and a copy: programs see the same."""
    real, asked = layers._overlay, []

    def refusing(upper: Path, work: Path, target: Path, image: Path) -> bool:
        asked.append(upper)
        return len(asked) > refusals and real(upper, work, target, image)

    monkeypatch.setattr(layers, "_overlay", refusing)
    script = (
        "cat /srv/old; touch /srv/new; rm -r /srv; mkdir /srv; ls -A /srv; id -u; grep ' / ' /proc/mounts"
    )
    container = await start(script)
    assert (await container.ended()).exit_code == 0
    said = (await log_of(runtime)).splitlines()
    assert said[:2] == ["of the image", "0"]
    assert (" overlay " in said[-1]) == is_overlay
    assert len(asked) == min(refusals + 1, 2)


async def test_the_pods_network_and_names_are_shared(start: Start, box: Sandbox):
    await start("echo hello | nc -l -p 80", name="server", security=Security(run_as_user=1000))
    client = await start(name="client")
    for _ in range(200):
        done = await client.run(("nc", "127.0.0.1", "80"), 10)
        if done.stdout:
            break
    assert done.stdout == b"hello\n", "a user who is not root may have a low port in his pod"
    pids = await client.run(("ps",), 10)
    assert b"nc -l" not in pids.stdout, "but not its processes"
    shared = await start(name="shared", share_process_namespace=True)
    assert b"catatonit" in (await shared.run(("ps",), 10)).stdout


async def test_users_and_what_they_may(start: Start, runtime: CrunRuntime):
    show = "id -u; id -g; cat /proc/self/status"

    async def facts(security: Security) -> tuple[str, str, dict[str, str]]:
        container = await start(show, security=security)
        await container.ended()
        said = (await log_of(runtime)).splitlines()
        status = dict(line.split(":\t") for line in said[2:] if ":\t" in line)
        await container.remove()
        return said[0], said[1], status

    uid, gid, status = await facts(Security())
    assert (uid, gid, status["NoNewPrivs"], status["Seccomp"]) == ("0", "0", "0", "0")
    assert int(status["CapEff"], 16) == 0xA80425FB
    uid, gid, status = await facts(
        Security(
            run_as_user=1000,
            allow_privilege_escalation=False,
            seccomp="RuntimeDefault",
            drop_capabilities=("ALL",),
        )
    )
    assert (uid, gid, status["NoNewPrivs"], status["Seccomp"]) == ("1000", "1001", "1", "2")
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    if not has_one_user():
        assert status["Groups"].split() == ["77"]
    _, gid, status = await facts(
        Security(run_as_group=55, drop_capabilities=("ALL",), add_capabilities=("NET_BIND_SERVICE",))
    )
    assert gid == "55"
    if not has_one_user():
        assert int(status["CapEff"], 16) == 1 << 10


async def test_a_root_that_is_read_only(start: Start, runtime: CrunRuntime):
    container = await start(
        "touch /x 2>&1; touch /dev/shm/x && echo shm", security=Security(read_only_root=True)
    )
    assert (await container.ended()).exit_code == 0
    assert await log_of(runtime) == "touch: /x: Read-only file system\nshm\n"


@pytest.mark.parametrize(
    ("more", "reason", "words"),
    [
        ({"command": ("/nothing",)}, "RunContainerError", "executable file"),
        ({"image": "other:1"}, "CreateContainerError", "not loaded"),
        (
            {"security": Security(run_as_non_root=True)},
            "CreateContainerConfigError",
            "image will run as root",
        ),
        ({"security": Security(add_capabilities=("FLY",))}, "CreateContainerError", "FLY"),
        (
            {"security": Security(seccomp="Localhost", seccomp_profile="../x")},
            "CreateContainerError",
            "localhostProfile",
        ),
        ({"mounts": (Mount(source="/nowhere/x", target="/x"),)}, "CreateContainerError", "/nowhere/x"),
        ({"security": Security(sysctls=(("net.ipv4.nothing", "1"),))}, "CreateContainerError", "nothing"),
    ],
)
async def test_what_cannot_start_says_why_and_leaves_nothing(
    start: Start, tmp_path: Path, more: dict[str, object], reason: str, words: str
):
    with pytest.raises(Refused, match=words) as refused:
        await start(**more)
    assert refused.value.reason == reason
    assert list((tmp_path / "containers").glob("u1/c/*")) == []


async def test_images_that_are_not_loaded(runtime: CrunRuntime, store: ImageStore):
    found = await runtime.find("busy:1", PullPolicy.NEVER)
    assert found is not None
    assert (found.image, found.id) == ("docker.io/library/busy:1", busybox().id)
    assert await runtime.find("other:1", PullPolicy.IF_NOT_PRESENT) is None
    for image, policy, standin, reason in (
        ("other:1", PullPolicy.NEVER, True, "ErrImageNeverPull"),
        ("other:1", PullPolicy.ALWAYS, False, "ErrImagePull"),
        ("Other:1", PullPolicy.ALWAYS, True, "InvalidImageName"),
    ):
        with pytest.raises(Refused) as refused:
            await runtime.find(image, policy, standin=standin)
        assert refused.value.reason == reason
    assert runtime.is_present("busy:1")
    assert not runtime.is_present("Other:1")


async def test_signals_and_what_ends_by_them(start: Start):
    script = "trap 'echo bye; exit 7' TERM; trap 'exit 8' USR1; echo up; while true; do sleep 0.1; done"
    container = await start(script)
    await _until_up(container)
    container.stop()
    assert (await container.ended()).exit_code == 7
    await container.remove()
    container = await start(script, stop_signal="SIGUSR1")
    await _until_up(container)
    container.stop()
    assert (await container.ended()).exit_code == 8
    await container.remove()
    container = await start(script)
    container.kill()
    end = await container.ended()
    assert (end.exit_code, end.reason) == (137, "Error")


async def _until_up(container: CrunContainer) -> None:
    for _ in range(500):
        if container.bundle.log.exists() and b" up\n" in container.bundle.log.read_bytes():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not begin")


async def test_commands_beside_it(start: Start):
    container = await start(env={"MINE": "pod"}, security=Security(run_as_user=1000))
    done = await container.run(("sh", "-c", "echo $FROM $MINE; id -u; pwd; echo wrong >&2; exit 5"), 10)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"image pod\n1000\n/srv/app\n", b"wrong\n")
    with pytest.raises(NotFound, match="executable file not found"):
        await container.run(("nothing",), 10)
    with pytest.raises(Unavailable):
        await container.run(("sleep", "77"), 0.5)
    assert b"sleep 77" not in (await container.run(("ps",), 10)).stdout, "what takes too long is killed"
    beside = await container.spawn(Command(argv=("cat",), stdin=PIPE, stdout=PIPE, stderr=DEVNULL))
    assert beside.stdin is not None
    assert beside.stdout is not None
    beside.stdin.write(b"through\n")
    beside.stdin.close()
    assert await asyncio.to_thread(beside.stdout.read) == b"through\n"
    assert await beside.wait() == 0
    beside.close()
    container.kill()
    await container.ended()
    with pytest.raises(Unavailable):
        await container.run(("true",), 10)


async def test_a_terminal_of_a_command(start: Start):
    container = await start()
    script = "test -t 0 && echo terminal; read -r line; stty size; tty; exit 6"
    beside = await container.spawn(Command(argv=("sh", "-c", script), terminal=True))
    termios.tcsetwinsize(beside.terminal, (33, 99))
    os.write(beside.terminal, b"go\n")
    assert await beside.wait() == 6
    beside.close()
    said = b""
    with contextlib.suppress(OSError):  # EIO: the last one has closed it
        while data := os.read(beside.terminal, 4096):
            said += data
    os.close(beside.terminal)
    assert said.startswith((b"terminal\r\ngo", b"go\r\nterminal"))
    assert said.endswith(b"33 99\r\n/dev/pts/0\r\n")


class Client:
    """Who attaches."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.said = b""
        self.heard = asyncio.Event()
        self.status = b""

    async def ready(self) -> None:
        pass

    async def run(self) -> None:
        await self.inbox.gone.wait()

    async def write(self, data: bytes, *, error: bool = False) -> None:
        self.said += data
        if b"got one" in self.said:
            self.heard.set()

    async def finish(self, status: bytes) -> None:
        self.status = status


@pytest.mark.parametrize("tty", [False, True])
async def test_joining_its_streams(start: Start, runtime: CrunRuntime, tty: bool):
    script = "while read -r line; do echo got $line; done; echo over"
    container = await start("stty -echo; " + script if tty else script, stdin=True, stdin_once=True, tty=tty)
    client = Client()
    if tty:
        client.inbox.sizes.put_nowait(Size(99, 33))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        joining = group.create_task(container.attach(client, Wish(stdin=True, stdout=True, tty=tty)))
        await client.inbox.stdin.put(b"one\n")
        await client.heard.wait()
        await client.inbox.stdin.put(b"\x04" if tty else b"")
        assert (await container.ended()).exit_code == 0
        await joining
    assert b"Success" in client.status
    assert (await log_of(runtime)).replace("\r", "").endswith("got one\nover\n")


async def test_the_next_runner_takes_it_up(start: Start, store: ImageStore, tmp_path: Path):
    container = await start("echo up; exec sleep 1000")
    await _until_up(container)
    ended = await start("exit 9", name="ended")
    await ended.ended()
    other = CrunRuntime(state=tmp_path, images=store, clock=SystemClock())
    found = await other.adopt("u1")
    assert sorted(found) == ["c", "ended"]
    assert found["c"].spec == container.spec
    assert found["c"].image_id == busybox().id
    assert (await found["ended"].ended()).exit_code == 9
    assert (await found["c"].run(("echo", "still"), 10)).stdout == b"still\n"
    assert await log_of(other, name="ended") == ""
    found["c"].kill()
    assert (await container.ended()).exit_code == (await found["c"].ended()).exit_code == 137


async def test_a_monitor_that_was_killed_leaves_no_container(start: Start):
    container = await start()
    record = container.bundle.read_record()
    assert record is not None
    os.kill(record.monitor, 9)
    end = await container.ended()
    assert (end.exit_code, end.reason) == (137, "ContainerStatusUnknown")
    for _ in range(500):
        if not record.lives:
            break
        await asyncio.sleep(0.02)
    assert not record.lives


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2])
async def test_whoever_is_no_longer_wanted_leaves_nothing(start: Start, runtime: CrunRuntime, after_s: float):
    """The fixture looks whether anything is left."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(after_s):
            await start()


async def test_an_image_in_use_stays(start: Start, store: ImageStore):
    container = await start()
    with pytest.raises(Unavailable, match="in use"):
        store.remove("busy:1")
    assert (await container.run(("cat", "/srv/old"), 10)).stdout == b"of the image\n"
