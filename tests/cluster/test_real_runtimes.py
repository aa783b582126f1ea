"""Real container runtimes on a node of a real cluster, with our shim as their plugin: podman (CNI backend), and containerd's ctr.

A runtime runs inside the node's namespaces, with a mount namespace of its own over it: nothing of the host is written.
"""

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.conftest import PYTHON, ROOT, Process, processes

pytestmark = pytest.mark.cluster

NODE_ADDRESS = "172.30.0.11"
CONFIG = {
    "cniVersion": "1.0.0",
    "name": "netloom",
    "plugins": [
        {
            "type": "netloom-cni",
            "capabilities": {"portMappings": True, "mac": True, "ips": True, "aliases": True},
            "dns": {"nameservers": ["10.96.0.10"], "search": ["default.svc.cluster.local"]},
        }
    ],
}
PODMAN_CONF = """
[containers]
cgroups = "disabled"
netns = "bridge"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{room}/plugins", "/usr/lib/cni"]
network_config_dir = "{room}/net.d"
default_network = "netloom"
"""
CONTAINERD_CONF = """
version = 2
root = "{room}/containerd/root"
state = "{room}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{room}/containerd.sock"
"""
# /run/netloom: podman tidies up behind a container in a process that has none of our variables.
# /sys/fs/cgroup: crun refuses hosts with both versions of control groups, although it is told to use none of them.
MOUNTS = """
mount -t tmpfs none /sys/fs/cgroup
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mount -t tmpfs none /opt
mkdir -p {room}/upper {room}/work /opt/cni/bin /run/netloom
ln -s {socket} /run/netloom/cni.sock
mount -t overlay none -o lowerdir=/etc,upperdir={room}/upper,workdir={room}/work /etc
mkdir -p /etc/cni/net.d
rm -f /etc/cni/net.d/*
cp {room}/plugins/netloom-cni /opt/cni/bin/
cp {room}/net.d/10-netloom.conflist /etc/cni/net.d/
"""


