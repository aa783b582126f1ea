"""A disk that is full while a cluster runs: writes are refused with a clear error, all else goes on, and then it is over."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

BIG = {"data": {"filling": "x" * 50_000}}


@pytest.fixture
def small_disk(command, short_path):
    """A cluster whose files lie on a few megabytes; its command, and the directory as seen from here."""
    script = f"""
        mount -t tmpfs -o size=12m tmpfs {short_path}
        export NETLOOM_HOME={short_path}
        {command.netloom_path} up --name full --nodes 1 --output json
        echo is-up
        read line
        {command.netloom_path} down --name full
        echo is-down
    """
    holder = command.start("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script)
    try:
        holder.until("is-up", timeout=90)
        yield command.at(Path(f"/proc/{holder.pid}/root{short_path}"))
        holder.say("end\n")
        holder.until("is-down", timeout=60)
    finally:
        holder.end()


def fill(path):
    """Write until no byte more is taken."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)


def test_a_disk_that_fills_up_refuses_writes_and_nothing_else(small_disk):
    place = small_disk.place("full", "default")
    place.deploy("web", replicas=2)
    place.service("web")
    pod = place.pod("web")
    asks = 'tell(until(lambda a: a[0].startswith("web-"), lambda: answer_of("web", 80)))'
    assert place.python(pod, asks)[0].startswith("web-")
    path = "/api/v1/namespaces/default/configmaps"
    ballast = small_disk.home / "ballast"
    with pytest.raises(OSError, match="No space left"):
        fill(ballast)
    acknowledged, refused = set(), {}
    for number in range(400):
        name = f"c{number}"
        code, answer = place.http("POST", path, {"metadata": {"name": name}, **BIG})
        if code == 201:
            acknowledged.add(name)
            continue
        refused[name] = answer
        if len(refused) == 3:
            break
    assert len(refused) == 3, "the disk is full"
    for status in refused.values():
        assert status["kind"] == "Status"
        assert status["status"] == "Failure"
        assert status["code"] >= 500
        assert "disk" in status["message"]
    said = place.refused("create", "configmap", "one-more", f"--from-literal=filling={'x' * 50_000}")
    assert "disk" in said
    # nothing half-made, and everything else goes on
    names = {item["metadata"]["name"] for item in place.get("configmaps")["items"]}
    assert names & {f"c{n}" for n in range(400)} == acknowledged
    assert place.python(pod, asks)[0].startswith("web-")
    assert place("get", "nodes").count("Ready") == 1
    ballast.unlink()
    code, _ = place.http("POST", path, {"metadata": {"name": "again"}, **BIG})
    assert code == 201
    place("scale", "deployment", "web", "--replicas=3")
    place.rolled_out("web")
    assert "again" in place("get", "configmap", "again")
    assert len(place.pods("web")) == 3
