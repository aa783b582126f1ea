"""The host is the same before, during and after: links, addresses, routes, rules, firewall, sysctls, mounts, processes."""

import os
import select
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

# the kernel changes these by itself, whatever anybody does
_MOVING = (
    "/random/",
    "entropy",
    "file-nr",
    "inode-nr",
    "inode-state",
    "dentry-state",
    "aio-nr",
    "pty/nr",
    "nf_conntrack_count",
    "ns_last_pid",
    "keys/",
    "sched_domain",
    "hung_task_detect_count",
    "/route/gc_",
    "perf_event_max_sample_rate",
)


def run(*words):
    """What a program prints; an ordinary user's PATH may lack its place, and may see less, before as after."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    program = shutil.which(words[0], path=path)
    assert program, f"{words[0]} is not installed"
    return subprocess.run([program, *words[1:]], capture_output=True, text=True).stdout


def sysctls():
    found = {}
    for path in Path("/proc/sys").rglob("*"):
        if path.is_file() and not any(part in str(path) for part in _MOVING):
            try:
                found[str(path)] = path.read_bytes()
            except OSError:
                continue
    return found


def snapshot():
    return {
        "links": sorted(line.split()[1] for line in run("ip", "-o", "link").splitlines()),
        "addresses": sorted(" ".join(line.split()[1:4]) for line in run("ip", "-o", "addr").splitlines()),
        "routes": run("ip", "route", "show", "table", "all")
        + run("ip", "-6", "route", "show", "table", "all"),
        "rules": run("ip", "rule") + run("ip", "-6", "rule"),
        "nft": run("nft", "-s", "list", "ruleset"),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "netns": sorted(p.name for p in Path("/run/netns").glob("*")) if Path("/run/netns").is_dir() else [],
        "sysctls": sysctls(),
    }


def assert_same(before, after):
    for what, was in before.items():
        now = after[what]
        if isinstance(was, dict):
            changed = {k for k in was.keys() | now.keys() if was.get(k) != now.get(k)}
            assert not changed, f"{what}: {sorted(changed)}"
        else:
            assert now == was, what


def processes_of(supervisor):
    """The supervisor and everything that descends from it; other clusters on this machine are not this test's business."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.name)] = int(fields[1])
    found = {supervisor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def rooms_of(pids):
    """Their pid and network namespaces, without the host's."""
    found = set()
    for pid in pids:
        for kind in ("pid", "net"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue
    return found - {os.readlink("/proc/self/ns/pid"), os.readlink("/proc/self/ns/net")}


def wait_gone(pids):
    """Wait by pidfd until all of them have ended."""
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with open(fd, "rb", closefd=True):
            ready, _, _ = select.select([fd], [], [], 10)
            assert ready, f"process {pid} lives on"


@pytest.mark.parametrize("ending", ["down", "SIGTERM", "SIGKILL"])
def test_the_host_is_untouched(command, home, ending):
    before = snapshot()
    command.up("trace", "-f", "examples/shop")
    try:
        supervisor = int((home / "clusters" / "trace" / "supervisor.pid").read_text())
        mine = processes_of(supervisor)
        rooms = rooms_of(mine)
        assert len(mine) > 25, "the cluster's processes are seen by this test"
        assert len(rooms) > 25, "and so are the namespaces of its nodes and pods"
        assert_same(before, snapshot())
        if ending == "down":
            command.netloom("down", "--name", "trace")
            assert not (home / "clusters" / "trace").exists()
        else:
            os.kill(supervisor, getattr(signal, ending))
        wait_gone(mine)
        everybody = [int(p.name) for p in Path("/proc").glob("[0-9]*")]
        wait_gone(
            [pid for pid in everybody if rooms & rooms_of([pid])]
        )  # born after we looked; none lives on
        assert_same(before, snapshot())
    finally:
        command.down("trace")


def test_a_killed_cluster_says_so_and_starts_again_with_its_objects(command, home):
    command.up("again", "-f", "examples/shop")
    try:
        os.kill(int((home / "clusters" / "again" / "supervisor.pid").read_text()), signal.SIGKILL)
        status = command.netloom("status", "--name", "again")
        refused = command.netloom("kubeconfig", "--name", "again", check=False)
        assert "not running" in status.stdout
        assert refused.returncode == 6
        command.up("again")
        names = command.kubectl("again", "-n", "shop", "get", "services", "-o", "name").stdout.split()
        assert "service/web" in names
        command.kubectl("again", "-n", "shop", "rollout", "status", "deployment/web", "--timeout=30s")
    finally:
        command.down("again")
