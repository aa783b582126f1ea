"""Pods of real images: their programs run, are served, probed, asked, ended and restarted, as kubectl's users know it."""

import json
import os
import pty
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from netloom.testing import images as made
from netloom.testing.images import Entry, Image

pytestmark = pytest.mark.cluster

BUSYBOX = Path("/usr/bin/busybox")
APPLETS = [
    "sh",
    "ls",
    "cat",
    "sleep",
    "echo",
    "id",
    "httpd",
    "wget",
    "env",
    "touch",
    "rm",
    "hostname",
    "true",
    "test",
]
HAPROXY = """
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 10s
frontend web
  bind :80
  http-request return status 200 content-type text/plain lf-string "haproxy of %[env(HOSTNAME)] for %[src]\\n"
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Archives as producers write them, by the names of their images."""
    place = tmp_path_factory.mktemp("images")
    if not BUSYBOX.exists():
        pytest.skip("busybox is not installed: apt-get install busybox-static")
    base = [
        *made.programs({"bin/busybox": BUSYBOX}, {f"bin/{name}": "busybox" for name in APPLETS}),
        made.directory("tmp", 0o1777),
        Entry(name="etc/passwd", content=b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"),
        Entry(name="srv/index.html", content=b"of the image\n"),
    ]
    busy = Image(
        layers=(made.layer(base),), config={"Entrypoint": ["sh", "-c"], "Env": ["PATH=/bin", "FROM=image"]}
    )
    proxy = Image(
        layers=(
            made.layer(
                with_libraries(Path(shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")))
            ),
        ),
        config={"Entrypoint": ["/usr/sbin/haproxy", "-db", "-f"], "Cmd": ["/etc/haproxy.cfg"]},
    )
    return {
        "example/busy:1": made.docker_archive(place / "busy.tar", busy, ["example/busy:1"]),
        "example/haproxy:1": made.oci_archive(place / "haproxy.tar", proxy, ["example/haproxy:1"]),
    }


def with_libraries(program):
    """A program of this system at its place in an image, with the libraries that it is linked with at theirs."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = {word for line in linked.splitlines() for word in line.split() if word.startswith("/")}
    files = {path.lstrip("/"): Path(path) for path in paths}
    return [*made.programs({"usr/sbin/haproxy": program, **files}), made.directory("tmp", 0o1777)]


@pytest.fixture
def loaded(place, images):
    for archive in images.values():
        place.command.netloom("image", "load", str(archive))
    return place


def pod(name, script, image="example/busy:1", annotations=None, container=None, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": annotations or {}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": image, "args": [script], **(container or {})}],
            **spec,
        },
    }


def wait(place, name, path, value, timeout=60):
    """The status that the condition held of."""
    words = (f"--for=jsonpath={{{path}}}={value}", f"--timeout={timeout}s", "-o", "json")
    return json.loads(place("wait", f"pod/{name}", *words))["status"]


def state(status):
    return status["containerStatuses"][0]


def test_a_program_of_this_system_serves_through_a_service(loaded):
    loaded.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "web"},
            "data": {"haproxy.cfg": HAPROXY},
        }
    )
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "volumes": [{"name": "config", "configMap": {"name": "web"}}],
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "haproxy",
                    "image": "example/haproxy:1",
                    "args": ["/config/haproxy.cfg"],
                    "volumeMounts": [{"name": "config", "mountPath": "/config"}],
                    "securityContext": {
                        "runAsUser": 1000,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1},
                }
            ],
        },
    }
    loaded.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        },
        pod("asking", "sleep 1000"),
    )
    loaded.service("web", {"port": 80, "targetPort": 80})
    loaded.rolled_out("web")
    asking = wait(loaded, "asking", ".status.phase", "Running")
    names = set(loaded.pods("web"))
    heard = set()
    for _ in range(60):
        who, address = (
            loaded.run("asking", "wget", "-qO-", "http://web/")
            .stdout.removeprefix("haproxy of ")
            .split(" for ")
        )
        assert address.strip() == asking["podIP"], "nobody stands between them"
        heard.add(who)
        if heard == names:
            break
    assert heard == names


def test_what_a_program_has_says_and_leaves(loaded):
    script = "echo $FROM $MINE $HOSTNAME; id -u; echo last words > /dev/termination-log; exit 3"
    env = [{"name": "MINE", "value": "pod"}]
    loaded.apply(
        pod(
            "once",
            script,
            container={"env": env, "securityContext": {"runAsUser": 1000}},
            restartPolicy="Never",
        ),
        pod("again", "echo life; exit 4"),
    )
    status = wait(loaded, "once", ".status.phase", "Failed")
    end = state(status)["state"]["terminated"]
    assert (end["exitCode"], end["reason"], end["message"]) == (3, "Error", "last words\n")
    assert state(status)["image"] == "docker.io/example/busy:1"
    assert state(status)["imageID"].startswith("sha256:")
    assert loaded("logs", "once") == "image pod once\n1000\n"
    status = wait(loaded, "again", ".status.containerStatuses[0].restartCount", 1)
    assert state(status)["lastState"]["terminated"]["exitCode"] == 4
    wait(loaded, "again", ".status.containerStatuses[0].state.waiting.reason", "CrashLoopBackOff")
    assert loaded("logs", "again", "--previous") == loaded("logs", "again") == "life\n"


def test_commands_and_streams(loaded):
    loaded.apply(
        pod("p", "while read -r line; do echo got $line; done; sleep 1000", container={"stdin": True}),
    )
    wait(loaded, "p", ".status.phase", "Running")
    done = loaded.run("p", "sh", "-c", "cat; echo $FROM >&2; exit 7", stdin="in\n", check=False)
    assert (done.returncode, done.stdout) == (7, "in\n")
    assert "image" in done.stderr
    missing = loaded.run("p", "no-such-program", check=False)
    assert missing.returncode != 0
    assert "executable file not found" in missing.stderr
    attached = loaded.start("attach", "-i", "p")
    attached.say("a line\n")
    attached.until("got a line")
    following = loaded.start("logs", "-f", "p")
    attached.say("and one more\n")
    following.until("got and one more")


def test_a_command_has_a_terminal(loaded):
    loaded.apply(pod("p", "sleep 1000"))
    wait(loaded, "p", ".status.phase", "Running")
    words = ("exec", "-it", "p", "--", "sh", "-c", "test -t 0 && echo terminal; exit 5")
    ours, theirs = pty.openpty()
    try:
        done = subprocess.Popen(
            loaded.command.kubectl_words(loaded.cluster, "-n", loaded.namespace, *words),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=loaded.command.environment,
        )
        said, _ = done.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 5, said
    assert b"terminal" in said


def test_a_signal_and_a_grace_period(loaded):
    trap = "trap 'echo ending; wget -qO- http://127.0.0.1:8080/ >/dev/null; exit 0' TERM; httpd -p 8080 -h /srv; while true; do sleep 0.1; done"
    loaded.apply(pod("p", trap, terminationGracePeriodSeconds=30), pod("deaf", "sleep 1000"))
    wait(loaded, "p", ".status.phase", "Running")
    wait(loaded, "deaf", ".status.phase", "Running")
    following = loaded.start("logs", "-f", "p")
    loaded("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
    begun = time.monotonic()
    loaded("delete", "pod", "p", "deaf", "--wait=true")
    assert time.monotonic() - begun < 20, "a program that ends by itself is not waited for"
    following.until("ending")


@pytest.mark.parametrize(
    ("name", "image", "more", "reason", "words"),
    [
        (
            "never",
            "example/none:1",
            {"imagePullPolicy": "Never"},
            "ErrImageNeverPull",
            "is not present with pull policy of Never",
        ),
        ("invalid", "Example/None", {}, "InvalidImageName", "couldn't parse image name"),
        ("program", "example/busy:1", {"command": ["/nothing"]}, "RunContainerError", "/nothing"),
    ],
)
def test_containers_that_cannot_start(loaded, name, image, more, reason, words):
    annotations = {"netloom.io/stand-in": "false"}
    loaded.apply(pod(name, "true", image=image, annotations=annotations, container=more))
    waiting = state(wait(loaded, name, ".status.containerStatuses[0].state.waiting.reason", reason))["state"][
        "waiting"
    ]
    assert words in waiting.get("message", "")


def test_an_image_that_is_loaded_later_is_found(loaded, images):
    annotations = {"netloom.io/stand-in": "false"}
    loaded.apply(pod("late", "sleep 1000", image="example/late:1", annotations=annotations))
    status = wait(loaded, "late", ".status.containerStatuses[0].state.waiting.reason", "ImagePullBackOff")
    assert "Back-off pulling image" in state(status)["state"]["waiting"]["message"]
    loaded.command.netloom("image", "load", str(images["example/busy:1"]), "--tag", "example/late:1")
    wait(loaded, "late", ".status.phase", "Running")
    loaded("delete", "pod", "late", "--wait=true")


def test_the_command_lists_and_removes(loaded, images):
    listed = json.loads(loaded.command.netloom("image", "ls", "-o", "json").stdout)["images"]
    names = {name for image in listed for name in image["names"]}
    assert {f"docker.io/{name}" for name in images} <= names
    loaded.command.netloom("image", "load", str(images["example/busy:1"]), "--tag", "example/gone:1")
    loaded.command.netloom("image", "rm", "example/gone:1")
    assert loaded.command.netloom("image", "rm", "example/gone:1", check=False).returncode == 4
    refused = loaded.command.netloom("image", "load", os.devnull, check=False)
    assert refused.returncode == 2
    assert "not a file" in refused.stderr
