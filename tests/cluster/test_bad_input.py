"""Bad input: one clear error that names the field or the file, the right exit code, and nothing half-made left behind."""

import subprocess

import pytest

pytestmark = pytest.mark.cluster

POD = """apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 70000}]}]}
"""
SERVICE = """apiVersion: v1
kind: Service
metadata: {name: s}
spec: {selector: {app: s}, ports: [{port: 70000}]}
"""


def assert_refused(command, done, code, *says):
    assert done.returncode == code, done.stderr
    for text in says:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()  # before the error, progress may be told
    (error,) = (number for number, line in enumerate(lines) if line.startswith("netloom: "))
    assert len(lines) - error <= 4, "one clear error, with a hint"
    names = [p.parent.name for p in (command.home / "clusters").glob("*/cluster.json")]
    assert "bad" not in names
    assert not (command.home / "clusters" / "bad").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--pod-cidr", "10.244.0.0/33"), ("--pod-cidr", "10.244.0.0/33", "no CIDR")),
        (("--pod-cidr", "10.96.0.0/16"), ("--pod-cidr", "overlaps --service-cidr")),
        (("--nodes", "0"), ("--nodes", "out of range")),
        (("--nodes", "three"), ("--nodes", "three")),
        (("--api-port", "99999"), ("--api-port", "out of range")),
        (("-f", "no/such/file.yaml"), ("no/such/file.yaml", "no such file")),
    ],
)
def test_wrong_options(command, words, says):
    assert_refused(command, command.netloom("up", "--name", "bad", *words, check=False), 2, *says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1, 2\nb: 3\n", ("bad.yaml", "line 2")),
        ("apiVersion: v1\nkind: Servise\nmetadata: {name: s}\n", ("bad.yaml", "document 1", "Servise")),
        ("kind: Pod\n", ("bad.yaml", "apiVersion")),
    ],
)
def test_manifests_that_cannot_be_read_are_refused_before_anything_is_made(command, tmp_path, text, says):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert_refused(command, command.netloom("up", "--name", "bad", "-f", str(path), check=False), 2, *says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SERVICE, ("Service", "bad.yaml", "spec.ports[0].port", "70000")),
        (POD, ("Pod", "bad.yaml", "spec.containers[0].ports[0].containerPort", "70000")),
    ],
)
def test_objects_that_the_api_refuses_are_named_with_their_file_and_the_cluster_is_taken_down(
    command, tmp_path, text, says
):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert_refused(command, command.netloom("up", "--name", "bad", "-f", str(path), check=False), 2, *says)


def test_a_second_cluster_of_the_same_name_is_refused_and_the_first_lives_on(command, plain):
    done = command.netloom("up", "--name", plain, check=False)
    assert done.returncode == 3
    assert plain in done.stderr
    assert "running already" in done.stderr
    assert command.kubectl(plain, "get", "nodes").stdout.count("Ready") == 3


def test_a_port_that_is_taken_is_named(command, plain):
    taken = (
        command.netloom("status", "--name", plain, "--output", "json")
        .stdout.split("127.0.0.1:")[1]
        .split('"')[0]
    )
    assert_refused(
        command,
        command.netloom("up", "--name", "bad", "--api-port", taken, check=False),
        2,
        f"--api-port {taken}",
        "in use",
    )


def in_rooms(script, environment):
    """Run a shell script as root of a user namespace with mounts of its own."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )


def test_a_disk_that_is_full_from_the_start_is_named(command, short_path):
    script = f"""
        mount -t tmpfs -o size=64k tmpfs {short_path}
        dd if=/dev/zero of={short_path}/ballast bs=1k count=60 2>/dev/null
        NETLOOM_HOME={short_path}/home {command.netloom_path} up --name bad && exit 0 || code=$?
        find {short_path}/home -name cluster.json
        exit $code
    """
    done = in_rooms(script, command.environment)
    assert done.returncode == 7, done.stderr
    assert "No space left" in done.stderr
    assert "cluster.json" not in done.stdout
    assert "Traceback" not in done.stderr


def test_a_system_without_room_for_namespaces_says_what_to_do(command, short_path):
    script = f"""
        echo 0 > /proc/sys/user/max_net_namespaces
        NETLOOM_HOME={short_path}/home {command.netloom_path} up --name bad && exit 0 || code=$?
        find {short_path}/home -name cluster.json
        exit $code
    """
    done = in_rooms(script, command.environment)
    assert done.returncode == 5, done.stderr
    assert "max_net_namespaces" in done.stderr
    assert "cluster.json" not in done.stdout
