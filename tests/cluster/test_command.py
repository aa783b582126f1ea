"""The command as its user types it, on a cluster with the example shop."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster


def pod_of(command, cluster, app):
    names = command.kubectl(
        cluster, "-n", "shop", "get", "pods", "-l", f"app={app}", "-o", "name"
    ).stdout.split()
    return names[0].removeprefix("pod/")


def test_the_demo_ends_with_a_report_in_which_everything_holds(command):
    done = command.netloom("demo", "--output", "json")
    try:
        report = json.loads(done.stdout)
        assert {"pod", "localhost", "service-name", "service-address", "node-port"} <= report["checks"].keys()
        for kind, counts in report["checks"].items():
            assert counts["asked"] > 10, kind
            assert counts["wrong"] == 0, report["wrong"]
        again = command.netloom("demo")
        assert "every pod reaches every pod" in again.stdout
        assert "NO " not in again.stdout
        assert "kubectl" in again.stdout
    finally:
        command.down("demo")


def test_status_shows_nodes_and_pods(command, shop):
    lines = json.loads(command.netloom("status", "--name", shop, "--output", "json").stdout)
    assert [n["name"] for n in lines[0]["nodes"]] == ["node-1", "node-2", "node-3"]
    assert all(n["ready"] for n in lines[0]["nodes"])
    assert len(lines[0]["pods"]) == 14
    assert all(p["ready"] and p["address"] for p in lines[0]["pods"])
    assert "NODE" in command.netloom("status", "--name", shop).stdout


def test_exec_runs_inside_the_pod_and_passes_the_exit_code_on(command, shop):
    pod = pod_of(command, shop, "web")
    done = command.netloom("exec", "--name", shop, f"shop/{pod}", "--", "curl", "-s", "http://cart")
    assert "cart" in done.stdout
    assert (
        command.netloom(
            "exec", "--name", shop, f"shop/{pod}", "--", "sh", "-c", "exit 7", check=False
        ).returncode
        == 7
    )
    assert command.netloom("exec", "--name", shop, f"shop/{pod}", "--", "hostname").stdout.strip() == pod
    gone = command.netloom("exec", "--name", shop, "shop/ghost", "--", "true", check=False)
    assert gone.returncode == 4
    assert "ghost" in gone.stderr


def test_the_kubeconfig_that_is_printed_opens_the_cluster(command, shop, tmp_path):
    printed = command.netloom("kubeconfig", "--name", shop).stdout
    path = command.netloom("kubeconfig", "--name", shop, "--path").stdout.strip()
    assert Path(path).read_text().strip() == printed.strip()
    assert Path(path).stat().st_mode & 0o077 == 0, "it holds a private key"
    (tmp_path / "config").write_text(printed)
    program = command.kubectl_words(shop)[0]
    words = [program, "--kubeconfig", str(tmp_path / "config"), "get", "namespace", "shop"]
    assert subprocess.run(words, capture_output=True, timeout=60).returncode == 0
    (tmp_path / "config").write_text("\n".join(li for li in printed.splitlines() if "client-" not in li))
    stranger = subprocess.run([*words, "--username=x", "--password=y"], capture_output=True, timeout=60)
    assert stranger.returncode != 0, "without its certificate nobody comes in"


def test_the_controller_works_until_it_is_told_to_end(command, shop):
    path = command.netloom("kubeconfig", "--path", "--name", shop).stdout.strip()
    words = [command.netloom_path, "controller", "--kubeconfig", path]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=command.environment) as process:
        try:
            assert "given back from now on" in process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
    done = command.netloom("controller", "--kubeconfig", "/nowhere", check=False)
    assert done.returncode == 4
    assert "/nowhere" in done.stderr


def test_two_clusters_live_side_by_side(command, shop):
    command.up("second", "--nodes", "1")
    try:
        names = [line["name"] for line in json.loads(command.netloom("status", "--output", "json").stdout)]
        assert {"second", shop} <= set(names)
        assert command.kubectl("second", "get", "nodes", "-o", "name").stdout.split() == ["node/node-1"]
        assert command.kubectl("second", "get", "namespace", "shop", check=False).returncode == 1
    finally:
        command.netloom("down", "--name", "second")
    assert command.kubectl(shop, "get", "namespace", "shop").returncode == 0


def test_why_names_the_service_and_its_backends(command, shop):
    done = command.netloom("why", "--name", shop, "shop/web", "shop/cart:80")
    assert "Service shop/cart" in done.stdout
    assert "EndpointSlice" in done.stdout
    refused = command.netloom("why", "--name", shop, "shop/web", "shop/cart:81", check=False)
    assert "81" in refused.stdout


LOSES_ITS_READER = """
from netloom.clock import SystemClock
from netloom.local.cluster import start
from netloom.local.settings import ClusterSettings

def step(text):
    if text.startswith("{}"):
        raise BrokenPipeError

try:
    start(ClusterSettings(name="cut", nodes=1), clock=SystemClock(), step=step)
except BrokenPipeError:
    print("left")
"""


@pytest.mark.parametrize("last", ["API server", "nodes wired"])
def test_nothing_stays_of_a_cluster_whose_command_lost_its_reader(command, last):
    """As ``netloom up | head -1`` does it."""
    assert command.run([sys.executable, "-c", LOSES_ITS_READER.format(last)]).stdout == "left\n"
    for pid in holders(command.home / "clusters" / "cut"):
        wait_for(pid)
    assert holders(command.home / "clusters" / "cut") == []
    command.up("cut", "--nodes", "1")
    command.down("cut")


def wait_for(pid):
    """Return when a process that was killed is gone; fail where it lives on."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 10)[0], f"{pid} lives on"
    finally:
        os.close(fd)


def holders(path):
    """Processes that have a file below a directory open."""
    found = []
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(fd.readlink()).startswith(f"{path}/"):
                found.append(int(fd.parts[2]))
        except OSError:  # it has ended meanwhile, or is somebody else's
            continue
    return found
