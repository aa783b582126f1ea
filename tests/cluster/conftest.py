"""Whole clusters. `shop` and `plain` are shared by the whole run: tests work in namespaces of their own (`place`) and
leave the rest as it is. A test that breaks a cluster starts its own.

Clusters live in a directory of the test run and die with it: their supervisor is a child of nobody, so the fixtures end
it, and a session that is killed leaves a name that the next run of the same tests ends first.
"""

import asyncio
import fcntl
import http.client
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from netloom.testing.dns_upstream import ScriptedUpstream

ROOT = Path(__file__).parents[2]
NETLOOM = str(Path(sys.executable).with_name("netloom"))
PYTHON = os.path.realpath(sys.executable)
WITH_PACKAGES = sys.executable
"""The same with the packages of the tests, where these can be seen: not in pods, which have a /tmp of their own."""
"""Pods show the host's file system: its own Python runs in them."""
IN_POD = Path(__file__).with_name("in_pod.py").read_text()
_numbers = itertools.count(1)


class Command:
    """The netloom command and kubectl, as a user would type them, with a home of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.netloom_path = NETLOOM
        self.environment = {**os.environ, "NETLOOM_HOME": str(home)}

    def netloom(self, *words, check=True, timeout=120):
        return self._run([NETLOOM, *words], check=check, timeout=timeout)

    def up(self, name, *words):
        done = self.netloom("up", "--name", name, "--output", "json", *words)
        return json.loads(done.stdout)

    def down(self, name):
        return self.netloom("down", "--name", name, check=False)

    def kubectl_words(self, name, *words):
        return [kubectl(), "--kubeconfig", str(self.home / "clusters" / name / "kubeconfig"), *words]

    def kubectl(self, name, *words, check=True, stdin=None, timeout=60):
        return self._run(self.kubectl_words(name, *words), check=check, stdin=stdin, timeout=timeout)

    def place(self, cluster, namespace):
        return Place(self, cluster, namespace)

    def run(self, words, *, check=True, timeout=60):
        """Any program."""
        return self._run(words, check=check, timeout=timeout)

    def at(self, home):
        """The same with another home."""
        return Command(home)

    def start(self, *words):
        return Process(words, self.environment)

    def _run(self, words, *, check, timeout, stdin=None):
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            input=stdin,
            cwd=ROOT,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


def kubectl() -> str:
    """The real kubectl; a test that needs it is skipped, with this reason, only where setup could not get one."""
    for candidate in (os.environ.get("NETLOOM_KUBECTL"), str(ROOT / ".cache" / "bin" / "kubectl")):
        if candidate and Path(candidate).exists():
            return candidate
    pytest.skip("no kubectl 1.30 or newer: this system's packages have none; put one into .cache/bin/kubectl")


class Process:
    """A program that a test talks with, line by line."""

    def __init__(self, words, environment) -> None:
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        self._rest = b""

    @property
    def pid(self):
        return self._process.pid

    def line(self, timeout=30):
        """The next line, without its end; fails where none comes in time."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], timeout)
            assert ready, f"no line within {timeout} s; so far: {self._rest!r}"
            more = os.read(self._process.stdout.fileno(), 65536)
            assert more, f"{self._process.args} ended with {self._process.wait(10)}: {self._rest!r}"
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def fact(self, wanted=lambda told: True, timeout=30):
        """The next line, as JSON; the next one that is wanted."""
        while not wanted(told := json.loads(self.line(timeout))):
            pass
        return told

    def until(self, wanted, timeout=30):
        """Read lines until one has this text in it; that line."""
        while wanted not in (line := self.line(timeout)):
            pass
        return line

    def say(self, text):
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def close_input(self):
        self._process.stdin.close()

    def wait(self, timeout=30):
        return self._process.wait(timeout)

    def end(self):
        self._process.kill()
        self._process.wait(10)
        self._process.stdout.close()
        if not self._process.stdin.closed:
            self._process.stdin.close()


