"""Process 1's work, done by an ordinary process: what ends unasked starts again, and all end with it."""

import os
import select
import signal

import pytest

from netloom.clock import SystemClock
from netloom.errors import AlreadyExists, Unsupported
from netloom.linux import libc
from netloom.local.init import Child, Init
from netloom.local.lock import Lock, is_running
from netloom.local.paths import ClusterPaths
from netloom.local.preflight import check_fabric, check_system, use_system_programs
from netloom.model.routes.ways import FabricKind


@pytest.fixture
def started(tmp_path):
    """Starts an Init with these children in a process of its own; gives its pid and what the children write."""
    reading, writing = os.pipe()
    pids = []

    def start(*bodies):
        children = [Child(f"child-{i}", lambda body=body: body(writing)) for i, body in enumerate(bodies)]
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                Init(children=children, log_directory=tmp_path, clock=SystemClock(), stop_s=0.3).run()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
        return pid, reading

    yield start
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue
    os.close(writing)
    os.close(reading)


def says_its_pid_and_waits(writing):
    libc.die_with_parent(os.getppid())  # the fixture kills the parent only
    os.write(writing, f"{os.getpid()}\n".encode())
    signal.pause()


def ignores_sigterm(writing):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    says_its_pid_and_waits(writing)


def line(pipe):
    data = b""
    while not data.endswith(b"\n"):
        data += os.read(pipe, 1)
    return int(data)


def ended(pid):
    """Wait for the end of a process that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 5)[0])
    finally:
        os.close(pidfd)


def test_a_child_that_is_killed_starts_again(started):
    _, pipe = started(says_its_pid_and_waits)
    first = line(pipe)
    os.kill(first, signal.SIGKILL)
    assert line(pipe) != first


def test_children_end_with_it_also_those_that_do_not_listen(started):
    pid, pipe = started(says_its_pid_and_waits, ignores_sigterm)
    children = [line(pipe), line(pipe)]
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert all(ended(child) for child in children)


def test_an_error_of_a_child_is_in_its_log(started, tmp_path):
    def fails(writing):
        os.write(writing, b"1\n")
        raise Unsupported("no such thing", "do without")

    _, pipe = started(fails)
    line(pipe)
    line(pipe)  # the second start: the first has written its log
    assert "no such thing; do without" in (tmp_path / "child-0.log").read_text()


def test_the_lock_lasts_as_long_as_any_process_that_has_it(tmp_path):
    paths = ClusterPaths(tmp_path / "shop")
    lock = Lock(paths)
    lock.take()
    assert is_running(paths)
    with pytest.raises(AlreadyExists, match="running already"):
        Lock(paths).take()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    lock.release()
    assert is_running(paths), "the child still has it"
    os.close(writing)
    os.waitpid(child, 0)
    assert not is_running(paths)


def test_a_missing_program_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="nft") as caught:
        check_system()
    assert "apt-get install nftables" in caught.value.hint


@pytest.mark.parametrize("fabric", [FabricKind.UDP, FabricKind.WIREGUARD])
def test_what_a_fabric_needs_is_asked_for_before_a_cluster_is_started(monkeypatch, tmp_path, fabric):
    monkeypatch.setattr("netloom.local.preflight._kernel_has_wireguard", lambda: False)
    monkeypatch.setattr("netloom.local.preflight._TUN", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match=fabric.value) as caught:
        check_fabric(fabric)
    assert "another fabric" in caught.value.hint
    (tmp_path / "wireguard-go").touch(0o755)
    (tmp_path / "none").touch()
    check_fabric(fabric)


def test_a_kernel_that_encrypts_needs_no_more(monkeypatch, tmp_path):
    monkeypatch.setattr("netloom.local.preflight._kernel_has_wireguard", lambda: True)
    monkeypatch.setattr("netloom.local.preflight._TUN", str(tmp_path / "none"))
    check_fabric(FabricKind.WIREGUARD)
    check_fabric(FabricKind.VXLAN)


def test_system_directories_are_added_once(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/sbin")
    use_system_programs()
    use_system_programs()
    path = os.environ["PATH"].split(":")
    assert path[:2] == ["/usr/bin", "/sbin"]
    assert path.count("/usr/sbin") == 1
    assert path.count("/sbin") == 1