class Room:
    """A shell on a node, in a mount namespace of its own."""

    def __init__(self, command, cluster, directory) -> None:
        self.directory = directory
        self.pids = {name: pid for name, pid in processes(command, cluster) if name.startswith("nl-node-")}
        agent = self.pids["nl-node-1-agent"]
        self.nodes = command.home / "clusters" / cluster / "nodes"
        self._prepare()
        environment = {
            **command.environment,
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "CONTAINERS_CONF": str(directory / "containers.conf"),
        }
        words = [
            "nsenter",
            "--target",
            str(agent),
            "--net",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--",
        ]
        self._shell = Process([*words, "unshare", "--mount", "bash"], environment)
        mounts = MOUNTS.format(room=directory, socket=self.nodes / "node-1" / "cni.sock")
        self.sh("set -e; " + "; ".join(mounts.strip().split("\n")) + "; set +e")

    def _prepare(self):
        for name in ("plugins", "net.d", "upper", "work", "fs", "podman"):
            (self.directory / name).mkdir()
        shutil.copy(ROOT / "build" / "netloom-cni", self.directory / "plugins")
        (self.directory / "net.d" / "10-netloom.conflist").write_text(json.dumps(CONFIG))
        (self.directory / "net.d" / "20-second.conflist").write_text(json.dumps({**CONFIG, "name": "second"}))
        (self.directory / "containers.conf").write_text(PODMAN_CONF.format(room=self.directory))
        (self.directory / "containerd.toml").write_text(CONTAINERD_CONF.format(room=self.directory))
        # ctr has no way to do without control groups, crun has one
        wrapper = self.directory / "oci-runtime"
        wrapper.write_text('#!/bin/sh\nexec crun --cgroup-manager=disabled "$@"\n')
        wrapper.chmod(0o755)
        root = self.directory / "fs"
        for name in ("etc", "proc", "sys", "dev", "tmp", "usr"):
            (root / name).mkdir()
        for name in ("bin", "lib", "lib64", "sbin"):
            if Path(f"/{name}").is_symlink():
                (root / name).symlink_to(f"usr/{name}")
        # the prefix of this Python, which runs in the containers
        (root / sys.base_prefix.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def sh(self, script, check=True):
        """What a script prints."""
        self._shell.say(f"{{ {script}\n}} </dev/null 2>&1; echo; echo ENDED $?\n")
        lines = []
        while not (line := self._shell.line(60)).startswith("ENDED "):
            lines.append(line)
        output = "\n".join(lines).strip()
        assert not check or line == "ENDED 0", output
        return output

    def podman(self, *words, check=True):
        storage = ["--root", f"{self.directory}/podman/root", "--runroot", f"{self.directory}/podman/run"]
        own = ["podman", *storage, "--storage-driver", "vfs", "--tmpdir", f"{self.directory}/podman/tmp"]
        return self.sh(shlex.join([*own, *words]), check=check)

    def run(self, *options, code):
        """A podman container that runs lines of Python."""
        mounts = [f"--volume={path}:{path}:ro" for path in dict.fromkeys(("/usr", sys.base_prefix))]
        words = [
            "--cgroups=disabled",
            *mounts,
            *options,
            "--rootfs",
            f"{self.directory}/fs",
            PYTHON,
            "-c",
            code,
        ]
        return self.podman("run", *words)

    def left_besides(self, before):
        """What is on the node now and was not before; pods of other tests may have gone meanwhile."""
        (links, held), (links_before, held_before) = self.left(), before
        return sorted(set(links) - set(links_before)), max(held - held_before, 0)

    def left(self):
        """What is on the node for containers: interfaces, and records of addresses."""
        with sqlite3.connect(f"file:{self.nodes}/node-1/ipam.db?mode=ro", uri=True) as db:
            (held,) = db.execute("SELECT count(*) FROM addresses WHERE container IS NOT NULL").fetchone()
        db.close()
        return self.links(), held

    def links(self):
        told = json.loads(self.sh("ip -json link"))
        return sorted(link["ifname"] for link in told if re.fullmatch("nl[0-9a-f]{13}", link["ifname"]))

    def on_node(self, number, code):
        """What lines of Python print on another node."""
        pid = self.pids[f"nl-node-{number}-agent"[:15]]
        words = ["nsenter", "--target", str(pid), "--net", "--", PYTHON, "-c", code]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def close(self):
        self._shell.end()


def is_root():
    """Root of the machine: one user in a user namespace is too few, for crun mounts devpts for the group tty."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


@pytest.fixture
def room(command, request, short_path):
    if not is_root():
        pytest.skip("container runtimes need root; run as root: make test-cluster")
    plain = request.getfixturevalue("plain")
    made = Room(command, plain, short_path)
    yield made
    made.close()


def has(*programs):
    for program in programs:
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"no {program}: apt-get install {'runc' if program == 'runc' else program}")


@pytest.fixture
def podman(room):
    has("podman", "crun", "ip")
    backend = room.podman("info", "--format", "{{.Host.NetworkBackend}}", check=False).split("\n")[-1]
    if backend != "cni":
        pytest.skip(f"this podman has no CNI backend: {backend}")
    before = room.left()
    yield room
    room.podman("rm", "--all", "--force", "--time", "0")
    assert room.left_besides(before) == ([], 0)


ABOUT_ME = """
import json, socket
def of(path):
    return open(path).read().strip()
connection = socket.create_connection(("kubernetes.default.svc.cluster.local", 443), 5)
print(json.dumps({
    "mac": of("/sys/class/net/eth0/address"),
    "mtu": of("/sys/class/net/eth0/mtu"),
    "address": connection.getsockname()[0],
    "service": connection.getpeername()[0],
    "resolvers": of("/etc/resolv.conf"),
}))
"""
SERVER = """
import socket
server = socket.create_server(("", 80))
print("listens", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""
# what podman starts in the background may not listen yet
ASK = """
import socket, time
end = time.monotonic() + 10
while True:
    try:
        connection = socket.create_connection(({0!r}, {1}), 5)
        break
    except ConnectionRefusedError:
        if time.monotonic() > end:
            raise
        time.sleep(0.02)
print(connection.recv(100).decode())
"""


def test_a_container_of_podman_is_on_the_clusters_network(podman):
    told = json.loads(podman.run("--rm", code=ABOUT_ME).split("\n")[-1])
    assert told["address"].startswith("10.244.0.")
    assert told["service"] == "10.96.0.1"
    assert told["mtu"] == "1500"
    assert "10.96.0.10" in told["resolvers"]


def test_podman_chooses_address_and_mac(podman):
    options = ["--rm", "--ip", "10.244.0.99", "--mac-address", "0a:58:00:11:22:33", "--network-alias", "web"]
    told = json.loads(podman.run(*options, code=ABOUT_ME).split("\n")[-1])
    assert (told["address"], told["mac"]) == ("10.244.0.99", "0a:58:00:11:22:33")
    taken = podman.run("--detach", "--ip", "10.244.0.98", code=SERVER)
    refused = podman.podman(
        "run", "--rm", "--ip", "10.244.0.98", "--cgroups=disabled", "--rootfs", f"{podman.directory}/fs", "/bin/true",
        check=False,
    )  # fmt: skip
    assert "10.244.0.98" in refused
    podman.podman("rm", "--force", "--time", "0", taken.split("\n")[-1])


def test_ports_that_podman_maps_are_open_on_the_node(podman):
    name = podman.run("--detach", "--publish", "18080:80", code=SERVER).split("\n")[-1]
    address = podman.podman("inspect", "--format", "{{.NetworkSettings.Networks.netloom.IPAddress}}", name)
    # from another node: to the container's own address, and to the port of its node
    assert podman.on_node(2, ASK.format(address, 80)) == "172.30.0.12"
    assert podman.on_node(2, ASK.format(NODE_ADDRESS, 18080))
    # and another container, by both
    assert podman.run("--rm", code=ASK.format(address, 80)).startswith("10.244.0.")
    second = podman.run("--detach", "--publish", "18081:80", code=SERVER).split("\n")[-1]
    assert podman.on_node(2, ASK.format(NODE_ADDRESS, 18081))
    for container in (name, second):
        podman.podman("rm", "--force", "--time", "0", container)


def test_a_container_that_podman_starts_again_has_a_network_again(podman):
    name = podman.run("--detach", code=SERVER).split("\n")[-1]
    for _ in range(2):
        podman.podman("stop", "--time", "0", name)
        assert podman.links() == []
        podman.podman("start", name)
        address = podman.podman(
            "inspect", "--format", "{{.NetworkSettings.Networks.netloom.IPAddress}}", name
        )
        assert podman.on_node(2, ASK.format(address, 80)) == "172.30.0.12"


def test_a_container_in_two_networks_of_podman(podman):
    name = podman.run("--detach", "--network", "netloom", "--network", "second", code=SERVER).split("\n")[-1]

    def addresses():
        told = podman.podman("inspect", "--format", "{{json .NetworkSettings.Networks}}", name)
        return {network: about["IPAddress"] for network, about in json.loads(told).items()}

    assert addresses().keys() == {"netloom", "second"}
    for address in addresses().values():
        assert podman.on_node(2, ASK.format(address, 80)) == "172.30.0.12"
    podman.podman("network", "disconnect", "second", name)
    assert len(podman.links()) == 1
    assert podman.on_node(2, ASK.format(addresses()["netloom"], 80)) == "172.30.0.12"
    podman.podman("network", "connect", "second", name)
    for address in addresses().values():
        assert podman.on_node(2, ASK.format(address, 80)) == "172.30.0.12"


def test_a_container_of_containerd_is_on_the_clusters_network(room):
    has("containerd", "ctr", "crun", "ip")
    before = room.left()
    room.sh(
        f"containerd --config {room.directory}/containerd.toml >{room.directory}/containerd.log 2>&1 & echo $! >{room.directory}/pid"
    )
    ctr = f"ctr --address {room.directory}/containerd.sock"
    try:
        room.sh(
            f"for i in $(seq 100); do {ctr} version >/dev/null 2>&1 && break; sleep 0.1; done; {ctr} version"
        )
        mounts = [
            f"--mount=type=bind,src={p},dst={p},options=rbind:ro"
            for p in dict.fromkeys(("/usr", sys.base_prefix))
        ]
        mounts.append(
            f"--mount=type=bind,src={room.directory}/resolv.conf,dst=/etc/resolv.conf,options=rbind:ro"
        )
        (room.directory / "resolv.conf").write_text("nameserver 10.96.0.10\n")
        (room.directory / "fs" / "etc" / "resolv.conf").touch()
        words = [
            "run",
            "--rm",
            "--cni",
            "--runc-binary",
            f"{room.directory}/oci-runtime",
            *mounts,
            "--rootfs",
        ]
        said = room.sh(f"{ctr} {shlex.join([*words, f'{room.directory}/fs', 'one', PYTHON, '-c', ABOUT_ME])}")
        told = json.loads(said.split("\n")[-1])
        assert told["address"].startswith("10.244.0.")
        assert told["service"] == "10.96.0.1"
    finally:
        room.sh(f"kill $(cat {room.directory}/pid); wait", check=False)
    assert room.left_besides(before) == ([], 0)