class Place:
    """A namespace of a running cluster."""

    def __init__(self, command, cluster, namespace) -> None:
        self.command = command
        self.cluster = cluster
        self.namespace = namespace
        self._open = []

    def kubectl(self, *words, check=True, stdin=None, timeout=60):
        return self.command.kubectl(
            self.cluster, "-n", self.namespace, *words, check=check, stdin=stdin, timeout=timeout
        )

    def __call__(self, *words, stdin=None):
        """What kubectl prints."""
        return self.kubectl(*words, stdin=stdin).stdout

    def refused(self, *words, stdin=None):
        """What kubectl says when it fails."""
        done = self.kubectl(*words, stdin=stdin, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def get(self, *words):
        return json.loads(self("get", *words, "-o", "json"))

    def apply(self, *documents):
        return self("apply", "-f", "-", stdin="\n".join(map(json.dumps, documents)))

    def deploy(self, name, replicas=1, ports=(8080,), wait=True, **container):
        """A Deployment of stand-ins with label app=name, and its rollout."""
        ports = [p if isinstance(p, dict) else {"containerPort": p} for p in ports]
        container = {"name": name, "image": f"example/{name}", "ports": ports, **container}
        self.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {
                        "metadata": {"labels": {"app": name}},
                        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
                    },
                },
            }
        )
        if wait:
            self.rolled_out(name)

    def rolled_out(self, name):
        self("rollout", "status", f"deployment/{name}", "--timeout=60s")

    def service(self, name, *ports, **spec):
        spec = {"selector": {"app": name}, "ports": list(ports) or [{"port": 80, "targetPort": 8080}], **spec}
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
        return self.get("service", name)["spec"]

    def pods(self, app):
        """The pods that are not on their way out, by name."""
        found = self.get("pods", "-l", f"app={app}")["items"]
        live = [p for p in found if "deletionTimestamp" not in p["metadata"]]
        return {p["metadata"]["name"]: p for p in live}

    def pod(self, app):
        return next(iter(self.pods(app)))

    def run(self, pod, *words, check=True, stdin=None, container=()):
        options = ["-i"] if stdin is not None else []
        return self.kubectl("exec", *options, *container, pod, "--", *words, check=check, stdin=stdin)

    def python(self, pod, code, *arguments):
        """The last fact that the lines tell in the pod."""
        done = self.run(pod, PYTHON, "-c", IN_POD + code, *map(str, arguments))
        return json.loads(done.stdout.splitlines()[-1])

    def start(self, *words):
        """A kubectl that goes on."""
        process = Process(
            self.command.kubectl_words(self.cluster, "-n", self.namespace, *words), self.command.environment
        )
        self._open.append(process)
        return process

    def start_python(self, pod, code, *arguments):
        return self.start("exec", "-i", pod, "--", PYTHON, "-u", "-c", IN_POD + code, *map(str, arguments))

    def http(self, method, path, body=None, kind="application/json"):
        """Status code and document of a request over the cluster's own socket."""
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        try:
            connection.sock.connect(str(self.command.home / "clusters" / self.cluster / "api.sock"))
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"content-type": kind, "accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def start_in_pod(self, pod, code, *, packages=False):
        """Lines run in the pod's namespaces by a process that hangs on no part of the cluster, as kubectl exec would.

        With ``packages`` they have those of the tests, and not the pod's view of files.
        """
        own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        python = [WITH_PACKAGES] if packages else ["--mount", PYTHON]
        words = [
            "nsenter",
            "--target",
            str(self._holder(pod)),
            *own,
            "--net",
            *python,
            "-u",
            "-c",
            IN_POD + code,
        ]
        process = Process(words, self.command.environment)
        self._open.append(process)
        return process

    def _holder(self, pod):
        for name, pid in processes(self.command, self.cluster):
            root = Path(f"/proc/{pid}/root/etc")
            if name != "catatonit" or (root / "hostname").read_text().strip() != pod:
                continue
            if f"search {self.namespace}.svc" in (root / "resolv.conf").read_text():
                return pid
        raise LookupError(pod)

    def close(self):
        for process in self._open:
            process.end()


def processes(command, cluster):
    """The processes of a cluster: name, as the kernel cuts it (15 characters), and process id on the host."""
    supervisor = int((command.home / "clusters" / cluster / "supervisor.pid").read_text())
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(path.name)] = (path / "comm").read_text().strip()
        except OSError:
            continue
    mine, grew = {supervisor}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in mine} - mine
        mine |= more
        grew = bool(more)
    return [(names[pid], pid) for pid in mine - {supervisor}]


@pytest.fixture
def pid_of(command):
    """Finds the one process of a cluster that has this name."""

    def find(cluster, name):
        (pid,) = (pid for found, pid in processes(command, cluster) if found == name)
        return pid

    return find


@pytest.fixture
def kill(command):
    """Kills a process of a cluster by its name and returns when it is gone."""

    def kill_one(cluster, name):
        # one that has just ended is started again
        end = time.monotonic() + 20
        while not (pids := [pid for found, pid in processes(command, cluster) if found == name]):
            assert time.monotonic() < end, f"there is no {name}"
        (pid,) = pids
        fd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            assert select.select([fd], [], [], 10)[0], f"{name} lives on"
        finally:
            os.close(fd)

    return kill_one


@pytest.fixture
def short_path():
    """A directory for clusters: unix sockets below it have short names."""
    # what a container runtime still holds there for a moment is no fault of a test
    with tempfile.TemporaryDirectory(prefix="nl-", dir="/tmp", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    # short: unix sockets live below it; and one for each run that goes on at the same time
    for number in range(16):
        path = Path("/tmp") / f"netloom-test-{os.getuid()}-{number}"
        with path.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _end_all(path)
            path.mkdir(mode=0o700)
            yield path
            _end_all(path)
            return
    pytest.fail("16 runs of these tests go on already")


def _end_all(path: Path) -> None:
    if path.exists():
        subprocess.run(
            [NETLOOM, "down", "--all"],
            env={**os.environ, "NETLOOM_HOME": str(path)},
            capture_output=True,
            timeout=120,
        )
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def command(home):
    return Command(home)


@pytest.fixture(scope="session")
def shop(command):
    """The name of a running cluster with the example shop in it; only for tests that leave it as it is."""
    command.down("shop")
    command.up("shop", "-f", "examples/shop")
    yield "shop"
    command.down("shop")


@pytest.fixture(scope="session")
def upstream():
    """A resolver on 127.0.0.1 for names outside the cluster; what it was asked is noted in it."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    stub = ScriptedUpstream({("www.example.org.", "A"): ["www.example.org. 60 A 192.0.2.80"]})
    stub.address = f"127.0.0.1:{datagrams.getsockname()[1]}"
    loop, ready = asyncio.new_event_loop(), threading.Event()
    ended = asyncio.Event()

    async def serve():
        await stub.start(datagrams)
        ready.set()
        await ended.wait()
        stub.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="upstream")
    thread.start()
    assert ready.wait(10)
    yield stub
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="session")
def plain(command, upstream):
    """The name of a running three-node cluster with nothing in it; tests use namespaces of their own."""
    command.down("plain")
    command.up("plain", "--dns-upstream", upstream.address)
    yield "plain"
    command.down("plain")


@pytest.fixture
def place(command, plain):
    """A namespace of this test's own."""
    yield from _place(command, plain)


@pytest.fixture(scope="module")
def rough(command):
    """A cluster whose processes tests may kill."""
    command.down("rough")
    command.up("rough")
    yield "rough"
    command.down("rough")


@pytest.fixture
def rough_place(command, rough):
    """A namespace of this test's own, in a cluster whose processes it may kill."""
    yield from _place(command, rough)


def _place(command, cluster):
    made = command.place(cluster, f"t{next(_numbers)}")
    made("create", "namespace", made.namespace)
    yield made
    made.close()
    made("delete", "namespace", made.namespace, "--wait=false")
